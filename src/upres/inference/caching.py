"""Compiled models on disk, so that the next process need not read, rewrite and compile them again.

An entry is one file: a digest of what follows, a line of JSON, and what OpenVINO exports. It appears whole, so several
processes may write the same one; a damaged one is as good as none. Those that were not used for longest make room.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from upres.errors import OutputError
from upres.files import remove_unfinished, whole_file
from upres.images import resize
from upres.inference.runtime import Compiled, Precision, core, core_count, processor_features

VARIABLE = "UPRES_CACHE"
MOST_BYTES = 100_000_000
_SUFFIX = ".compiled"
_DIGEST_BYTES = 32


class Entry(NamedTuple):
    """What is kept of a compiled model.

    Attributes:
        facts: whatever else its user wants to know of it, as JSON.
        blob: OpenVINO's export.
    """

    facts: dict[str, Any]
    blob: bytes


def folder() -> Path | None:
    """Where entries are kept: what `UPRES_CACHE` names, None if it is empty; else the user's cache folder, if any."""
    named = os.environ.get(VARIABLE)
    if named is not None:
        return Path(named) if named else None
    import platformdirs

    own = platformdirs.user_cache_path("upres", appauthor=False)
    return own if own.is_absolute() else None  # a user without a home


def entries() -> list[tuple[Path, int]]:
    """The files of all entries and their bytes, the one used last first."""
    where = folder()
    found: list[tuple[float, Path, int]] = []
    with suppress(OSError):  # a folder that may not be looked into
        for path in where.glob(f"*{_SUFFIX}") if where is not None else ():
            with suppress(OSError):  # another process took it away
                status = path.stat()
                found.append((status.st_mtime, path, status.st_size))
    return [(path, size) for _, path, size in sorted(found, reverse=True)]


class Kept:
    """A model that is compiled once for all processes.

    Args:
        parts: all that decides what is compiled, besides upres, OpenVINO and the processor; None for what is not kept.
        precision: as `Compiled` takes it.
        streams: as `Compiled` takes it.

    Attributes:
        facts: those of the entry; None where there is none.
    """

    def __init__(self, parts: list[Any] | None, precision: Precision, *, streams: int) -> None:
        self._precision: Precision = precision
        self._streams = streams
        self._path = None if parts is None else _path([*parts, precision, streams])
        self._entry = None if self._path is None else _load(self._path)
        self.facts = self._entry.facts if self._entry else None

    def compiled(self, make: Callable[[], tuple[Any, dict[str, Any]]]) -> Compiled:
        """The model, compiled; `make` makes it, and the facts to keep with it, where no entry has it."""
        entry, self._entry = self._entry, None
        if entry is not None:
            with suppress(RuntimeError):  # this OpenVINO cannot read it after all
                return Compiled(entry.blob, self._precision, streams=self._streams)
        model, facts = make()
        made = Compiled(model, self._precision, streams=self._streams)
        if self._path is not None:
            with suppress(RuntimeError):  # this OpenVINO cannot export it
                _save(self._path, Entry(facts, made.exported()))
        return made


def _path(parts: list[Any]) -> Path | None:
    where = folder()
    if where is None or (surroundings := _surroundings()) is None:
        return None
    key = hashlib.blake2b(surroundings, digest_size=16)
    key.update(repr(parts).encode())
    return where / f"{key.hexdigest()}{_SUFFIX}"


@lru_cache(maxsize=1)
def _surroundings() -> bytes | None:
    """What decides the outcome of compiling any model: our own code, OpenVINO, the processor; None if not known."""
    processor = [core().get_property("CPU", name) for name in ("FULL_DEVICE_NAME", "OPTIMIZATION_CAPABILITIES")]
    versions = (np.__version__, core().get_versions("CPU")["CPU"].build_number)
    total = hashlib.blake2b(repr((versions, processor, sorted(processor_features()), core_count())).encode())
    try:
        for path in (Path(resize.__file__), *sorted(Path(__file__).parent.glob("*.py"))):
            total.update(path.read_bytes())
    except OSError:  # our code lies in an archive
        return None
    return total.digest()


def _load(path: Path) -> Entry | None:
    try:
        content = path.read_bytes()
    except OSError:
        return None
    digest, rest = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    if _digest(rest) != digest:
        return None
    with suppress(OSError):  # a folder that may only be read
        os.utime(path)
    facts, _, blob = rest.partition(b"\n")
    return Entry(json.loads(facts), blob)


def _save(path: Path, entry: Entry) -> None:
    """Keep an entry, if the disk lets us, and remove what exceeds the bound."""
    content = json.dumps(entry.facts).encode() + b"\n" + entry.blob
    with suppress(OSError, OutputError):
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_unfinished(path.parent)
        with whole_file(path) as temporary:
            temporary.write_bytes(_digest(content) + content)
        total = 0
        for used, size in entries():
            total += size
            if total > MOST_BYTES:
                with suppress(OSError):  # one that is open, on Windows
                    used.unlink(missing_ok=True)


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=_DIGEST_BYTES).digest()
