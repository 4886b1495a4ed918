"""Pictures in and out of files through libvips: pixels as an array, everything else a file carries beside it."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, cast

import numpy as np
from numpy.typing import NDArray

from upres.errors import MissingExtraError, OutputError, PictureError, UsageError
from upres.files import whole_file
from upres.images import beside, chunks, formats, metadata
from upres.images.beside import Beside
from upres.images.computed import ComputedTiff
from upres.images.formats import SUFFIXES, Encoding, Format

if TYPE_CHECKING:
    import pyvips  # pyright: ignore[reportMissingTypeStubs]

MAX_PIXELS = 250_000_000
_LOADERS = ("Jpeg", "Uhdr", "Png", "Webp", "Tiff", "Heif", "Nsgif", "Jxl", "Jp2k", "Ppm", "Rad")
_FORMAT_OF_LOADER = {"Jpeg": "jpeg", "Uhdr": "jpeg", "Webp": "webp", "Tiff": "tiff", "Heif": "avif", "Nsgif": "gif"}
_LOADING_VIPS = threading.Lock()
_CARRIED_BLOCKS = ("icc-profile-data", "exif-data", "xmp-data", "iptc-data")
_CARRIED_VALUES = ("loop", "delay", "resolution-unit")
_72_DPI = (72 / 25.4, 72 / 25.4)
_WARNING_LOADERS = ("Jpeg", "Uhdr", "Tiff")
_FailOn = Literal["warning", "error"]
_PLAIN_SPACES = ("b-w", "srgb", "rgb", "grey16", "rgb16", "scrgb", "multiband")
_DTYPES = {"uchar": np.uint8, "ushort": np.uint16, "float": np.float32, "double": np.float32}
_SPACES = {"uint8": ("b-w", "srgb"), "uint16": ("grey16", "rgb16"), "float32": ("b-w", "scrgb")}


@dataclass(frozen=True)
class Picture:
    """A decoded picture, or the pages or frames of one file below each other.

    Attributes:
        pixels: `(h, w)` gray or `(h, w, c)` with c = 2 (gray + alpha), 3 (RGB) or 4 (RGBA), upright; uint8, uint16,
            or float32 as the file had it.
        carried: to write back with the result, under libvips' names: ICC profile, EXIF (orientation already
            applied), XMP, IPTC, and the timing of an animation; and `png-texts`, finished chunks.
        pixels_per_mm: horizontal and vertical resolution; 1 where it is unknown, which PNG and TIFF files then state
            as 72 dpi.
        pages: how many pages or frames of one height `pixels` holds.
        unkept: what the file has and no result will: comments, an HDR gain map.
        warning: of the decoder, of JPEG data that may be damaged.
    """

    pixels: NDArray[Any]
    carried: Mapping[str, Any] = field(default_factory=dict[str, Any])
    pixels_per_mm: tuple[float, float] = (1.0, 1.0)
    pages: int = 1
    unkept: tuple[str, ...] = ()
    warning: str | None = None

    def with_pixels(self, pixels: NDArray[Any]) -> Picture:
        """The same picture with other pixels, which may differ in size."""
        return replace(self, pixels=pixels)

    def page(self, number: int) -> NDArray[Any]:
        """The pixels of one page."""
        height = self.pixels.shape[0] // self.pages
        return self.pixels[number * height : (number + 1) * height]


def _vips() -> Any:
    with _LOADING_VIPS:  # `cache` alone lets two threads in at first
        return _load_vips()


@cache
def _load_vips() -> Any:
    """pyvips, without its way of handing libvips' warnings to Python's logging.

    There Python may collect an image as garbage that libvips warns of as it closes it, and GLib ends a process that
    warns while it warns. `VIPS_WARNING` has libvips drop them.
    """
    os.environ.setdefault("VIPS_WARNING", "0")
    try:
        import pyvips  # pyright: ignore[reportMissingTypeStubs]
    except ImportError as error:
        raise MissingExtraError("pyvips", None) from error
    pyvips._remove_log_handler()  # pyright: ignore[reportUnknownMemberType,reportPrivateUsage]
    return pyvips


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
        PictureError: the file is missing, a folder, empty, not a picture, too large, truncated, damaged so that its
            decoder notices, or holds what would be lost: more than four channels, integers beyond 16 bits, pages of
            different sizes.
    """
    try:
        return _read(file, pages=pages, max_pixels=max_pixels, admit=admit, fail_on="warning")
    except PictureError as error:
        cause = error.__cause__
        if cause is None or not isinstance(cause, _vips().Error):
            raise
        picture = _read(file, pages=pages, max_pixels=max_pixels, admit=admit, fail_on="error")
        return replace(picture, warning=_reason(cause, otherwise="its JPEG data may be damaged"))


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
        except _vips().Error as error:
            raise PictureError(_why_undecoded(seen.name, _reason(error))) from error
        carried = _carried(image, seen.beside, is_turned=seen.orientation > 1)
        unkept = ("HDR gain map",) if "gainmap-data" in image.get_fields() else ()
    if seen.orientation > 1:
        upright = [_upright(page, seen.orientation) for page in np.split(pixels, count)]
        pixels = upright[0] if count == 1 else np.concatenate(upright)
    resolution = (image.xres, image.yres) if seen.orientation < 5 else (image.yres, image.xres)
    return Picture(pixels, carried, resolution, count, (*seen.beside.unkept, *unkept))


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
    name = "standard input" if isinstance(file, bytes) else os.fspath(file)
    with _source_of(file) as source, _damage_named(name):
        kind = _kind(name, source)
        options: dict[str, Any] = {"fail_on": fail_on} if kind in _WARNING_LOADERS else {}
        found = _beside(name, kind, file)
        image = _opened(name, source, options)
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
            image = _opened(name, source, options | {"n": -1}, split=True)
            if kind == "Tiff":
                found = _beside_pages(name, file, count, found)
        _refuse_what_would_be_lost(name, image, found)
        try:
            image = _gray_or_rgb(_with_stated_colours(name, image, found))
        except _vips().Error as error:
            raise PictureError(_why_undecoded(name, _reason(error))) from error
        orientation = cast(int, image.get("orientation")) if "orientation" in image.get_fields() else 1
        yield _Seen(name, image, count, orientation, found)


def format_of(file: str | os.PathLike[str] | bytes) -> Format:
    """The format to give a result whose input is `file`: the same by content, or PNG where upres does not write it.

    Raises:
        PictureError: no such file, or not a picture.
    """
    name = "standard input" if isinstance(file, bytes) else os.fspath(file)
    with _source_of(file) as source, _damage_named(name):
        kind = _kind(name, source)
        if kind == "Heif" and _is_hevc(_opened(name, source, {})):
            return formats.named("png")
    return formats.named(_FORMAT_OF_LOADER.get(kind, "png"))


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
    if tags.differ_in_profile:
        raise PictureError(f"{name}: its pages differ in their colour profiles; split it into one file a page.")
    return replace(first, unkept=(*first.unkept, "tags of later pages")) if tags.say_more else first


def _with_stated_colours(name: str, image: pyvips.Image, found: Beside) -> pyvips.Image:
    """Given the ICC profile of colours that the file states by numbers alone."""
    if found.colours is None or "icc-profile-data" in image.get_fields():
        return image
    profile = found.colours.profile(name, gray=image.bands < 3)
    if profile is None:
        return image
    coloured: Any = image.copy()
    coloured.set_type(_vips().GValue.blob_type, "icc-profile-data", profile)
    return coloured


@contextmanager
def _source_of(file: str | os.PathLike[str] | bytes) -> Generator[Any]:
    """What libvips reads from: by descriptor, so that it makes nothing of a file's name."""
    pyvips = _vips()
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


def _kind(name: str, source: Any) -> str:
    """What libvips takes the content for, whatever the file's name says.

    Only loaders of pixels are let in: SVG and PDF may refer to other files, others read text or raw memory.
    """
    pyvips = _vips()
    found = pyvips.vips_lib.vips_foreign_find_load_source(source.pointer)
    if found == pyvips.ffi.NULL:
        raise PictureError(
            f"{name}: not a picture that upres can read (its content is of no known format); export it as PNG or TIFF."
        )
    kind = str(pyvips.ffi.string(found), "ascii").removeprefix("VipsForeignLoad").removesuffix("Source")
    if kind not in _LOADERS:
        raise PictureError(f"{name}: not a picture that upres can read ({kind}); export it as PNG or TIFF.")
    return kind


def _opened(name: str, source: Any, options: dict[str, Any], *, split: bool = False) -> pyvips.Image:
    pyvips = _vips()
    try:
        return pyvips.Image.new_from_source(source, "", **{"access": "sequential", "fail_on": "error"} | options)
    except pyvips.Error as error:
        if split:
            raise PictureError(
                f"{name}: its pages cannot be read together ({_reason(error)}); split it into one file a page."
            ) from error
        raise PictureError(
            f"{name}: not a picture that upres can read ({_reason(error)}); export it as PNG or TIFF."
        ) from error


def _refuse_what_would_be_lost(name: str, image: pyvips.Image, found: Beside) -> None:
    if image.format not in _DTYPES:
        raise PictureError(f"{name}: has {image.format} samples; give 8 or 16 bits without sign, or floats.")
    if image.bands > (5 if image.interpretation == "cmyk" else 4):
        raise PictureError(f"{name}: has {image.bands} channels; give gray, RGB or CMYK, with or without alpha.")
    if found.counts_from_white and image.format in ("float", "double"):
        raise PictureError(f"{name}: floats of which 0 is white; turn them over, so that 0 is black.")


def _reason(error: BaseException, *, otherwise: str = "no reason given") -> str:
    """The last line of what libvips says: the nearest to the cause."""
    lines = [line.strip() for line in str(getattr(error, "detail", error)).splitlines() if line.strip()]
    return lines[-1] if lines else otherwise


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
    except _vips().Error as error:
        if "has not been built in" not in _reason(error):
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
        raise PictureError(_why_undecoded(name, _reason(error))) from error
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
            image = image.colourspace("rgb16" if deep else "srgb")
    return image.cast("float") if image.format == "double" else image


def _carried(image: pyvips.Image, found: Beside, *, is_turned: bool) -> dict[str, Any]:
    fields = set(image.get_fields())
    carried: dict[str, Any] = {name: bytes(cast(bytes, image.get(name))) for name in _CARRIED_BLOCKS if name in fields}
    carried |= found.instead
    blocks = {name: block for name, block in carried.items() if block is not None}
    if "exif-data" in blocks:
        exif = metadata.without_thumbnail(blocks.pop("exif-data"))
        blocks |= {"exif-data": exif} if metadata.says_something(exif) else {}
    if "xmp-data" in blocks and is_turned:
        blocks["xmp-data"] = metadata.upright_xmp(blocks["xmp-data"])
    if "iptc-data" in blocks:
        blocks["iptc-data"] = metadata.iptc_block(blocks["iptc-data"])
    return blocks | {name: image.get(name) for name in _CARRIED_VALUES if name in fields}


def lost(picture: Picture, format: Format) -> list[str]:
    """What the picture's file has and a file of this format will not: metadata, depth, transparency, timing.

    A colour profile is applied where it cannot be kept.
    """
    found = [*picture.unkept]
    if "png-texts" in picture.carried and format.name != "png":
        found.append("PNG texts")
    for name in _CARRIED_BLOCKS:
        block = picture.carried.get(name)
        kind = name.partition("-")[0]
        if block is None:
            continue
        is_applied = kind == "icc" and kind not in format.carries  # see `_in_colour`
        most = {"iptc": format.max_iptc, "xmp": format.max_xmp}.get(kind)
        if kind not in format.carries or _is_longer(block, most):
            found += [] if is_applied else [kind.upper()]
        elif kind == "exif" and _is_longer(block, format.max_exif):
            is_readable = metadata.shortened(block, cast(int, format.max_exif)) is not None
            found.append("longest EXIF tags" if is_readable else "EXIF")
    pixels = picture.pixels
    if format.dtype(pixels.dtype) != pixels.dtype:
        found.append("16 bits" if pixels.dtype == np.uint16 else "floats")
    if format.name == "gif" and pixels.ndim == 3 and pixels.shape[2] in (2, 4):
        alpha = pixels[..., -1]
        if np.any((alpha > 0) & (alpha < (1 if alpha.dtype.kind == "f" else np.iinfo(alpha.dtype).max))):
            found.append("partial transparency")
    if "delay" in picture.carried and format.name not in ("gif", "webp"):
        found.append("timing")
    return found


def _is_longer(block: bytes, most: int | None) -> bool:
    return most is not None and len(block) > most


def format_for(path: str | os.PathLike[str], encoding: Encoding) -> Format:
    """The format that a file will be written in: what the encoding says, or the file's ending.

    Raises:
        UsageError: the ending names no format that upres writes, or another than the encoding.
    """
    path = Path(path)
    own = formats.of_suffix(path)
    format = formats.named(encoding.format) if encoding.format else own
    if own is not None and own is not format:
        raise UsageError(f"{path}: ends as {own.name} does, and the format is {encoding.format}; let them agree.")
    if format is None:
        ending = f"ending in {path.suffix!r}" if path.suffix else "without an ending"
        raise UsageError(
            f"{path}: cannot write a file {ending}; use one of {', '.join(SUFFIXES)}, or a folder that exists."
        )
    return format


def check_input(path: str | os.PathLike[str]) -> None:
    """Refuse, before any work is done, an input that cannot be opened.

    Raises:
        PictureError: the file is missing, a folder, empty, or may not be read.
    """
    with _source_of(path):
        pass


def check_output(path: str | os.PathLike[str], *, overwrite: bool) -> None:
    """Refuse, before any work is done, an output that could not be written.

    Raises:
        OutputError: the file exists and `overwrite` is false, or its folder is missing or not writable.
    """
    path = Path(path)
    if os.path.isdir(path):  # Path's raises for a name that is too long
        raise OutputError(f"{path}: this is a folder; name a file.")
    if os.path.lexists(path) and not overwrite:
        raise OutputError(f"{path}: exists already; give --overwrite to replace it, or -o to write elsewhere.")
    if not os.path.isdir(path.parent):
        raise OutputError(f"{path}: the folder {path.parent} does not exist; create it first.")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise OutputError(f"{path}: the folder {path.parent} is not writable; give -o to write elsewhere.")


def check_fits(
    path: str | os.PathLike[str], format: Format, size: tuple[int, int], *, channels: int, pages: int
) -> None:
    """Refuse, before any work is done, what a format cannot hold.

    Args:
        path: for the message.
        format: what the file will be.
        size: height and width of a page.
        channels: 1 to 4.
        pages: below each other.

    Raises:
        UsageError: transparency, pages, or a side that the format has not.
    """
    if not format.alpha and channels in (2, 4):
        raise UsageError(f"{path}: JPEG has no transparency; write .png, .webp or .tif instead.")
    if pages > 1 and not format.pages:
        raise UsageError(
            f"{path}: {format.name} holds one picture, not {pages} pages or frames; write .tif, .webp or .gif."
        )
    if max(size) > format.max_side:
        raise UsageError(
            f"{path}: {size[1]}×{size[0]} pixels; {format.name} has at most {format.max_side:,} a side, "
            "so write .png or .tif, or take a smaller scale."
        )


def write(
    picture: Picture, path: str | os.PathLike[str], *, overwrite: bool = False, encoding: Encoding | None = None
) -> None:
    """Write a picture, whole or not at all.

    Args:
        picture: uint8, uint16, or float32 in [0, 1].
        path: where to; the ending names the format, unless `encoding` does.
        overwrite: replace a file that exists.
        encoding: how.

    Raises:
        UsageError: a format that upres does not write, or that cannot hold the picture.
        OutputError: the file exists, or the disk refuses it.
    """
    encoding = encoding or Encoding()
    format = format_for(path, encoding)
    encoding.check(format)
    check_output(path, overwrite=overwrite)
    pixels = _converted(picture.pixels, format)
    pixels = pixels if pixels.ndim == 3 else pixels[..., None]
    write_rows(iter([pixels]), pixels.shape, picture, path, format=format, encoding=encoding)


def _converted(pixels: NDArray[Any], format: Format) -> NDArray[Any]:
    """Pixels in the deepest samples that a format has."""
    dtype = format.dtype(pixels.dtype)
    if pixels.dtype == np.uint16 and dtype == np.uint8:
        return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if pixels.dtype == np.float32 and dtype != np.float32:
        white = np.iinfo(dtype).max
        return np.clip(np.floor(pixels * np.float32(white) + np.float32(0.5)), 0, white).astype(dtype)
    return pixels


def write_rows(
    rows: Iterator[NDArray[Any]],
    shape: tuple[int, int, int],
    picture: Picture,
    path: str | os.PathLike[str],
    *,
    format: Format,
    encoding: Encoding | None = None,
    written: Callable[[Path], None] | None = None,
) -> None:
    """Write a file from rows that may be computed only now, whole or not at all; one that exists is replaced.

    Args:
        rows: `(n, width, channels)` arrays that follow each other, of the dtype that `format` gives the picture's.
        shape: height, width and channels of all rows, the pages of a file below each other.
        picture: what else is written: profile, EXIF, resolution, pages.
        path: where to.
        format: what the file is.
        encoding: how it is made.
        written: is called with the finished temporary file before it takes its place.

    Raises:
        UsageError: the format cannot hold the picture.
        OutputError: the disk refuses it.
        Exception: whatever `rows` raises.
    """
    pyvips = _vips()
    height, width, channels = shape
    check_fits(path, format, (height // picture.pages, width), channels=channels, pages=picture.pages)
    dtype = format.dtype(picture.pixels.dtype)
    tiff = ComputedTiff(rows, shape, dtype)
    with whole_file(path) as temporary:
        try:
            source = pyvips.SourceCustom()
            source.on_read(tiff.read)
            source.on_seek(tiff.seek)
            image = pyvips.Image.new_from_source(source, "", access="sequential", fail_on="error")
            is_resolution = metadata.is_resolution(picture.pixels_per_mm)
            across, down = picture.pixels_per_mm if is_resolution else _72_DPI
            image = image.copy(interpretation=_SPACES[str(dtype)][0 if channels < 3 else 1], xres=across, yres=down)
            image = _with_carried(image, picture, format, page_height=height // picture.pages)
            image = _in_colour(image, format, picture.carried.get("icc-profile-data"))
            with temporary.open("w+b") as file:
                start = _start_of(format, picture, (height // picture.pages, width))
                png_chunks = _chunks_of_png(picture) if format.name == "png" else b""
                file.write(start + bytes(len(png_chunks)))
                file.flush()
                target = pyvips.Target.new_to_descriptor(file.fileno())
                raw_bytes = height * width * channels * dtype.itemsize
                options = (encoding or Encoding()).options(format, deep=dtype != np.uint8, raw_bytes=raw_bytes)
                keep: dict[str, str] = {}
                if start:
                    keep = {"keep": "icc:xmp:iptc"}
                elif "exif-data" not in picture.carried and not is_resolution:
                    keep = {"keep": "icc:xmp:iptc:other"}  # else libvips makes EXIF of its own
                image.write_to_target(target, format.suffixes[0], **options, **keep)
                if start:
                    file.seek(len(start))
                    file.write(bytes(2))
                if png_chunks:
                    chunks.put_after_png_header(file, png_chunks)
                if format.name == "tiff":
                    _embed_in_tiff(file, picture, (height // picture.pages, width))
                os.fsync(file.fileno())
            if written is not None:
                written(temporary)
        except pyvips.Error as error:
            if tiff.failure is not None:
                raise tiff.failure from None
            reason = _reason(error)
            raise OutputError(f"{path}: could not be written ({reason}); free space or try another format.") from error


def _start_of(format: Format, picture: Picture, size: tuple[int, int]) -> bytes:
    """What stands before that which libvips writes: in a JPEG file, EXIF as it was; see `metadata.jpeg_start`."""
    exif = picture.carried.get("exif-data") if format.name == "jpeg" else None
    if exif is not None:
        exif = metadata.shortened(exif, cast(int, format.max_exif))
    if exif is None:
        return b""
    return metadata.jpeg_start(exif, size=size, pixels_per_mm=picture.pixels_per_mm) or b""


def _chunks_of_png(picture: Picture) -> bytes:
    """Texts as they were, and XMP, which libvips would compress."""
    xmp = picture.carried.get("xmp-data")
    return picture.carried.get("png-texts", b"") + (b"" if xmp is None else chunks.xmp_chunk(xmp))


def _embed_in_tiff(file: BinaryIO, picture: Picture, size: tuple[int, int]) -> None:
    """Add what libvips does not write into TIFF files."""
    exif, iptc = (picture.carried.get(name) for name in ("exif-data", "iptc-data"))
    if exif is not None or iptc is not None:
        metadata.embed_in_tiff(file, size=size, exif=exif, iptc=iptc)


def _with_carried(image: Any, picture: Picture, format: Format, *, page_height: int) -> pyvips.Image:
    pyvips = _vips()
    for name, value in picture.carried.items():
        if name == "png-texts":  # see `_chunks_of_png`
            continue
        if name == "iptc-data" and format.name == "tiff":  # libvips would write a quarter; see `_embed_in_tiff`
            continue
        if name == "xmp-data" and format.name == "png":  # see `_chunks_of_png`
            continue
        if name == "exif-data" and format.max_exif is not None:
            value = metadata.shortened(value, format.max_exif)
            if value is None:
                continue
        match value:
            case bytes():
                image.set_type(pyvips.GValue.blob_type, name, value)
            case str():
                image.set_type(pyvips.GValue.gstr_type, name, value)
            case int():
                image.set_type(pyvips.GValue.gint_type, name, value)
            case _:
                image.set_type(pyvips.GValue.array_int_type, name, value)
    image.set_type(pyvips.GValue.gint_type, "orientation", 1)  # else the EXIF block's own would turn it again
    if picture.pages > 1:
        image.set_type(pyvips.GValue.gint_type, "page-height", page_height)
        image.set_type(pyvips.GValue.gint_type, "n-pages", picture.pages)
    return image


def _in_colour(image: pyvips.Image, format: Format, profile: bytes | None) -> pyvips.Image:
    """As sRGB where the format keeps no profile, or would keep that of one channel beside three."""
    is_gray = image.bands < 3
    is_kept = "icc" in format.carries and (format.gray or not is_gray or profile is None or profile[16:20] != b"GRAY")
    if profile is None or is_kept:
        return image.colourspace("srgb") if is_gray and not format.gray else image
    depth = 8 if image.format == "uchar" else 16
    image = image.icc_transform("srgb", depth=depth, embedded=True, input_profile="srgb").copy()
    image.remove("icc-profile-data")
    return image
