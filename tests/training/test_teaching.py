from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import upres
from upres.data.pack import Pack
from upres.errors import ScaleError, UnknownModelError, UsageError
from upres.images.resize import imresize
from upres.recipes import RECIPES
from upres.training import loop, teaching
from upres.weights import catalog

RECIPE = replace(RECIPES["espcn"].at_scale(2).with_steps(1), settle=0, held_out=0, precision="f32", patch=16)


@pytest.fixture
def high(photo):
    return np.ascontiguousarray(photo[:96, :120, 1])


def reduced(high, scale):
    return imresize(high / 255.0, 1 / scale).astype(np.float32)


def target_of(teacher, scale, share=1.0):
    target = teaching.target_of(replace(RECIPE, teacher=teacher, teacher_share=share), scale, torch.device("cpu"))
    assert target is not None
    return target


@pytest.mark.parametrize("share", [1.0, 0.25])
def test_the_target_is_made_of_picture_and_result_by_share(high, share):
    target = target_of("fsrcnn", 2, share)(high, reduced(high, 2))
    assert target.dtype == np.uint8
    result = upres.load("fsrcnn", 2, engine="onnxruntime").luma(reduced(high, 2)) * 255
    assert np.abs(result - high).mean() > 1
    np.testing.assert_allclose(target, np.clip(high + share * (result - high), 0, 255), atol=0.501)


def test_a_teacher_of_a_larger_scale_is_reduced(high):
    target = target_of("lapsrn", 3)(high, reduced(high, 3))
    larger = upres.load("lapsrn", 4, engine="onnxruntime").luma(reduced(high, 3))
    np.testing.assert_allclose(target, np.clip(imresize(larger, size=high.shape) * 255, 0, 255), atol=0.501)


def test_a_network_that_is_its_own_teacher_has_nothing_to_learn(high, tmp_path):
    """Its loss is what rounding to gray levels leaves; that of the pictures is many times as much."""
    pack = Pack(("a",), (high,), digest="cat")
    losses = {}
    for name, teacher in (("pictures", ""), ("itself", "espcn")):
        loop.train(
            replace(RECIPE, teacher=teacher, loss="l1"),
            pack,
            tmp_path / name,
            init=[catalog.find("espcn", 2).safetensors],
            accelerator="cpu",
            compile=False,
            watch=lambda report, name=name: losses.update({name: report.loss * 255}),
        )
    assert losses["itself"] < 0.8
    assert losses["pictures"] > 3 * losses["itself"]


@pytest.mark.parametrize(
    ("teacher", "error", "says"),
    [
        ("lapsnr", UnknownModelError, "lapsrn"),
        (str(catalog.find("espcn", 2).safetensors), ScaleError, "no scale 3"),
    ],
)
def test_a_teacher_that_cannot_be_had_is_named_before_the_run_begins(high, tmp_path, teacher, error, says):
    recipe = replace(RECIPE, scale=3, teacher=teacher)
    with pytest.raises(error, match=says):
        loop.train(recipe, Pack(("a",), (high,), digest="cat"), tmp_path / "run", accelerator="cpu")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("share", [0.0, 1.5, float("nan")])
def test_a_share_is_above_zero_and_at_most_one(share):
    with pytest.raises(UsageError, match="teacher_share"):
        replace(RECIPES["vdsr"], teacher="lapsrn", teacher_share=share)
