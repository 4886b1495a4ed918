from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from upres.data import pack, patches
from upres.data.patches import PatchSource
from upres.errors import DataError, OutputError
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


def test_another_target_takes_the_place_of_the_high_resolution(planes):
    def negative(high, low):
        assert high.shape == (2 * low.shape[0], 2 * low.shape[1])
        return 255 - high

    (low, high), (same_low, negated) = (
        PatchSource(planes, scale=2, patch=8, rescale=(1.0, 0.5), target=target).batch(16, seed=0, step=0)
        for target in (None, negative)
    )
    assert torch.equal(low, same_low)
    torch.testing.assert_close(negated, 1 - high)


def test_long_preparations_tell_how_far_they_are(planes, caplog, monkeypatch):
    monkeypatch.setattr(patches, "_SECONDS_UNTOLD", -1.0)
    with caplog.at_level("INFO", "upres.data"):
        PatchSource(planes, scale=2, patch=8)
    shares = [100 * i // len(planes) for i in range(1, len(planes) + 1)]
    assert caplog.messages == [f"×2: {share} % of the pictures are ready" for share in shares]


def test_too_small_pictures_are_named(planes):
    with pytest.raises(DataError, match="none of 3 pictures has 200 pixels a side"):
        PatchSource(planes, scale=2, patch=100)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_planes_in_a_file_give_the_same_patches(planes, scale, tmp_path):
    options = {"scale": scale, "patch": 6, "rescale": (1.0, 0.9, 0.7)}
    in_memory = PatchSource(planes, **options)
    in_file = PatchSource(planes, **options, in_memory=0, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []
    for step in range(20):
        one, two = (source.batch(16, seed=2, step=step) for source in (in_memory, in_file))
        assert torch.equal(one[0], two[0])
        assert torch.equal(one[1], two[1])


def test_the_limit_counts_both_resolutions(tmp_path):
    plane = np.zeros((60, 81), np.uint8)
    size = 60 * 80 + 4 * 30 * 40
    PatchSource([plane], scale=2, patch=8, in_memory=size, folder=tmp_path / "no")
    with pytest.raises(OutputError, match="/no: the training planes could not be written to a temporary file there"):
        PatchSource([plane], scale=2, patch=8, in_memory=size - 1, folder=tmp_path / "no")


def test_another_device_takes_the_planes_whatever_their_size(planes, tmp_path):
    source = PatchSource(planes, scale=2, patch=8, device="meta", in_memory=0, folder=tmp_path / "no")
    assert source._high.flat.device.type == source._low.flat.device.type == "meta"


def test_a_full_disk_is_named(tmp_path, file_size_limit):
    planes = [np.zeros((100, 100), np.uint8)] * 4
    with file_size_limit(30_000), pytest.raises(OutputError, match="free space or choose a folder on another disk"):
        PatchSource(planes, scale=2, patch=8, in_memory=0, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_planes_are_laid_out_once(peak_memory):
    planes = [np.zeros((100, 100), np.uint8)] * 200
    size = 200 * (100 * 100 + 4 * 50 * 50)
    PatchSource(planes[:1], scale=2, patch=8)  # the resize matrices are cached
    assert size < peak_memory(lambda: PatchSource(planes, scale=2, patch=8)) < 1.2 * size


WITH_64_MIB = """
import re, resource, sys
from pathlib import Path
import torch
from upres.data.pack import read_pack
from upres.data.patches import PatchSource

torch.set_num_threads(1)
PatchSource([torch.zeros(64, 64, dtype=torch.uint8).numpy()], scale=2, patch=16).batch(16, seed=0, step=0)
used = int(re.search(r"VmData:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024
resource.setrlimit(resource.RLIMIT_DATA, (used + 64 * 2**20,) * 2)
path, folder, in_memory = sys.argv[1:]
pictures = read_pack(path)
assert sum(plane.size for plane in pictures.planes) >= 3 * 64 * 2**20
training, _ = pictures.split(1)
source = PatchSource(training.planes, scale=2, patch=16, in_memory=int(in_memory), folder=Path(folder))
for step in range(300):
    low, high = source.batch(16, seed=0, step=step)
    assert 0 < high.mean() < 1
print("trained")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs RLIMIT_DATA and /proc")
def test_a_pack_of_three_times_the_memory(tmp_path):
    """192 MiB of pictures with 64 MiB more than PyTorch itself takes: enough from a file, too little in memory."""
    plane = np.random.default_rng(0).integers(0, 256, (1024, 2048), np.uint8)
    names = tuple(f"{i:03}" for i in range(98))
    pack.write_pack(pack.Pack(names, (plane,) * len(names), ""), tmp_path / "p.pack")

    def run(in_memory):
        command = [sys.executable, "-c", WITH_64_MIB, tmp_path / "p.pack", tmp_path, in_memory]
        threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}  # each takes memory
        return subprocess.run(
            list(map(str, command)), capture_output=True, text=True, env=os.environ | threads, timeout=120
        )

    from_file = run(2**20)
    assert (from_file.returncode, from_file.stdout) == (0, "trained\n"), from_file.stderr
    in_memory = run(2**40)
    assert in_memory.returncode == 1
    assert "MemoryError: Unable to allocate" in in_memory.stderr
