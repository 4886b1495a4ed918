"""Picture files, decoded through libvips: pixels as an array, and beside them what the file carries."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, cast

import numpy as np
from numpy.typing import NDArray

from upres.errors import PictureError
from upres.images import beside, formats, metadata, profiles, segments, vips
from upres.images.beside import Beside
from upres.images.formats import Format
from upres.images.picture import Picture

if TYPE_CHECKING:
    import pyvips  # pyright: ignore[reportMissingTypeStubs]

MAX_PIXELS = 250_000_000
_LOADERS = ("Jpeg", "Uhdr", "Png", "Webp", "Tiff", "Heif", "Nsgif", "Jxl", "Jp2k", "Ppm", "Rad")
_NOT_READ = {  # by what their files begin with
    "BMP": re.compile(rb"BM.{4}\0{4}", re.DOTALL),
    "JPEG 2000": re.compile(rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51"),
    "JPEG XL": re.compile(rb"\0\0\0\x0cJXL |\xff\x0a"),
    "an animated AVIF": re.compile(rb".{4}ftypavis", re.DOTALL),
}
_FORMAT_OF_LOADER = {"Jpeg": "jpeg", "Uhdr": "jpeg", "Webp": "webp", "Tiff": "tiff", "Heif": "avif", "Nsgif": "gif"}
_CARRIED_BLOCKS = ("icc-profile-data", "exif-data", "xmp-data", "iptc-data")
_CARRIED_VALUES = ("loop", "delay", "resolution-unit")
_WARNING_LOADERS = ("Jpeg", "Uhdr", "Tiff")
_JPEG_END = b"\xff\xd9"
_FailOn = Literal["warning", "error"]
_PLAIN_SPACES = ("b-w", "srgb", "rgb", "grey16", "rgb16", "scrgb", "multiband")
_DTYPES = {"uchar": np.uint8, "ushort": np.uint16, "float": np.float32, "double": np.float32}


def read(
    file: str | os.PathLike[str] | bytes,
    *,
    pages: bool = False,
    max_pixels: int = MAX_PIXELS,
    admit: Callable[[tuple[int, ...], int, np.dtype[Any]], object] | None = None,
) -> Picture:
    """Read a picture file, upright.

    Args:
        file: its path, or its content.
        pages: take every page or frame; otherwise a file of several is refused.
        max_pixels: of all pages together; what the header announces is checked before anything is decoded.
        admit: is called with shape, pages and dtype before the pixels are decoded; what it raises is passed on.

    Raises:
        PictureError: the file is missing, a folder, empty, not a picture, too large, truncated (but for a JPEG that
            lacks its end marker alone), damaged so that its decoder notices, or holds what would be lost: more than
            four channels, integers beyond 16 bits, pages of different sizes.
    """
    read_as = partial(_read, pages=pages, max_pixels=max_pixels, admit=admit)
    try:
        return read_as(file, fail_on="warning")
    except PictureError as error:
        if not vips.is_cause(error) or _leaves_tiles_black(file):
            raise
        reason = vips.reason(cast(Exception, error.__cause__), otherwise="its data may be damaged")
    cut = _cut_in_its_scan(file, most=max_pixels)
    if cut is None or not _has_all_pixels(cut, read_as):
        return replace(read_as(file, fail_on="error"), warning=reason)
    ended = cut + _JPEG_END
    try:
        return replace(read_as(ended, fail_on="warning"), warning="it lacks its end marker")
    except PictureError as error:
        if not vips.is_cause(error):
            raise
        reason = vips.reason(cast(Exception, error.__cause__))
    return replace(read_as(ended, fail_on="error"), warning=f"it lacks its end marker; {reason}")


def _read(
    file: str | os.PathLike[str] | bytes,
    *,
    pages: bool,
    max_pixels: int,
    admit: Callable[[tuple[int, ...], int, np.dtype[Any]], object] | None,
    fail_on: _FailOn,
) -> Picture:
    with _looked_into(file, pages=pages, max_pixels=max_pixels, fail_on=fail_on) as seen:
        image, count = seen.image, seen.pages
        try:
            if admit is not None:
                admit(seen.shape, count, np.dtype(_DTYPES[str(image.format)]))
            pixels = _decoded(seen.name, file, image, count)
            shape = (image.height, image.width, image.bands)
            pixels = pixels.reshape(shape if image.bands > 1 else shape[:2])  # 1×1 comes as a number
        except vips.module().Error as error:
            raise PictureError(_why_undecoded(seen.name, vips.reason(error))) from error
        carried = _carried(image, seen.beside, is_turned=seen.orientation > 1)
        unkept = ("HDR gain map",) if "gainmap-data" in image.get_fields() else ()
    if seen.orientation > 1:
        upright = [_upright(page, seen.orientation) for page in np.split(pixels, count)]
        pixels = upright[0] if count == 1 else np.concatenate(upright)
    resolution = (image.xres, image.yres) if seen.orientation < 5 else (image.yres, image.xres)
    unkept = (*seen.beside.unkept, *unkept)
    return Picture(pixels, carried, resolution, count, unkept, is_lossless=seen.beside.is_lossless)


def _cut_in_its_scan(file: str | os.PathLike[str] | bytes, *, most: int) -> bytes | None:
    """The content of a JPEG file that stops in its only scan; None for any other, and for one of more bytes."""
    with _stream_of(_name_of(file), file) as stream:
        is_jpeg = stream.read(3) == b"\xff\xd8\xff"
        if not is_jpeg or stream.seek(0, os.SEEK_END) > most or not segments.is_cut_in_its_scan(stream):
            return None
        stream.seek(0)
        return stream.read().rstrip(_JPEG_END[:1])


def _leaves_tiles_black(file: str | os.PathLike[str] | bytes) -> bool:
    """Whether libvips, which warned of a file, would put black for what it cannot read.

    So it does in TIFF files, but for JPEG data, and it warns of their tags alike. Of these it warns with the first row,
    and without a reason.
    """
    name = _name_of(file)
    with _source_of(file) as source, _damage_named(name):
        if _kind(name, source, file) != "Tiff" or _beside(name, "Tiff", file).is_jpeg_coded:
            return False
        image = _opened(name, source, {"fail_on": "warning"})
        pages = cast(int, image.get("n-pages"))
        if pages > 1:
            image = _opened(name, source, {"fail_on": "warning", "n": pages}, split=True)
        try:
            cast(Any, image).crop(0, 0, image.width, 1).write_to_memory()
        except vips.module().Error as error:
            return bool(str(getattr(error, "detail", error)).strip())
    return True


def _has_all_pixels(cut: bytes, read_as: Callable[..., Picture]) -> bool:
    """Whether a JPEG file that stops in its scan lacks its end marker alone.

    Where pixels are missing, the decoder takes for theirs what stands in their place, or gives up; so they differ with
    it. Behind the last pixels of a restart interval it would pass over anything but the next restart's marker.
    """
    digests: set[bytes] = set()
    for filler in (b"\xa5" * 64, segments.next_restart(cut) + b"\x5a" * 64):
        digest = hashlib.blake2b()
        try:
            for row in read_as(cut + filler + _JPEG_END, fail_on="error").pixels:
                digest.update(row.tobytes())
        except PictureError:
            return False
        digests.add(digest.digest())
    return len(digests) == 1


def look(file: str | os.PathLike[str] | bytes, *, max_pixels: int = MAX_PIXELS) -> tuple[tuple[int, ...], int]:
    """What `read` would give by a picture's header, which alone is read: the shape of all pages together, their number.

    Raises:
        PictureError: as `read`, but for damage that only decoding would show.
    """
    with _looked_into(file, pages=True, max_pixels=max_pixels) as seen:
        return seen.shape, seen.pages


@dataclass(frozen=True)
class _Seen:
    """A picture whose header has been read.

    Attributes:
        name: of the file.
        image: gray or RGB, not yet upright.
        pages: or frames.
        orientation: of EXIF, 1 to 8.
        beside: what libvips does not tell.
    """

    name: str
    image: pyvips.Image
    pages: int
    orientation: int
    beside: Beside

    @property
    def shape(self) -> tuple[int, ...]:
        """Height, width and channels, upright, all pages together."""
        image, pages = self.image, self.pages
        if self.orientation < 5:
            return image.height, image.width, image.bands
        return image.width * pages, image.height // pages, image.bands


@contextmanager
def _looked_into(
    file: str | os.PathLike[str] | bytes, *, pages: bool, max_pixels: int, fail_on: _FailOn = "error"
) -> Generator[_Seen]:
    """A picture that nothing speaks against so far; it can be decoded until the block ends."""
    name = _name_of(file)
    with _source_of(file) as source, _damage_named(name):
        kind = _kind(name, source, file)
        options: dict[str, Any] = {"fail_on": fail_on} if kind in _WARNING_LOADERS else {}
        found = _beside(name, kind, file)
        image = _opened(name, source, options)
        if found.has_profile and not _has_profile_that_fits(image):
            found = replace(found, unkept=(*found.unkept, "ICC profile, which does not fit its pixels"))
            image = _without_profile(image)
        if found.damage is not None:
            raise PictureError(_why_undecoded(name, found.damage))
        count = cast(int, image.get("n-pages")) if "n-pages" in image.get_fields() else 1
        if count > 1 and not pages:
            raise PictureError(f"{name}: holds {count} pages or frames; give a file with one picture.")
        megapixels = image.width * image.height * count / 1e6
        if megapixels * 1e6 > max_pixels:
            size = f"{image.width}×{image.height} pixels" + (f" on {count} pages" if count > 1 else "")
            raise PictureError(
                f"{name}: has {size}, {megapixels:,g} megapixels; the limit is {max_pixels / 1e6:,g} "
                "(--max-megapixels)."
            )
        if count > 1:
            if kind == "Tiff":
                found = _beside_pages(name, file, count, found)
            image = _opened(name, source, options | {"n": -1}, split=True)
        _refuse_what_would_be_lost(name, image, found)
        try:
            image = _gray_or_rgb(_with_stated_colours(name, image, found))
        except vips.module().Error as error:
            raise PictureError(_why_undecoded(name, vips.reason(error))) from error
        orientation = cast(int, image.get("orientation")) if "orientation" in image.get_fields() else 1
        yield _Seen(name, image, count, orientation, found)


def format_of(file: str | os.PathLike[str] | bytes) -> Format:
    """The format to give a result whose input is `file`: the same by content, or PNG where upres does not write it.

    Raises:
        PictureError: no such file, or not a picture.
    """
    name = _name_of(file)
    with _source_of(file) as source, _damage_named(name):
        kind = _kind(name, source, file)
        if kind == "Heif" and _is_hevc(_opened(name, source, {})):
            return formats.named("png")
    return formats.named(_FORMAT_OF_LOADER.get(kind, "png"))


def _name_of(file: str | os.PathLike[str] | bytes) -> str:
    return "standard input" if isinstance(file, bytes) else os.fspath(file)


@contextmanager
def _stream_of(name: str, file: str | os.PathLike[str] | bytes) -> Generator[BinaryIO]:
    """What we read ourselves, beside libvips."""
    try:
        with BytesIO(file) if isinstance(file, bytes) else Path(file).open("rb") as stream:
            yield stream
    except OSError as error:
        raise PictureError(f"{name}: cannot be read ({error.strerror}); check the disk.") from error


def _beside(name: str, kind: str, file: str | os.PathLike[str] | bytes) -> Beside:
    with _stream_of(name, file) as stream:
        return beside.look(name, kind, stream)


def _beside_pages(name: str, file: str | os.PathLike[str] | bytes, pages: int, first: Beside) -> Beside:
    """What stands beside all pages of a TIFF file; it is written back with the first."""
    with _stream_of(name, file) as stream:
        tags = metadata.tags_of_pages(stream, pages)
    if tags.are_too_large:
        raise PictureError(f"{name}: what its pages say takes more than 500 MB; split it into one file a page.")
    if tags.differ_in_profile:
        raise PictureError(f"{name}: its pages differ in their colour profiles; split it into one file a page.")
    return replace(first, unkept=(*first.unkept, "tags of later pages")) if tags.say_more else first


def _without_profile(image: pyvips.Image) -> pyvips.Image:
    copy: Any = image.copy()
    copy.remove("icc-profile-data")
    return copy


def _has_profile_that_fits(image: pyvips.Image) -> bool:
    if "icc-profile-data" not in image.get_fields():
        return False
    profile = bytes(cast(bytes, image.get("icc-profile-data")))
    return image.interpretation not in _PLAIN_SPACES or profiles.fits(profile, bands=image.bands)


def _with_stated_colours(name: str, image: pyvips.Image, found: Beside) -> pyvips.Image:
    """Given the ICC profile of colours that the file states by numbers alone."""
    has_profile = "icc-profile-data" in image.get_fields()
    if found.colours is None or (has_profile and (not found.colours.come_first or found.colours.beyond)):
        return image
    profile = found.colours.profile(name, gray=image.bands < 3)
    if profile is None:
        return _without_profile(image)
    coloured: Any = image.copy()
    coloured.set_type(vips.module().GValue.blob_type, "icc-profile-data", profile)
    return coloured


@contextmanager
def _source_of(file: str | os.PathLike[str] | bytes) -> Generator[Any]:
    """What libvips reads from: by descriptor, so that it makes nothing of a file's name."""
    pyvips = vips.module()
    if isinstance(file, bytes):
        if not file:
            raise PictureError("standard input is empty; give a picture file.")
        yield pyvips.Source.new_from_memory(file)
        return
    path = os.fspath(file)
    try:
        mode = Path(path).stat().st_mode
        if stat.S_ISDIR(mode):
            raise PictureError(f"{path}: this is a folder; give a picture file.")
        if not stat.S_ISREG(mode):
            raise PictureError(f"{path}: not an ordinary file; give a picture file, or - for standard input.")
        with Path(path).open("rb") as opened:
            if not opened.read(1):
                raise PictureError(f"{path}: the file is empty; give a picture file.")
            yield pyvips.Source.new_from_descriptor(opened.fileno())
    except FileNotFoundError as error:
        raise PictureError(f"{path}: no such file; check the path.") from error
    except OSError as error:
        raise PictureError(f"{path}: cannot be opened ({error.strerror}); check its name and permissions.") from error


def _kind(name: str, source: Any, file: str | os.PathLike[str] | bytes) -> str:
    """What libvips takes the content for, whatever the file's name says.

    Only loaders of pixels are let in: SVG and PDF may refer to other files, others read text or raw memory.
    """
    pyvips = vips.module()
    found = pyvips.vips_lib.vips_foreign_find_load_source(source.pointer)
    if found == pyvips.ffi.NULL:
        with _stream_of(name, file) as stream:
            start = stream.read(12)
        known = (kind for kind, beginning in _NOT_READ.items() if beginning.match(start))
        what = next(known, "its content is of no known format")
        raise PictureError(f"{name}: not a picture that upres can read ({what}); export it as PNG or TIFF.")
    kind = str(pyvips.ffi.string(found), "ascii").removeprefix("VipsForeignLoad").removesuffix("Source")
    if kind not in _LOADERS:
        raise PictureError(f"{name}: not a picture that upres can read ({kind}); export it as PNG or TIFF.")
    return kind


def check_format(start: bytes) -> None:
    """Refuse, by its first bytes, what is no picture that upres can read.

    Raises:
        PictureError: standard input, which is named, goes on otherwise than a picture.
    """
    with _source_of(start) as source:
        _kind("standard input", source, start)


def _opened(name: str, source: Any, options: dict[str, Any], *, split: bool = False) -> pyvips.Image:
    pyvips = vips.module()
    try:
        return pyvips.Image.new_from_source(source, "", **{"access": "sequential", "fail_on": "error"} | options)
    except pyvips.Error as error:
        if split:
            raise PictureError(
                f"{name}: its pages cannot be read together ({vips.reason(error)}); split it into one file a page."
            ) from error
        raise PictureError(
            f"{name}: not a picture that upres can read ({vips.reason(error)}); export it as PNG or TIFF."
        ) from error


def _refuse_what_would_be_lost(name: str, image: pyvips.Image, found: Beside) -> None:
    if image.format not in _DTYPES:
        raise PictureError(f"{name}: has {image.format} samples; give 8 or 16 bits without sign, or floats.")
    if image.bands > (5 if image.interpretation == "cmyk" else 4):
        raise PictureError(f"{name}: has {image.bands} channels; give gray, RGB or CMYK, with or without alpha.")
    if found.counts_from_white and image.format in ("float", "double"):
        raise PictureError(f"{name}: floats of which 0 is white; turn them over, so that 0 is black.")


def _why_undecoded(name: str, reason: str) -> str:
    if "not configured" in reason or "is not supported" in reason:
        return f"{name}: is encoded in a way that is not decoded here ({reason}); export it as PNG, or TIFF with LZW."
    return f"{name}: the picture is damaged or cut short ({reason})."


@contextmanager
def _damage_named(name: str) -> Generator[None]:
    """What a damaged file says of itself may not even be text, which pyvips does not expect."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise PictureError(_why_undecoded(name, "its metadata is not text")) from error


def _is_hevc(image: pyvips.Image) -> bool:
    return "heif-compression" in image.get_fields() and str(image.get("heif-compression")) == "hevc"


def _decoded(name: str, file: str | os.PathLike[str] | bytes, image: pyvips.Image, pages: int) -> NDArray[Any]:
    """The pixels of what libvips has opened.

    HEVC, which phones use, is patented: the libvips that is installed with upres reads all of such a file but them.
    """
    if _is_hevc(image):
        with suppress(ImportError):
            return _to_white(_decoded_heic(name, file, image, pages), image)
    try:
        return _to_white(np.asarray(image.numpy()), image)
    except vips.module().Error as error:
        if "has not been built in" not in vips.reason(error):
            raise
        raise PictureError(
            f"{name}: HEIC needs pillow-heif, which is not installed; run: pip install 'upres[heic]'."
        ) from error


def _to_white(pixels: NDArray[Any], image: pyvips.Image) -> NDArray[Any]:
    """AVIF and HEIC of 10 or 12 bits, which decoders shift up to 16, with white at 65,535."""
    if pixels.dtype != np.uint16 or "heif-compression" not in image.get_fields():
        return pixels
    bits = int(cast(int, image.get("bits-per-sample")))
    if not 8 < bits < 16:
        return pixels
    full = (np.arange(65_536) >> (16 - bits)) * 65_535 / (2**bits - 1)
    table = np.rint(full).astype(np.uint16)
    pixels = np.require(pixels, requirements="W")
    for row in pixels:
        row[...] = table[row]
    return pixels


def _decoded_heic(name: str, file: str | os.PathLike[str] | bytes, image: pyvips.Image, pages: int) -> NDArray[Any]:
    import pillow_heif

    height, channels = image.height // pages, image.bands
    try:
        content = BytesIO(file) if isinstance(file, bytes) else Path(file)
        opened: Any = pillow_heif.open_heif(content, convert_hdr_to_8bit=False)
        found = [_straight(np.asarray(page)) if "a" in page.mode else np.asarray(page) for page in opened]
    except (OSError, ValueError, RuntimeError, EOFError, SyntaxError) as error:
        raise PictureError(_why_undecoded(name, vips.reason(error))) from error
    found = [_coloured(page) if channels > 2 else page for page in found]
    if len(found) != pages or any(page.shape != (height, image.width, channels) for page in found):
        raise PictureError(_why_undecoded(name, "its header and its pixels differ in size"))
    pixels = found[0] if pages == 1 else np.concatenate(found)
    return pixels.astype(_DTYPES[str(image.format)], copy=False)


def _straight(pixels: NDArray[Any]) -> NDArray[Any]:
    """Integers `(h, w, c)` whose colours were multiplied by alpha, the last channel, without that."""
    alpha = pixels[..., -1:].astype(np.float32)
    white = np.iinfo(pixels.dtype).max
    colours = np.clip(np.rint(pixels[..., :-1] * (white / np.maximum(alpha, 1))), 0, white)
    return np.concatenate([colours.astype(pixels.dtype), pixels[..., -1:]], axis=2)


def _coloured(pixels: NDArray[Any]) -> NDArray[Any]:
    """Gray as three equal channels, alpha kept behind them; colours as they are."""
    pixels = pixels if pixels.ndim == 3 else pixels[..., None]
    if pixels.shape[2] > 2:
        return pixels
    return np.concatenate([np.repeat(pixels[..., :1], 3, axis=2), pixels[..., 1:]], axis=2)


def _upright(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Pixels as EXIF's orientation 2 to 8 wants them seen. (libvips' own way needs the whole picture beforehand.)"""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    mirrored_down, mirrored_across = orientation in (3, 4, 7, 8), orientation in (2, 3, 6, 7)
    return pixels[:: -1 if mirrored_down else 1, :: -1 if mirrored_across else 1]


def _gray_or_rgb(image: pyvips.Image) -> pyvips.Image:
    if image.interpretation not in _PLAIN_SPACES:
        has_profile = "icc-profile-data" in image.get_fields()
        deep = image.format != "uchar"
        if has_profile:
            image = image.icc_transform("srgb", depth=16 if deep else 8, embedded=True).copy()
            image.remove("icc-profile-data")
        else:
            image = image.colourspace("rgb16" if deep else "srgb").copy()
            image.remove("icc-profile-data")  # libvips' own, of inks
    return image.cast("float") if image.format == "double" else image


def _carried(image: pyvips.Image, found: Beside, *, is_turned: bool) -> dict[str, Any]:
    fields = set(image.get_fields())
    carried: dict[str, Any] = {name: bytes(cast(bytes, image.get(name))) for name in _CARRIED_BLOCKS if name in fields}
    carried |= found.instead
    blocks = {name: block for name, block in carried.items() if block}
    if "exif-data" in blocks:
        exif = metadata.without_thumbnail(blocks.pop("exif-data"))
        blocks |= {"exif-data": exif} if metadata.says_something(exif) else {}
    is_turned = is_turned or "heif-compression" in fields  # of HEIF, the decoder turns the pixels
    if "xmp-data" in blocks and is_turned:
        blocks["xmp-data"] = metadata.upright_xmp(blocks["xmp-data"])
    if "iptc-data" in blocks:
        blocks["iptc-data"] = metadata.iptc_block(blocks["iptc-data"])
    return blocks | {name: image.get(name) for name in _CARRIED_VALUES if name in fields}


def check_input(path: str | os.PathLike[str]) -> None:
    """Refuse, before any work is done, an input that cannot be opened.

    Raises:
        PictureError: the file is missing, a folder, empty, or may not be read.
    """
    with _source_of(path):
        pass
