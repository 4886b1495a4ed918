"""Picture in, larger picture out: luma through a network, colour differences and transparency through bicubic."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from upres.errors import UsageError
from upres.images import colour
from upres.images.resize import imresize, imresize_window
from upres.inference import tiling, windows
from upres.inference.engines import Engine, Precision
from upres.inference.windows import Windows

_LUMA_BLACK, _LUMA_RANGE = 16 / 255, 219 / 255  # BT.601: black at 16, white at 235
DEFAULT_TILE = 512
# OpenVINO's Python binding sets itself up on first use under locks that it holds while it waits for the interpreter:
# two threads that make their first engine, or run one for the first time, wait for each other for ever.
_MAKING = threading.Lock()
_SHAPE_STEP = 16  # engines prepare for each shape anew, so there should be few
_BICUBIC_HALO = 3
_PROJECTION_HALO = 5  # how far one round of back-projection looks: two pixels down, two up, one for rounding


class Upscaler:
    """A network made ready for repeated use on pictures or on luma.

    Args:
        engine: makes the engine of a precision; called once for each precision that is used.
        name: the model's name, for messages.
        scale: factor that the network enlarges by.
        halo: how far an output looks in low-resolution pixels; None for a network that cannot be run in tiles.
        precision: of 8-bit pictures and of `luma`: `f32` or `bf16`. Deeper pictures always run in f32.
        tile: side of a tile in low-resolution pixels.

    Attributes:
        back_projection: how many rounds of back-projection bring the result nearer to the input; see `consistent`.
    """

    def __init__(
        self,
        engine: Callable[[Precision], Engine],
        *,
        name: str,
        scale: int,
        halo: int | None,
        precision: Precision = "f32",
        tile: int = DEFAULT_TILE,
    ) -> None:
        self.name, self.scale, self.halo, self.tile = name, scale, halo, tile
        self.precision: Precision = precision
        self.back_projection = 0
        self._make_engine = engine
        self._engines: dict[Precision, Engine] = {}

    def __repr__(self) -> str:
        return f"<Upscaler {self.name} ×{self.scale} {self.precision}>"

    def luma(self, y: NDArray[Any], /, *, precision: Precision | None = None) -> NDArray[np.float32]:
        """The network alone: luma `(h, w)` in [0, 1] → `(s·h, s·w)` float32, unclipped.

        Raises:
            UsageError: not a two-dimensional, non-empty float array.
        """
        if y.ndim != 2 or y.size == 0 or y.dtype.kind != "f":
            raise UsageError(f"luma got {y.dtype} {y.shape}; it takes float (h, w) in [0, 1] with no empty side.")
        engine = self._engine(precision or self.precision)
        y = np.ascontiguousarray(y, dtype=np.float32)
        if self.halo is None:
            large = engine(y)
        else:
            large = tiling.run(engine, y, scale=self.scale, halo=self.halo, tile=self.tile)
        return _back_projected(large, y, self.scale, self.back_projection)

    def consistent(self, rounds: int) -> Upscaler:
        """The same network with back-projection: what bicubic reduction of the result lacks is enlarged and added.

        Args:
            rounds: how many times; each brings the reduced result nearer to the input.
        """
        other = copy.copy(self)
        other.back_projection = rounds
        return other

    def __call__(self, picture: NDArray[Any], /) -> NDArray[Any]:
        """Enlarge a picture.

        Args:
            picture: uint8, uint16, or float32 / float64 in [0, 1]; `(h, w)` gray, or `(h, w, c)` with c = 1 gray,
                2 gray + alpha, 3 RGB, 4 RGBA (alpha not premultiplied).

        Returns:
            The same dtype and channels, `scale` times the height and width, clipped to the dtype's range.

        Raises:
            UsageError: another dtype or shape.
        """
        large = Enlarged(windows.Pixels(picture), self, self.precision_for(picture.dtype))
        pixels = windows.collected(large, picture.dtype, tile=self.tile * self.scale)
        return pixels if picture.ndim == 3 else pixels[..., 0]

    def precision_for(self, dtype: np.dtype[Any]) -> Precision:
        """That of the arithmetic on pictures of a dtype."""
        return self.precision if dtype == np.uint8 else "f32"

    def window(self, y: NDArray[np.float32], precision: Precision) -> NDArray[np.float32]:
        """The network on luma that fits into memory at once; neither tiles nor back-projection."""
        return self._engine(precision)(np.ascontiguousarray(y))

    def _engine(self, precision: Precision) -> Engine:
        with _MAKING:
            if precision not in self._engines:
                engine = self._make_engine(precision)
                engine(np.zeros((1, 1), np.float32))
                self._engines[precision] = engine
            return self._engines[precision]


class Enlarged:
    """Another picture enlarged by a network: luma through the network, the rest bicubic."""

    def __init__(self, source: Windows, upscaler: Upscaler, precision: Precision) -> None:
        self._source, self._upscaler = source, upscaler
        self._precision: Precision = precision
        self.size = (source.size[0] * upscaler.scale, source.size[1] * upscaler.scale)
        self.channels = source.channels
        self._whole: NDArray[np.float32] | None = None  # luma from a network that cannot be run in tiles

    def __call__(self, rows: slice, columns: slice, /) -> NDArray[np.float32]:
        """See `Windows`; colours are clipped to [0, 1]."""
        scale, halo = self._upscaler.scale, self._upscaler.halo
        margin = _PROJECTION_HALO * self._upscaler.back_projection
        kept: list[slice] = []  # low-resolution pixels whose enlargement is made
        read: list[slice] = []  # those that it is made from
        for span, length in zip((rows, columns), self._source.size, strict=True):
            keep = slice(max(span.start // scale - margin, 0), min(-(-span.stop // scale) + margin, length))
            kept.append(keep)
            read.append(slice(0, length) if halo is None else _widened(keep, max(halo, _BICUBIC_HALO), length))
        low = self._source(read[0], read[1])
        large = self._enlarge(low, read, kept)
        inside = tuple(slice(k.start - r.start, k.stop - r.start) for k, r in zip(kept, read, strict=True))
        large = _back_projected(large, low[inside], scale, self._upscaler.back_projection)
        np.clip(large, 0, 1, out=large)
        top, left = (keep.start * scale for keep in kept)
        return large[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]

    def _enlarge(self, low: NDArray[np.float32], read: list[slice], kept: list[slice]) -> NDArray[np.float32]:
        """The enlargement of the pixels `kept`, not clipped, from those `read`."""
        scale = self._upscaler.scale
        outputs = [slice(span.start * scale, span.stop * scale) for span in kept]
        within = tuple(
            slice((k.start - r.start) * scale, (k.stop - r.start) * scale) for k, r in zip(kept, read, strict=True)
        )

        def bicubic(planes: NDArray[np.float32]) -> NDArray[np.float32]:
            def part(rows: slice, columns: slice) -> NDArray[np.float32]:
                top, left = (span.start for span in read)
                return planes[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]

            return imresize_window(part, outputs[0], outputs[1], size=self._source.size, out_size=self.size)

        def network(y: NDArray[np.float32]) -> NDArray[np.float32]:
            if self._upscaler.halo is not None:
                return self._upscaler.window(y, self._precision)[within]
            if self._whole is None:
                self._whole = self._upscaler.window(y, self._precision)
            return self._whole[within]

        height, width = (span.stop - span.start for span in outputs)
        large = np.empty((height, width, self.channels), np.float32)
        if self.channels < 3:
            y = low[..., 0] * np.float32(_LUMA_RANGE) + np.float32(_LUMA_BLACK)
            large[..., 0] = (network(y) - np.float32(_LUMA_BLACK)) / np.float32(_LUMA_RANGE)
        else:
            ycbcr = colour.rgb_to_ycbcr(low[..., :3] * np.float32(255))
            large[..., 0] = network(ycbcr[..., 0] / np.float32(255)) * np.float32(255)
            large[..., 1:3] = bicubic(ycbcr[..., 1:])
            large[..., :3] = colour.ycbcr_to_rgb(large[..., :3]) / np.float32(255)
        if windows.has_alpha(self.channels):
            large[..., -1:] = bicubic(low[..., -1:])
        return large


def _widened(span: slice, halo: int, length: int) -> slice:
    """A span with its halo on both sides, moved and cut to lie in the picture, its length one of few."""
    wanted = span.stop - span.start + 2 * halo
    window = min(-(-wanted // _SHAPE_STEP) * _SHAPE_STEP, length)
    first = min(max(span.start - halo, 0), length - window)
    return slice(first, first + window)


def _back_projected(
    large: NDArray[np.float32], low: NDArray[np.float32], scale: int, rounds: int
) -> NDArray[np.float32]:
    """Add, `rounds` times, the enlarged difference between `low` and the reduced `large` (Irani and Peleg 1991)."""
    for _ in range(rounds):
        large = large + imresize(low - imresize(large, size=(low.shape[0], low.shape[1])), scale)
    return large


class Bicubic:
    """The baseline with the same interface: MATLAB's bicubic enlargement of luma or of every channel."""

    name: Literal["bicubic"] = "bicubic"

    def __init__(self, scale: int) -> None:
        self.scale = scale

    def luma(self, y: NDArray[Any], /) -> NDArray[Any]:
        """`(h, w)` in [0, 1] → `(s·h, s·w)`, unclipped."""
        return imresize(y, self.scale)

    def __call__(self, picture: NDArray[Any], /) -> NDArray[Any]:
        """Enlarge a picture; see `Upscaler.__call__`. Without alpha, integers are rounded as MATLAB does."""
        windows.peak(picture)
        if picture.ndim == 2 or not windows.has_alpha(picture.shape[2]):
            large = imresize(picture, self.scale)
            return large if picture.dtype.kind != "f" else np.clip(large, 0, 1)
        large = windows.Resized(windows.Pixels(picture), (picture.shape[0] * self.scale, picture.shape[1] * self.scale))
        return windows.collected(large, picture.dtype, tile=DEFAULT_TILE)
