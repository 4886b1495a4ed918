"""MATLAB's `imresize` with the bicubic kernel: the resize behind every published super-resolution table.

Cubic convolution with a = −0.5 (Keys 1981), half-pixel centres; when a side shrinks, the kernel is widened by the
inverse scale (antialiasing) and its weights are normalised. Each side is one product with a banded matrix, cut
into dense blocks so that BLAS does the work and memory stays linear in the picture.

Verified pixel for pixel against files that MATLAB wrote (`tests/images/test_resize.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from upres.errors import UsageError

Edges = Literal["mirror", "clamp"]
FloatArray = NDArray[np.floating[Any]]

_BLOCK = 32  # outputs a dense block computes; wide enough for BLAS, narrow enough to waste little
# Multiplications of the largest product that OpenBLAS leaves to the thread that asks. Its own threads would wait for
# cores that are busy with the network or with other tiles: ESPCN took twice as long beside them.
_SERIAL = 2**18


def cubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keys' cubic convolution kernel with a = −0.5, zero outside |x| ≤ 2."""
    x = np.abs(x)
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return near * (x <= 1) + far * ((x > 1) & (x <= 2))


def contributions(
    length: int, out_length: int, scale: float, *, edges: Edges = "mirror", first: int = 0
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Which inputs make each output along one side, and with what weight.

    Args:
        length: pixels in.
        out_length: pixels out.
        scale: out over in as the caller states it; `imresize` places its samples by this, not by the lengths.
        edges: `mirror` repeats the picture mirrored (the edge pixel twice), as current MATLAB does;
            `clamp` repeats the edge pixel, as releases before R2014 or so did.
        first: the output to begin with.

    Returns:
        Indices in [0, length) and weights that sum to 1, both `(out_length − first, taps)`.
    """
    shrink = min(scale, 1.0)
    width = 4 / shrink
    centre = np.arange(first + 1, out_length + 1) / scale + 0.5 * (1 - 1 / scale)
    left = np.floor(centre - width / 2)
    taps = left[:, None] + np.arange(math.ceil(width) + 2)
    weights = shrink * cubic(shrink * (centre[:, None] - taps))
    weights /= weights.sum(axis=1, keepdims=True)
    index = taps.astype(np.intp) - 1
    if edges == "clamp":
        index = np.clip(index, 0, length - 1)
    else:
        index %= 2 * length
        index = np.where(index < length, index, 2 * length - 1 - index)
    return index, weights


@dataclass(frozen=True)
class _Side:
    """Outputs `first` to `stop` of one side: `length` pixels in, `scale` and `edges` as in `contributions`."""

    length: int
    first: int
    stop: int
    scale: float
    edges: Edges


@lru_cache(maxsize=64)
def _blocks(side: _Side, dtype: np.dtype[Any]) -> tuple[tuple[slice, slice, FloatArray], ...]:
    """The banded matrix of one side as (outputs from `first` on, inputs, dense weights `(outputs, inputs)`) blocks."""
    index, weights = contributions(side.length, side.stop, side.scale, edges=side.edges, first=side.first)

    def cut() -> Iterator[tuple[slice, slice, FloatArray]]:
        for start in range(0, len(index), _BLOCK):
            rows = slice(start, min(start + _BLOCK, len(index)))
            used = index[rows]
            first, stop = int(used.min()), int(used.max()) + 1
            dense = np.zeros((rows.stop - rows.start, stop - first))
            np.add.at(dense, (np.arange(len(used))[:, None], used - first), weights[rows])
            yield rows, slice(first, stop), dense.astype(dtype)

    return tuple(cut())


def _round_to(dtype: np.dtype[Any], values: FloatArray) -> NDArray[Any]:
    """Round half away from zero, as MATLAB does, and saturate."""
    return np.clip(np.floor(values + 0.5), 0, np.iinfo(dtype).max).astype(dtype)


def _resize_side(plane: NDArray[Any], axis: int, side: _Side, first_input: int) -> NDArray[Any]:
    """One pass over a plane whose rows or columns begin with number `first_input` of the whole picture's."""
    compute = plane.dtype if plane.dtype.kind == "f" else np.dtype(np.float64)
    out_length = side.stop - side.first
    shape = (out_length, plane.shape[1]) if axis == 0 else (plane.shape[0], out_length)
    out = np.empty(shape, plane.dtype)
    for outputs, inputs, weights in _blocks(side, compute):
        inputs = slice(inputs.start - first_input, inputs.stop - first_input)
        across = max(_SERIAL // weights.size, 1)
        for start in range(0, plane.shape[1 - axis], across):
            lines = slice(start, start + across)
            if axis == 0:
                block = weights @ plane[inputs, lines].astype(compute, copy=False)
            else:
                block = plane[lines, inputs].astype(compute, copy=False) @ weights.T
            where = (outputs, lines) if axis == 0 else (lines, outputs)
            out[where] = block if plane.dtype.kind == "f" else _round_to(plane.dtype, block)
    return out


def imresize(
    picture: NDArray[Any],
    scale: float | None = None,
    *,
    size: tuple[int, int] | None = None,
    edges: Edges = "mirror",
) -> NDArray[Any]:
    """Resize like MATLAB's `imresize(picture, scale)` or `imresize(picture, size)`, bicubic with antialiasing.

    Args:
        picture: `(h, w)` or `(h, w, channels)`; float32 or float64 of any range, or uint8 or uint16. Integers are
            rounded and saturated after each of the two passes, as MATLAB does.
        scale: factor for both sides; the result has `ceil(scale · side)` pixels a side.
        size: `(height, width)` of the result, instead of `scale`.
        edges: what lies beyond the border; see `contributions`.

    Returns:
        The resized picture, in the dtype that came in.

    Raises:
        UsageError: neither or both of `scale` and `size`, an empty picture, or a dtype not named above.
    """
    if (scale is None) == (size is None):
        raise UsageError("imresize takes either a scale or a size; give exactly one of them.")
    if picture.ndim not in (2, 3) or 0 in picture.shape:
        raise UsageError(f"imresize got shape {picture.shape}; it takes (h, w) or (h, w, channels) with no empty side.")
    if str(picture.dtype) not in ("float32", "float64", "uint8", "uint16"):
        raise UsageError(f"imresize got dtype {picture.dtype}; it takes float32, float64, uint8 or uint16.")
    height, width = picture.shape[:2]
    if scale is not None:
        if not (scale > 0 and math.isfinite(scale)):
            raise UsageError(f"imresize got scale {scale}; it must be a finite number above 0.")
        factors = (float(scale), float(scale))
        size = (math.ceil(scale * height), math.ceil(scale * width))
    else:
        assert size is not None
        if min(size) < 1:
            raise UsageError(f"imresize got size {size}; both sides must be at least 1.")
        factors = (size[0] / height, size[1] / width)
    sides = (_Side(height, 0, size[0], factors[0], edges), _Side(width, 0, size[1], factors[1], edges))
    return _resize(picture, sides, (0, 0))


def imresize_window(
    read: Callable[[slice, slice], NDArray[Any]],
    rows: slice,
    columns: slice,
    *,
    size: tuple[int, int],
    out_size: tuple[int, int],
) -> NDArray[Any]:
    """A window of what `imresize(picture, size=out_size)` gives, from no more of the picture than it needs.

    Args:
        read: gives rows and columns of the picture, `(h, w)` or `(h, w, channels)`, in `imresize`'s dtypes.
        rows: which of the result are wanted.
        columns: which of the result are wanted.
        size: `(height, width)` of the picture.
        out_size: `(height, width)` of the whole result.
    """
    height = _Side(size[0], rows.start, rows.stop, out_size[0] / size[0], "mirror")
    width = _Side(size[1], columns.start, columns.stop, out_size[1] / size[1], "mirror")
    needed = (_inputs(height), _inputs(width))
    return _resize(read(*needed), (height, width), (needed[0].start, needed[1].start))


def _inputs(side: _Side) -> slice:
    """From the first to the last pixel that the outputs read."""
    blocks = _blocks(side, np.dtype(np.float32))
    return slice(min(inputs.start for _, inputs, _ in blocks), max(inputs.stop for _, inputs, _ in blocks))


def _resize(part: NDArray[Any], sides: tuple[_Side, _Side], first: tuple[int, int]) -> NDArray[Any]:
    """Both passes over every channel of a part that begins with row and column `first`."""
    if part.ndim == 3:
        return np.stack([_resize(part[..., c], sides, first) for c in range(part.shape[2])], axis=-1)
    smaller_factor_first = sorted((0, 1), key=lambda axis: sides[axis].scale)
    for axis in smaller_factor_first:
        part = _resize_side(part, axis, sides[axis], first[axis])
    return part
