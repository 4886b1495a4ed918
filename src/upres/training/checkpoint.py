"""Checkpoints: whole, checked, and never only one.

A file is the SHA-256 of what follows, then what `torch.save` wrote. The one before the newest is kept, in case the
newest is damaged.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
from pathlib import Path
from typing import Any

import torch

from upres.errors import DataError, OutputError
from upres.files import remove_unfinished, whole_file

log = logging.getLogger(__name__)

_DIGEST_BYTES = hashlib.sha256().digest_size


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
        with whole_file(folder / f"checkpoint-{step:09d}.pt") as temporary, temporary.open("wb") as file:
            file.write(hashlib.sha256(payload.getbuffer()).digest())
            file.write(payload.getbuffer())
            file.flush()
            os.fsync(file.fileno())
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
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check it and try again.") from error
    digest, payload = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    if hashlib.sha256(payload).digest() != digest:
        return None
    return torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
