"""What libvips passes over in PNG and GIF: further frames, colours by numbers, text as it stands, a missing end."""

from __future__ import annotations

import os
import zlib
from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import BinaryIO

from upres.images import profiles

_MOST_CHUNKS = 100_000  # libpng refuses a thousand before the pixels; these may be cut into many
_MOST_TEXT = 16_000_000  # bytes, unpacked; libpng allows half as many to each of a thousand texts
_LONGEST_OTHER = 1_000_000  # bytes of a chunk that is no text and is looked at
_ACTL_BYTES = 8
_PNG_HEADER = 33  # bytes: the signature and `IHDR`
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_COLOURS = (b"cICP", b"gAMA", b"cHRM", b"sRGB")
_XMP_KEYWORD = b"XML:com.adobe.xmp"
_MOST_WEBP_CHUNKS = 100_000
_EXTENSION, _IMAGE, _TRAILER = b"\x21", b"\x2c", b"\x3b"
_COMMENT, _APPLICATION = b"\xfe", b"\xff"
_GIF_APPLICATIONS = {b"XMP DataXMP": "XMP", b"ICCRGBG1012": "colour profile"}


@dataclass(frozen=True)
class PngParts:
    """What a PNG holds beside its pixels.

    Attributes:
        frames: 1 if it is not animated.
        colours: None where `sRGB` or nothing states them.
        texts: chunks of text but XMP, as they stand in the file.
        text_fits: whether they unpack to a reasonable length.
        late_xmp: the packet, where it stands behind the pixels; None for none.
        late_exif: the EXIF block, the same.
        has_profile: whether an ICC profile stands before the pixels.
    """

    frames: int
    colours: profiles.Colours | None
    texts: bytes
    text_fits: bool
    late_xmp: bytes | None = None
    late_exif: bytes | None = None
    has_profile: bool = False


def png_parts(file: BinaryIO) -> PngParts:
    """Look through a PNG's chunks. Source: PNG specification, third edition, 11.

    `cICP` comes before `sRGB`, and that before `gAMA` and `cHRM` (4.3, table 1); an ICC profile is libvips' matter.
    """
    frames, room, is_behind_pixels = 1, _MOST_TEXT, False
    stated: dict[bytes, bytes] = {}
    texts: list[bytes] = []
    late_xmp, late_exif, has_profile = None, None, False
    for kind, length in _chunks(file):
        is_behind_pixels |= kind == b"IDAT"
        has_profile |= kind == b"iCCP" and not is_behind_pixels
        if kind not in _TEXTS and (length > _LONGEST_OTHER or kind not in (b"acTL", b"eXIf", *_COLOURS)):
            continue
        content = file.read(min(length, max(room, 0)) if kind in _TEXTS else length)
        if kind in _TEXTS and room > 0:
            text = _unpacked(kind, content, room)
            room -= max(len(text), len(content))
        else:
            text = b""
        chunk = _chunk(kind + content)
        if file.read(4) != chunk[-4:]:
            continue
        if kind in _TEXTS and not content.startswith(_XMP_KEYWORD + b"\0"):
            texts.append(chunk)
        elif kind in _TEXTS and is_behind_pixels:
            late_xmp = text or None
        elif kind == b"eXIf" and is_behind_pixels:
            late_exif = content
        elif kind == b"acTL" and length == _ACTL_BYTES and not is_behind_pixels:
            frames = int.from_bytes(content[:4], "big")
        elif kind in _COLOURS and not is_behind_pixels:
            stated.setdefault(kind, content)
    return PngParts(frames, _png_colours(stated), b"".join(texts), room > 0, late_xmp, late_exif, has_profile)


def _chunks(file: BinaryIO) -> Generator[tuple[bytes, int]]:
    """The kind and the length of one chunk after the other, the file at its content."""
    at = 8
    for _ in range(_MOST_CHUNKS):
        file.seek(at)
        head = file.read(8)
        if len(head) < 8 or head[4:] == b"IEND":
            return
        length = int.from_bytes(head[:4], "big")
        yield head[4:], length
        at += length + 12


def _unpacked(kind: bytes, content: bytes, most: int) -> bytes:
    """A text, as many bytes of it as are allowed; empty where it cannot be unpacked."""
    _, _, text = content.partition(b"\0")
    if kind == b"iTXt":
        is_packed, text = text[:1] == b"\1", text[2:].split(b"\0", 2)[-1]
    else:
        is_packed, text = kind == b"zTXt", text[1:] if kind == b"zTXt" else text
    if not is_packed:
        return text
    try:
        return zlib.decompressobj().decompress(text, most)
    except zlib.error:  # libpng leaves the text out
        return b""


def _png_colours(stated: dict[bytes, bytes]) -> profiles.Colours | None:
    video = stated.get(b"cICP", b"")
    if len(video) == 4:
        colours = profiles.Colours.of_video(video[0], video[1], come_first=True)
        return colours if video[3] else replace(colours, beyond="video levels of narrow range")
    if b"sRGB" in stated:
        return None
    gamma, points = stated.get(b"gAMA", b""), stated.get(b"cHRM", b"")
    if len(gamma) != 4 and len(points) != 32:
        return None
    return profiles.of_png(
        int.from_bytes(gamma, "big") if len(gamma) == 4 else None,
        tuple(int.from_bytes(points[i : i + 4], "big") for i in range(0, 32, 4)) if len(points) == 32 else None,
    )


def xmp_chunk(xmp: bytes) -> bytes:
    """XMP as its specification asks for it, in UTF-8 and not compressed. Source: PNG specification, 11.3.3.4."""
    plain_without_language = bytes(4)
    return _chunk(b"iTXt" + _XMP_KEYWORD + b"\0" + plain_without_language + xmp)


def _chunk(content: bytes) -> bytes:
    return (len(content) - 4).to_bytes(4, "big") + content + zlib.crc32(content).to_bytes(4, "big")


def put_after_png_header(file: BinaryIO, chunks: bytes) -> None:
    """Put chunks where they are to be in a PNG that begins as many bytes into its file as they are long."""
    file.seek(len(chunks))
    header = file.read(_PNG_HEADER)
    file.seek(0)
    file.write(header + chunks)


@dataclass(frozen=True)
class GifParts:
    """What a GIF's blocks say.

    Attributes:
        is_whole: whether they follow each other to the trailer.
        unkept: what others of them hold, by its kind.
    """

    is_whole: bool
    unkept: tuple[str, ...]


def gif_parts(file: BinaryIO) -> GifParts:
    """Look through a GIF's blocks. Source: GIF89a specification, 17 to 27."""
    unkept: dict[str, None] = {}
    file.seek(0)
    _skip_colours(file, file.read(13)[10:11])
    while (kind := file.read(1)) in (_EXTENSION, _IMAGE):
        if kind == _IMAGE:
            _skip_colours(file, file.read(9)[8:9])
        label_or_code_size = file.read(1)
        label = label_or_code_size if kind == _EXTENSION else b""
        unkept |= {"comment": None} if label == _COMMENT else {}
        while (length := file.read(1)) not in (b"", b"\0"):
            application = file.read(length[0]) if label == _APPLICATION else b""
            unkept |= {_GIF_APPLICATIONS[application]: None} if application in _GIF_APPLICATIONS else {}
            file.seek(length[0] - len(application), os.SEEK_CUR)
    return GifParts(kind == _TRAILER, tuple(unkept))


def _skip_colours(file: BinaryIO, flags: bytes) -> None:
    """Pass over the colour table that a byte of flags announces."""
    if flags and flags[0] & 0x80:
        file.seek(3 * 2 ** ((flags[0] & 7) + 1), os.SEEK_CUR)


def is_lossless_webp(file: BinaryIO) -> bool:
    """Whether all frames of a WebP file are coded without loss. Source: RFC 9649, 2.5 to 2.7."""
    codes: set[bytes] = set()
    at = 12
    for _ in range(_MOST_WEBP_CHUNKS):
        file.seek(at)
        kind, length = file.read(4), int.from_bytes(file.read(4), "little")
        if kind == b"ANMF":
            at += 8 + 16  # a frame's place, size and timing; its own chunks follow
            continue
        if len(kind) < 4:
            return codes == {b"VP8L"}
        codes |= {kind} & {b"VP8 ", b"VP8L"}
        at += 8 + length + length % 2
    return False
