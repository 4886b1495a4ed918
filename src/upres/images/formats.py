"""The picture formats that upres writes: what each can hold, and how libvips is asked to write it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Literal, get_args

import numpy as np

from upres.errors import UsageError

FormatName = Literal["jpeg", "png", "webp", "tiff", "avif", "gif"]


@dataclass(frozen=True)
class Format:
    """What a file format can hold.

    Attributes:
        name: as `--format` takes it.
        suffixes: of files; the first is given to new ones.
        depth: the deepest samples: 8 or 16 bits, or 32 for floats.
        gray: whether gray stays one channel.
        alpha: whether it has transparency.
        pages: whether it holds several pages or frames.
        max_side: the longest side in pixels, by its specification or its encoder.
        carries: what besides pixels, of ICC, EXIF, XMP and IPTC, is written into it.
        held: bytes a pixel that its encoder holds of the whole result, or of one with transparency or without loss, as
            measured (libvips 8.18); half as many more beyond 8 bits. None where it takes row by row.
        max_exif: bytes of EXIF: what libexif writes, what a JPEG segment holds; None for any number.
        max_iptc: bytes of IPTC.
        max_xmp: bytes of XMP.
    """

    name: FormatName
    suffixes: tuple[str, ...]
    depth: Literal[8, 16, 32]
    gray: bool
    alpha: bool
    pages: bool
    max_side: int
    carries: tuple[str, ...]
    held: tuple[int, int] | None = None
    max_exif: int | None = 65_300
    max_iptc: int | None = None
    max_xmp: int | None = None

    def dtype(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        """What pictures of a dtype are written as: itself, or the deepest that the format has."""
        if dtype == np.uint8 or self.depth == 8:
            return np.dtype(np.uint8)
        return np.dtype(np.uint16) if dtype == np.uint16 or self.depth == 16 else np.dtype(np.float32)

    def held_bytes(self, dtype: np.dtype[Any], *, alpha: bool, lossless: bool) -> int:
        """Bytes a pixel of the whole result that its encoder holds, for a picture of a dtype."""
        if self.held is None:
            return 0
        held = self.held[alpha or lossless]
        return held if self.dtype(dtype) == np.uint8 else held * 3 // 2


FORMATS = (
    Format(
        "png", (".png",), 16, gray=True, alpha=True, pages=False, max_side=2**31 - 1, carries=("icc", "exif", "xmp")
    ),
    Format(
        "jpeg",
        (".jpg", ".jpeg", ".jpe", ".jfif"),
        8,
        gray=True,
        alpha=False,
        pages=False,
        max_side=65_500,
        carries=("icc", "exif", "xmp", "iptc"),
        max_exif=65_531,
        max_iptc=65_533,
        max_xmp=65_504,
    ),
    Format(
        "webp",
        (".webp",),
        8,
        gray=False,
        alpha=True,
        pages=True,
        max_side=16_383,
        carries=("icc", "exif", "xmp"),
        held=(12, 45),
    ),
    Format(
        "tiff",
        (".tif", ".tiff"),
        32,
        gray=True,
        alpha=True,
        pages=True,
        max_side=2**31 - 1,
        carries=("icc", "exif", "xmp", "iptc"),
        max_exif=None,
    ),
    Format(
        "avif",
        (".avif",),
        16,
        gray=False,
        alpha=True,
        pages=False,
        max_side=16_384,
        carries=("icc", "exif", "xmp"),
        held=(45, 60),
    ),
    Format("gif", (".gif",), 8, gray=False, alpha=True, pages=True, max_side=65_535, carries=(), held=(14, 14)),
)
SUFFIXES = tuple(suffix for format in FORMATS for suffix in format.suffixes)
_DEFAULT_QUALITY: dict[str, int] = {"jpeg": 95, "webp": 95, "avif": 85}
_LARGE_TIFF = 3 * 2**30  # bytes; offsets in a TIFF file have 32 bits, in a BigTIFF 64
_EFFORTS: dict[str, range] = {"png": range(10), "webp": range(7), "avif": range(10), "gif": range(1, 11)}


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """How a result is written.

    Attributes:
        format: None for what the file's ending says.
        quality: of JPEG, WebP and AVIF, 1 to 100; None for 95, 95 and 85.
        effort: 0 to 9 for PNG (zlib's level) and AVIF, 0 to 6 for WebP, 1 to 10 for GIF; None for a moderate one.
        lossless: WebP and AVIF without loss. WebP is so, too, where its input is, unless a quality is given.

    Raises:
        UsageError: a quality outside its range.
    """

    format: FormatName | None = None
    quality: int | None = None
    effort: int | None = None
    lossless: bool = False

    def __post_init__(self) -> None:
        if self.quality is not None and not 1 <= self.quality <= 100:
            raise UsageError(f"quality is {self.quality}; it must lie between 1 and 100.")

    def check(self, *formats: Format) -> None:
        """Refuse what formats have not.

        Args:
            formats: of the results; of several, one has to know quality or effort, if they are given.

        Raises:
            UsageError: an effort outside a format's range, an effort or a quality that none of them has, or
                losslessness that cannot be asked of one.
        """
        given = {"quality": (self.quality, _DEFAULT_QUALITY), "effort": (self.effort, _EFFORTS)}
        for name, (value, having) in given.items():
            if value is not None and not any(format.name in having for format in formats):
                names = " and ".join(dict.fromkeys(format.name for format in formats))
                raise UsageError(
                    f"{name} is {value}, but there is none for {names}; leave it out: {', '.join(having)} have it."
                )
        for format in formats:
            efforts = _EFFORTS.get(format.name)
            if self.effort is not None and efforts is not None and self.effort not in efforts:
                raise UsageError(
                    f"effort is {self.effort}; for {format.name} it lies between {efforts[0]} and {efforts[-1]}."
                )
            if self.lossless and format.name in ("jpeg", "gif"):
                raise UsageError(f"{format.name} cannot be lossless; use png, tiff, webp or avif.")

    def is_lossless(self, format: Format, *, from_lossless: bool) -> bool:
        """Whether a format that has the choice is written without loss; arguments as of `options`."""
        return self.lossless or (format.name == "webp" and from_lossless and self.quality is None)

    def options(self, format: Format, *, deep: bool, raw_bytes: int, from_lossless: bool = False) -> dict[str, Any]:
        """The arguments of libvips' saver.

        Args:
            format: of the file.
            deep: whether samples have more than 8 bits.
            raw_bytes: of the whole picture.
            from_lossless: whether it is made of a WebP that was coded without loss.
        """
        quality = {"Q": self.quality or _DEFAULT_QUALITY[format.name]} if format.name in _DEFAULT_QUALITY else {}
        effort = {} if self.effort is None else {"effort": self.effort}
        match format.name:
            case "jpeg":
                return quality
            case "png":
                return {"compression": 3 if self.effort is None else self.effort, "filter": "up"}
            case "tiff":
                return {"compression": "deflate", "predictor": "horizontal", "bigtiff": raw_bytes > _LARGE_TIFF}
            case "webp":
                lossless = self.is_lossless(format, from_lossless=from_lossless)
                return {**quality, **effort, "lossless": lossless, "exact": lossless}
            case "avif":
                chroma = {"subsample_mode": "off"}
                return {**quality, **effort, **chroma, "lossless": self.lossless, "bitdepth": 12 if deep else 8}
            case "gif":
                return {**effort, "keep_duplicate_frames": True}


def of_suffix(path: PurePath) -> Format | None:
    """The format that a file's ending names, or None."""
    return next((format for format in FORMATS if path.suffix.lower() in format.suffixes), None)


def named(name: str) -> Format:
    """A format by name.

    Raises:
        UsageError: there is none.
    """
    for format in FORMATS:
        if format.name == name:
            return format
    raise UsageError(f"unknown format {name!r}; use one of {', '.join(get_args(FormatName))}.")
