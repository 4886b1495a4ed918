"""Pictures that give any window of themselves, so that a result of any size is made piece by piece.

`Pixels` and `Samples` hold an array; `Resized` stands for the bicubic reduction or enlargement of another picture;
`upscaler.Enlarged` for a network's result. Nothing is computed before a window is asked for, and a window equals the
same part of the whole.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from upres.errors import UsageError
from upres.images.resize import imresize_window
from upres.inference import tiling

_PEAKS: dict[str, float] = {"uint8": 255, "uint16": 65535, "float32": 1, "float64": 1}
_READ_AROUND = 32  # pixels that a tile's neighbours read again, roughly
_TINY = np.float32(1e-30)
_LEVELS = 6  # the alpha-weighted means of blocks of 2⁶ × 2⁶ pixels are kept for the whole picture


class Windows(Protocol):
    """A picture of `size` (height, width) and `channels`: 1 gray, 2 gray + alpha, 3 RGB, 4 RGBA."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        ...

    @property
    def channels(self) -> int:
        """From 1 to 4; the last of 2 and of 4 is alpha, not premultiplied."""
        ...

    @property
    def reach(self) -> int:
        """How far around a window others are computed with it, in pixels."""
        ...

    def cost(self, height: int, width: int, /) -> float:
        """Of a window this large, its surroundings included, in any unit."""
        ...

    def __call__(self, rows: slice, columns: slice, /) -> NDArray[Any]:
        """`(h, w, channels)`, float32 in [0, 1], or the file's own samples from `Samples`."""
        ...


class _InMemory:
    """Windows that cost what they hold."""

    reach = _READ_AROUND

    def cost(self, height: int, width: int, /) -> float:
        """See `Windows`."""
        return height * width


def mirrored(
    read: Callable[[slice, slice], NDArray[Any]], rows: slice, columns: slice, *, size: tuple[int, int]
) -> NDArray[Any]:
    """A window that may reach beyond a picture, which lies mirrored there.

    Args:
        read: gives rows and columns of the picture, `(h, w, channels)`.
        rows: of the window; those before the first are negative.
        columns: of the window.
        size: height and width of the picture.
    """
    spans = list(zip((rows, columns), size, strict=True))
    inside = (slice(max(span.start, 0), min(span.stop, length)) for span, length in spans)
    missing = [(max(-span.start, 0), max(span.stop - length, 0)) for span, length in spans]
    window = read(*inside)
    return np.pad(window, [*missing, (0, 0)], mode="symmetric") if any(map(any, missing)) else window


class Pixels(_InMemory):
    """A picture in memory as float32 in [0, 1].

    The colours of pixels that can hardly be seen have lent their place to what is near them: premultiplied colours
    would have to be divided by alpha afterwards; a network is not linear, so the two would not match at edges, and a
    fringe would show.

    Args:
        picture: uint8, uint16, or float32 / float64 in [0, 1]; `(h, w)` or `(h, w, channels)`.

    Raises:
        UsageError: another dtype or shape, or floats far outside [0, 1].
    """

    def __init__(self, picture: NDArray[Any]) -> None:
        self._peak = peak(picture)
        self._pixels = picture if picture.ndim == 3 else picture[..., None]
        self.size: tuple[int, int] = self._pixels.shape[:2]
        self.channels: int = self._pixels.shape[2]
        self._coarse = self._coarse_colours() if has_alpha(self.channels) else None

    def __call__(self, rows: slice, columns: slice, /) -> NDArray[np.float32]:
        """See `Windows`."""
        if self._coarse is None:
            return self._unit(rows, columns)
        block = 2**_LEVELS
        (top, bottom), (left, right) = ((s.start // block, -(-s.stop // block)) for s in (rows, columns))
        part = self._unit(slice(top * block, bottom * block), slice(left * block, right * block))
        part[..., :-1] = _filled(part[..., :-1], part[..., -1:], self._coarse[top:bottom, left:right], _LEVELS)
        rows = slice(rows.start - top * block, rows.stop - top * block)
        columns = slice(columns.start - left * block, columns.stop - left * block)
        return part[rows, columns]

    def _unit(self, rows: slice, columns: slice) -> NDArray[np.float32]:
        part = self._pixels[rows, columns].astype(np.float32, order="C")
        part /= np.float32(self._peak)
        return part

    def _coarse_colours(self) -> NDArray[np.float32]:
        """The filled colours of blocks of 2⁶ × 2⁶ pixels, each the alpha-weighted mean of what it can show."""
        colours: list[NDArray[np.float32]] = []
        alphas: list[NDArray[np.float32]] = []
        block = 2**_LEVELS
        for top in range(0, self.size[0], block):
            part = self._unit(slice(top, top + block), slice(None))
            mean, alpha = _halved(part[..., :-1], part[..., -1:], block)
            colours.append(mean)
            alphas.append(alpha)
        return _filled(np.concatenate(colours), np.concatenate(alphas), None, -1)


class Samples(_InMemory):
    """A picture in memory as it is: to be copied, or for bicubic interpolation of integers, rounded as MATLAB does."""

    def __init__(self, picture: NDArray[Any]) -> None:
        peak(picture)
        self._pixels = picture if picture.ndim == 3 else picture[..., None]
        self.size: tuple[int, int] = self._pixels.shape[:2]
        self.channels: int = self._pixels.shape[2]

    def __call__(self, rows: slice, columns: slice, /) -> NDArray[Any]:
        """See `Windows`."""
        return self._pixels[rows, columns]


class Resized:
    """Another picture, bicubic with antialiasing; colours are weighted by alpha where pixels are merged."""

    def __init__(self, source: Windows, size: tuple[int, int]) -> None:
        self._source = source
        self.size, self.channels = size, source.channels
        merges = size[0] < source.size[0] or size[1] < source.size[1]
        self._weighs = merges and has_alpha(source.channels)
        self._ratios = [old / new for old, new in zip(source.size, size, strict=True)]
        self.reach = math.ceil(source.reach / min(self._ratios))

    def cost(self, height: int, width: int, /) -> float:
        """See `Windows`; what the other picture's window costs."""
        rows, columns = self._ratios
        return self._source.cost(math.ceil(height * rows), math.ceil(width * columns))

    def __call__(self, rows: slice, columns: slice, /) -> NDArray[Any]:
        """See `Windows`."""
        read = self._with_weighted_colours if self._weighs else self._source
        part = imresize_window(read, rows, columns, size=self._source.size, out_size=self.size)
        if part.dtype.kind == "f":
            np.clip(part, 0, 1, out=part)
        if not self._weighs:
            return part
        plain, weighted, alpha = np.split(part, [self.channels - 1, 2 * self.channels - 2], axis=2)
        own = np.minimum((8 * alpha) ** 2, 1)
        colours = own * np.clip(weighted / np.maximum(alpha, np.float32(1e-6)), 0, 1) + (1 - own) * plain
        return np.concatenate([colours, alpha], axis=2)

    def _with_weighted_colours(self, rows: slice, columns: slice) -> NDArray[Any]:
        part = self._source(rows, columns)
        colours, alpha = part[..., :-1], part[..., -1:]
        return np.concatenate([colours, colours * alpha, alpha], axis=2)


def has_alpha(channels: int) -> bool:
    """Whether the last channel is transparency."""
    return channels in (2, 4)


def tiles(
    picture: Windows, dtype: np.dtype[Any], *, tile: int, workers: int = 1
) -> Iterator[tuple[slice, slice, NDArray[Any]]]:
    """(rows, columns, pixels) of a picture from the top left, row by row, in tiles of at most `tile` · `tile` pixels.

    As many are computed at the same time as there are workers.
    """
    parts = tiling.split(*picture.size, halo=picture.reach, tile=tile, workers=workers, cost=picture.cost)
    cuts = [part.kept for part in parts]

    def compute(cut: tuple[slice, slice]) -> tuple[slice, slice, NDArray[Any]]:
        return *cut, quantised(picture(*cut), dtype)

    if workers == 1 or len(cuts) == 1:
        yield from map(compute, cuts)
        return
    pending: deque[Future[tuple[slice, slice, NDArray[Any]]]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for cut in cuts:
                pending.append(pool.submit(compute, cut))
                if len(pending) > workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def strips(picture: Windows, dtype: np.dtype[Any], *, tile: int, workers: int = 1) -> Iterator[NDArray[Any]]:
    """The rows of a picture from the top, `(rows, width, channels)` at a time."""
    strip = np.empty(0, dtype)
    for rows, columns, pixels in tiles(picture, dtype, tile=tile, workers=workers):
        if columns.start == 0:
            strip = np.empty((rows.stop - rows.start, picture.size[1], picture.channels), dtype)
        strip[:, columns] = pixels
        if columns.stop == picture.size[1]:
            yield strip


def collected(picture: Windows, dtype: np.dtype[Any], *, tile: int, workers: int = 1) -> NDArray[Any]:
    """The whole picture, `(h, w, channels)`."""
    whole = np.empty((*picture.size, picture.channels), dtype)
    for rows, columns, pixels in tiles(picture, dtype, tile=tile, workers=workers):
        whole[rows, columns] = pixels
    return whole


def quantised(values: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Clip to [0, 1] and bring to a picture's dtype, integers rounded half up; integers are left as they are."""
    if values.dtype.kind != "f":
        return values
    clipped = np.clip(values, 0, 1)
    if dtype.kind == "f":
        return clipped.astype(dtype)
    return np.floor(clipped * np.float32(_PEAKS[str(dtype)]) + np.float32(0.5)).astype(dtype)


def peak(picture: NDArray[Any]) -> float:
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
        if math.isnan(low) or math.isnan(high):
            raise UsageError("the picture has values that are no numbers (NaN); replace them first.")
        if low < -1 or high > 2:  # some overshoot around [0, 1] is clipped
            raise UsageError(f"the picture has floats from {low:.4g} to {high:.4g}; bring them to [0, 1] first.")
    return _PEAKS[str(picture.dtype)]


def _filled(
    colours: NDArray[np.float32], alpha: NDArray[np.float32], coarse: NDArray[np.float32] | None, levels: int
) -> NDArray[np.float32]:
    """Let the colour of pixels of alpha below 1/8 go over into that of their surroundings.

    These are the alpha-weighted mean of the 2×2 block around them, which goes over into its surroundings in turn.

    Args:
        colours: `(h, w, c)`.
        alpha: `(h, w, 1)`.
        coarse: the result for blocks of 2^levels pixels; None to go on until a side is 1.
        levels: how many times sides are halved before `coarse` is taken.
    """
    if coarse is not None and levels == 0:
        return coarse
    own = np.minimum((8 * alpha) ** 2, 1)
    if own.min() == 1 or (coarse is None and max(alpha.shape) == 1):
        return colours
    around = _filled(*_halved(colours, alpha, 2), coarse, levels - 1)
    height, width = alpha.shape[:2]
    return colours * own + around.repeat(2, axis=0).repeat(2, axis=1)[:height, :width] * (1 - own)


def _halved(
    colours: NDArray[np.float32], alpha: NDArray[np.float32], block: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The alpha-weighted mean colours of square blocks, and the alpha that these show on average."""
    rows, columns = range(0, alpha.shape[0], block), range(0, alpha.shape[1], block)

    def block_sums(values: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.add.reduceat(np.add.reduceat(values, rows, axis=0), columns, axis=1)

    sums = block_sums(alpha)
    mean = block_sums(colours * alpha) / np.maximum(sums, _TINY)
    return mean.astype(np.float32, copy=False), (sums / block**2).astype(np.float32, copy=False)
