"""PSNR and SSIM as the papers' MATLAB code computes them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from upres.errors import UsageError
from upres.images.resize import Edges, imresize

_GAUSSIAN = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
_WINDOW = _GAUSSIAN / _GAUSSIAN.sum()


def psnr(result: NDArray[Any], truth: NDArray[Any], *, peak: float = 255.0) -> float:
    """Peak signal-to-noise ratio in dB over all samples; infinity for equal arrays.

    Raises:
        UsageError: the shapes differ.
    """
    _check_shapes(result, truth)
    error = np.mean((result.astype(np.float64) - truth.astype(np.float64)) ** 2)
    return math.inf if error == 0 else 10 * math.log10(peak**2 / error)


def ssim(result: NDArray[Any], truth: NDArray[Any], *, peak: float = 255.0) -> float:
    """Structural similarity (Wang 2004): 11×11 Gaussian, σ 1.5, K = 0.01 and 0.03, mean over the valid region.

    `(h, w)`, or `(h, w, channels)` for the mean over channels. Both sides must be at least 11.

    Raises:
        UsageError: the shapes differ, or the picture is smaller than the window.
    """
    _check_shapes(result, truth)
    if min(result.shape[:2]) < _WINDOW.size:
        raise UsageError(f"SSIM got a {result.shape[1]}×{result.shape[0]} picture; its window needs 11×11 at least.")
    x, y = result.astype(np.float64), truth.astype(np.float64)
    mean_x, mean_y = _windowed(x), _windowed(y)
    variance_x = _windowed(x * x) - mean_x**2
    variance_y = _windowed(y * y) - mean_y**2
    covariance = _windowed(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * peak) ** 2, (0.03 * peak) ** 2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    contrast_and_structure = (2 * covariance + c2) / (variance_x + variance_y + c2)
    return float(np.mean(luminance * contrast_and_structure))


def consistency(result: NDArray[Any], low: NDArray[Any], *, edges: Edges = "mirror") -> float:
    """How faithful an enlargement is to its input: the result, reduced by MATLAB's bicubic, against the input.

    Needs no truth. What the network made up beyond the input leaves this high; what contradicts the input lowers it.

    Args:
        result: the enlargement, `(s·h, s·w)` or `(s·h, s·w, channels)`, on 0–255.
        low: what it was made from, `(h, w)` or `(h, w, channels)`, on 0–255; not rounded where the input was not.
        edges: what lies beyond the border; see `upres.images.resize.contributions`.

    Returns:
        PSNR in dB, peak 255; infinity for equal pictures.

    Raises:
        UsageError: the result is not the input enlarged by one whole factor.
    """
    height, width = low.shape[:2]
    scale = result.shape[0] // height
    if result.shape != (scale * height, scale * width, *low.shape[2:]):
        raise UsageError(f"consistency compares {low.shape} with an enlargement by a whole factor; got {result.shape}.")
    return psnr(imresize(result.astype(np.float64), size=(height, width), edges=edges), low)


def _windowed(picture: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean under the Gaussian window wherever it fits: `(h, w, …)` → `(h − 10, w − 10, …)`."""
    for axis in (0, 1):
        picture = sliding_window_view(picture, _WINDOW.size, axis) @ _WINDOW
    return picture


def _check_shapes(result: NDArray[Any], truth: NDArray[Any]) -> None:
    if result.shape != truth.shape:
        raise UsageError(f"compared shapes {result.shape} and {truth.shape}; they must be the same.")
