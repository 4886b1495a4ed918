"""Picture files, written through libvips: whole or not at all, with what their pictures carried before."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from upres.errors import OutputError, UsageError
from upres.files import whole_file
from upres.images import chunks, formats, metadata, vips
from upres.images.computed import ComputedTiff
from upres.images.formats import SUFFIXES, Encoding, Format
from upres.images.picture import Picture

if TYPE_CHECKING:
    import pyvips  # pyright: ignore[reportMissingTypeStubs]

_BLOCKS = ("icc-profile-data", "exif-data", "xmp-data", "iptc-data")
_72_DPI = (72 / 25.4, 72 / 25.4)
_SPACES = {"uint8": ("b-w", "srgb"), "uint16": ("grey16", "rgb16"), "float32": ("b-w", "scrgb")}


def lost(picture: Picture, format: Format) -> list[str]:
    """What the picture's file has and a file of this format will not: metadata, depth, transparency, timing.

    A colour profile is applied where it cannot be kept.
    """
    found = [*picture.unkept]
    if "png-texts" in picture.carried and format.name != "png":
        found.append("PNG texts")
    for name in _BLOCKS:
        block = picture.carried.get(name)
        kind = name.partition("-")[0]
        if block is None:
            continue
        is_applied = kind == "icc" and kind not in format.carries  # see `_in_colour`
        if kind == "iptc" and (format.name == "tiff" or kind not in format.carries) and metadata.has_paths(block):
            found.append("clipping paths")
        if kind == "iptc" and metadata.iptc_records(block) is None:
            continue
        most = {"iptc": format.max_iptc, "xmp": format.max_xmp}.get(kind)
        if kind not in format.carries or _is_longer(block, most):
            found += [] if is_applied else [kind.upper()]
        elif kind == "exif" and _is_longer(block, format.max_exif):
            is_readable = metadata.shortened(block, cast(int, format.max_exif)) is not None
            found.append("longest EXIF tags" if is_readable else "EXIF")
        elif kind == "exif" and format.name not in ("jpeg", "tiff") and metadata.has_rating(block):
            found.append("star rating")
    pixels = picture.pixels
    if format.dtype(pixels.dtype) != pixels.dtype:
        found.append("16 bits" if pixels.dtype == np.uint16 else "floats")
    elif pixels.dtype == np.uint16 and format.name == "avif" and not _has_12_bits(pixels):
        found.append("bits beyond 12")
    if format.name == "gif" and pixels.ndim == 3 and pixels.shape[2] in (2, 4):
        alpha = pixels[..., -1]
        if np.any((alpha > 0) & (alpha < (1 if alpha.dtype.kind == "f" else np.iinfo(alpha.dtype).max))):
            found.append("partial transparency")
    if "delay" in picture.carried and picture.pages > 1 and format.name not in ("gif", "webp"):
        found.append("timing")
    return found


def _has_12_bits(pixels: NDArray[np.uint16]) -> bool:
    """Whether 12 bits hold all values, white being 65,535."""
    values = np.arange(65_536)
    is_held = np.rint(np.rint(values * 4095 / 65_535) * 65_535 / 4095) == values
    return all(is_held[row].all() for row in pixels)


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


def check_fits(path: str | os.PathLike[str], format: Format, size: tuple[int, int], *, pages: int) -> None:
    """Refuse, before any work is done, what a format cannot hold.

    Args:
        path: for the message.
        format: what the file will be.
        size: height and width of a page.
        pages: below each other.

    Raises:
        UsageError: pages, or a side that the format has not.
    """
    if pages > 1 and not format.pages:
        raise UsageError(
            f"{path}: {format.name} holds one picture, not {pages} pages or frames; write .tif, .webp or .gif."
        )
    if max(size) > format.max_side:
        raise UsageError(
            f"{path}: {size[1]}×{size[0]} pixels; {format.name} has at most {format.max_side:,} a side, "
            "so write .png or .tif, or take a smaller scale."
        )


def without_opaque_alpha(picture: Picture, path: str | os.PathLike[str], format: Format) -> Picture:
    """A picture as a format holds it that may lack transparency: there, without an alpha that is opaque all over.

    Args:
        picture: to be written.
        path: for the message.
        format: what the file will be.

    Raises:
        UsageError: the format lacks transparency, and some of the picture is transparent.
    """
    pixels = picture.pixels
    if format.alpha or pixels.ndim == 2 or pixels.shape[2] not in (2, 4):
        return picture
    white = 1 if pixels.dtype.kind == "f" else np.iinfo(pixels.dtype).max
    if not pixels[..., -1].min() >= white:  # NaN, which floats may hold, is not opaque either
        raise _no_transparency(path)
    return picture.with_pixels(np.ascontiguousarray(pixels[..., 0] if pixels.shape[2] == 2 else pixels[..., :-1]))


def _no_transparency(path: str | os.PathLike[str]) -> UsageError:
    return UsageError(f"{path}: JPEG has no transparency; write .png, .webp or .tif instead.")


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
    picture = without_opaque_alpha(picture, path, format)
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
    pyvips = vips.module()
    height, width, channels = shape
    check_fits(path, format, (height // picture.pages, width), pages=picture.pages)
    if not format.alpha and channels in (2, 4):
        raise _no_transparency(path)
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
                options = (encoding or Encoding()).options(
                    format, deep=dtype != np.uint8, raw_bytes=raw_bytes, from_lossless=picture.is_lossless
                )
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
                if format.name == "webp" and picture.pages > 1:
                    metadata.set_size_in_webp(file, (height // picture.pages, width))
                os.fsync(file.fileno())
            if written is not None:
                written(temporary)
        except pyvips.Error as error:
            if tiff.failure is not None:
                raise tiff.failure from None
            reason = vips.reason(error)
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
    pyvips = vips.module()
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
