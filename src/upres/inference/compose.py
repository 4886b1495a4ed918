"""A picture and what bicubic interpolation of its luma lacks → the enlarged picture, in one pass.

Bicubic interpolation and the conversion between RGB and YCbCr are linear, and a change of BT.601 luma changes R, G and
B alike. So luma from a network beside Cb and Cr from bicubic interpolation is, in RGB,

    bicubic(rgb) + 255/219 · (luma − bicubic(luma))

and nothing has to be converted to YCbCr and back. OpenVINO compiles it, in float32.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upres.images.resize import contributions
from upres.inference import windows
from upres.inference.runtime import FIRST_USE, Compiled, core_count

BORDER = 2  # how far bicubic enlargement looks
_GAIN = 255 / 219  # BT.601: luma has 219 steps between black and white


class Composer:
    """Makes enlarged pictures of one dtype and number of channels; threads may share it.

    Args:
        scale: factor.
        channels: of the picture, without alpha.
        dtype: of the result: `uint8`, clipped and rounded half up; or `float32` with white at 1, unclipped.
    """

    def __init__(self, scale: int, channels: int, dtype: np.dtype[Any]) -> None:
        self._compiled = Compiled(_model(scale, channels, dtype), "f32", streams=core_count())

    def __call__(self, picture: NDArray[np.float32], residual: NDArray[np.float32]) -> NDArray[Any]:
        """Picture in [0, 1] with a border, `(h + 4, w + 4, c)`, and residual `(s·h, s·w)` → `(s·h, s·w, c)`."""
        return self._compiled(np.ascontiguousarray(picture)[None], np.ascontiguousarray(residual)[None, None])[0]


def composer(scale: int, channels: int, dtype: np.dtype[Any]) -> Composer:
    """The composer of this kind, made once; arguments as of `Composer`."""
    with FIRST_USE:
        return _made(scale, channels, dtype)


@lru_cache(maxsize=16)
def _made(scale: int, channels: int, dtype: np.dtype[Any]) -> Composer:
    made = Composer(scale, channels, dtype)
    made(np.zeros((1 + 2 * BORDER, 1 + 2 * BORDER, channels), np.float32), np.zeros((scale, scale), np.float32))
    return made


def with_border(picture: NDArray[np.float32], kept: tuple[slice, slice]) -> NDArray[np.float32]:
    """The part `kept` of `(h, w, c)` and two pixels around it; beyond the edges the picture lies mirrored."""
    rows, columns = (slice(part.start - BORDER, part.stop + BORDER) for part in kept)
    height, width, _ = picture.shape
    return windows.mirrored(lambda rows, columns: picture[rows, columns], rows, columns, size=(height, width))


def _model(scale: int, channels: int, dtype: np.dtype[Any]) -> Any:
    import openvino
    from openvino import opset13 as op

    picture: Any = op.parameter([1, -1, -1, channels], np.float32)
    residual: Any = op.parameter([1, 1, -1, -1], np.float32)
    planes: Any = op.transpose(picture, op.constant(np.array([0, 3, 1, 2])))
    phases: Any = op.group_convolution(planes, op.constant(_kernels(scale, channels)), [1, 1], [0, 0], [0, 0], [1, 1])
    enlarged: Any = op.depth_to_space(phases, "depth_first", scale) if scale > 1 else phases
    enlarged = op.add(enlarged, op.multiply(residual, op.constant(np.float32(_GAIN))))
    if dtype == np.uint8:
        levels: Any = op.multiply(op.clamp(enlarged, 0.0, 1.0), op.constant(np.float32(255)))
        enlarged = op.convert(op.floor(op.add(levels, op.constant(np.float32(0.5)))), "u8")
    result: Any = op.transpose(enlarged, op.constant(np.array([0, 2, 3, 1])))
    make: Any = openvino.Model
    return make([result], [picture, residual])


def _kernels(scale: int, channels: int) -> NDArray[np.float32]:
    """MATLAB's bicubic enlargement by a whole factor as one 5×5 kernel for each phase: `(c, s², 1, 5, 5)`."""
    middle = 4  # of nine inputs: far enough from the edges
    index, weights = contributions(9, 9 * scale, scale)
    taps = np.zeros((scale, 5))
    for phase in range(scale):
        row = middle * scale + phase
        np.add.at(taps[phase], (index[row] - middle + BORDER)[weights[row] != 0], weights[row][weights[row] != 0])
    kernels = np.einsum("pi,qj->pqij", taps, taps).reshape(1, scale**2, 1, 5, 5)
    return np.repeat(kernels, channels, axis=0).astype(np.float32)
