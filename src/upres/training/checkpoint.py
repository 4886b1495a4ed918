"""Checkpoints: whole, checked, and never only one.

A file is what `torch.save` wrote, behind its SHA-256. The one before the newest is kept, in case the newest is damaged.
"""

from __future__ import annotations

import io
import logging
from pathlib import Path
from typing import Any

import torch

from upres.errors import DataError, OutputError
from upres.files import read_checked, remove_unfinished, write_checked

log = logging.getLogger(__name__)


def find(folder: Path) -> list[Path]:
    """The checkpoints in a run's folder, newest first."""
    return sorted(folder.glob("checkpoint-*.pt"), reverse=True)


def write(folder: Path, step: int, content: dict[str, Any]) -> None:
    """Write a checkpoint whole or not at all, and drop all but the one before it.

    Raises:
        OutputError: the system refuses; the checkpoints that there were are untouched.
    """
    payload = io.BytesIO()
    torch.save(content, payload)
    before = find(folder)
    try:
        write_checked(folder / f"checkpoint-{step:09d}.pt", payload.getbuffer())
    except OutputError as error:
        kept = f"{before[0].name} is intact" if before else "there was none before it"
        raise OutputError(f"{error} The run stopped; {kept}.") from error
    for old in before[1:]:
        old.unlink()


def read_newest(folder: Path) -> dict[str, Any]:
    """Read the newest checkpoint that is whole; remove any newer one that is not, with a warning.

    Raises:
        DataError: all are damaged, or one cannot be read.
    """
    damaged: list[Path] = []
    for path in find(folder):
        content = _read(path)
        if content is None:
            damaged.append(path)
            continue
        if damaged:
            log.warning("damaged and removed: %s; going on from %s", _listed(damaged), path.name)
            for one in damaged:
                one.unlink()
        return content
    raise DataError(f"{folder}: every checkpoint is damaged: {_listed(damaged)}; remove them and start again.")


def remove_all(folder: Path) -> None:
    """Remove every checkpoint, and what a killed process left of one."""
    for path in find(folder):
        path.unlink()
    remove_unfinished(folder)


def _listed(paths: list[Path]) -> str:
    return ", ".join(path.name for path in paths)


def _read(path: Path) -> dict[str, Any] | None:
    """A checkpoint's content; None if its checksum is wrong."""
    try:
        content = read_checked(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check it and try again.") from error
    return None if content is None else torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
