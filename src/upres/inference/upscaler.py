"""Picture in, larger picture out: bicubic in every channel, and what a network finds that luma lacks then."""

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
from upres.inference import compose, tiling, windows
from upres.inference.engines import Engine
from upres.inference.runtime import FIRST_USE, Precision
from upres.inference.windows import Windows

DEFAULT_TILE = 512
_BICUBIC_HALO = 3
_MIRRORED = 8  # low-resolution pixels around the picture, for networks that look as far
_WORTH_CUTTING = 1.04  # what a picture's parts cost, over the whole's cost, up to which one part a core is faster
_PROJECTION_HALO = 5  # how far one round of back-projection looks: two pixels down, two up, one for rounding


class Upscaler:
    """A network made ready for repeated use on pictures or on luma.

    Args:
        engine: makes the engine of a precision; called once for each precision that is used.
        name: the model's name, for messages.
        scale: factor that the network enlarges by.
        halo: how far an output looks in low-resolution pixels; None for a network that cannot be run in tiles.
        precision: of 8-bit pictures and of `luma`. Deeper pictures always run in f32.
        tile: a tile contributes at most tile · tile low-resolution pixels.
        workers: tiles that the engine runs well at the same time.
        alone: as `engine`, of engines that give all cores to one call, for pictures that are not worth cutting.
        why: engine and precision in words, with the reason for them.

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
        workers: int = 1,
        alone: Callable[[Precision], Engine] | None = None,
        why: str = "",
    ) -> None:
        self.name, self.scale, self.halo = name, scale, halo
        self.tile, self.workers, self.why = tile, workers, why
        self.precision: Precision = precision
        self.back_projection = 0
        self._make_engine, self._make_alone = engine, alone
        self._engines: dict[Precision, Engine] = {}
        self._engines_alone: dict[Precision, Engine] = {}
        self._used: list[Engine] = []

    def __repr__(self) -> str:
        return f"<Upscaler {self.name} ×{self.scale} {self.precision}>"

    def explain(self) -> str:
        """What runs, and why: engine, precision, tiles."""
        if self.halo is None:
            tiles = "the whole picture at once, since every output depends on every input"
        else:
            tiles = f"tiles of up to {self.tile}·{self.tile} input pixels that share a border of {self.halo}"
            tiles += f", {self.workers} at a time" if self.workers > 1 else ""
        deeper = "" if self.precision == "f32" else ", f32 for deeper ones"
        return f"{self.name} ×{self.scale}: {self.why}{deeper}; {tiles}"

    def luma(self, y: NDArray[Any], /, *, precision: Precision | None = None) -> NDArray[np.float32]:
        """The network alone: luma `(h, w)` in [0, 1] → `(s·h, s·w)` float32, unclipped.

        Raises:
            UsageError: not a two-dimensional, non-empty float array.
        """
        if y.ndim != 2 or y.size == 0 or y.dtype.kind != "f":
            raise UsageError(f"luma got {y.dtype} {y.shape}; it takes float (h, w) in [0, 1] with no empty side.")
        precision = precision or self.precision
        height, width = y.shape
        is_cut = self.is_cut(height, width, precision)
        engine = self._engine(precision, alone=not is_cut)
        y = np.ascontiguousarray(y, dtype=np.float32)
        workers = self.workers if is_cut else 1
        large = tiling.run(
            engine, y, scale=self.scale, halo=self.halo, tile=self.tile, workers=workers, cost=engine.cost
        )
        return _back_projected(large, y, self.scale, self.back_projection)

    def consistent(self, rounds: int) -> Upscaler:
        """The same network with back-projection: what bicubic reduction of the result lacks is enlarged and added.

        Args:
            rounds: how many times; each brings the reduced result nearer to the input.
        """
        other = copy.copy(self)
        other.back_projection = rounds
        return other

    def unsplit(self) -> Upscaler:
        """The same network for callers that run several pictures at once: none is cut for the workers' sake.

        What two tiles share is computed twice; whole pictures, one a core, keep the cores as busy without that.
        """
        other = copy.copy(self)
        other.workers, other._make_alone = 1, None
        return other

    def is_cut(self, height: int, width: int, precision: Precision) -> bool:
        """Whether a picture this large is cut into parts that run side by side; else it has all cores, as one.

        A deep network's parts look far into each other: of a small picture, much would be computed twice.
        """
        if self._make_alone is None or self.workers == 1 or height * width > self.tile**2:
            return True
        cost = self._made(precision).cost
        parts = tiling.split(height, width, halo=self.halo, tile=self.tile, workers=self.workers, cost=cost)
        in_parts = sum(
            cost(rows.stop - rows.start, columns.stop - columns.start) for rows, columns in (p.read for p in parts)
        )
        return in_parts <= _WORTH_CUTTING * cost(height, width)

    def cost(self, height: int, width: int, precision: Precision) -> float:
        """What the network costs on so many low-resolution pixels; see `Engine.cost`."""
        return self._made(precision).cost(height, width)

    def step(self, precision: Precision) -> int:
        """Low-resolution pixels that sides are best multiples of; see `Engine.step`."""
        return self._made(precision).step

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
        large = Enlarged(windows.Pixels(picture), self, self.precision_for(picture.dtype), dtype=picture.dtype)
        pixels = windows.collected(large, picture.dtype, tile=self.tile * self.scale, workers=large.workers)
        return pixels if picture.ndim == 3 else pixels[..., 0]

    def precision_for(self, dtype: np.dtype[Any]) -> Precision:
        """That of the arithmetic on pictures of a dtype."""
        return self.precision if dtype == np.uint8 else "f32"

    def bytes_for(self, height: int, width: int, dtype: np.dtype[Any], *, of: tuple[int, int]) -> int:
        """Memory that the network takes at once for a window of a picture of a dtype, its halo included.

        Args:
            height: of the window.
            width: of the window.
            dtype: of the picture's pixels.
            of: height and width of the picture.
        """
        halo = self.halo or 0
        precision = self.precision_for(dtype)
        engine = self._engine(precision, alone=not self.is_cut(*of, precision))
        return (height + 2 * halo) * (width + 2 * halo) * engine.bytes_per_pixel

    def residual(self, y: NDArray[np.float32], precision: Precision, *, alone: bool = False) -> NDArray[np.float32]:
        """What the network adds to bicubic enlargement of luma that fits into memory at once; `alone` on all cores."""
        return self._engine(precision, alone=alone).residual(np.ascontiguousarray(y))

    def _engine(self, precision: Precision, *, alone: bool = False) -> Engine:
        """One that has run before: see `FIRST_USE`."""
        with FIRST_USE:
            engine = self._made(precision, alone=alone)
            if engine not in self._used:
                engine(np.zeros((16, 16), np.float32))  # as small, any precision runs; see `OpenVINOEngine`
                self._used.append(engine)
            return engine

    def _made(self, precision: Precision, *, alone: bool = False) -> Engine:
        engines, make = (self._engines, self._make_engine)
        if alone and self._make_alone is not None:
            engines, make = (self._engines_alone, self._make_alone)
        with FIRST_USE:
            if precision not in engines:
                engines[precision] = make(precision)
            return engines[precision]


class Enlarged:
    """Another picture enlarged by a network: luma through the network, the rest bicubic.

    Around the picture the network sees it mirrored, as bicubic interpolation does, not the zeros that its convolutions
    would take to be there: those tint the outermost pixels.

    Args:
        source: the picture.
        upscaler: the network.
        precision: of its arithmetic.
        dtype: that the result will be brought to; 8-bit results come in it straight away. Float32 if not given.

    Attributes:
        workers: windows that are best computed at the same time.
    """

    def __init__(
        self, source: Windows, upscaler: Upscaler, precision: Precision, *, dtype: np.dtype[Any] | None = None
    ) -> None:
        self._source, self._upscaler = source, upscaler
        self._precision: Precision = precision
        self._step = upscaler.step(precision)
        self.size = (source.size[0] * upscaler.scale, source.size[1] * upscaler.scale)
        self.channels = source.channels
        self._has_alpha = windows.has_alpha(source.channels)
        straight = dtype == np.uint8 and not upscaler.back_projection
        self._compose = compose.composer(
            upscaler.scale, self.channels - self._has_alpha, np.dtype(np.uint8 if straight else np.float32)
        )
        self._is_alone = not upscaler.is_cut(*source.size, precision)
        self.workers = 1 if self._is_alone else upscaler.workers
        self._whole: NDArray[np.float32] | None = None  # residual of a network that cannot be run in tiles
        self._making_whole = threading.Lock()
        self.reach = (max(upscaler.halo or 0, _BICUBIC_HALO) + self._margin) * upscaler.scale

    def cost(self, height: int, width: int, /) -> float:
        """See `Windows`; the network's."""
        low_height, low_width = (_rounded(-(-side // self._upscaler.scale), self._step) for side in (height, width))
        return self._upscaler.cost(low_height, low_width, self._precision)

    @property
    def _margin(self) -> int:
        """Low-resolution pixels around a window that back-projection needs the enlargement of."""
        return _PROJECTION_HALO * self._upscaler.back_projection

    def __call__(self, rows: slice, columns: slice, /) -> NDArray[Any]:
        """See `Windows`; colours are clipped to [0, 1]."""
        scale, halo, margin = self._upscaler.scale, self._upscaler.halo, self._margin
        kept: list[slice] = []  # low-resolution pixels whose enlargement is made
        read: list[slice] = []  # those that it is made from
        for span, length, is_columns in zip((rows, columns), self._source.size, (False, True), strict=True):
            keep = slice(max(span.start // scale - margin, 0), min(-(-span.stop // scale) + margin, length))
            kept.append(keep)
            if halo is None:
                read.append(slice(0, length))
            else:
                beyond = min(halo, _MIRRORED)
                frame = slice(-beyond, length + beyond)
                if is_columns:
                    frame = slice(-beyond, _rounded(length + 2 * beyond, self._step) - beyond)
                read.append(_widened(keep, max(halo, _BICUBIC_HALO), frame, self._step))
        low = windows.mirrored(self._source, *read, size=self._source.size)
        large = self._enlarge(low, read, kept)
        if large.dtype != np.uint8:
            rows_inside, columns_inside = _relative(kept, read)
            large = _back_projected(large, low[rows_inside, columns_inside], scale, self._upscaler.back_projection)
            np.clip(large, 0, 1, out=large)
        top, left = (keep.start * scale for keep in kept)
        return large[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]

    def _enlarge(self, low: NDArray[np.float32], read: list[slice], kept: list[slice]) -> NDArray[Any]:
        """The enlargement of the pixels `kept`, from those `read`; float32 is not clipped."""
        scale = self._upscaler.scale
        inside = _relative(kept, read)
        colours = np.ascontiguousarray(low[..., :-1]) if self._has_alpha else low
        residual = self._residual(colours)
        rows, columns = (slice(part.start * scale, part.stop * scale) for part in inside)
        large = self._compose(compose.with_border(colours, inside), residual[rows, columns])
        if not self._has_alpha:
            return large

        def alpha(rows: slice, columns: slice) -> NDArray[np.float32]:
            top, left = (span.start for span in read)
            return low[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left, -1:]

        rows, columns = (slice(part.start * scale, part.stop * scale) for part in kept)
        large_alpha = imresize_window(alpha, rows, columns, size=self._source.size, out_size=self.size)
        if large.dtype == np.uint8:
            return np.concatenate([large, windows.quantised(large_alpha, large.dtype)], axis=2)
        return np.concatenate([large, large_alpha], axis=2)

    def _residual(self, colours: NDArray[np.float32]) -> NDArray[np.float32]:
        if self._upscaler.halo is not None:
            return self._upscaler.residual(_luma(colours), self._precision, alone=self._is_alone)
        with self._making_whole:
            if self._whole is None:
                self._whole = self._upscaler.residual(_luma(colours), self._precision)
        return self._whole


def _luma(colours: NDArray[np.float32]) -> NDArray[np.float32]:
    """BT.601 luma in [0, 1], `(h, w)`, of `(h, w, 1 | 3)` in [0, 1]."""
    weights = colour.LUMA if colours.shape[2] == 3 else colour.LUMA.sum(keepdims=True)
    return colours @ (weights / 255).astype(np.float32) + np.float32(16 / 255)


def _relative(kept: list[slice], read: list[slice]) -> tuple[slice, slice]:
    """Where `kept` lies in what was read."""
    rows, columns = (slice(k.start - r.start, k.stop - r.start) for k, r in zip(kept, read, strict=True))
    return rows, columns


def _widened(span: slice, halo: int, frame: slice, step: int) -> slice:
    """A span with its halo, moved and cut to lie in the frame, its length a multiple of `step` if there is room."""
    first, end = max(span.start - halo, frame.start), min(span.stop + halo, frame.stop)
    window = min(_rounded(end - first, step), frame.stop - frame.start)
    first = min(first, frame.stop - window)
    return slice(first, first + window)


def _rounded(length: int, step: int) -> int:
    """A length rounded up to a multiple."""
    return -(-length // step) * step


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


class Reduced:
    """A network of a larger scale, its result reduced in floating point; so LapSRN's paper makes ×3 of ×4.

    Args:
        enlarger: by at least `scale`.
        scale: of what comes out.
    """

    def __init__(self, enlarger: Upscaler, scale: int) -> None:
        self._enlarger, self._scale = enlarger, scale
        self.precision = enlarger.precision

    def unsplit(self) -> Reduced:
        """See `Upscaler`."""
        return Reduced(self._enlarger.unsplit(), self._scale)

    def luma(self, y: NDArray[Any], /) -> NDArray[Any]:
        """`(h, w)` in [0, 1] → `(s·h, s·w)`, unclipped."""
        return self._reduced(self._enlarger.luma(y), y)

    def __call__(self, picture: NDArray[Any], /) -> NDArray[Any]:
        """Enlarge a picture; see `Upscaler.__call__`."""
        if picture.dtype != np.uint8:
            return self._reduced(self._enlarger(picture), picture)
        return colour.to_uint8(self(picture / 255.0) * 255)

    def _reduced(self, large: NDArray[Any], small: NDArray[Any]) -> NDArray[Any]:
        height, width = small.shape[:2]
        return imresize(large, size=(self._scale * height, self._scale * width))
