"""BT.601 as MATLAB's `rgb2ycbcr` has it: luma in 16–235, Cb and Cr in 16–240, around 128.

Values here are on the 0–255 scale of 8-bit pictures whatever the dtype; other depths are scaled by the caller.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# ITU-R BT.601-7, with MATLAB's coefficients for RGB in [0, 1].
_RGB_TO_YCBCR = np.array(
    [[65.481, 128.553, 24.966], [-37.797, -74.203, 112.0], [112.0, -93.786, -18.214]], dtype=np.float64
)
LUMA = _RGB_TO_YCBCR[0]  # luma on 0–255, above black at 16, of RGB in [0, 1]
_OFFSET = np.array([16.0, 128.0, 128.0])
_YCBCR_TO_RGB = np.linalg.inv(_RGB_TO_YCBCR) * 255


def rgb_to_ycbcr(rgb: NDArray[Any]) -> NDArray[np.floating[Any]]:
    """`(h, w, 3)` RGB in 0–255 → `(h, w, 3)` YCbCr, not rounded; float32 stays float32, all else gives float64."""
    dtype = np.float32 if rgb.dtype == np.float32 else np.float64
    return rgb.astype(dtype, copy=False) @ (_RGB_TO_YCBCR.T / 255).astype(dtype) + _OFFSET.astype(dtype)


def ycbcr_to_rgb(ycbcr: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """The inverse of `rgb_to_ycbcr`: neither rounded nor clipped."""
    dtype = ycbcr.dtype
    return (ycbcr - _OFFSET.astype(dtype)) @ _YCBCR_TO_RGB.T.astype(dtype)


def luma(picture: NDArray[Any]) -> NDArray[np.floating[Any]]:
    """Luma of `(h, w, 3)` RGB in 0–255, on MATLAB's 16–235; `(h, w)` gray is returned as it is, in 0–255."""
    if picture.ndim == 2:
        return picture.astype(np.float64)
    return picture.astype(np.float64) @ (LUMA / 255) + _OFFSET[0]


def to_uint8(values: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    """Round half up and saturate to 0–255."""
    return np.clip(np.floor(values + 0.5), 0, 255).astype(np.uint8)
