"""Whole folders: which picture becomes which file, what is done already, and the work on several at a time.

A journal in the output folder names, for each file that was made, the content and settings that it came from. Its line
is written before the file takes its place, so a file without a line is not ours, and a line without its file means
work to do, whenever a process was killed. Locks on single bytes of the journal, which the system lets go with the
process, keep two processes from the same picture.
"""

from __future__ import annotations

import errno
import glob
import hashlib
import json
import logging
import os
import re
import threading
import time
from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple, NotRequired, TypedDict, cast

from upres.errors import Interrupted, OutputError, PictureError, TooLittleMemory, UpresError, UsageError
from upres.files import make_folder, remove_unfinished
from upres.images import formats, io, vips
from upres.images.formats import Encoding, Format
from upres.inference.enlarging import Done, Enlarger, Settings, checked_size
from upres.weights import catalog

try:
    import fcntl
except ImportError:  # Windows: two processes on one folder may do a picture twice, which harms none
    fcntl = None

_log = logging.getLogger(__name__)
JOURNAL = ".upres.jsonl"
# Photos that upres cannot read are pictures too: they fail with a reason, and are not passed over.
PICTURE_SUFFIXES = (*formats.SUFFIXES, ".heic", ".heif", ".jxl", ".jp2", ".bmp", ".ppm", ".pgm", ".hdr")
_HEEDS_SIGNALS_EVERY = 0.1  # seconds: a signal that another thread takes does not wake one that waits for a lock
_WORKERS = 2  # one computes while the other decodes or encodes
_CHUNK = 1 << 20
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # of some drives: there it is as on Windows
Status = Literal["planned", "done", "skipped", "elsewhere", "failed"]


@dataclass(frozen=True)
class Job:
    """A picture and the file that it becomes."""

    source: Path
    target: Path
    format: Format


@dataclass(frozen=True)
class Outcome:
    """What became of a job.

    Attributes:
        status: `planned`; `done`; `skipped`, having been done before; `elsewhere`, in another process' hands; `failed`.
        done: what was written.
        size: height and width of what is planned.
        error: why it failed.
        seconds: of wall time.
    """

    job: Job
    status: Status
    seconds: float
    done: Done | None = None
    size: tuple[int, int] | None = None
    error: str | None = None


class _Line(TypedDict):
    target: str
    source: str
    settings: str
    path: NotRequired[str]
    size: int
    mtime: int
    content: str


class Made(NamedTuple):
    """What a result was made from.

    Attributes:
        source: digest of the picture's content.
        settings: digest of the settings.
        path: where the picture was.
    """

    source: str
    settings: str
    path: str | None


class Plan(NamedTuple):
    """What is to be done with a folder.

    Attributes:
        jobs: in the order of their names.
        unreadable: what could not be looked into, and why.
        others: how many files of each ending are no pictures, as far as upres knows; and how many folders of other
            results, linked folders, and hidden files and folders there are.
    """

    jobs: list[Job]
    unreadable: list[str]
    others: Counter[str]


def plan(root: Path, out: Path, encoding: Encoding) -> Plan:
    """What is to be done with a folder.

    The tree is mirrored. Names stay, but for the ending where the format changes; if two pictures then have one name,
    they keep the old ending before the new. Hidden files and folders, the output folder, results of other calls, and
    linked folders, which may lead back, are left out.

    Raises:
        UsageError: two pictures would still become one file, or the output folder holds the pictures.
    """
    check_apart(root, out)
    unreadable: list[str] = []
    others: Counter[str] = Counter()
    out_identity = _identity(out)
    found: list[Path] = []
    for folder, folders, files in os.walk(
        root, onerror=lambda error: unreadable.append(f"{error.filename}: {error.strerror}")
    ):
        folders[:] = sorted(name for name in folders if _identity(Path(folder, name)) != out_identity)
        for name in list(folders):
            kind = _kind_of_folder(Path(folder, name))
            if kind is not None:
                folders.remove(name)
                others[kind] += 1
        for name in sorted(files):
            suffix = Path(name).suffix.lower()
            if name[0] == ".":
                others["hidden"] += name != JOURNAL
            elif suffix in PICTURE_SUFFIXES:
                found.append(Path(folder, name))
            else:
                others[suffix or "without an ending"] += 1
    return Plan(mirrored(found, root, out, encoding), unreadable, +others)


def _kind_of_folder(folder: Path) -> str | None:
    """Why a folder is passed over; None for one that is not."""
    if folder.name[0] == ".":
        return "hidden"
    if folder.is_symlink():
        return "linked folders"
    return "folders of results" if _identity(folder / JOURNAL) else None


def expand(pattern: str, out: Path) -> tuple[Path, list[Path]]:
    """The folder before a pattern's first wildcard, and the picture files that match, `**` for folders of any depth.

    Brackets in the name of a folder that is there are no wildcards.
    `**` does not follow linked folders, which may lead back. Hidden files and folders match only where the pattern
    names them; what lies in the output folder, and in those of other calls, is left out.

    Raises:
        UsageError: `..` behind a wildcard, or an output folder that holds the pictures.
    """
    parts = Path(pattern).parts
    fixed = Path()
    for part in parts:
        if glob.has_magic(part) and not ("[" in part and os.path.isdir(fixed / part)):
            break
        fixed /= part
    wildcards = parts[len(fixed.parts) :]
    if ".." in wildcards:
        raise UsageError(f"{pattern}: has .. behind a wildcard; write the folder that is meant before it.")
    check_apart(fixed, out)
    results = out.resolve()
    names_hidden = any(part.startswith(".") for part in wildcards)
    wanted = (
        path
        for path in fixed.glob("/".join(part if part == "**" else re.sub(r"\*{2,}", "*", part) for part in wildcards))
        if path.suffix.lower() in PICTURE_SUFFIXES
        and (names_hidden or not any(part.startswith(".") for part in path.relative_to(fixed).parts))
        and not path.is_dir()
        and results not in path.resolve().parents
        and not any(_identity(fixed / parent / JOURNAL) for parent in list(path.relative_to(fixed).parents)[:-1])
    )
    return fixed, sorted(set(wanted))


def check_apart(root: Path, out: Path) -> None:
    """Refuse an output folder that is, or holds, that of the pictures: a result could replace one, or be taken for one.

    Raises:
        UsageError: it does.
    """
    pictures, results = Path(os.path.realpath(root)), Path(os.path.realpath(out))
    if pictures == results or results in pictures.parents:
        raise UsageError(f"{out}: holds the pictures themselves; name another folder with -o.")


def mirrored(sources: Iterable[Path], root: Path, out: Path, encoding: Encoding) -> list[Job]:
    """The jobs of pictures below `root`; see `plan`."""
    sources = list(sources)
    named = [source.relative_to(root) for source in sources]
    targets = [path.with_suffix(_suffix(path, encoding)) for path in named]
    uses = Counter(str(target).casefold() for target in targets)
    for i, (path, target) in enumerate(zip(named, targets, strict=True)):
        if uses[str(target).casefold()] > 1 and target != path:
            targets[i] = path.with_name(path.name + target.suffix)
    jobs: dict[str, Job] = {}
    ignores_case = _ignores_case(out)
    for source, target in zip(sources, targets, strict=True):
        format = formats.named(encoding.format) if encoding.format else formats.of_suffix(target)
        assert format is not None
        job = Job(source, out / target, format)
        if _identity(job.target) is not None and _identity(job.target) == _identity(source):
            raise UsageError(f"{source}: would be replaced by its own result; name another folder with -o.")
        other = jobs.setdefault(str(target).casefold() if ignores_case else str(target), job)
        if other is not job:
            raise UsageError(f"{other.source} and {source} would both become {job.target}; rename one of them.")
    return list(jobs.values())


def _suffix(path: Path, encoding: Encoding) -> str:
    own = formats.of_suffix(path)
    if encoding.format is None:
        return path.suffix if own else ".png"
    wanted = formats.named(encoding.format)
    return path.suffix if own is wanted else wanted.suffixes[0]


def _ignores_case(folder: Path) -> bool:
    """Whether names that differ by case are one in a folder; told by the names of it and those that it lies in."""
    for path in (folder.absolute(), *folder.absolute().parents):
        swapped = path.name.swapcase()
        if swapped != path.name and _identity(path) is not None:
            return _identity(path.with_name(swapped)) == _identity(path)
    return True


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


class Journal:
    """What was made in an output folder, and which process is at what; a context that takes part until it ends.

    Args:
        folder: the output folder; it is made if need be.
        only_read: take no part; the journal has to be there.

    Raises:
        OutputError: the folder or the journal cannot be written, or read.
    """

    def __init__(self, folder: Path, *, only_read: bool = False) -> None:
        if not only_read:
            make_folder(folder)
        self._folder = folder
        self._lines: dict[str, list[_Line]] = {}
        self._read_to = 0
        self._reading = threading.Lock()
        try:
            self._file: IO[bytes] = (folder / JOURNAL).open("rb" if only_read else "a+b", buffering=0)
        except OSError as error:
            lacking = "readable" if only_read else "writable"
            raise OutputError(f"{folder}: is not {lacking} ({error.strerror}); give -o to write elsewhere.") from error

    def __enter__(self) -> Journal:
        """Take part, and remove what killed processes left."""
        for folder, _, _ in os.walk(self._folder):
            remove_unfinished(Path(folder))
        return self

    def __exit__(self, *exception: object) -> None:
        """Let go of all locks."""
        self.close()

    def close(self) -> None:
        """Close the file, which lets go of all locks."""
        self._file.close()

    def claim(self, target: Path) -> bool:
        """Whether this process may work on a target; it then does until `release`."""
        return fcntl is None or self._lock(self._byte(target))

    def release(self, target: Path) -> None:
        """Let others work on a target."""
        if fcntl is not None:
            with suppress(OSError):  # a drive without locks
                fcntl.lockf(self._file, fcntl.LOCK_UN, 1, self._byte(target))

    def made(self, target: Path) -> Made | None:
        """What a file was made from; None for one that is not ours as it is."""
        try:
            status = target.stat()
            lines = [line for line in self._lines_of(target) if line["size"] == status.st_size]
            line = next((line for line in lines if line["mtime"] == status.st_mtime_ns), None)
            if line is None and lines:
                content = digest(target)
                line = next((line for line in lines if line["content"] == content), None)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG):
                return None
            raise
        return None if line is None else Made(line["source"], line["settings"], line.get("path"))

    def note(self, target: Path, file: Path, source: str, settings: str, path: Path) -> None:
        """Write down that `file`, soon to be `target`, was made from this content at a path with these settings."""
        status = file.stat()
        line = _Line(
            target=self._name(target),
            source=source,
            settings=settings,
            path=str(path.absolute()),
            size=status.st_size,
            mtime=status.st_mtime_ns,
            content=digest(file),
        )
        self._file.write(b"\n" + json.dumps(line).encode() + b"\n")  # at the end, whole, in one call

    def _lines_of(self, target: Path) -> list[_Line]:
        """The newest first, those included that were added meanwhile, whoever wrote them.

        All of them: a process that was killed may have noted a file that never took its place.
        """
        with self._reading:
            self._file.seek(self._read_to)
            content = self._file.read()
            whole = content.rfind(b"\n") + 1
            self._read_to += whole
            for text in content[:whole].splitlines():
                try:
                    line = cast(_Line, json.loads(text))
                    self._lines.setdefault(line["target"], []).append(line)
                except (ValueError, KeyError, TypeError):  # empty, or cut short by a full disk
                    continue
            return self._lines.get(self._name(target), [])[::-1]

    def _lock(self, byte: int) -> bool:
        assert fcntl is not None
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
        except (BlockingIOError, PermissionError):
            return False
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
        return True

    def _byte(self, target: Path) -> int:
        return int.from_bytes(hashlib.blake2b(os.fsencode(self._name(target)), digest_size=7).digest(), "big")

    def _name(self, target: Path) -> str:
        return target.relative_to(self._folder).as_posix()


def digest(path: Path) -> str:
    """Of a file's content."""
    total = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            total.update(chunk)
    return total.hexdigest()


def settings_digest(settings: Settings, format: Format) -> str:
    """Of all that decides a result besides the picture, the weights' content included."""
    path = Path(settings.model)
    if path.suffix in (".onnx", ".safetensors"):
        weights: Any = digest(path)
    else:
        weights = [dict(record.sha256) for record in catalog.records() if record.name == settings.model]
    parts = asdict(settings) | {"model": weights or settings.model, "format": format.name}
    return hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=16).hexdigest()


def planned(
    jobs: Iterable[Job], settings: Settings, out: Path, *, overwrite: bool, max_pixels: int
) -> Iterator[Outcome]:
    """What `run` would do with jobs, as far as names, headers and the journal tell; nothing is written or enlarged.

    Raises:
        OutputError: the output folder's journal cannot be read.
    """
    journal = Journal(out, only_read=True) if (out / JOURNAL).is_file() else None
    try:
        for job in jobs:
            try:
                if _is_done(job, settings, journal, overwrite=overwrite):
                    yield Outcome(job, "skipped", 0)
                else:
                    yield Outcome(job, "planned", 0, size=prospect(job, settings, max_pixels=max_pixels))
            except UpresError as error:
                yield Outcome(job, "failed", 0, error=str(error))
    finally:
        if journal is not None:
            journal.close()


def _is_done(job: Job, settings: Settings, journal: Journal | None, *, overwrite: bool) -> bool:
    io.check_input(job.source)
    try:
        made = journal.made(job.target) if journal is not None else None
        if (
            made is not None
            and made.settings == settings_digest(settings, job.format)
            and made.source == digest(job.source)
        ):
            return True
        _refuse_to_replace(job, made, overwrite=overwrite)
    except OSError:  # `run` will say why
        pass
    return False


def prospect(job: Job, settings: Settings, *, max_pixels: int) -> tuple[int, int]:
    """Height and width of a job's result, by the header of its picture.

    Raises:
        PictureError: the picture cannot be read, or the format cannot hold its result.
    """
    shape, pages = io.look(job.source, max_pixels=max_pixels)
    try:
        return checked_size(shape, pages, settings.wanted, job.target, job.format, max_pixels=max_pixels)
    except UsageError as error:
        raise PictureError(f"{job.source}: {error}") from error


def _refuse_to_replace(job: Job, made: Made | None, *, overwrite: bool) -> None:
    """Raise an OutputError if a folder is in the way, or a file that upres did not make, or made of another picture."""
    if job.target.is_dir():
        raise OutputError(f"{job.target}: this is a folder; name another folder for the results with -o.")
    if overwrite or not os.path.lexists(job.target):
        return
    if made is None:
        raise OutputError(
            f"{job.target}: exists already, and is not as upres made it, if it did; give --overwrite to replace it."
        )
    is_other = made.path is not None and made.path != str(job.source.absolute())
    if is_other and os.path.lexists(cast(str, made.path)):
        raise OutputError(
            f"{job.target}: was made of {made.path}, not of {job.source}; name another folder with -o, or give "
            "--overwrite to replace it."
        )


def run(
    jobs: Iterable[Job], enlarger: Enlarger, journal: Journal, *, overwrite: bool, max_pixels: int
) -> Generator[Outcome]:
    """Do jobs, a few at a time, and tell what became of each, in the order in which they end.

    A picture that does not fit its share of the memory is done alone, with all of it, when the others are done. So is
    one that libvips refuses: it has one memory of reasons for all threads, and may have given another picture's.

    Args:
        jobs: whose targets lie in the journal's folder.
        enlarger: what enlarges.
        journal: of the output folder.
        overwrite: replace files that upres did not make.
        max_pixels: of an input.
    """

    def work(job: Job, share: float) -> Outcome | None:
        return _outcome(job, enlarger, journal, overwrite=overwrite, max_pixels=max_pixels, share=share)

    alone: list[Job] = []
    pending: dict[Future[Outcome | None], Job] = {}
    waiting = iter(jobs)
    pool = ThreadPoolExecutor(_WORKERS)
    try:
        while True:
            while len(pending) < 2 * _WORKERS and (job := next(waiting, None)) is not None:
                pending[pool.submit(work, job, 1 / _WORKERS)] = job
            if not pending:
                break
            for future in wait(pending, timeout=_HEEDS_SIGNALS_EVERY, return_when=FIRST_COMPLETED).done:
                job, outcome = pending.pop(future), future.result()
                if outcome is None:
                    alone.append(job)
                else:
                    yield outcome
        for job in alone:
            pending = {pool.submit(work, job, 1): job}
            for future in pending:
                outcome = future.result()
                assert outcome is not None
                yield outcome
            pending = {}
    finally:
        if pending:
            enlarger.stopped.set()
        pool.shutdown(cancel_futures=True)


def _outcome(
    job: Job, enlarger: Enlarger, journal: Journal, *, overwrite: bool, max_pixels: int, share: float
) -> Outcome | None:
    """What becomes of a job; None if it is to be done alone: see `run`."""
    started = time.perf_counter()

    def outcome(status: Status, **more: Any) -> Outcome:
        return Outcome(job, status, time.perf_counter() - started, **more)

    if not journal.claim(job.target):
        return outcome("elsewhere")
    try:
        done = _do(job, enlarger, journal, overwrite=overwrite, max_pixels=max_pixels, share=share)
    except Interrupted:
        raise
    except UpresError as error:
        if share < 1 and (isinstance(error, TooLittleMemory) or vips.is_cause(error)):
            return None
        return outcome("failed", error=str(error))
    except Exception as error:  # a mistake of ours, or of a library: no reason for the other pictures to fail
        _log.exception("%s", job.source)
        return outcome("failed", error=f"{job.source}: {type(error).__name__} that upres did not expect: {error}")
    finally:
        journal.release(job.target)
    return outcome("skipped") if done is None else outcome("done", done=done)


def _do(
    job: Job, enlarger: Enlarger, journal: Journal, *, overwrite: bool, max_pixels: int, share: float
) -> Done | None:
    """The picture's result; None if it is there already."""
    try:
        if job.source.exists():
            io.check_input(job.source)  # digesting what is no file may never end
        source = digest(job.source)
    except FileNotFoundError as error:
        raise PictureError(f"{job.source}: no such file; it vanished, or is a link to nothing.") from error
    except OSError as error:
        raise PictureError(f"{job.source}: cannot be read ({error.strerror}); check its permissions.") from error
    settings = settings_digest(enlarger.settings, job.format)
    try:
        made = journal.made(job.target)
    except OSError as error:
        raise OutputError(f"{job.target}: cannot be read ({error.strerror}); check its permissions.") from error
    if made is not None and (made.source, made.settings) == (source, settings):
        return None
    _refuse_to_replace(job, made, overwrite=overwrite)
    make_folder(job.target.parent)
    return enlarger.file(
        job.source,
        job.target,
        format=job.format,
        max_pixels=max_pixels,
        share=share,
        written=lambda temporary: journal.note(job.target, temporary, source, settings, job.source),
    )
