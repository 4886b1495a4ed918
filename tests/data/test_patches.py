from __future__ import annotations

import numpy as np
import pytest
import torch

from upres.data.patches import PatchSource
from upres.errors import DataError
from upres.images.resize import imresize


@pytest.fixture
def planes():
    random = np.random.default_rng(0)
    return [random.integers(0, 256, size, np.uint8) for size in ((60, 80), (97, 51), (48, 48))]


def turns(plane):
    for k in range(4):
        yield np.rot90(plane, k)
        yield np.rot90(plane.T, k)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_pairs_are_the_same_place_turned_the_same_way(planes, scale):
    """Every pair is found, by search, as a slice of a turned picture and of its reduction."""
    patch = 6
    source = PatchSource(planes, scale=scale, patch=patch)
    low, high = source.batch(24, seed=1, step=5)
    assert low.shape == (24, 1, patch, patch)
    assert high.shape == (24, 1, scale * patch, scale * patch)
    assert low.dtype == high.dtype == torch.float32
    cropped = [p[: p.shape[0] - p.shape[0] % scale, : p.shape[1] - p.shape[1] % scale] for p in planes]
    for low_patch, high_patch in zip(low[:, 0].numpy(), high[:, 0].numpy(), strict=True):
        found = 0
        for plane in cropped:
            reduced = imresize(plane / 255.0, 1 / scale).astype(np.float32)
            for turned, turned_reduced in zip(turns(plane), turns(reduced), strict=True):
                windows = np.lib.stride_tricks.sliding_window_view(turned_reduced, (patch, patch))
                for i, j in np.argwhere((windows == low_patch).all((2, 3))):
                    inside = turned[i * scale :, j * scale :][: patch * scale, : patch * scale]
                    np.testing.assert_allclose(high_patch, inside.astype(np.float32) / 255, atol=1e-7)
                    found += 1
        assert found >= 1


def test_batch_depends_on_seed_and_step_alone(planes):
    one, two = (PatchSource(planes, scale=2, patch=8) for _ in range(2))
    two.batch(4, seed=0, step=99)
    for ours, theirs in zip(one.batch(8, seed=3, step=7), two.batch(8, seed=3, step=7), strict=True):
        assert torch.equal(ours, theirs)
    assert not torch.equal(one.batch(8, seed=3, step=7)[0], one.batch(8, seed=3, step=8)[0])
    assert not torch.equal(one.batch(8, seed=3, step=7)[0], one.batch(8, seed=4, step=7)[0])


def test_every_picture_and_turn_is_drawn_by_its_area():
    flat = [np.full((40, 40), 10, np.uint8), np.full((40, 80), 200, np.uint8)]
    _, high = PatchSource(flat, scale=2, patch=4).batch(4000, seed=0, step=0)
    share = float((high[:, 0, 0, 0] > 0.5).float().mean())
    assert share == pytest.approx(37 / (37 + 17), abs=0.03)  # places along the long side of each


def test_rescaled_copies_join(planes):
    source = PatchSource(planes, scale=2, patch=8, rescale=(1.0, 0.5))
    assert len(source._up_to) == 6


def test_too_small_pictures_are_named(planes):
    with pytest.raises(DataError, match="none of 3 pictures has 200 pixels a side"):
        PatchSource(planes, scale=2, patch=100)
