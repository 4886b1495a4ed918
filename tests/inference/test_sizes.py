from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upres.errors import UsageError
from upres.inference.sizes import Wanted, parse_fit, steps


@pytest.mark.parametrize(
    ("wanted", "size", "label"),
    [
        ({"scale": 2.5}, (150, 100), "x2.5"),
        ({"scale": 0.001}, (1, 1), "x0.001"),
        ({"width": 1000}, (1500, 1000), "w1000"),
        ({"height": 90}, (90, 60), "h90"),
        ({"fit": (1920, 1080)}, (1080, 720), "1920x1080"),
        ({"fit": (100, 1080)}, (150, 100), "100x1080"),
        ({"megapixels": 24}, (6000, 4000), "24mp"),
    ],
)
def test_sizes_of_a_picture_of_40_by_60(wanted, size, label):
    assert Wanted(**wanted).of((60, 40)) == size
    assert Wanted(**wanted).label() == label


@pytest.mark.parametrize(
    ("scale", "chain"),
    [
        (0.5, ()),
        (1, ()),
        (1.5, (2,)),
        (2, (2,)),
        (2.5, (3,)),
        (4, (4,)),
        (5, (2, 3)),
        (6, (2, 3)),
        (8, (2, 4)),
        (16, (4, 4)),
    ],
)
def test_the_nearest_networks_above(scale, chain):
    assert steps((100, 150), Wanted(scale=scale).of((100, 150)), (2, 3, 4)) == chain
    assert steps((1, 1), Wanted(scale=scale).of((1, 1)), (2, 3, 4))[:1] == chain[:1] or scale in (1.5, 2.5)


def test_a_model_of_one_scale_repeats_it_and_bicubic_needs_none():
    assert steps((10, 10), (70, 70), (2,)) == (2, 2, 2)
    assert steps((10, 10), (70, 70), ()) == ()


@given(
    st.tuples(st.integers(1, 5000), st.integers(1, 5000)),
    st.floats(0.01, 40),
    st.sets(st.sampled_from([2, 3, 4, 8]), min_size=1),
)
def test_chains_reach_the_size_and_none_smaller_would(size, scale, scales):
    wanted = Wanted(scale=scale).of(size)
    chain = steps(size, wanted, scales)
    product = math.prod(chain)
    for side, target in zip(size, wanted, strict=True):
        assert side * product >= target - min(1, side / 100) - 1e-9 or not chain
    if not chain:
        assert wanted[0] <= size[0]
        assert wanted[1] <= size[1]
    elif len(chain) > 1:
        assert any(side * product // chain[-1] < target for side, target in zip(size, wanted, strict=True))


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        ({}, "the size is given by nothing; give one of scale, width, height, fit and megapixels"),
        ({"scale": 2, "width": 3}, "given by scale and width"),
        ({"scale": -1}, "scale is -1; it must be a finite number above 0"),
        ({"scale": float("nan")}, "scale is nan"),
        ({"megapixels": float("inf")}, "megapixels is inf"),
        ({"fit": (0, 5)}, "fit is 0×5"),
    ],
)
def test_what_is_no_size_is_named(wanted, says):
    with pytest.raises(UsageError, match=says):
        Wanted(**wanted)


def test_fit_is_read():
    assert parse_fit("1920x1080") == parse_fit("1920×1080") == (1920, 1080)
    for text in ("1920", "x", "1920x1080x3", "-1x5"):
        with pytest.raises(UsageError, match="give width and height as in 1920x1080"):
            parse_fit(text)
