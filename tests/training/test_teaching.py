from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch

import upres
from upres import files
from upres.data.pack import Pack, write_pack
from upres.errors import Interrupted, ScaleError, UnknownModelError, UsageError
from upres.images.resize import imresize
from upres.recipes import RECIPES, SMALL_RECIPES
from upres.training import estimate, loop, teaching
from upres.training.recipe import Recipe
from upres.weights import catalog, store

RECIPE = replace(RECIPES["espcn"].at_scale(2).with_steps(1), settle=0, held_out=0, precision="f32", patch=16)


@pytest.fixture
def high(photo):
    return np.ascontiguousarray(photo[:96, :120, 1])


def reduced(high, scale):
    return imresize(high / 255.0, 1 / scale).astype(np.float32)


@pytest.fixture
def target_of(tmp_path):
    def make(teacher, scale, share=1.0):
        recipe = replace(RECIPE, teacher=teacher, teacher_share=share)
        target = teaching.target_of(recipe, scale, torch.device("cpu"), tmp_path)
        assert target is not None
        return target

    return make


@pytest.mark.parametrize("share", [1.0, 0.25])
def test_the_target_is_made_of_picture_and_result_by_share(high, target_of, share):
    target = target_of("fsrcnn", 2, share)(high, reduced(high, 2))
    assert target.dtype == np.uint8
    result = upres.load("fsrcnn", 2, engine="onnxruntime").luma(reduced(high, 2)) * 255
    assert np.abs(result - high).mean() > 1
    np.testing.assert_allclose(target, np.clip(high + share * (result - high), 0, 255), atol=0.501)


def test_a_teacher_of_a_larger_scale_is_reduced(high, target_of):
    target = target_of("lapsrn", 3)(high, reduced(high, 3))
    larger = upres.load("lapsrn", 4, engine="onnxruntime").luma(reduced(high, 3))
    np.testing.assert_allclose(target, np.clip(imresize(larger, size=high.shape) * 255, 0, 255), atol=0.501)


def test_what_a_teacher_made_is_kept_unless_it_is_damaged(high, target_of, tmp_path):
    low = reduced(high, 2)
    made = target_of("espcn", 2)(high, low)
    (kept,) = (tmp_path / ".taught").iterdir()
    whole = kept.read_bytes()
    sevens = np.full_like(high, 7)
    files.write_checked(kept, sevens.tobytes())
    assert np.array_equal(target_of("espcn", 2)(high, low), sevens)
    assert not np.array_equal(target_of("espcn", 2, 0.5)(high, low), sevens)
    assert not np.array_equal(target_of("fsrcnn", 2)(high, low), sevens)
    assert not np.array_equal(target_of("espcn", 2)(high, low[::-1]), sevens)
    for damage in (b"", whole[:-1], bytes(len(whole)), whole[:-1] + b"?"):
        kept.write_bytes(damage)
        assert np.array_equal(target_of("espcn", 2)(high, low), made)
        assert kept.read_bytes() == whole


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


def test_a_taught_run_of_several_scales_resumes_exactly_and_by_the_same_teacher(high, tmp_path):
    recipe = Recipe(
        network="srcnn",
        scale=2,
        more_scales=(3,),
        arguments={"kernel_sizes": (3, 1, 3), "residual": True},
        steps=6,
        batch=2,
        patch=12,
        precision="f32",
        held_out=0,
        validate_every=2,
        warmup=1,
    )
    teacher = tmp_path / "teacher.safetensors"
    shutil.copy(catalog.find("srcnn-915", 2).safetensors, teacher)
    recipe = replace(recipe, teacher=str(teacher))
    pack = Pack(("a",), (high,), digest="cat")

    def run(out, **options):
        return loop.train(recipe, pack, out, accelerator="cpu", compile=False, **options)

    def stop(report):
        if report.step == 4:
            signal.raise_signal(signal.SIGINT)

    left_alone = run(tmp_path / "one")
    with pytest.raises(Interrupted):
        run(tmp_path / "two", watch=stop, report_every=1)
    assert len(list((tmp_path / "two" / ".taught").iterdir())) == 2  # a picture at two scales
    shutil.copy(catalog.find("srcnn", 2).safetensors, teacher)
    with pytest.raises(UsageError, match="has other weights now"):
        run(tmp_path / "two", resume=True)
    shutil.copy(catalog.find("srcnn-915", 2).safetensors, teacher)
    resumed = run(tmp_path / "two", resume=True)
    one, two = (store.load(weights)[0].state_dict() for weights in (left_alone, resumed))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not (tmp_path / "two" / ".taught").exists()
    shutil.copytree(tmp_path / "one", tmp_path / "one" / ".taught")  # as after a kill at the very end
    run(tmp_path / "one", resume=True)
    assert not (tmp_path / "one" / ".taught").exists()


def _heed_interrupts():
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # tests that run in the background inherit that it is ignored


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
def test_a_run_that_is_stopped_while_it_is_taught_goes_on_with_what_was_made(photo, tmp_path):
    planes = tuple(np.ascontiguousarray(photo[y : y + 160, :, 1]) for y in range(20))
    write_pack(Pack(tuple("abcdefghijklmnopqrst"), planes, digest="cat"), tmp_path / "cat.pack")
    out = tmp_path / "run"
    call = [sys.executable, "-m", "upres", "train", "srcnn-915", "--steps", "2", "--batch", "2", "--no-compile"]
    call += ["--held-out", "1", "--data", str(tmp_path / "cat.pack"), "--teacher", "lapsrn", "--out", str(out)]

    def kept():
        return {path.name: path.stat().st_mtime_ns for path in out.glob(".taught/[!.]*")}

    @contextmanager
    def running_until_it_keeps_more_than(count):
        run = subprocess.Popen(call, stderr=subprocess.PIPE, text=True, preexec_fn=_heed_interrupts)
        try:
            while len(kept()) <= count:
                assert run.poll() is None
                time.sleep(0.01)
            yield run
        finally:
            run.kill()
            run.communicate()

    with running_until_it_keeps_more_than(0) as run:
        run.send_signal(signal.SIGINT)
        said = run.communicate(timeout=60)[1]
    assert run.returncode == 130
    assert "What lapsrn has made of the pictures is kept. Go on with:\n" in said
    assert "--resume" not in said
    before = kept()
    recipe = SMALL_RECIPES["srcnn-915"]
    assert 0 < len(before) < 19 * len(recipe.scales) * len(recipe.rescale)
    with running_until_it_keeps_more_than(len(before)):
        assert before.items() < kept().items()


def test_a_dry_run_says_that_it_leaves_the_teacher_out(high):
    found = estimate.estimate(replace(RECIPE, teacher="lapsrn"), Pack(("a",), (high,), "cat"), accelerator="cpu")
    assert "MiB without its teacher" in str(found)
    assert "validation and its teacher not counted" in str(found)


@pytest.mark.parametrize(
    ("teacher", "error", "says"),
    [
        ("lapsnr", UnknownModelError, "lapsrn"),
        (str(catalog.find("espcn", 2).safetensors), ScaleError, "no scale 3"),
        (str(catalog.find("espcn", 3).onnx), UsageError, "give the .safetensors file"),
        ("bicubic", UsageError, "is no network"),
    ],
)
def test_a_teacher_that_cannot_be_had_is_named_before_the_run_begins(high, tmp_path, teacher, error, says):
    recipe = replace(RECIPE, scale=3, teacher=teacher)
    with pytest.raises(error, match=says):
        loop.train(recipe, Pack(("a",), (high,), digest="cat"), tmp_path / "run", accelerator="cpu")
    assert not (tmp_path / "run").exists()


def test_a_teacher_is_named_as_text(tmp_path):
    with pytest.raises(UsageError, match="a name, or a path as text"):
        replace(RECIPES["vdsr"], teacher=tmp_path)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("share", [0.0, 1.5, float("nan")])
def test_a_share_is_above_zero_and_at_most_one(share):
    with pytest.raises(UsageError, match="teacher_share"):
        replace(RECIPES["vdsr"], teacher="lapsrn", teacher_share=share)
