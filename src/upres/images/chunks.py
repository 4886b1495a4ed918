"""What libvips passes over in silence: further frames of a PNG, the missing end of a GIF; and text in a PNG."""

from __future__ import annotations

import os
import zlib
from typing import BinaryIO

_MOST_CHUNKS = 1000  # of a PNG before its pixels; libpng refuses more
_PNG_HEADER = 33  # bytes: the signature and `IHDR`
_EXTENSION, _IMAGE, _TRAILER = b"\x21", b"\x2c", b"\x3b"


def png_frames(file: BinaryIO) -> int:
    """How many frames a PNG announces; 1 if it is not animated.

    Source: PNG specification, third edition, 11.3.6: `acTL` stands before the first `IDAT`.
    """
    file.seek(8)
    for _ in range(_MOST_CHUNKS):
        head = file.read(8)
        if len(head) < 8 or head[4:] == b"IDAT":
            return 1
        if head[4:] == b"acTL":
            return int.from_bytes(file.read(4), "big")
        file.seek(int.from_bytes(head[:4], "big") + 4, os.SEEK_CUR)
    return 1


def international_text(keyword: str, text: bytes) -> bytes:
    """An `iTXt` chunk of UTF-8, not compressed. Source: PNG specification, third edition, 11.3.3.4."""
    plain_without_language = bytes(4)
    content = b"iTXt" + keyword.encode("latin-1") + b"\0" + plain_without_language + text
    return (len(content) - 4).to_bytes(4, "big") + content + zlib.crc32(content).to_bytes(4, "big")


def put_after_png_header(file: BinaryIO, chunk: bytes) -> None:
    """Put a chunk where it is to be in a PNG that begins as many bytes into its file as the chunk is long."""
    file.seek(len(chunk))
    header = file.read(_PNG_HEADER)
    file.seek(0)
    file.write(header + chunk)


def gif_is_whole(file: BinaryIO) -> bool:
    """Whether a GIF's blocks follow each other to its trailer. Source: GIF89a specification, 17 to 27."""
    file.seek(0)
    _skip_colours(file, file.read(13)[10:11])
    while (kind := file.read(1)) in (_EXTENSION, _IMAGE):
        if kind == _IMAGE:
            _skip_colours(file, file.read(9)[8:9])
        file.read(1)  # an extension's label, or how wide the codes of the pixels are
        while (length := file.read(1)) not in (b"", b"\0"):
            file.seek(length[0], os.SEEK_CUR)
    return kind == _TRAILER


def _skip_colours(file: BinaryIO, flags: bytes) -> None:
    """Pass over the colour table that a byte of flags announces."""
    if flags and flags[0] & 0x80:
        file.seek(3 * 2 ** ((flags[0] & 7) + 1), os.SEEK_CUR)
