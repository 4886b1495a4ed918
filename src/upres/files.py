"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from upres.errors import OutputError

try:
    import fcntl
except ImportError:  # Windows, which removes no file that is open
    fcntl = None

_PREFIX = ".upres-"


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Generator[Path]:
    """A temporary path beside `path`, with the same ending, that takes its place when the block ends well.

    Raises:
        OutputError: the system refuses: no space, no folder, no permission.
    """
    path = Path(path)
    temporary = path.with_name(f"{_PREFIX}{secrets.token_hex(6)}{path.suffix}")
    try:
        with _in_use(temporary):
            yield temporary
            os.replace(temporary, path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(f"{path}: could not be written ({reason}); free space or choose another place.") from error
    finally:
        with suppress(OSError):  # the folder may be missing, and then nothing was written
            temporary.unlink(missing_ok=True)


def make_folder(folder: Path) -> None:
    """Make a folder, with those above it, unless it is there.

    Raises:
        OutputError: the system refuses, or a file is in the way.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made a folder ({error.strerror}); --out names another.") from error


def remove_unfinished(folder: Path) -> None:
    """Remove the temporary files of killed processes from a folder; those in use are left."""
    for path in folder.glob(f"{_PREFIX}*"):
        with suppress(OSError):  # in use; or somebody else was faster, or may do what we may not
            if fcntl is None:
                path.unlink()
                continue
            with path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()


@contextmanager
def _in_use(path: Path) -> Generator[None]:
    """Make a file and lock it; the system lets go of it with the process, however that ends."""
    if fcntl is None:
        yield
        return
    with path.open("xb") as file:
        with suppress(OSError):  # a file system without locks: then none can be had to remove the file either
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
