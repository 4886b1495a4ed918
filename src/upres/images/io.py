"""Pictures in and out of files through libvips: pixels as an array, everything else a file carries beside it."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from upres.errors import MissingExtraError, OutputError, PictureError, UsageError
from upres.files import whole_file

if TYPE_CHECKING:
    import pyvips  # pyright: ignore[reportMissingTypeStubs]

SAVERS: dict[str, dict[str, Any]] = {
    ".png": {"compression": 6},
    ".jpg": {"Q": 95, "optimize_coding": True},
    ".jpeg": {"Q": 95, "optimize_coding": True},
    ".webp": {"Q": 95},
    ".tif": {"compression": "deflate", "predictor": "horizontal"},
    ".tiff": {"compression": "deflate", "predictor": "horizontal"},
    ".avif": {"Q": 85},
}
_NO_ALPHA = (".jpg", ".jpeg")
_EIGHT_BIT = (".jpg", ".jpeg", ".webp")
_CARRIED = ("icc-profile-data", "exif-data", "xmp-data", "iptc-data")
_PLAIN_SPACES = ("b-w", "srgb", "rgb", "grey16", "rgb16", "scrgb", "multiband")
_DTYPES = {"uchar": np.uint8, "ushort": np.uint16, "float": np.float32, "double": np.float32}


@dataclass(frozen=True)
class Picture:
    """A decoded picture.

    Attributes:
        pixels: `(h, w)` gray or `(h, w, c)` with c = 2 (gray + alpha), 3 (RGB) or 4 (RGBA), upright; uint8, uint16,
            or float32 as the file had it.
        carried: blocks to write back with the result: ICC profile, EXIF (orientation already applied), XMP, IPTC.
        pixels_per_mm: horizontal and vertical resolution.
    """

    pixels: NDArray[Any]
    carried: dict[str, bytes]
    pixels_per_mm: tuple[float, float] = (1.0, 1.0)

    def with_pixels(self, pixels: NDArray[Any]) -> Picture:
        """The same picture with other pixels, which may differ in size."""
        return replace(self, pixels=pixels)


def _vips() -> Any:
    try:
        import pyvips  # pyright: ignore[reportMissingTypeStubs]
    except ImportError as error:
        raise MissingExtraError("pyvips", None) from error
    return pyvips


def read(path: str | os.PathLike[str]) -> Picture:
    """Read a picture file, upright.

    Raises:
        PictureError: the file is missing, a folder, empty, not a picture, truncated, damaged so that its decoder
            notices, or holds what would be lost: several pages, more than four channels, integers beyond 16 bits.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise PictureError(f"{path}: this is a folder; give a picture file.")
        with path.open("rb") as file:
            if not file.read(1):
                raise PictureError(f"{path}: the file is empty; give a picture file.")
    except FileNotFoundError as error:
        raise PictureError(f"{path}: no such file; check the path.") from error
    except OSError as error:
        raise PictureError(f"{path}: cannot be opened ({error.strerror}); check its name and permissions.") from error
    pyvips = _vips()
    try:
        image = pyvips.Image.new_from_file(str(path), access="sequential", fail_on="error", revalidate=True)
    except pyvips.Error as error:
        raise PictureError(f"{path}: not a picture that upres can read ({_reason(error)}).") from error
    except UnicodeEncodeError as error:
        raise PictureError(f"{str(path)!r}: the name is not valid UTF-8; rename the file.") from error
    _refuse_what_would_be_lost(path, image)
    try:
        image = _upright_gray_or_rgb(image)
        pixels = image.numpy()
    except pyvips.Error as error:
        raise PictureError(f"{path}: the picture is damaged or cut short ({_reason(error)}).") from error
    fields = set(image.get_fields())
    carried = {name: bytes(cast(bytes, image.get(name))) for name in _CARRIED if name in fields}
    return Picture(np.ascontiguousarray(pixels), carried, (image.xres, image.yres))


def _refuse_what_would_be_lost(path: Path, image: pyvips.Image) -> None:
    pages = cast(int, image.get("n-pages")) if "n-pages" in image.get_fields() else 1
    if pages > 1:
        raise PictureError(f"{path}: holds {pages} pages or frames; give a file with one picture.")
    if image.format not in _DTYPES:
        raise PictureError(f"{path}: has {image.format} samples; give 8 or 16 bits without sign, or floats.")
    if image.bands > (5 if image.interpretation == "cmyk" else 4):
        raise PictureError(f"{path}: has {image.bands} channels; give gray, RGB or CMYK, with or without alpha.")


def _reason(error: Exception) -> str:
    """The last line of what libvips says: the nearest to the cause."""
    lines = [line.strip() for line in str(getattr(error, "detail", error)).splitlines() if line.strip()]
    return lines[-1] if lines else "no reason given"


def _upright_gray_or_rgb(image: pyvips.Image) -> pyvips.Image:
    image = image.autorot()
    if image.interpretation not in _PLAIN_SPACES:
        has_profile = "icc-profile-data" in image.get_fields()
        deep = image.format != "uchar"
        if has_profile:
            image = image.icc_transform("srgb", depth=16 if deep else 8).copy()
            image.remove("icc-profile-data")
        else:
            image = image.colourspace("rgb16" if deep else "srgb")
    return image.cast("float") if image.format == "double" else image


def check_output(path: str | os.PathLike[str], *, overwrite: bool) -> Path:
    """Refuse, before any work is done, an output that could not be written.

    Raises:
        UsageError: the ending names no format that upres writes.
        OutputError: the file exists and `overwrite` is false, or its folder is missing or not writable.
    """
    path = Path(path)
    if path.suffix.lower() not in SAVERS:
        ending = f"ending in {path.suffix!r}" if path.suffix else "without an ending"
        raise UsageError(
            f"{path}: cannot write a file {ending}; use one of {', '.join(SAVERS)}, or a folder that exists."
        )
    if os.path.isdir(path):  # Path's raises for a name that is too long
        raise OutputError(f"{path}: this is a folder; name a file.")
    if os.path.lexists(path) and not overwrite:
        raise OutputError(f"{path}: exists already; give --overwrite to replace it, or -o to write elsewhere.")
    if not os.path.isdir(path.parent):
        raise OutputError(f"{path}: the folder {path.parent} does not exist; create it first.")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise OutputError(f"{path}: the folder {path.parent} is not writable; give -o to write elsewhere.")
    return path


def write(picture: Picture, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Write a picture in the format that the ending names, whole or not at all.

    Args:
        picture: uint8, uint16, or float32 in [0, 1].
        path: where to; the ending is one of `SAVERS`.
        overwrite: replace a file that exists.

    Raises:
        UsageError: an ending that upres does not write, or transparency in a format without it.
        OutputError: the file exists, or the disk refuses it.
    """
    path = check_output(path, overwrite=overwrite)
    suffix = path.suffix.lower()
    pixels = picture.pixels
    if suffix in _NO_ALPHA and pixels.ndim == 3 and pixels.shape[2] in (2, 4):
        raise UsageError(f"{path}: JPEG has no transparency; write .png, .webp or .tif instead.")
    if suffix in _EIGHT_BIT and pixels.dtype == np.uint16:
        pixels = ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if pixels.dtype == np.float32 and suffix not in (".tif", ".tiff"):
        pixels = np.clip(np.floor(pixels * 65535 + 0.5), 0, 65535).astype(np.uint16)
        if suffix in _EIGHT_BIT:
            pixels = ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    pyvips = _vips()
    gray = pixels.ndim == 2 or pixels.shape[2] < 3
    spaces = {"uint8": ("b-w", "srgb"), "uint16": ("grey16", "rgb16"), "float32": ("b-w", "scrgb")}
    image = pyvips.Image.new_from_array(np.ascontiguousarray(pixels)).copy(
        interpretation=spaces[str(pixels.dtype)][0 if gray else 1],
        xres=picture.pixels_per_mm[0],
        yres=picture.pixels_per_mm[1],
    )
    for name, block in picture.carried.items():
        image.set_type(pyvips.GValue.blob_type, name, block)
    image.set_type(pyvips.GValue.gint_type, "orientation", 1)  # else the EXIF block's own would turn it again
    with whole_file(path) as temporary:
        try:
            image.write_to_file(str(temporary), **SAVERS[suffix])
        except pyvips.Error as error:
            reason = _reason(error)
            raise OutputError(f"{path}: could not be written ({reason}); free space or try another format.") from error
