from __future__ import annotations

import numpy as np
import pytest

from upres.images import colour


@pytest.mark.parametrize(
    ("rgb", "ycbcr"),  # MATLAB's rgb2ycbcr on double, times 255
    [
        ((0, 0, 0), (16, 128, 128)),
        ((255, 255, 255), (235, 128, 128)),
        ((255, 0, 0), (81.481, 90.203, 240)),
        ((0, 255, 0), (144.553, 53.797, 34.214)),
        ((0, 0, 255), (40.966, 240, 109.786)),
    ],
)
def test_matlab_values(rgb, ycbcr):
    np.testing.assert_allclose(colour.rgb_to_ycbcr(np.array([[rgb]], np.uint8))[0, 0], ycbcr, atol=1e-9)
    np.testing.assert_allclose(colour.luma(np.array([[rgb]], np.uint8))[0, 0], ycbcr[0], atol=1e-9)


def test_round_trip_and_dtypes():
    rgb = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    np.testing.assert_array_equal(colour.to_uint8(colour.ycbcr_to_rgb(colour.rgb_to_ycbcr(rgb))), rgb)
    single = colour.rgb_to_ycbcr(rgb.astype(np.float32))
    assert single.dtype == colour.ycbcr_to_rgb(single).dtype == np.float32
    np.testing.assert_array_equal(colour.to_uint8(colour.ycbcr_to_rgb(single)), rgb)


def test_gray_is_its_own_luma_and_rounding_is_half_up():
    gray = np.array([[0, 7, 255]], np.uint8)
    np.testing.assert_array_equal(colour.luma(gray), gray)
    np.testing.assert_array_equal(colour.to_uint8(np.array([-3, 0.5, 1.49, 254.5, 300.0])), [0, 1, 1, 255, 255])
