from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import upres
from upres.inference import tiling
from upres.inference.engines import TorchEngine
from upres.networks import NETWORKS

RECORDS = [
    pytest.param(record, id=f"{record.name}-x{record.scale}", marks=[pytest.mark.slow] * (record.name == "drcn"))
    for record in upres.models()
]
DEEP = ("drcn", "drcn-64", "drrn", "red", "vdsr")  # on which a processor without AVX-512 takes minutes
SMALL = {"vdsr": {"channels": 4}, "drcn": {"channels": 4}, "red": {"channels": 4}, "drrn": {"channels": 4, "units": 3}}


def adversarial(height: int, width: int) -> np.ndarray:
    """Full-contrast noise: no pixel helps to guess its neighbour."""
    return np.random.default_rng(0).integers(0, 2, (height, width)).astype(np.float32)


@pytest.mark.parametrize("record", RECORDS)
@pytest.mark.parametrize(("size", "tile"), [((150, 131), 64), ((150, 131), 37), ((40, 300), 50), ((1, 500), 99)])
def test_catalog_in_tiles_equals_the_whole(record, size, tile):
    if record.name in DEEP:
        size, tile = ((side + 3) // 4 for side in size), tile // 4
    y = adversarial(*size)
    whole = upres.load(record.name, record.scale, precision="f32", tile=10_000).luma(y)
    tiled = upres.load(record.name, record.scale, precision="f32", tile=tile).luma(y)
    np.testing.assert_allclose(tiled, whole, atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_in_tiles_equals_the_whole_and_needs_its_halo(name):
    torch.manual_seed(0)
    network = NETWORKS[name](scale=2, **SMALL.get(name, {})).double().eval()
    if name == "srcnn":
        network.start_as_interpolation()  # as constructed, its weights are all but zero

    def engine(y):
        with torch.inference_mode():
            return network(torch.from_numpy(y)[None, None].double())[0, 0].numpy()

    y = adversarial(97, 121)
    whole = engine(y)
    scale_of_values = np.abs(whole).max()
    tiled = tiling.run(engine, y, scale=2, halo=network.halo, tile=30)
    np.testing.assert_allclose(tiled, whole, atol=1e-5 * max(scale_of_values, 1))
    cut_short = tiling.run(engine, y, scale=2, halo=0, tile=30)
    assert np.abs(cut_short - whole).max() > 1e-3 * scale_of_values


def test_all_reads_have_one_shape():
    shapes = []

    def engine(y):
        shapes.append(y.shape)
        return y.repeat(2, 0).repeat(2, 1)

    y = adversarial(333, 217)
    np.testing.assert_array_equal(tiling.run(engine, y, scale=2, halo=5, tile=100), engine(y))
    assert len(set(shapes[:-1])) == 1
    assert len(shapes) == 4 * 2 + 1


@settings(deadline=None)
@given(
    st.integers(1, 600), st.integers(1, 600), st.integers(0, 60), st.integers(20, 600), st.sampled_from([1, 2, 3, 16])
)
def test_tiles_cover_a_picture_once_and_read_their_halo(height, width, halo, tile, workers):
    tiles = tiling.split(height, width, halo=halo, tile=tile, workers=workers)
    covered = np.zeros((height, width), np.uint8)
    for part in tiles:
        covered[part.kept] += 1
        for kept, read, length in zip(part.kept, part.read, (height, width), strict=True):
            assert 0 <= read.start <= max(kept.start - halo, 0)
            assert min(kept.stop + halo, length) <= read.stop <= length
        assert covered[part.kept].size <= tile * tile
    assert (covered == 1).all()
    assert len({tuple(read.stop - read.start for read in part.read) for part in tiles}) == 1


def test_workers_all_get_a_tile_and_little_is_computed_twice():
    def computed(height, width, workers):
        tiles = tiling.split(height, width, halo=8, tile=512, workers=workers)
        shapes = [tuple(read.stop - read.start for read in part.read) for part in tiles]
        return len(tiles), sum(rows * columns for rows, columns in shapes) / (height * width)

    assert computed(540, 960, 1)[1] < 1.04
    assert computed(540, 960, 2) == (2, pytest.approx(1.0, abs=0.04))
    assert computed(3000, 4000, 2)[1] < 1.09


def test_an_error_in_a_tile_reaches_the_caller():
    def engine(y):
        raise MemoryError

    with pytest.raises(MemoryError):
        tiling.run(engine, adversarial(50, 50), scale=2, halo=2, tile=20, workers=2)


def test_torch_engine_keeps_float32():
    engine = TorchEngine(NETWORKS["espcn"](scale=2).eval())
    assert engine(np.zeros((4, 5), np.float32)).dtype == np.float32
