from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from upres.errors import UsageError
from upres.images import io
from upres.images.resize import contributions, imresize, imresize_window
from upres.inference.runtime import core_count


def test_equals_matlab_in_every_pixel_of_all_files(shared):
    files = sorted((shared / "reference" / "matlab-imresize").glob("*/x*/*.png"))
    assert len(files) == 57
    for file in files:
        scale, dataset = int(file.parent.name[1:]), file.parent.parent.name
        truth = io.read(shared / "data" / "test" / dataset / file.name).pixels
        height, width = (side - side % scale for side in truth.shape[:2])
        ours = imresize(truth[:height, :width], 1 / scale, edges="clamp")
        np.testing.assert_array_equal(ours, io.read(file).pixels, err_msg=str(file))


@pytest.mark.parametrize("size", [(40, 30), (31, 77), (97, 64), (200, 130), (13, 9)])
def test_equals_torch_away_from_the_edges(size):
    picture = np.random.default_rng(0).random((97, 64))
    theirs = torch.nn.functional.interpolate(
        torch.from_numpy(picture)[None, None], size=size, mode="bicubic", antialias=True
    )[0, 0].numpy()
    ours = imresize(picture, size=size)
    # Torch renormalises what lies inside at the edges, MATLAB mirrors: compare where the kernel stays inside.
    rows, columns = (int(np.ceil(2 * max(1, out / side))) + 1 for side, out in zip(picture.shape, size, strict=True))
    np.testing.assert_allclose(ours[rows:-rows, columns:-columns], theirs[rows:-rows, columns:-columns], atol=1e-12)


def test_step_response_of_keys_kernel():
    # Keys' kernel with a = −0.5 at quarter and three-quarter pixels, by hand: h(¼), h(¾), h(1¼), h(1¾).
    h = [0.8671875, 0.2265625, -0.0703125, -0.0234375]
    step = imresize(np.array([[0.0, 0, 0, 1, 1, 1]]), size=(1, 12))[0]
    np.testing.assert_allclose(step[5], h[1] + h[3], atol=1e-15)
    np.testing.assert_allclose(step[6], h[0] + h[2], atol=1e-15)
    np.testing.assert_allclose(step[3:5], [h[3], h[2]], atol=1e-15)


@pytest.mark.parametrize("edges", ["mirror", "clamp"])
@pytest.mark.parametrize(("length", "out"), [(1, 1), (1, 7), (2, 9), (100, 33), (33, 100), (5, 1)])
def test_weights_sum_to_one_and_stay_inside(length, out, edges):
    index, weights = contributions(length, out, out / length, edges=edges)
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    assert index.min() >= 0
    assert index.max() < length


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8, np.uint16])
@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (7, 3), (64, 64)])
def test_a_constant_picture_stays_constant(size, dtype):
    value = 1 if np.dtype(dtype).kind == "f" else 201
    result = imresize(np.full((9, 14, 3), value, dtype), size=size)
    assert result.dtype == dtype
    assert result.shape == (*size, 3)
    np.testing.assert_allclose(result, value, rtol=1e-6)


def test_scale_gives_the_ceiling_of_the_size():
    assert imresize(np.zeros((10, 11)), 1 / 3).shape == (4, 4)
    assert imresize(np.zeros((10, 11)), 2.5).shape == (25, 28)


def test_float32_agrees_with_float64():
    picture = np.random.default_rng(0).random((200, 300))
    np.testing.assert_allclose(imresize(picture.astype(np.float32), 2), imresize(picture, 2), atol=2e-6)


def test_memory_is_linear_in_the_picture():
    def peak(height: int, width: int) -> int:
        picture = np.zeros((height, width), np.float32)
        tracemalloc.start()
        imresize(picture, 0.5)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return peak

    assert peak(4000, 4000) < 4.4 * peak(2000, 2000)
    assert peak(20_000, 400) < 2.5 * 20_000 * 400 * 4


@pytest.mark.parametrize(
    ("picture", "arguments", "says"),
    [
        (np.zeros((4, 4)), {}, "exactly one"),
        (np.zeros((4, 4)), {"scale": 2, "size": (8, 8)}, "exactly one"),
        (np.zeros((4, 4)), {"scale": 0}, "scale 0"),
        (np.zeros((4, 4)), {"scale": float("nan")}, "scale nan"),
        (np.zeros((4, 4)), {"size": (0, 8)}, r"size \(0, 8\)"),
        (np.zeros((0, 4)), {"scale": 2}, r"shape \(0, 4\)"),
        (np.zeros(4), {"scale": 2}, r"shape \(4,\)"),
        (np.zeros((4, 4), np.int32), {"scale": 2}, "dtype int32"),
    ],
)
def test_wrong_arguments_are_named(picture, arguments, says):
    with pytest.raises(UsageError, match=says):
        imresize(picture, **arguments)


@settings(max_examples=150, deadline=None)
@given(
    st.tuples(st.integers(1, 60), st.integers(1, 60)),
    st.tuples(st.integers(1, 150), st.integers(1, 150)),
    st.sampled_from(["float32", "float64", "uint8", "uint16"]),
    st.data(),
)
def test_any_window_equals_the_whole(size, out_size, dtype, data):
    picture = (np.random.default_rng(0).random((*size, 2)) * (1 if dtype[0] == "f" else 255)).astype(dtype)
    whole = imresize(picture, size=out_size)
    spans = []
    for length in out_size:
        start = data.draw(st.integers(0, length - 1))
        spans.append(slice(start, data.draw(st.integers(start + 1, length))))
    part = imresize_window(lambda rows, columns: picture[rows, columns], *spans, size=size, out_size=out_size)
    np.testing.assert_allclose(part, whole[tuple(spans)], atol=1e-6 if dtype == "float32" else 1e-12)


@pytest.mark.skipif(core_count() == 1, reason="BLAS has one thread here, whatever it is given")
@pytest.mark.parametrize("scale", [2, 1 / 4])
def test_resizing_leaves_the_other_cores_alone(scale):
    code = f"""
import time, numpy as np
from upres.images.resize import imresize
picture = np.zeros((900, 1600), np.float32)
imresize(picture, {scale})
time.sleep(0.5)  # BLAS's threads spin for a while once they are made
everywhere, here = time.process_time(), time.thread_time()
for _ in range(10):
    imresize(picture, {scale})
print((time.process_time() - everywhere) / (time.thread_time() - here))
"""
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 1.05
