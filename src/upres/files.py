"""Files that appear whole or not at all, and such as know whether they still are."""

from __future__ import annotations

import errno
import hashlib
import os
import platform
import re
import secrets
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from upres.errors import OutputError

_PREFIX = ".upres-"
_DIGEST_BYTES = hashlib.sha256().digest_size


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Generator[Path]:
    """A temporary path beside `path`, with the same ending, that takes its place when the block ends well.

    Raises:
        OutputError: the system refuses: no space, no folder, no permission.
    """
    path = Path(path)
    temporary = path.with_name(f"{_PREFIX}{_machine()}-{os.getpid()}-{secrets.token_hex(4)}{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        reason = error.strerror or str(error)
        hint = "give a shorter one" if error.errno == errno.ENAMETOOLONG else "free space or choose another place"
        raise OutputError(f"{path}: could not be written ({reason}); {hint}.") from error
    finally:
        with suppress(OSError):  # the folder may be missing, and then nothing was written
            temporary.unlink(missing_ok=True)


def write_checked(path: Path, content: bytes | memoryview) -> None:
    """Write a file whole or not at all, its SHA-256 in front; it is on the disk when this returns.

    Raises:
        OutputError: the system refuses.
    """
    with whole_file(path) as temporary, temporary.open("wb") as file:
        file.write(hashlib.sha256(content).digest())
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def read_checked(path: Path) -> bytes | None:
    """What `write_checked` wrote; None if that is damaged.

    Raises:
        OSError: the file is missing, or may not be read.
    """
    content = path.read_bytes()
    digest, content = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    return content if hashlib.sha256(content).digest() == digest else None


def make_folder(folder: Path) -> None:
    """Make a folder, with those above it, unless it is there.

    Raises:
        OutputError: the system refuses, or a file is in the way.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made a folder ({error.strerror}); --out names another.") from error


def check_folder(folder: Path) -> None:
    """Refuse, before any work is done, a folder that could not be made.

    Raises:
        OutputError: where it or one above it should be is something else.
    """
    nearest = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
    if not nearest.is_dir():
        raise OutputError(f"{folder}: cannot be made a folder ({nearest} is a file); --out names another.")


def remove_unfinished(folder: Path) -> None:
    """Remove the temporary files of this machine's killed processes from a folder; those in use are left."""
    for path in folder.glob(f"{_PREFIX}*"):
        made_by = re.match(rf"{re.escape(_PREFIX)}{_machine()}-(\d+)-", path.name)
        if made_by and not _runs(int(made_by[1])):
            with suppress(OSError):  # somebody else was faster, or may do what we may not
                path.unlink()


def _machine() -> str:
    return hashlib.sha256(platform.node().encode()).hexdigest()[:8]


def _runs(process: int) -> bool:
    """Whether a process of this number runs; locks would tell more, but network drives have them in name only."""
    if os.name == "nt":  # signal 0 would end it; Windows removes no file that is open
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True
