"""What libvips does not tell of AVIF and HEIC files: colours by numbers, gain maps, depth.

Sources: ISO/IEC 14496-12, 8.11 and 12.1.5; 23008-12, 9.3.
"""

from __future__ import annotations

import io
import os
from collections.abc import Generator
from dataclasses import dataclass
from typing import BinaryIO

from upres.images import profiles

_MOST_BOXES, _MOST_ENTRIES = 1000, 100_000
_LARGEST_META = 16_000_000  # bytes
_VERSION_AND_FLAGS = 4  # bytes
# What a file holds of the same size or smaller beside its picture, by a word in its type's name.
_AUXILIARY = {b"hdrgainmap": "HDR gain map", b"depth": "depth map", b"auxid:2": "depth map"}


@dataclass(frozen=True)
class HeifParts:
    """What an AVIF or HEIC file says in its boxes.

    Attributes:
        colours: those that its first picture states by ITU-T H.273's numbers; None where it states none.
        unkept: what stands beside the picture, by its kind.
    """

    colours: profiles.Colours | None
    unkept: tuple[str, ...]


def heif_parts(file: BinaryIO) -> HeifParts:
    """Look through a file's boxes; of a damaged one, those that can be found."""
    file.seek(0)
    meta = next((file.read(length) for kind, length in _boxes(file) if kind == b"meta"), b"")
    parts = dict(_listed(meta[_VERSION_AND_FLAGS:]))
    properties = _listed(parts.get(b"iprp", b""))
    described = _listed(next((content for kind, content in properties if kind == b"ipco"), b""))
    primary = parts.get(b"pitm", b"")
    item = int.from_bytes(primary[4 : 6 if primary[:1] == b"\0" else 8], "big")
    its_own = set[int]().union(*(_associated(content, item) for kind, content in properties if kind == b"ipma"))
    colours = [
        content
        for number, (kind, content) in enumerate(described, start=1)
        if kind == b"colr" and content[:4] == b"nclx" and len(content) >= 8 and number in its_own
    ]
    types = [content[_VERSION_AND_FLAGS:].partition(b"\0")[0] for kind, content in described if kind == b"auxC"]
    unkept = dict.fromkeys(name for word, name in _AUXILIARY.items() if any(word in text for text in types))
    if b"tmap" in parts.get(b"iinf", b""):
        unkept["HDR gain map"] = None
    return HeifParts(_colours(colours[0]) if colours else None, tuple(unkept))


def _colours(nclx: bytes) -> profiles.Colours:
    return profiles.Colours.of_video(int.from_bytes(nclx[4:6], "big"), int.from_bytes(nclx[6:8], "big"))


def _boxes(file: BinaryIO) -> Generator[tuple[bytes, int]]:
    """The kind and the length of one box after the other, the file at its content."""
    at = file.tell()
    end = file.seek(0, os.SEEK_END)
    for _ in range(_MOST_BOXES):
        if at + 8 > end:
            return
        file.seek(at)
        head = file.read(8)
        length, header = int.from_bytes(head[:4], "big"), 8
        if length == 1:
            length, header = int.from_bytes(file.read(8), "big"), 16
        if length == 0:  # to the end
            length = end - at
        if length < header:
            return
        yield head[4:], min(length - header, _LARGEST_META)
        at += length


def _listed(content: bytes) -> list[tuple[bytes, bytes]]:
    file = io.BytesIO(content)
    return [(kind, file.read(length)) for kind, length in _boxes(file)]


def _associated(ipma: bytes, item: int) -> set[int]:
    """Which properties, counted from 1, are an item's (23008-12, 9.3)."""
    file = io.BytesIO(ipma)
    head = file.read(8)
    if len(head) < 8:
        return set()
    id_bytes, index_bytes = (2 if head[0] == 0 else 4), (2 if head[3] & 1 else 1)
    without_essential = (1 << 8 * index_bytes - 1) - 1
    for _ in range(min(int.from_bytes(head[4:], "big"), _MOST_ENTRIES)):
        entry = file.read(id_bytes + 1)
        if len(entry) <= id_bytes:
            break
        if int.from_bytes(entry[:-1], "big") == item:
            return {int.from_bytes(file.read(index_bytes), "big") & without_essential for _ in range(entry[-1])}
        file.seek(entry[-1] * index_bytes, os.SEEK_CUR)
    return set()
