from __future__ import annotations

import numpy as np
import pytest

import upres
from upres.errors import UsageError
from upres.images.resize import imresize
from upres.inference import windows
from upres.inference.engines import LumaEngine
from upres.inference.upscaler import Enlarged, Upscaler
from upres.inference.windows import Pixels, Resized


def adversarial(height, width, channels, dtype=np.uint8):
    """Full-contrast noise; alpha is 0, 255 and between in blocks of any size."""
    random = np.random.default_rng(1)
    pixels = random.integers(0, 2, (height, width, channels)) * np.iinfo(dtype).max
    if windows.has_alpha(channels):
        pixels[..., -1] = random.integers(0, np.iinfo(dtype).max, (height, width)) * (
            random.random(pixels.shape[:2]) < 0.2
        )
        pixels[: height // 2, : width // 2, -1] = 0
    return pixels.astype(dtype)


RECURSIVE = ("drcn", "drcn-64", "drrn")
SLOW = (*RECURSIVE, "lapsrn", "red", "vdsr")


@pytest.mark.parametrize(
    "record",
    [
        pytest.param(record, id=f"{record.name}-x{record.scale}", marks=[pytest.mark.slow] * (record.name == "drcn"))
        for record in upres.models()
    ],
)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_pieces_equal_the_whole_with_every_network(record, channels):
    height, width, tile = (40, 52, 20 * record.scale) if record.name in SLOW else (97, 150, 61)
    if record.name in RECURSIVE and channels != 4:
        pytest.skip("its recursions take long, and colours only share the luma's result")
    picture = Pixels(adversarial(height, width, channels))
    upscaler = upres.load(record.name, record.scale, precision="f32")
    whole = Enlarged(picture, upscaler, "f32")(slice(0, height * record.scale), slice(0, width * record.scale))
    pieces = windows.collected(Enlarged(picture, upscaler, "f32"), np.dtype(np.float32), tile=tile)
    np.testing.assert_allclose(pieces, whole, atol=1e-5)


@pytest.mark.parametrize("rounds", [1, 3])
def test_pieces_equal_the_whole_with_back_projection(rounds):
    picture = Pixels(adversarial(97, 90, 3))
    upscaler = upres.load("fsrcnn", 3, precision="f32").consistent(rounds)
    whole = Enlarged(picture, upscaler, "f32")(slice(0, 97 * 3), slice(0, 90 * 3))
    pieces = windows.collected(Enlarged(picture, upscaler, "f32"), np.dtype(np.float32), tile=70)
    np.testing.assert_allclose(pieces, whole, atol=2e-5)


@pytest.mark.parametrize("channels", [1, 4])
def test_a_chain_and_a_reduction_in_pieces_equal_the_whole(channels):
    upscaler = upres.load("fsrcnn", 2, precision="f32")
    first = Enlarged(Pixels(adversarial(40, 53, channels)), upscaler, "f32")
    reduced = Resized(Enlarged(first, upscaler, "f32"), (133, 170))
    whole = reduced(slice(0, 133), slice(0, 170))
    np.testing.assert_allclose(windows.collected(reduced, np.dtype(np.float32), tile=31), whole, atol=2e-5)


def test_a_network_that_cannot_be_tiled_runs_once_over_the_whole():
    shapes = []

    def engine(y):
        shapes.append(y.shape)
        return (y - y.mean()).repeat(2, 0).repeat(2, 1) + y.mean()

    upscaler = Upscaler(lambda precision: LumaEngine(engine), name="centred", scale=2, halo=None, tile=8)
    picture = adversarial(40, 50, 1)
    np.testing.assert_array_equal(upscaler(picture), picture.repeat(2, 0).repeat(2, 1))
    assert shapes == [(16, 16), (40, 50)]  # the first makes the engine ready


def test_strips_are_the_rows_of_the_whole():
    picture = adversarial(50, 70, 4, np.uint16)
    strips = list(windows.strips(Pixels(picture), picture.dtype, tile=16))
    assert len(strips) > 3
    assert all(strip.shape[1:] == (70, 4) for strip in strips)
    visible = picture[..., 3] > 65535 / 8
    np.testing.assert_array_equal(np.concatenate(strips)[visible], picture[visible])


def test_hidden_colours_are_filled_alike_wherever_a_window_begins():
    """Against the definition over the whole picture, by halving until one pixel is left."""

    def filled(colours, alpha):
        own = np.minimum((8 * alpha) ** 2, 1)
        if max(alpha.shape) == 1:
            return colours
        pad = [(0, side % 2) for side in alpha.shape[:2]] + [(0, 0)]
        a = np.pad(alpha, pad).astype(np.float64)
        c = np.pad(colours, pad).astype(np.float64)

        def sums(v):
            return v[::2, ::2] + v[1::2, ::2] + v[::2, 1::2] + v[1::2, 1::2]

        around = filled(sums(a * c) / np.maximum(sums(a), 1e-30), sums(a) / 4).repeat(2, 0).repeat(2, 1)
        return colours * own + around[: alpha.shape[0], : alpha.shape[1]] * (1 - own)

    picture = adversarial(201, 330, 4)
    unit = picture / 255
    expected = filled(unit[..., :3], unit[..., 3:])
    pixels = Pixels(picture)
    np.testing.assert_allclose(pixels(slice(0, 201), slice(0, 330))[..., :3], expected, atol=2e-6)
    np.testing.assert_allclose(pixels(slice(63, 150), slice(100, 193))[..., :3], expected[63:150, 100:193], atol=2e-6)


def test_reduction_is_matlabs_and_weighs_colours_by_alpha():
    picture = np.random.default_rng(0).random((40, 60, 3))
    reduced = Resized(Pixels(picture), (20, 25))(slice(0, 20), slice(0, 25))
    np.testing.assert_allclose(reduced, imresize(picture, size=(20, 25)), atol=1e-6)
    transparent = np.zeros((64, 64, 4), np.float32)
    transparent[:, ::2] = (1, 0, 0, 1)
    transparent[:, 1::2] = (0, 0, 1, 0.25)
    colour = Resized(Pixels(transparent), (16, 16))(slice(0, 16), slice(0, 16))[8, 8]
    np.testing.assert_allclose(colour, (0.8, 0, 0.2, 0.625), atol=0.01)


def test_wrong_arrays_are_named():
    with pytest.raises(UsageError, match="dtype int64"):
        Pixels(np.zeros((4, 4), np.int64))
