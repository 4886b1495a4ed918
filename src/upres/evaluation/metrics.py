"""PSNR and SSIM as the papers' MATLAB code computes them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upres.errors import MissingExtraError, UsageError


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
        MissingExtraError: scikit-image is not installed.
    """
    _check_shapes(result, truth)
    if min(result.shape[:2]) < 11:
        raise UsageError(f"SSIM got a {result.shape[1]}×{result.shape[0]} picture; its window needs 11×11 at least.")
    try:
        from skimage import metrics
    except ImportError as error:
        raise MissingExtraError("scikit-image", "eval") from error
    structural_similarity: Any = metrics.structural_similarity  # pyright: ignore[reportUnknownVariableType]
    value = structural_similarity(
        result.astype(np.float64),
        truth.astype(np.float64),
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=peak,
        channel_axis=2 if result.ndim == 3 else None,
    )
    return float(value)


def _check_shapes(result: NDArray[Any], truth: NDArray[Any]) -> None:
    if result.shape != truth.shape:
        raise UsageError(f"compared shapes {result.shape} and {truth.shape}; they must be the same.")
