from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from upres.images import colour
from upres.images.resize import imresize
from upres.inference import compose


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 30), st.integers(1, 30), st.sampled_from([1, 2, 3, 4]), st.integers(0, 2**32 - 1))
def test_it_equals_the_way_through_ycbcr(height, width, scale, seed):
    random = np.random.default_rng(seed)
    picture = random.random((height, width, 3), np.float32)
    residual = random.normal(0, 0.1, (height * scale, width * scale)).astype(np.float32)
    whole = compose.with_border(picture, (slice(0, height), slice(0, width)))
    result = compose.composer(scale, 3, np.dtype(np.float32))(whole, residual)

    ycbcr = imresize(colour.rgb_to_ycbcr(picture.astype(np.float64) * 255), scale)
    ycbcr[..., 0] += residual.astype(np.float64) * 255
    np.testing.assert_allclose(result, colour.ycbcr_to_rgb(ycbcr) / 255, atol=2e-6)


@pytest.mark.parametrize("channels", [1, 3])
def test_eight_bits_are_clipped_and_rounded_half_up(channels, photo):
    picture = (photo[:50, :60, :channels] / np.float32(255)).astype(np.float32)
    bordered = compose.with_border(picture, (slice(0, 50), slice(0, 60)))
    residual = np.random.default_rng(0).normal(0, 0.3, (100, 120)).astype(np.float32)
    small = compose.composer(2, channels, np.dtype(np.uint8))(bordered, residual)
    exact = compose.composer(2, channels, np.dtype(np.float32))(bordered, residual)
    assert (small == 0).any()
    assert (small == 255).any()
    np.testing.assert_allclose(small, np.clip(exact * 255, 0, 255), atol=0.501)


def test_a_part_sees_what_lies_around_it(photo):
    picture = photo[:40, :50]
    whole = compose.with_border(picture, (slice(0, 40), slice(0, 50)))
    part = compose.with_border(picture, (slice(10, 20), slice(30, 50)))
    np.testing.assert_array_equal(part, whole[10:24, 30:54])
