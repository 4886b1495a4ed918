"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from upres.errors import OutputError

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
    """Remove the temporary files that a killed process left in a folder where no other process writes."""
    for path in folder.glob(f"{_PREFIX}*"):
        path.unlink(missing_ok=True)
