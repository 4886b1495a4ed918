"""What libvips passes over in JPEG files: all but the first of metadata in several segments, comments, more pictures.

Sources: ITU-T T.81, annex B; Adobe's XMP specification, part 3, 1.1.3, and Photoshop File Formats; CIPA DC-007 for
files of several pictures.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Generator
from dataclasses import dataclass
from typing import BinaryIO

_MOST_SEGMENTS = 10_000
_MOST_BETWEEN = 65_536  # bytes between two of them
_START_OF_SCAN, _END_OF_IMAGE, _COMMENT, _APP1, _APP2, _APP13 = 0xDA, 0xD9, 0xFE, 0xE1, 0xE2, 0xED
_SEQUENTIAL_FRAMES, _COMPONENTS = (0xC0, 0xC1), slice(5, 6)  # the latter's place in their content
_ENDS_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # any marker but those of restarts
_FIRST_RESTART, _RESTART = 0xD0, re.compile(rb"\xff[\xd0-\xd7]")
_WITHOUT_LENGTH = (0x00, 0x01, *range(0xD0, 0xD9))
_XMP, _EXTENDED_XMP = b"http://ns.adobe.com/xap/1.0/\0", b"http://ns.adobe.com/xmp/extension/\0"
_PHOTOSHOP, _SEVERAL_PICTURES, _PROFILE = b"Photoshop 3.0\0", b"MPF\0", b"ICC_PROFILE\0"
_ENTRIES, _ENTRY_BYTES = 0xB002, 16
_PREVIEW_TYPE = 1  # of an entry: a large thumbnail


@dataclass(frozen=True)
class JpegParts:
    """What stands before a JPEG's pixels.

    Attributes:
        xmp: the packet; None for none.
        has_extended_xmp: whether more of it stands in segments of its own.
        photoshop: Photoshop's blocks, IPTC among them, joined, behind their mark; None for none.
        has_comment: whether there is one.
        further_pictures: how many follow that are no previews of this one.
        has_profile: whether there is an ICC profile.
    """

    xmp: bytes | None
    has_extended_xmp: bool
    photoshop: bytes | None
    has_comment: bool
    further_pictures: int
    has_profile: bool


def jpeg_parts(file: BinaryIO) -> JpegParts:
    """Look through a JPEG's segments up to its pixels; of a damaged one, those that can be found."""
    xmp: bytes | None = None
    blocks: list[bytes] = []
    has_extended_xmp, has_comment, has_profile, further = False, False, False, 0
    for marker, content in _segments(file, (_COMMENT, _APP1, _APP2, _APP13)):
        if marker == _COMMENT:
            has_comment = True
        elif marker == _APP1 and content.startswith(_XMP):
            xmp = content[len(_XMP) :] if xmp is None else xmp
        elif marker == _APP1 and content.startswith(_EXTENDED_XMP):
            has_extended_xmp = True
        elif marker == _APP2 and content.startswith(_SEVERAL_PICTURES):
            further = _further_pictures(content[len(_SEVERAL_PICTURES) :])
        elif marker == _APP2 and content.startswith(_PROFILE):
            has_profile = True
        elif marker == _APP13 and content.startswith(_PHOTOSHOP):
            blocks.append(content[len(_PHOTOSHOP) :])
    photoshop = _PHOTOSHOP + b"".join(blocks) if blocks else None
    return JpegParts(xmp, has_extended_xmp, photoshop, has_comment, further, has_profile)


def is_cut_in_its_scan(file: BinaryIO) -> bool:
    """Whether a JPEG file of a single scan stops there: no marker follows, not even the end's."""
    components = b""
    for marker, content in _segments(file, (*_SEQUENTIAL_FRAMES, _START_OF_SCAN)):
        if marker in _SEQUENTIAL_FRAMES:
            components = content[_COMPONENTS]
        elif components and content.startswith(components):
            return _ENDS_SCAN.search(file.read()) is None
    return False


def next_restart(cut: bytes) -> bytes:
    """The restart marker that would come next in a JPEG file that stops in its only scan."""
    scan = cut[cut.rfind(bytes([0xFF, _START_OF_SCAN])) :]
    return bytes([0xFF, _FIRST_RESTART + len(_RESTART.findall(scan)) % 8])


def _segments(file: BinaryIO, wanted: Collection[int]) -> Generator[tuple[int, bytes]]:
    """Marker and content of one segment after the other, where these are wanted, up to the first scan's head."""
    file.seek(2)
    marker = None
    for _ in range(_MOST_SEGMENTS):
        if marker == _START_OF_SCAN:
            return
        marker = _next_marker(file)
        if marker in (None, _END_OF_IMAGE):
            return
        if marker in _WITHOUT_LENGTH:
            continue
        length = int.from_bytes(file.read(2), "big") - 2
        if length < 0:
            return
        if marker in wanted:
            yield marker, file.read(length)
        else:
            file.seek(length, os.SEEK_CUR)


def _next_marker(file: BinaryIO) -> int | None:
    """The next marker; what stands between segments is passed over, as decoders do."""
    at = file.tell()
    window = file.read(_MOST_BETWEEN)
    begins = window.find(b"\xff")
    rest = window[begins:].lstrip(b"\xff") if begins >= 0 else b""
    if not rest:
        return None
    file.seek(at + len(window) - len(rest) + 1)
    return rest[0]


def _further_pictures(index: bytes) -> int:
    """How many pictures but the first an index of CIPA DC-007 (5.2.3) lists, previews left out."""
    order = "little" if index[:2] == b"II" else "big"

    def number(at: int, length: int) -> int:
        return int.from_bytes(index[at : at + length], order)

    directory = number(4, 4)
    for i in range(number(directory, 2)):
        record = directory + 2 + 12 * i
        if record + 12 > len(index):
            break
        if number(record, 2) == _ENTRIES:
            begins = number(record + 8, 4)
            entries = range(begins, min(begins + number(record + 4, 4), len(index)), _ENTRY_BYTES)
            return sum(number(at, 4) >> 16 & 0xFF != _PREVIEW_TYPE for at in entries[1:])
    return 0
