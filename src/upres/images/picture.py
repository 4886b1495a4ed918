"""A decoded picture, and all that its file carries beside the pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from numpy.typing import NDArray


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
        is_lossless: whether it is a WebP coded without loss, which its result will be, too, unless a quality is given.
    """

    pixels: NDArray[Any]
    carried: Mapping[str, Any] = field(default_factory=dict[str, Any])
    pixels_per_mm: tuple[float, float] = (1.0, 1.0)
    pages: int = 1
    unkept: tuple[str, ...] = ()
    warning: str | None = None
    is_lossless: bool = False

    def with_pixels(self, pixels: NDArray[Any]) -> Picture:
        """The same picture with other pixels, which may differ in size."""
        return replace(self, pixels=pixels)

    def page(self, number: int) -> NDArray[Any]:
        """The pixels of one page."""
        height = self.pixels.shape[0] // self.pages
        return self.pixels[number * height : (number + 1) * height]
