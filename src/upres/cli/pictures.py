"""`upres upscale`: pictures in, larger pictures out."""

from __future__ import annotations

import glob
import json as json_
import math
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TextIO

import typer

import upres
from upres.cli.options import Engine, Precision, printable
from upres.errors import OutputError, PictureError, TooLittleMemory, UpresError, UsageError

if TYPE_CHECKING:
    from rich.progress import Progress

    from upres.images.formats import Encoding
    from upres.images.formats import Format as FileFormat
    from upres.inference.enlarging import Done, Enlarger, Settings
    from upres.inference.folders import Job, Outcome
    from upres.inference.sizes import Wanted

Format = Literal["png", "jpeg", "jpg", "webp", "tiff", "tif", "avif", "gif"]
_STREAM = "-"
_CHUNK = 1 << 20
_LEAST_MEMORY = 1_000_000  # bytes: of less, the unit was forgotten
_SHOWS_PROGRESS_AFTER = 2.0  # seconds
_HEEDS_SIGNALS_EVERY = 0.1  # seconds: a signal that another thread takes does not wake one that waits for a lock


def upscale(
    pictures: Annotated[
        list[str], typer.Argument(help="Pictures, a folder, a 'pattern/**/*.jpg', or - for stdin.", show_default=False)
    ],
    out: Annotated[
        str | None,
        typer.Option("-o", "--out", help="A file, a folder, or - for stdout.", show_default="beside: NAME-x2.EXT"),
    ] = None,
    scale: Annotated[
        float | None, typer.Option("-s", "--scale", help="How many times larger.", show_default="2")
    ] = None,
    width: Annotated[int | None, typer.Option(help="Or: pixels across.")] = None,
    height: Annotated[int | None, typer.Option(help="Or: pixels down.")] = None,
    fit: Annotated[str | None, typer.Option(help="Or: just fits into, as in 1920x1080.")] = None,
    megapixels: Annotated[float | None, typer.Option(help="Or: millions of pixels.")] = None,
    model: Annotated[str, typer.Option("-m", "--model", help="See `upres models`; or a file.")] = upres.DEFAULT_MODEL,
    format: Annotated[Format | None, typer.Option(help="Of the result.", show_default="as the input")] = None,
    quality: Annotated[int | None, typer.Option(help="1 to 100.", show_default="JPEG, WebP 95, AVIF 85")] = None,
    effort: Annotated[int | None, typer.Option(help="PNG, AVIF 0 to 9, WebP 0 to 6, GIF 1 to 10.")] = None,
    lossless: Annotated[bool, typer.Option("--lossless", help="WebP and AVIF without loss.")] = False,
    back_projection: Annotated[int, typer.Option(help="Rounds that make the result reduce to the input.")] = 0,
    verify: Annotated[bool, typer.Option("--verify", help="Reduce the result; print its PSNR to the input.")] = False,
    engine: Annotated[Engine, typer.Option(help="What runs the network.")] = "openvino",
    precision: Annotated[
        Precision, typer.Option(help="auto: bf16 where that costs at most 0.01 dB. int8: less exact.")
    ] = "auto",
    memory: Annotated[
        str | None, typer.Option(help="What the process may take, as in 1GB.", show_default="half of what is free")
    ] = None,
    max_megapixels: Annotated[
        float, typer.Option(help="Refuse inputs of more, and results of 16 times as many.")
    ] = 250,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be made of what.")] = False,
    json: Annotated[bool, typer.Option("--json", help="A line of JSON a picture.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say what runs, and why.")] = False,
) -> None:
    """Enlarge pictures faithfully."""
    from upres.images.formats import Encoding
    from upres.inference import loading
    from upres.inference.enlarging import Settings, free_memory
    from upres.inference.sizes import Wanted, parse_fit

    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:  # `nohup` ignores the latter
            signal.signal(number, _exit)
    if all(size is None for size in (scale, width, height, fit, megapixels)):
        scale = 2
    wanted = Wanted(scale=scale, width=width, height=height, fit=parse_fit(fit) if fit else None, megapixels=megapixels)
    written_as = "jpeg" if format == "jpg" else "tiff" if format == "tif" else format
    encoding = Encoding(format=written_as, quality=quality, effort=effort, lossless=lossless)
    settings = Settings(
        model=model,
        wanted=wanted,
        encoding=encoding,
        engine=engine,
        precision=precision,
        back_projection=back_projection,
    )
    call = _Call(
        settings=settings,
        memory=free_memory() if memory is None else _bytes(memory),
        max_pixels=_pixels(max_megapixels),
        overwrite=overwrite,
        dry_run=dry_run,
        verify=verify,
        json=json,
        verbose=verbose,
    )
    if dry_run:
        loading.scales(model)  # names one that is not there
    if _STREAM in pictures or out == _STREAM:
        _stream(call, pictures, out)
    elif any(os.path.isdir(picture) or _is_pattern(picture) for picture in pictures):
        if len(pictures) > 1:
            raise UsageError("a folder or a pattern goes alone; call once for each, or name pictures only.")
        _folder(call, pictures[0], out)
    else:
        new_folder = Path(out) if out is not None and _is_folder(out) and not os.path.isdir(out) else None
        _files(call, _named(pictures, out, wanted, encoding), new_folder)


def _exit(number: int, _: object) -> None:
    """End as after Ctrl-C, so that nothing is left half done."""
    sys.exit(128 + number)


@dataclass(frozen=True, kw_only=True)
class _Call:
    """What the command was asked for."""

    settings: Settings
    memory: int
    max_pixels: int
    overwrite: bool
    dry_run: bool
    verify: bool
    json: bool
    verbose: bool

    def enlarger(self) -> Enlarger:
        from upres.inference.enlarging import Enlarger

        enlarger = Enlarger(self.settings, memory=self.memory)
        if self.verbose:
            for line in enlarger.explain():
                print(f"upres: {line}", file=sys.stderr)
        return enlarger


def _bytes(text: str) -> int:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)i?B?", text.strip(), re.IGNORECASE)
    if match is None:
        raise UsageError(f"memory is {text!r}; give a number with a unit, as in 800MB or 2GB.")
    size = int(float(match[1]) * 1000 ** " KMGT".index(match[2].upper() or " "))
    if size < _LEAST_MEMORY:
        raise UsageError(f"memory is {text!r}, {size:,} bytes; give a number with a unit, as in 800MB or 2GB.")
    return size


def _pixels(megapixels: float) -> int:
    if not megapixels > 0:
        raise UsageError(f"max-megapixels is {megapixels:g}; it must be above 0.")
    return int(megapixels * 1e6) if math.isfinite(megapixels) else sys.maxsize


def _is_pattern(picture: str) -> bool:
    return glob.has_magic(picture) and not os.path.lexists(picture)


def _named(pictures: list[str], out: str | None, wanted: Wanted, encoding: Encoding) -> list[Job]:
    """The jobs of pictures that were named one by one."""
    from upres.images import io
    from upres.inference.folders import Job

    to_folder = out is not None and _is_folder(out)
    if out is not None and len(pictures) > 1 and not to_folder:
        raise UsageError(f"{out}: is not a folder; with {len(pictures)} pictures -o must name one, as in {out}/.")
    jobs: list[Job] = []
    for picture in map(Path, pictures):
        target = Path(out) if out is not None and not to_folder else _beside(picture, wanted, encoding, out)
        try:
            jobs.append(Job(picture, target, io.format_for(target, encoding)))
        except UsageError:
            io.check_input(picture)  # a picture that is missing is the first to be named
            raise
    itself = next((j.source for j in jobs if j.source == j.target or _is_one_file(j.source, j.target)), None)
    if itself is not None:
        raise UsageError(f"{itself}: would be replaced by its own result; name another file with -o.")
    targets = Counter(_place(job.target) for job in jobs)
    results = [job for job in jobs if _place(job.source) in targets]
    for result in results:
        print(f"upres: {result.source}: left out, being what another of these pictures becomes.", file=sys.stderr)
    jobs = [job for job in jobs if _place(job.source) not in targets]
    twice = next((job.target for job in jobs if targets[_place(job.target)] > 1), None)
    if twice is not None:
        raise UsageError(f"{twice}: would be written twice; give each picture once, and those of one name separately.")
    return jobs


def _place(path: Path) -> Path:
    """The one spelling of where a file is or will be; of a link, where that is."""
    return _real(path.parent) / path.name


@cache
def _real(folder: Path) -> Path:
    return Path(os.path.realpath(folder))


def _is_one_file(source: Path, target: Path) -> bool:
    """Whether writing the target would replace the source; of a link, it replaces the link alone."""
    try:
        return not target.is_symlink() and target.samefile(source)
    except OSError:
        return False


def _is_folder(out: str) -> bool:
    """Whether `-o` names a folder, there or to be made."""
    return os.path.isdir(out) or out.endswith(("/", os.sep))  # Path's raises for a name that is too long


def _beside(picture: Path, wanted: Wanted, encoding: Encoding, folder: str | None) -> Path:
    from upres.images import formats

    own = formats.of_suffix(picture)
    format = formats.named(encoding.format) if encoding.format else own or formats.named("png")
    suffix = picture.suffix if own is format else format.suffixes[0]
    return Path(folder or picture.parent) / f"{picture.stem}-{wanted.label()}{suffix}"


def _files(call: _Call, jobs: list[Job], new_folder: Path | None) -> None:
    """Pictures that were named one by one; a folder for their results is made if it is not there yet."""
    from upres.files import check_folder, make_folder, remove_unfinished
    from upres.images import io
    from upres.inference import folders
    from upres.inference.folders import Outcome

    call.settings.encoding.check(*(job.format for job in jobs))

    if new_folder is not None:
        check_folder(new_folder)

    def outcomes() -> Iterator[Outcome]:
        enlarger = None if call.dry_run else call.enlarger()
        if enlarger is not None:
            for folder in {job.target.parent for job in jobs}:
                remove_unfinished(folder)
        for job in jobs:
            started = time.perf_counter()
            try:
                io.check_input(job.source)
                if new_folder is not None and not call.dry_run:
                    make_folder(new_folder)
                if new_folder is None or not call.dry_run:
                    io.check_output(job.target, overwrite=call.overwrite)
                if enlarger is None:
                    size = folders.prospect(job, call.settings, max_pixels=call.max_pixels)
                    yield Outcome(job, "planned", 0, size=size)
                    continue
                done = _enlarged(enlarger, call, job.source, job.target, job.format)
                yield Outcome(job, "done", time.perf_counter() - started, done)
            except UpresError as error:
                if len(jobs) == 1 and not call.json:
                    raise
                yield Outcome(job, "failed", time.perf_counter() - started, error=str(error))

    try:
        _report(call, outcomes(), [])
    finally:
        if new_folder is not None:
            with suppress(OSError):  # unless it holds a result
                new_folder.rmdir()


def _enlarged(enlarger: Enlarger, call: _Call, source: bytes | Path, target: Path, format: FileFormat) -> Done:
    """Enlarge one picture on another thread: libvips calls back into Python, where a Ctrl-C would be lost."""
    share = 0.0

    def advanced(made: float) -> None:
        nonlocal share
        share = made

    with ThreadPoolExecutor(1) as pool:
        try:
            future = pool.submit(
                enlarger.file, source, target, format=format, max_pixels=call.max_pixels, advanced=advanced
            )
            shows_from = time.monotonic() + _SHOWS_PROGRESS_AFTER
            with ExitStack() as stack:
                bar = None
                while not wait((future,), timeout=_HEEDS_SIGNALS_EVERY).done:
                    if bar is None and time.monotonic() > shows_from and _is_terminal(sys.stderr):
                        bar = stack.enter_context(_bar())
                    if bar is not None:
                        bar.update(bar.task_ids[0], completed=share)
            return future.result()
        except (KeyboardInterrupt, SystemExit):
            enlarger.stopped.set()
            raise


def _is_terminal(stream: TextIO | None) -> bool:
    """Whether a stream is open, and a terminal; a shell's `2>&-` leaves None."""
    return stream is not None and stream.isatty()


def _bar() -> Progress:
    """How much of a picture is made, and the time left."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TimeRemainingColumn

    bar = Progress(
        BarColumn(), TaskProgressColumn(), TimeRemainingColumn(), console=Console(stderr=True), transient=True
    )
    bar.add_task("", total=1.0)
    return bar


def _folder(call: _Call, root: str, out: str | None) -> None:
    """Every picture of a folder, or that a pattern finds, mirrored into another folder."""
    from upres.files import check_folder
    from upres.inference import folders

    encoding = call.settings.encoding
    if os.path.isdir(root):
        base = Path(root)
        name = base.resolve().name
        if out is None and not name:
            raise UsageError(f"{root}: name the folder for the results with -o.")
        target = Path(out) if out else base.resolve().with_name(f"{name}-{call.settings.wanted.label()}")
        jobs, unreadable, others = folders.plan(base, target, encoding)
    else:
        if out is None:
            raise UsageError(f"{root}: name the folder for the results with -o.")
        target, unreadable, others = Path(out), [], Counter[str]()
        base, matches = folders.expand(root, target)
        jobs = folders.mirrored(matches, base, target, encoding)
    if not jobs:
        for folder in unreadable:
            print(f"upres: {folder}", file=sys.stderr)
        raise PictureError(f"{root}: no picture in it; give a folder that holds some.")
    encoding.check(*(job.format for job in jobs))
    if call.dry_run:
        check_folder(target)
        prospects = folders.planned(jobs, call.settings, target, overwrite=call.overwrite, max_pixels=call.max_pixels)
        _report(call, prospects, unreadable, passed_over=others)
        return
    enlarger = call.enlarger()
    with folders.Journal(target) as journal:
        outcomes = folders.run(jobs, enlarger, journal, overwrite=call.overwrite, max_pixels=call.max_pixels)
        try:
            with closing(outcomes):
                _report(call, _with_progress(outcomes, len(jobs)), unreadable, passed_over=others)
        except (KeyboardInterrupt, SystemExit) as stopped:
            print("upres: stopped; the same call goes on.", file=sys.stderr)
            if isinstance(stopped, SystemExit):
                raise
            raise typer.Exit(130) from None


def _stream(call: _Call, pictures: list[str], out: str | None) -> None:
    """One picture from standard input, or to standard output, or both."""
    from upres.images import formats, io

    if len(pictures) != 1 or out is None:
        raise UsageError("- stands for one picture: give it alone, with -o FILE or -o -.")
    if call.dry_run or call.json:
        raise UsageError("--dry-run and --json are for files and folders; leave them out with -.")
    if pictures[0] == _STREAM and sys.stdin is None:  # pyright: ignore[reportUnnecessaryComparison]  as after `<&-`
        raise UsageError("- reads standard input, which is closed; give a picture file.")
    if out != _STREAM and _is_folder(out):
        raise UsageError(f"{out}: is a folder; what goes through - has no name, so name a file.")
    if out == _STREAM and sys.stdout is None:  # pyright: ignore[reportUnnecessaryComparison]  as after `>&-`
        raise UsageError("-o - writes to standard output, which is closed; give -o FILE.")
    if out == _STREAM and sys.stdout.isatty():
        raise UsageError("-o - writes a picture's bytes, and this is a terminal; add > FILE, or give -o FILE.")
    source: bytes | Path = _standard_input(call.memory) if pictures[0] == _STREAM else Path(pictures[0])
    encoding = call.settings.encoding
    if out != _STREAM:
        format = io.format_for(out, encoding)
        encoding.check(format)
        io.check_output(out, overwrite=call.overwrite)
        done = _enlarged(call.enlarger(), call, source, Path(out), format)
        print(f"{out}: {done.describe()}{_verified(call, source, Path(out)).text}")
        return
    format = formats.named(encoding.format) if encoding.format else io.format_of(source)
    encoding.check(format)
    with tempfile.TemporaryDirectory(prefix="upres-") as folder:  # so that nothing is sent of what fails half way
        target = Path(folder) / f"result{format.suffixes[0]}"
        done = _enlarged(call.enlarger(), call, source, target, format)
        print(f"standard output: {done.describe()}{_verified(call, source, target).text}", file=sys.stderr)
        try:
            with target.open("rb") as file, open(sys.stdout.fileno(), "wb", closefd=False) as stdout:
                shutil.copyfileobj(file, stdout)
        except OSError as error:
            raise OutputError(f"standard output: could not be written ({error.strerror}).") from error


def _standard_input(most: int) -> bytes:
    """All of standard input, as long as it may be a picture and fits into so many bytes."""
    from upres.images import io

    content = bytearray()
    while chunk := sys.stdin.buffer.read(_CHUNK):
        if not content:
            io.check_format(chunk)
        content += chunk
        if len(content) > most:
            raise PictureError(f"standard input goes on beyond {most / 1e9:,.1f} GB, all that may be used (--memory).")
    return bytes(content)


def _report(
    call: _Call, outcomes: Iterator[Outcome], unreadable: list[str], *, passed_over: Counter[str] | None = None
) -> None:
    """Say what became of each picture; exit code 1 if one failed.

    Args:
        call: what was asked for.
        outcomes: of the pictures.
        unreadable: what could not be looked into.
        passed_over: of a folder, how many files of each ending are no pictures.
    """
    counts: Counter[str] = Counter()
    failures: list[str] = []
    for outcome in outcomes:
        verified = _NOT_VERIFIED
        if outcome.status == "done":
            try:
                verified = _verified(call, outcome.job.source, outcome.job.target)
            except UpresError as error:
                outcome = replace(outcome, status="failed", error=f"{outcome.job.target}: written, but {error}")
        counts[outcome.status] += 1
        if call.json:
            print(json_.dumps(_record(outcome, verified), allow_nan=False), flush=True)
        elif outcome.status == "done":
            assert outcome.done is not None
            print(printable(f"{outcome.job.target}: {outcome.done.describe()}, {outcome.seconds:.2f} s{verified.text}"))
        elif outcome.size is not None:
            height, width = outcome.size
            print(printable(f"{outcome.job.source} → {outcome.job.target}, {width}×{height}"))
        if outcome.error is not None:
            failures.append(outcome.error)
            if passed_over is None:
                print(printable(f"upres: {outcome.error}"), file=sys.stderr)
    failures += unreadable
    if passed_over is not None:
        for failure in failures:
            print(printable(f"upres: {failure}"), file=sys.stderr)
        others = f", {counts['elsewhere']} in work elsewhere" if counts["elsewhere"] else ""
        now = f"{counts['planned']} to be done" if call.dry_run else f"{counts['done']} done"
        no_pictures = ", ".join(f"{count} {suffix}" for suffix, count in passed_over.most_common())
        no_pictures = f" Passed over: {no_pictures}." if no_pictures else ""
        print(f"upres: {now}, {counts['skipped']} done before{others}.{no_pictures}", file=sys.stderr)
    if failures:
        print(f"upres: {len(failures)} of {counts.total() + len(unreadable)} pictures failed.", file=sys.stderr)
        raise typer.Exit(1)


def _record(outcome: Outcome, verified: _Verified) -> dict[str, Any]:
    """What a script wants to know."""
    record: dict[str, Any] = {
        "picture": str(outcome.job.source),
        "result": str(outcome.job.target),
        "status": outcome.status,
        "seconds": round(outcome.seconds, 3),
    }
    size = outcome.size if outcome.done is None else outcome.done.size
    if size is not None:
        record |= {"width": size[1], "height": size[0]}
    if outcome.done is not None:
        record |= {"pages": outcome.done.pages, "lost": outcome.done.lost, "network": outcome.done.ran_network}
        record |= {"warning": outcome.done.warning} if outcome.done.warning else {}
    if verified.psnr is not None:
        record["psnr"] = verified.psnr if math.isfinite(verified.psnr) else None  # none: equal to the input
    return record | ({} if outcome.error is None else {"error": outcome.error})


@dataclass(frozen=True)
class _Verified:
    """How well a result gives back its input: PSNR in dB, None where it was not asked for or cannot be said."""

    psnr: float | None
    text: str


_NOT_VERIFIED = _Verified(None, "")


def _verified(call: _Call, source: bytes | Path, target: Path) -> _Verified:
    if not call.verify:
        return _NOT_VERIFIED
    from upres.inference import fidelity

    try:
        psnr = fidelity.consistency(source, target, memory=call.memory)
    except TooLittleMemory:
        return _Verified(None, ", not verified for want of memory")
    if psnr is None:
        return _Verified(None, ", not larger, so not verified")
    return _Verified(psnr, f", reduced again {psnr:.2f} dB")


def _with_progress(outcomes: Iterator[Outcome], total: int) -> Iterator[Outcome]:
    """The same outcomes; on a terminal, with a bar that shows pictures and megapixels a second and the time left."""
    if not _is_terminal(sys.stderr):
        yield from outcomes
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    started, pixels, pictures = time.perf_counter(), 0, 0
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=total)
        for outcome in outcomes:
            if outcome.done is not None:
                pictures += 1
                pixels += math.prod(outcome.done.size) * outcome.done.pages
            seconds = time.perf_counter() - started
            rates = f"{pictures / seconds:.2f} pictures/s, {pixels / seconds / 1e6:.1f} megapixels/s"
            progress.update(task, advance=1, description=rates)
            yield outcome
