"""Picture in, larger picture out: luma through a network, colour differences and transparency through bicubic."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from upres.errors import UsageError
from upres.images import colour
from upres.images.resize import imresize
from upres.inference import compose, tiling
from upres.inference.engines import Engine
from upres.inference.runtime import Precision
from upres.inference.tiling import Tile

_PEAKS: dict[str, float] = {"uint8": 255, "uint16": 65535, "float32": 1, "float64": 1}
_HARDLY_SEEN = 1 / 8  # alpha below which a pixel's own colour counts less
DEFAULT_TILE = 512


class Upscaler:
    """A network made ready for repeated use on pictures or on luma.

    Args:
        engine: makes the engine of a precision; called once for each precision that is used.
        name: the model's name, for messages.
        scale: factor that the network enlarges by.
        halo: how far an output looks in low-resolution pixels; None for a network that cannot be run in tiles.
        precision: of 8-bit pictures and of `luma`: `f32` or `bf16`. Deeper pictures always run in f32.
        tile: a tile contributes at most tile · tile low-resolution pixels.
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
        return tiling.run(engine, y, scale=self.scale, halo=self.halo, tile=self.tile, workers=engine.workers)

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
        peak = _peak(picture)
        flat = picture if picture.ndim == 3 else picture[..., None]
        large = _with_alpha(flat, peak, self.scale, self._colour) if _has_alpha(flat) else self._colour(flat)
        return large if picture.ndim == 3 else large[..., 0]

    def _colour(self, picture: NDArray[Any]) -> NDArray[Any]:
        """`(h, w, 1 | 3)` → enlarged and clipped, in the same dtype."""
        if picture.dtype != np.uint8:
            unit = picture.astype(np.float32) / np.float32(_PEAKS[str(picture.dtype)])
            return _quantised(self._enlarged(unit, "f32"), picture.dtype)
        return self._enlarged(picture, self.precision)

    def _enlarged(self, picture: NDArray[Any], precision: Precision) -> NDArray[Any]:
        """`(h, w, 1 | 3)` uint8, or float32 in [0, 1] → enlarged; float32 is not clipped."""
        engine = self._engine(precision)
        height, width, channels = picture.shape
        large = np.empty((height * self.scale, width * self.scale, channels), picture.dtype)
        composed = compose.composer(self.scale, channels, picture.dtype)

        def work(tile: Tile) -> None:
            residual = engine.residual(_luma(picture[tile.read]))[tile.inside(self.scale)]
            large[tile.enlarged(self.scale)] = composed(compose.with_border(picture, tile.kept), residual)

        tiles = tiling.split(height, width, halo=self.halo, tile=self.tile, workers=engine.workers)
        tiling.each(tiles, work, workers=engine.workers)
        return large

    def _engine(self, precision: Precision) -> Engine:
        if precision not in self._engines:
            self._engines[precision] = self._make_engine(precision)
        return self._engines[precision]


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
        peak = _peak(picture)
        if not _has_alpha(picture):
            large = imresize(picture, self.scale)
            return large if picture.dtype.kind != "f" else np.clip(large, 0, 1)
        return _with_alpha(picture, peak, self.scale, self)


def _luma(picture: NDArray[Any]) -> NDArray[np.float32]:
    """BT.601 luma in [0, 1], `(h, w)` float32, of `(h, w, 1 | 3)` uint8, or float32 in [0, 1]."""
    peak = 255 if picture.dtype == np.uint8 else 1
    if picture.shape[2] == 1:
        weights = np.array([219 / 255 / peak], np.float32)
    else:
        weights = (colour.LUMA / 255 / peak).astype(np.float32)
    return picture.astype(np.float32, copy=False) @ weights + np.float32(16 / 255)


def _has_alpha(picture: NDArray[Any]) -> bool:
    return picture.ndim == 3 and picture.shape[2] in (2, 4)


def _with_alpha(
    picture: NDArray[Any], peak: float, scale: int, enlarge: Callable[[NDArray[Any]], NDArray[Any]]
) -> NDArray[Any]:
    """Enlarge colours and alpha side by side, once what can hardly be seen has lent its place to what is near it.

    Premultiplied colours would have to be divided by alpha afterwards; a network is not linear, so the two would not
    match at edges, and a fringe would show.
    """
    colours, alpha = picture[..., :-1], picture[..., -1:].astype(np.float32) / np.float32(peak)
    if alpha.min() < _HARDLY_SEEN:
        unit = _filled(colours.astype(np.float32) / np.float32(peak), alpha)
        colours = _quantised(unit, picture.dtype)
    large_alpha = _quantised(imresize(alpha, scale), picture.dtype)
    return np.concatenate([enlarge(colours), large_alpha], axis=2)


def _filled(colours: NDArray[Any], alpha: NDArray[Any]) -> NDArray[Any]:
    """Let the colour of pixels that can hardly be seen go over into that of their surroundings.

    These are the alpha-weighted mean of the 2×2 block around them, which goes over into its surroundings in turn.
    """
    own = np.minimum((alpha / _HARDLY_SEEN) ** 2, 1)
    if own.min() == 1 or max(alpha.shape) == 1:
        return colours
    height, width = alpha.shape[:2]
    rows, columns = range(0, height, 2), range(0, width, 2)

    def block_sums(values: NDArray[Any]) -> NDArray[Any]:
        return np.add.reduceat(np.add.reduceat(values, rows, axis=0), columns, axis=1)

    sums = block_sums(alpha)
    half = block_sums(colours * alpha) / np.maximum(sums, np.finfo(np.float32).tiny)
    around = _filled(half, sums / 4).repeat(2, axis=0).repeat(2, axis=1)[:height, :width]
    return colours * own + around * (1 - own)


def _quantised(unit: NDArray[np.float32], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Clip to [0, 1] and bring to a picture's dtype, integers rounded half up."""
    clipped = np.clip(unit, 0, 1)
    if dtype.kind == "f":
        return clipped.astype(dtype)
    return np.floor(clipped * np.float32(_PEAKS[str(dtype)]) + np.float32(0.5)).astype(dtype)


def _peak(picture: NDArray[Any]) -> float:
    """The value of white.

    Raises:
        UsageError: not a picture's dtype or shape.
    """
    if not isinstance(picture, np.ndarray):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UsageError(f"the picture is a {type(picture).__name__}; give an array, as `upres.upscale` describes.")
    if str(picture.dtype) not in _PEAKS:
        raise UsageError(f"the picture has dtype {picture.dtype}; give {', '.join(_PEAKS)} (floats in [0, 1]).")
    shape = picture.shape
    if not (picture.ndim == 2 or (picture.ndim == 3 and shape[2] in (1, 2, 3, 4))) or 0 in shape:
        raise UsageError(f"the picture has shape {shape}; give (h, w) or (h, w, 1 to 4), with no empty side.")
    if picture.dtype.kind == "f":
        low, high = float(picture.min()), float(picture.max())
        if not (low >= -1 and high <= 2):  # also catches NaN; some overshoot around [0, 1] is clipped
            raise UsageError(f"the picture has floats from {low:.4g} to {high:.4g}; bring them to [0, 1] first.")
    return _PEAKS[str(picture.dtype)]
