"""What libvips does not keep: EXIF and IPTC in TIFF files, rare EXIF in JPEG files; and orientation in XMP, made 1.

An EXIF block is itself a small TIFF file: a directory of tags about the picture, which refers to one about the shot
and one about the place. In a TIFF picture the same tags stand in the picture's own directory. Sources: TIFF 6.0; the
BigTIFF design note; EXIF 2.32, 4.5 and 4.6; Adobe's Photoshop File Formats for the blocks that hold IPTC.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Container, Generator, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO, Literal, NamedTuple

import numpy as np

_LARGEST_TAGS = 16_000_000  # bytes of all of them; a damaged file may claim more
_LARGEST_TAGS_OF_PAGES = 500_000_000  # bytes; libvips takes some 5 seconds for them
_MOST_TAGS = 65_000  # of a directory; some are added, and 65,535 can be written
EXIF_MARK, _PHOTOSHOP_MARK = b"Exif\0\0", b"Photoshop 3.0\0"
_IPTC_NUMBER, _IPTC_RECORD = 0x0404, b"\x1c"
_PHOTOSHOP_THUMBNAILS, _PHOTOSHOP_PATHS = (0x0409, 0x040C), range(0x07D0, 0x0BB7)
_SHOT, _PLACE, _IPTC, _XMP, _PROFILE = 34665, 34853, 33723, 700, 34675
_PHOTOMETRIC, _WHITE_IS_ZERO, _YCBCR = 262, 0, 6
_PARTS_AT = (273, 324)  # strips, tiles
_COMPRESSION, _JPEG_CODES = 259, (6, 7)
_SUBSAMPLING, _NO_SUBSAMPLING = 530, struct.pack("<HH", 1, 1)
_MOST_PAGES = 65_535
_DENSEST = 1_000_000  # pixels a millimetre
_WIDTH, _HEIGHT = 40962, 40963
_USER_COMMENT, _UTF16_COMMENT = 37510, b"UNICODE\0"
_DESCRIPTION, _SHAPE_BY_TIFFFILE = 270, b'{"shape": ['
_NEW_SUBFILE_TYPE, _SUB_DIRECTORIES, _DNG_VERSION = 254, 330, 50706
_RATINGS = (18246, 18249)
# DocumentName, ImageDescription, Make, Model, PageName, Software, DateTime, Artist, HostComputer, Rating,
# RatingPercent, Copyright, and what Windows writes: the other tags of a picture's own directory say how its pixels
# are stored.
_ABOUT_PICTURE = frozenset((269, 270, 271, 272, 285, 305, 306, 315, 316, *_RATINGS, 33432, *range(40091, 40096)))
_UNKEPT = {
    34377: "Photoshop's blocks",
    37724: "layers",
    **dict.fromkeys((33550, 33922, 34264, 34735, 42112), "geographic tags"),
}
# ExifVersion, ComponentsConfiguration, FlashpixVersion, ColorSpace, sizes and the directory for interoperability:
# not worth a block of their own.
_FORMAL = frozenset((36864, 37121, 40960, 40961, _WIDTH, _HEIGHT, 40965))
_LEFT_OUT = frozenset((40965,))  # points to a directory that is not copied
_ORIENTATION, _THUMBNAIL_AT, _THUMBNAIL_BYTES = 274, 513, 514
# Orientation, resolution, YCbCrPositioning, and where the shot's and the place's tags are: kept elsewhere, or nothing
# that a picture would be the poorer without.
_FORMAL_OF_PICTURE = frozenset((_ORIENTATION, 282, 283, 296, 531, _SHOT, _PLACE))
_ASCII, _SHORT, _LONG, _UNDEFINED, _POINTER, _LONG8 = 2, 3, 4, 7, 13, 16
_ONLY_IN_TIFF = frozenset((_POINTER, _LONG8, 17, 18))
_VIDEO = rb"((?:MotionPhoto|MicroVideo)(?:\s*=\s*[\"']|>\s*))1"
_MORE_XMP = rb"\s+xmpNote:HasExtendedXMP\s*=\s*(?:\"[^\"]*\"|'[^']*')"
_END = bytes(2)
_HEADER = 8  # bytes before a directory can begin
_ITEM_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_RATIONALS = (5, 10)  # two numbers an item
_NOTHING_THERE = (struct.error, OverflowError, OSError, ValueError)  # where a damaged file points to


class _Tag(NamedTuple):
    kind: int
    value: bytes  # little-endian, but for makers' notes, of which each maker alone knows


_Directory = dict[int, _Tag]


@dataclass(frozen=True)
class _Form:
    """How a TIFF file writes its numbers: in which order of bytes, and offsets in 32 or, as BigTIFF, 64 bits."""

    order: Literal["<", ">"]
    big: bool

    @property
    def _offset(self) -> str:
        return "Q" if self.big else "I"

    @property
    def _count(self) -> str:
        return "Q" if self.big else "H"

    @property
    def _record_bytes(self) -> int:
        return 20 if self.big else 12

    @property
    def pointer_at(self) -> int:
        """Where the offset of the first directory stands."""
        return 8 if self.big else 4

    def pack(self, codes: str, *numbers: int) -> bytes:
        return struct.pack(self.order + codes, *numbers)

    def unpack(self, codes: str, content: bytes) -> tuple[int, ...]:
        return struct.unpack(self.order + codes, content)

    def pointer(self, offset: int) -> bytes:
        return self.pack(self._offset, offset)

    def read_pointer(self, file: BinaryIO) -> int:
        return self.unpack(self._offset, file.read(struct.calcsize(self._offset)))[0]

    def read_records(self, file: BinaryIO) -> list[bytes]:
        """A directory's records as they are: number, kind, count, and the value or where it stands."""
        (count,) = self.unpack(self._count, file.read(struct.calcsize(self._count)))
        if count > 65_535:
            raise ValueError("more tags than there are numbers for them")
        length = self._record_bytes
        content = file.read(count * length)
        return [content[at : at + length] for at in range(0, len(content) - length + 1, length)]

    def read_following(self, file: BinaryIO) -> int:
        """The offset of the directory behind one, whose records are passed over; 0 for none.

        Where a file ends with the records, libtiff takes what is missing for 0.
        """
        (count,) = self.unpack(self._count, file.read(struct.calcsize(self._count)))
        behind = file.seek(count * self._record_bytes, io.SEEK_CUR)
        end = file.seek(0, io.SEEK_END)
        file.seek(behind)
        return 0 if behind <= end < behind + struct.calcsize(self._offset) else self.read_pointer(file)

    def directory(self, file: BinaryIO, at: int, wanted: Container[int] | None, room: int) -> _Directory:
        """The tags of the directory at an offset that can be copied, as many as fit into so many bytes."""
        end = file.seek(0, io.SEEK_END)
        file.seek(at)
        tags: _Directory = {}
        for record in self.read_records(file):
            number, kind, count = self.unpack(f"HH{self._offset}", record[: 12 if self.big else 8])
            field = record[12 if self.big else 8 :]
            length = count * _ITEM_BYTES.get(kind, 0)
            is_wanted = wanted is None or number in wanted
            if not is_wanted or length == 0 or _bytes_of(length) > room:
                continue
            if len(tags) == _MOST_TAGS:
                break
            value = field[:length]
            if length > len(field):
                (offset,) = self.unpack(self._offset, field)
                if offset + length > end:
                    continue
                file.seek(offset)
                value = file.read(length)
            if len(value) == length:
                value = _turned(number, kind, value) if self.order == ">" else value
                ends = b"" if kind != _ASCII or value.endswith(b"\0") else b"\0"  # which some writers leave out
                tags[number] = _Tag(kind, value + ends)
                room -= _bytes_of(length)
        return tags

    def packed(self, tags: _Directory, at: int, *, others: Iterable[bytes] = (), following: int = 0) -> bytes:
        """A directory that will stand at an offset, its values behind it.

        Args:
            tags: of it.
            at: the offset.
            others: finished records of further tags.
            following: the offset of the next directory; 0 for none.
        """
        records, values, length = list(others), bytearray(), self._record_bytes
        begins = at + struct.calcsize("=" + self._count + self._offset) + length * (len(records) + len(tags))
        for number, (kind, value) in tags.items():
            value = _turned(number, kind, value) if self.order == ">" else value
            head = self.pack(f"HH{self._offset}", number, kind, len(value) // _ITEM_BYTES[kind])
            width = length - len(head)
            if len(value) > width:
                values += bytes(len(values) % 2)
                field = self.pointer(begins + len(values))
                values += value
            else:
                field = value.ljust(width, b"\0")
            records.append(head + field)
        records.sort(key=lambda record: self.unpack("H", record[:2]))
        return self.pack(self._count, len(records)) + b"".join(records) + self.pointer(following) + values


def _bytes_of(length: int) -> int:
    """What a tag takes at most, its value of this length included."""
    return 12 + length + length % 2


def _turned(number: int, kind: int, value: bytes) -> bytes:
    """A tag's value in the other order of bytes: of numbers, and of a comment in UTF-16, which follows the file's."""
    if number == _USER_COMMENT and value.startswith(_UTF16_COMMENT):
        text = value[len(_UTF16_COMMENT) :]
        return _UTF16_COMMENT + _swapped(text[: len(text) // 2 * 2], 2) + text[len(text) // 2 * 2 :]
    return _swapped(value, 4 if kind in _RATIONALS else _ITEM_BYTES[kind])


def _swapped(numbers: bytes, width: int) -> bytes:
    return np.frombuffer(numbers, f"u{width}").byteswap().tobytes()


def _opened(file: BinaryIO) -> tuple[_Form, int]:
    """How a TIFF file is written, and where its first directory stands."""
    file.seek(0)
    start = file.read(4)
    form = _Form(">" if start[:2] == b"MM" else "<", start[2:4] in (b"+\0", b"\0+"))
    file.seek(form.pointer_at)
    return form, form.read_pointer(file)


def _directories(file: BinaryIO) -> tuple[_Directory, _Directory, _Directory]:
    """Tags about the picture, the shot and the place; of a damaged file, those that can be read."""
    picture: _Directory = {}
    shot: _Directory = {}
    place: _Directory = {}
    try:
        form, first = _opened(file)
        picture = form.directory(file, first, _ABOUT_PICTURE | {_SHOT, _PLACE}, _LARGEST_TAGS)
    except _NOTHING_THERE:
        return picture, shot, place
    for number, tags in ((_SHOT, shot), (_PLACE, place)):
        pointer = picture.pop(number, None)
        if pointer is not None:
            room = _LARGEST_TAGS - sum(_bytes_of(len(tag.value)) for tag in (*picture.values(), *shot.values()))
            with suppress(*_NOTHING_THERE):
                tags |= form.directory(file, int.from_bytes(pointer.value, "little"), None, room)
    for tags in (picture, shot, place):
        for number, tag in list(tags.items()):
            if number in _LEFT_OUT or tag.kind in _ONLY_IN_TIFF:
                del tags[number]
    return picture, shot, place


def exif_of_tiff(file: BinaryIO) -> bytes | None:
    """An EXIF block of what a TIFF file says about its first picture; None where a camera or a person said nothing."""
    picture, shot, place = _directories(file)
    if picture.get(_DESCRIPTION, _Tag(0, b"")).value.startswith(_SHAPE_BY_TIFFFILE):
        del picture[_DESCRIPTION]  # of the pixels as they were
    if not picture and not place and not shot.keys() - _FORMAL:
        return None
    return _block(picture, shot, place)


def says_something(exif: bytes) -> bool:
    """Whether an EXIF block has more than what follows from the picture, such as its size and orientation."""
    file = io.BytesIO(exif.removeprefix(EXIF_MARK))
    _, shot, place = _directories(file)
    try:
        form, first = _opened(file)
        picture = form.directory(file, first, None, _LARGEST_TAGS)
    except _NOTHING_THERE:
        return False
    return bool(picture.keys() - _FORMAL_OF_PICTURE or place or shot.keys() - _FORMAL)


def has_rating(exif: bytes) -> bool:
    """Whether an EXIF block has Windows' star rating, which libexif, and so libvips, drops."""
    picture, _, _ = _directories(io.BytesIO(exif.removeprefix(EXIF_MARK)))
    return not picture.keys().isdisjoint(_RATINGS)


def shortened(exif: bytes, most: int) -> bytes | None:
    """An EXIF block of so many bytes at most.

    As it was, or written anew with the tags about the picture, the shot and the place, without the longest; None for a
    longer block of which none can be read.
    """
    if len(exif) <= most:
        return exif
    picture, shot, place = _directories(io.BytesIO(exif.removeprefix(EXIF_MARK)))
    if not picture and not shot and not place:
        return None
    by_length = sorted(
        ((_bytes_of(len(tag.value)), number, tags) for tags in (picture, shot, place) for number, tag in tags.items()),
        key=lambda found: found[:2],
    )
    taken = len(_block({}, {0: _Tag(_SHORT, bytes(2))}, {0: _Tag(_SHORT, bytes(2))}))
    for length, number, tags in by_length:
        taken += length
        if taken > most:
            del tags[number]
    return _block(picture, shot, place)


def _block(picture: _Directory, shot: _Directory, place: _Directory) -> bytes:
    """An EXIF block of tags about the picture, the shot and the place."""
    form, start, root = _Form("<", False), _HEADER, dict(picture)
    parts: list[bytes] = []
    for number, tags in ((_SHOT, shot), (_PLACE, place)):
        if tags:
            at = start + sum(map(len, parts))
            part = form.packed(tags, at)
            parts.append(part + bytes(len(part) % 2))
            root[number] = _Tag(_LONG, struct.pack("<I", at))
    at = start + sum(map(len, parts))
    return EXIF_MARK + b"II*\0" + form.pointer(at) + b"".join(parts) + form.packed(root, at)


def iptc_of_tiff(file: BinaryIO) -> bytes | None:
    """The IPTC records of a TIFF file's first picture; None where there are none.

    Some writers call them numbers of 32 bits, and of these some turn each from their processor's order into the
    file's. (libvips hands on what its processor makes of the numbers.)
    """
    try:
        form, first = _opened(file)
        kind, records = form.directory(file, first, {_IPTC}, _LARGEST_TAGS)[_IPTC]
    except (KeyError, *_NOTHING_THERE):
        return None
    if kind != _LONG:
        return records if records.startswith(_IPTC_RECORD) else None
    contents = (records, _swapped(records, 4)) if form.order == "<" else (_swapped(records, 4), records)
    return next((content for content in contents if content.startswith(_IPTC_RECORD)), None)


def xmp_of_tiff(file: BinaryIO) -> bytes | None:
    """The XMP packet of a TIFF file's first picture; None where there is none. (libvips hands on the last one's.)"""
    try:
        form, first = _opened(file)
        return form.directory(file, first, {_XMP}, _LARGEST_TAGS)[_XMP].value
    except (KeyError, *_NOTHING_THERE):
        return None


class PixelForm(NamedTuple):
    """How a TIFF file's first picture stores its pixels.

    Attributes:
        counts_from_white: whether 0 is white; libvips turns integers over, and floats not.
        is_jpeg_coded: whether they are JPEG data.
        is_plain_ycbcr: whether they are YCbCr that libvips takes for RGB: neither subsampled nor JPEG data.
        is_cut: whether a strip or tile would begin behind the file's end.
    """

    counts_from_white: bool
    is_jpeg_coded: bool
    is_plain_ycbcr: bool
    is_cut: bool


def pixel_form(file: BinaryIO) -> PixelForm:
    """How a TIFF file's first picture stores its pixels; of a damaged one, as far as it says so."""
    tags: _Directory = {}
    with suppress(*_NOTHING_THERE):
        form, first = _opened(file)
        tags = form.directory(file, first, {_PHOTOMETRIC, _COMPRESSION, _SUBSAMPLING, *_PARTS_AT}, _LARGEST_TAGS)
    photometric, compression = (
        int.from_bytes(tags[number].value, "little") if number in tags else None
        for number in (_PHOTOMETRIC, _COMPRESSION)
    )
    is_jpeg_coded = compression in _JPEG_CODES
    end = file.seek(0, io.SEEK_END)
    parts = [tags[number] for number in _PARTS_AT if number in tags and tags[number].kind in (_SHORT, _LONG, _LONG8)]
    is_whole = tags.get(_SUBSAMPLING, _Tag(0, b"")).value == _NO_SUBSAMPLING
    return PixelForm(
        counts_from_white=photometric == _WHITE_IS_ZERO,
        is_jpeg_coded=is_jpeg_coded,
        is_plain_ycbcr=photometric == _YCBCR and is_whole and not is_jpeg_coded,
        is_cut=any(np.frombuffer(value, f"<u{_ITEM_BYTES[kind]}").max() >= end for kind, value in parts),
    )


def has_all_pages(file: BinaryIO) -> bool:
    """Whether each directory of a TIFF file that another names is in it."""
    seen: set[int] = set()
    try:
        form, at = _opened(file)
        while at and at not in seen and len(seen) < _MOST_PAGES:
            seen.add(at)
            file.seek(at)
            at = form.read_following(file)
    except _NOTHING_THERE:
        return False
    return True


def unkept_of_tiff(file: BinaryIO) -> tuple[str, ...]:
    """What a TIFF file's first picture has that is not kept, by its kind."""
    try:
        form, first = _opened(file)
        file.seek(first)
        numbers = [form.unpack("H", record[:2])[0] for record in form.read_records(file)]
    except _NOTHING_THERE:
        return ()
    return tuple(dict.fromkeys(_UNKEPT[number] for number in numbers if number in _UNKEPT))


class PageTags(NamedTuple):
    """What pages of a TIFF file have that their first has not: other colour profiles, more to say; or all too much."""

    differ_in_profile: bool
    say_more: bool
    are_too_large: bool


def tags_of_pages(file: BinaryIO, pages: int) -> PageTags:
    """Compare so many pages of a TIFF file with the first; of a damaged one, those that can be read."""
    differ_in_profile, say_more, room = False, False, _LARGEST_TAGS_OF_PAGES
    first: _Directory = {}
    try:
        form, at = _opened(file)
        for number in range(pages):
            tags = form.directory(file, at, _ABOUT_PICTURE | {_PROFILE, _XMP, _IPTC}, _LARGEST_TAGS)
            room -= sum(_bytes_of(len(tag.value)) for tag in tags.values())
            first = dict(tags) if number == 0 else first
            differ_in_profile |= tags.pop(_PROFILE, None) != first.get(_PROFILE)
            say_more |= not tags.items() <= first.items()
            file.seek(at)
            at = form.read_following(file)
            if at == 0 or room < 0:
                break
    except _NOTHING_THERE:
        pass
    return PageTags(differ_in_profile, say_more, room < 0)


def is_raw(file: BinaryIO) -> bool:
    """Whether a TIFF file is a camera's: a DNG, or one whose first picture stands for a better one in it."""
    try:
        form, first = _opened(file)
        tags = form.directory(file, first, {_NEW_SUBFILE_TYPE, _SUB_DIRECTORIES, _DNG_VERSION}, _LARGEST_TAGS)
        file.seek(first)
        following = form.read_following(file)
    except _NOTHING_THERE:
        return False
    is_reduced = _NEW_SUBFILE_TYPE in tags and int.from_bytes(tags[_NEW_SUBFILE_TYPE].value, "little") & 1 == 1
    return _DNG_VERSION in tags or (is_reduced and (following != 0 or _SUB_DIRECTORIES in tags))


def embed_in_tiff(file: BinaryIO, *, size: tuple[int, int], exif: bytes | None, iptc: bytes | None) -> None:
    """Give a finished TIFF file tags for its first picture; they and a new first directory go to its end.

    Args:
        file: open for reading and writing.
        size: height and width of the picture.
        exif: an EXIF block, whose sizes are replaced.
        iptc: a block as JPEG files hold it.
    """
    picture, shot, place = _directories(io.BytesIO((exif or b"").removeprefix(EXIF_MARK)))
    if shot:
        shot |= {_HEIGHT: _Tag(_LONG, struct.pack("<I", size[0])), _WIDTH: _Tag(_LONG, struct.pack("<I", size[1]))}
    records_of_iptc = None if iptc is None else iptc_records(iptc)
    if records_of_iptc is not None:
        picture[_IPTC] = _Tag(_UNDEFINED, records_of_iptc)
    form, first = _opened(file)
    file.seek(first)
    others = form.read_records(file)
    following = form.read_pointer(file)
    end = file.seek(0, io.SEEK_END)
    file.write(bytes(end % 2))
    for number, tags in ((_SHOT, shot), (_PLACE, place)):
        if tags:
            at = file.tell()
            part = form.packed(tags, at)
            file.write(part + bytes(len(part) % 2))
            picture[number] = _Tag(_LONG8, struct.pack("<Q", at)) if form.big else _Tag(_LONG, struct.pack("<I", at))
    present = {form.unpack("H", record[:2])[0] for record in others}
    new = {number: tag for number, tag in picture.items() if number not in present}
    at = file.tell()
    file.write(form.packed(new, at, others=others, following=following))
    file.seek(form.pointer_at)
    file.write(form.pointer(at))


def without_thumbnail(exif: bytes) -> bytes:
    """An EXIF block without its second directory, which is that of a thumbnail and shows the old picture."""
    block = bytearray(exif.removeprefix(EXIF_MARK))
    file = io.BytesIO(block)
    thumbnail: _Directory = {}
    try:
        form, first = _opened(file)
        file.seek(first)
        form.read_records(file)
        pointer_at = file.tell()
        second = form.read_pointer(file)
        if form.big:
            return exif
        block[pointer_at : pointer_at + 4] = bytes(4)
        if second:
            thumbnail = form.directory(file, second, {_THUMBNAIL_AT, _THUMBNAIL_BYTES}, _LARGEST_TAGS)
    except _NOTHING_THERE:  # libvips will notice
        pass
    at, length = (
        int.from_bytes(thumbnail[number].value, "little") if number in thumbnail else 0
        for number in (_THUMBNAIL_AT, _THUMBNAIL_BYTES)
    )
    if at >= _HEADER:
        length = max(0, min(length, len(block) - at))
        block[at : at + length] = b"" if at + length == len(block) else bytes(length)
    return EXIF_MARK + bytes(block)


def upright_xmp(xmp: bytes) -> bytes:
    """An XMP packet whose orientation, if it states one, is 1, as an attribute or an element."""
    return re.sub(rb"(tiff:Orientation(?:\s*=\s*[\"']|>\s*))[2-8]", rb"\g<1>1", xmp)


def tells_of_video(xmp: bytes) -> bool:
    """Whether an XMP packet says that a video follows the picture, as Google's motion photos and micro videos do."""
    return re.search(_VIDEO, xmp) is not None


def xmp_of_picture_alone(xmp: bytes) -> bytes:
    """An XMP packet that no longer speaks of what is not kept: a video, and more of itself elsewhere."""
    return re.sub(_MORE_XMP, b"", re.sub(_VIDEO, rb"\g<1>0", xmp))


def jpeg_start(exif: bytes, *, size: tuple[int, int], pixels_per_mm: tuple[float, float]) -> bytes | None:
    """The first bytes of a JPEG file that has an EXIF block: upright, with its size, else as it was.

    libvips hands EXIF through libexif, which drops the tags that it does not know and writes makers' notes anew. What
    follows is to be a JPEG file of its own, whose first two bytes, which are then to be made 0, end the block. A block
    that ends so already gives these up for them, and so stays as long as it was.

    Args:
        exif: an EXIF block.
        size: height and width of the picture.
        pixels_per_mm: across and down; 1 for what is unknown, as libvips has it.

    Returns:
        None for a block that is too long or damaged.
    """
    block = bytearray(exif.removeprefix(EXIF_MARK).removesuffix(_END))
    length = 2 + len(EXIF_MARK) + len(block) + len(_END)
    if length > 65_535:
        return None
    file = io.BytesIO(block)
    try:
        form, first = _opened(file)
        if form.big:
            return None
        shot = form.directory(file, first, {_SHOT}, _LARGEST_TAGS).get(_SHOT)
        _set_numbers(block, form, first, {_ORIENTATION: 1})
        if shot is not None:
            _set_numbers(block, form, int.from_bytes(shot.value, "little"), {_HEIGHT: size[0], _WIDTH: size[1]})
    except (struct.error, OverflowError):
        return None
    return b"\xff\xd8" + _jfif(pixels_per_mm) + b"\xff\xe1" + length.to_bytes(2, "big") + EXIF_MARK + bytes(block)


def set_size_in_webp(file: BinaryIO, size: tuple[int, int]) -> None:
    """Correct the height and width in the EXIF block of a WebP file: libvips states those of all frames together.

    Source of the layout: RFC 9649, 2.3 to 2.7.

    Args:
        file: open for reading and writing.
        size: height and width of a frame.
    """
    at = 12
    while True:
        file.seek(at)
        head = file.read(8)
        if len(head) < 8:
            return
        length = int.from_bytes(head[4:], "little")
        if head[:4] == b"EXIF":
            break
        at += 8 + length + length % 2
    content = file.read(length)
    mark = EXIF_MARK if content.startswith(EXIF_MARK) else b""
    block = bytearray(content.removeprefix(mark))
    with suppress(struct.error, OverflowError):
        form, first = _opened(io.BytesIO(block))
        shot = form.directory(io.BytesIO(block), first, {_SHOT}, _LARGEST_TAGS).get(_SHOT)
        if shot is not None:
            _set_numbers(block, form, int.from_bytes(shot.value, "little"), {_HEIGHT: size[0], _WIDTH: size[1]})
        file.seek(at + 8)
        file.write(mark + block)


def is_resolution(pixels_per_mm: tuple[float, float]) -> bool:
    """Whether it says something: libvips has 1 where a file says nothing, and takes a million at most."""
    return all(0 < density <= _DENSEST and density != 1 for density in pixels_per_mm)


def _jfif(pixels_per_mm: tuple[float, float]) -> bytes:
    """The segment that states a JPEG file's resolution in pixels an inch. Source: JFIF 1.02."""
    is_known = is_resolution(pixels_per_mm)
    densities = [min(max(round(density * 25.4), 1), 65_535) if is_known else 1 for density in pixels_per_mm]
    return b"\xff\xe0\0\x10JFIF\0\1\2" + struct.pack(">BHHBB", is_known, *densities, 0, 0)


def _set_numbers(block: bytearray, form: _Form, directory: int, numbers: dict[int, int]) -> None:
    """Give tags of a directory that are there other values, of 16 bits where these do, else of 32."""
    (count,) = struct.unpack_from(form.order + "H", block, directory)
    for at in range(directory + 2, min(directory + 2 + 12 * count, len(block) - 11), 12):
        (number,) = struct.unpack_from(form.order + "H", block, at)
        if number in numbers:
            value = numbers[number]
            kind, codes = (_SHORT, "HHIHH") if value < 65_536 else (_LONG, "HHII")
            struct.pack_into(form.order + codes, block, at, number, kind, 1, value, *([0] if kind == _SHORT else []))


def iptc_block(content: bytes) -> bytes:
    """IPTC as a JPEG file holds it, from either that or the records alone, as a TIFF file has them."""
    if not content.startswith(_IPTC_RECORD):
        return content
    resource = b"8BIM" + _IPTC_NUMBER.to_bytes(2, "big") + bytes(2) + len(content).to_bytes(4, "big") + content
    return _PHOTOSHOP_MARK + resource + bytes(len(content) % 2)


def iptc_records(block: bytes) -> bytes | None:
    """The records in what `iptc_block` makes; None where there are none."""
    return next((content for number, content, _ in _photoshop_blocks(block) if number == _IPTC_NUMBER), None) or None


def has_paths(block: bytes) -> bool:
    """Whether Photoshop's blocks hold a clipping path."""
    return any(number in _PHOTOSHOP_PATHS for number, _, _ in _photoshop_blocks(block))


def without_thumbnail_of_photoshop(block: bytes) -> bytes | None:
    """Photoshop's blocks without the thumbnail, which shows the old picture; None for no others.

    Those of which the end is missing stay as they are.
    """
    found = list(_photoshop_blocks(block))
    whole = len(_PHOTOSHOP_MARK) + sum(len(raw) for _, _, raw in found)
    kept = [raw for number, _, raw in found if number not in _PHOTOSHOP_THUMBNAILS]
    rest = block[whole:]
    return _PHOTOSHOP_MARK + b"".join(kept) + rest if kept or rest else None


def _photoshop_blocks(block: bytes) -> Generator[tuple[int, bytes, bytes]]:
    """Number and content of each block behind Photoshop's mark, and the block as it stands."""
    at = len(_PHOTOSHOP_MARK)
    while block[at : at + 4] == b"8BIM" and at + 6 < len(block):
        number = int.from_bytes(block[at + 4 : at + 6], "big")
        length_at = at + 6 + (block[at + 6] + 2) // 2 * 2
        begins = length_at + 4
        ends = begins + int.from_bytes(block[length_at:begins], "big")
        following = ends + (ends - begins) % 2
        yield number, block[begins:ends], block[at:following]
        at = following
