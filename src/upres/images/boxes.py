"""What libvips does not tell of AVIF and HEIC files: colours by numbers.

Sources: ISO/IEC 14496-12, 8.11 and 12.1.5; 23008-12, 9.3.
"""

from __future__ import annotations

import io
from collections.abc import Generator
from typing import BinaryIO

from upres.images import profiles

_MOST_BOXES = 1000
_LARGEST_META = 16_000_000  # bytes
_VERSION_AND_FLAGS = 4  # bytes


def heif_colours(file: BinaryIO) -> profiles.Colours | None:
    """Those that the file's first picture states by ITU-T H.273's numbers; None where it states none."""
    file.seek(0)
    meta = next((file.read(length) for kind, length in _boxes(file) if kind == b"meta"), b"")
    parts = _within(meta[_VERSION_AND_FLAGS:])
    properties = _within(parts.get(b"iprp", b""))
    primary = parts.get(b"pitm", b"")
    wide = primary[:1] != b"\0"
    item = int.from_bytes(primary[4 : 8 if wide else 6], "big")
    its_own = _associated(properties.get(b"ipma", b""), item)
    colours = [
        content
        for number, (kind, content) in enumerate(_listed(properties.get(b"ipco", b"")), start=1)
        if kind == b"colr" and content[:4] == b"nclx" and number in its_own
    ]
    if not colours or len(colours[0]) < 8:
        return None
    return profiles.Colours.of_video(int.from_bytes(colours[0][4:6], "big"), int.from_bytes(colours[0][6:8], "big"))


def _boxes(file: BinaryIO) -> Generator[tuple[bytes, int]]:
    """The kind and the length of one box after the other, the file at its content."""
    at = file.tell()
    for _ in range(_MOST_BOXES):
        file.seek(at)
        head = file.read(8)
        if len(head) < 8:
            return
        length, header = int.from_bytes(head[:4], "big"), 8
        if length == 1:
            length, header = int.from_bytes(file.read(8), "big"), 16
        if length == 0:  # to the end
            length = _LARGEST_META
        if length < header:
            return
        yield head[4:], min(length - header, _LARGEST_META)
        at += length


def _listed(content: bytes) -> list[tuple[bytes, bytes]]:
    file = io.BytesIO(content)
    return [(kind, file.read(length)) for kind, length in _boxes(file)]


def _within(content: bytes) -> dict[bytes, bytes]:
    return dict(_listed(content))


def _associated(ipma: bytes, item: int) -> set[int]:
    """Which properties, counted from 1, are an item's (23008-12, 9.3)."""
    file = io.BytesIO(ipma)
    head = file.read(8)
    if len(head) < 8:
        return set()
    id_bytes, index_bytes = (2 if head[0] == 0 else 4), (2 if head[3] & 1 else 1)
    found: set[int] = set()
    for _ in range(int.from_bytes(head[4:], "big")):
        entry = file.read(id_bytes + 1)
        if len(entry) <= id_bytes:
            break
        essential_cut = (1 << 8 * index_bytes - 1) - 1
        indices = {int.from_bytes(file.read(index_bytes), "big") & essential_cut for _ in range(entry[-1])}
        if int.from_bytes(entry[:-1], "big") == item:
            found |= indices
    return found
