from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pytest
import torch

from upres.data.pack import Pack
from upres.errors import DataError, OutputError, UsageError
from upres.evaluation import protocol
from upres.inference.upscaler import Bicubic
from upres.networks import ESPCN
from upres.training import checkpoint, loop
from upres.training.losses import LOSSES
from upres.training.recipe import Recipe
from upres.weights import store

RECIPE = Recipe(
    network="fsrcnn",
    scale=2,
    arguments={"d": 8, "s": 4, "m": 1},
    steps=24,
    batch=4,
    patch=8,
    learning_rate=1e-3,
    warmup=4,
    settle=6,
    held_out=1,
    validate_every=8,
)


@pytest.fixture
def pack(photo):
    planes = tuple(np.ascontiguousarray(photo[y : y + 100, x : x + 120, 1]) for y in (0, 100) for x in (0, 150))
    return Pack(tuple("abcd"), planes, digest="cat")


def run(recipe, pack, out, **options):
    return loop.train(recipe, pack, out, accelerator="cpu", compile=False, **options)


def tensors(weights):
    return {k: v.clone() for k, v in store.load(weights)[0].state_dict().items()}


def assert_equal(one, two):
    assert one.keys() == two.keys()
    for name in one:
        assert torch.equal(one[name], two[name]), name


def test_a_run_writes_weights_that_say_what_they_are(tmp_path, pack):
    reports = []
    weights = run(RECIPE, pack, tmp_path / "run", watch=reports.append)
    assert weights == tmp_path / "run" / "fsrcnn-x2.safetensors"
    network, metadata = store.load(weights)
    assert (metadata.network, metadata.scale, metadata.steps, metadata.seed) == ("fsrcnn", 2, 24, 0)
    assert (metadata.data, metadata.halo, metadata.init) == ("cat", network.halo, None)
    assert metadata.arguments == {"scale": 2, "d": 8, "s": 4, "m": 1}
    assert metadata.recipe["learning_rate"] == 1e-3
    assert metadata.parameters == sum(p.numel() for p in network.parameters())
    assert [r.step for r in reports] == [8, 16, 24]
    assert all(r.psnr > 20 and r.loss > 0 and r.patches_per_second > 0 for r in reports)
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"fsrcnn-x2.safetensors", "metrics.csv"} <= names
    assert any(name.startswith("events.out.tfevents") for name in names)
    assert not any(name.startswith(("checkpoint", ".upres")) for name in names)
    with (tmp_path / "run" / "metrics.csv").open() as file:
        assert [int(row["step"]) for row in csv.DictReader(file)] == [8, 16, 24]


def test_four_hundred_steps_beat_bicubic_on_a_held_out_picture(tmp_path, pack):
    reports = []
    recipe = replace(RECIPE, steps=400, settle=40, learning_rate=3e-3, ema=0.9)
    run(recipe, pack, tmp_path, watch=reports.append)
    (held_out,) = pack.split(1)[1].planes
    assert reports[-1].psnr > protocol.score(Bicubic(2), held_out, 2, with_ssim=False).psnr
    assert reports[-1].psnr > reports[0].psnr


@pytest.mark.parametrize("stop_after", [8, 16])
@pytest.mark.parametrize("settle", [6, 16])
def test_an_interrupted_run_ends_as_one_left_alone(tmp_path, pack, stop_after, settle):
    recipe = replace(RECIPE, settle=settle)
    alone = tensors(run(recipe, pack, tmp_path / "alone"))

    def stop(report):
        if report.step > stop_after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(recipe, pack, tmp_path / "cut", watch=stop)
    assert checkpoint.find(tmp_path / "cut")
    assert_equal(tensors(run(recipe, pack, tmp_path / "cut", resume=True)), alone)
    with (tmp_path / "cut" / "metrics.csv").open() as file:
        assert [int(row["step"]) for row in csv.DictReader(file)] == [8, 16, 24]


def test_resume_is_of_the_same_run(tmp_path, pack):
    def stop(report):
        if report.step > 8:
            raise KeyboardInterrupt

    first = run(RECIPE, pack, tmp_path / "first")
    out = tmp_path / "cut"
    with pytest.raises(KeyboardInterrupt):
        run(RECIPE, pack, out, init=first, watch=stop)
    for field, value in (("seed", 5), ("learning_rate", 0.5), ("steps", 16), ("loss", "mse")):
        with pytest.raises(UsageError, match=f"was begun with {field} = .*, not {value!r}; resume with the same"):
            run(replace(RECIPE, **{field: value}), pack, out, resume=True)
    with pytest.raises(UsageError, match="was begun with data = 'cat', not 'dog'"):
        run(RECIPE, replace(pack, digest="dog"), out, resume=True)
    assert store.load(run(RECIPE, pack, out, resume=True))[1].init.startswith("fsrcnn-x2")  # as it was begun
    with pytest.raises(UsageError, match="is finished already"):
        run(RECIPE, pack, out)


def test_a_damaged_checkpoint_is_named(tmp_path, pack):
    tmp_path.joinpath("checkpoint-000000008.pt").write_bytes(b"PK nothing")
    with pytest.raises(
        DataError, match=r"every checkpoint is damaged: checkpoint-000000008.pt \(its checksum is wrong"
    ):
        run(RECIPE, pack, tmp_path, resume=True)


def test_seed_decides(tmp_path, pack):
    one, two = (tensors(run(RECIPE, pack, tmp_path / name)) for name in "ab")
    assert_equal(one, two)
    other = tensors(run(replace(RECIPE, seed=1), pack, tmp_path / "c"))
    assert not torch.equal(one["feature.0.weight"], other["feature.0.weight"])


def test_settling_leaves_rounded_weights_and_trained_biases(tmp_path, pack):
    settled = tensors(run(RECIPE, pack, tmp_path / "settled"))
    weights = {k: v for k, v in settled.items() if v.ndim == 4}
    assert weights
    assert all(torch.equal(v, v.bfloat16().float()) for v in weights.values())
    without = tensors(run(replace(RECIPE, settle=0), pack, tmp_path / "without"))
    assert not all(torch.equal(v, v.bfloat16().float()) for v in without.values() if v.ndim == 4)
    # The rounded weights are the running mean of the same steps.
    before = tensors(run(replace(RECIPE, steps=18, settle=0, validate_every=18), pack, tmp_path / "before"))
    for name, value in weights.items():
        assert torch.equal(value, before[name].bfloat16().float()), name
    assert any(not torch.equal(settled[k], before[k]) for k, v in settled.items() if v.ndim < 4)


def test_start_from_weights_takes_what_fits(tmp_path, pack):
    first = run(replace(RECIPE, settle=0), pack, tmp_path / "first")
    third = replace(RECIPE, scale=3, steps=1, settle=0, learning_rate=1e-12, patch=6)
    second = run(third, pack, tmp_path / "second", init=first)
    assert torch.equal(tensors(second)["feature.0.weight"], tensors(first)["feature.0.weight"])
    assert not torch.allclose(tensors(second)["up.weight"], tensors(first)["up.weight"], atol=1e-3)  # another scale's
    assert store.load(second)[1].init == "fsrcnn-x2 (24 steps): 12 of 14 tensors"
    again = run(replace(third, scale=2), pack, tmp_path / "again", init=first)
    assert store.load(again)[1].init == "fsrcnn-x2 (24 steps): 14 of 14 tensors"
    espcn = ESPCN(scale=2)
    metadata = replace(store.load(first)[1], network="espcn", arguments={"scale": 2})
    store.save(espcn, metadata, tmp_path / "espcn.safetensors")
    with pytest.raises(UsageError, match="is a espcn, of which nothing fits"):
        run(third, pack, tmp_path / "third", init=tmp_path / "espcn.safetensors")


def test_compiled_and_bf16_run_too(tmp_path, pack):
    weights = loop.train(replace(RECIPE, steps=4, settle=1, warmup=1), pack, tmp_path, accelerator="cpu", compile=True)
    assert weights.exists()


def test_wrong_calls_are_named(tmp_path, pack):
    with pytest.raises(UsageError, match="no checkpoint to resume from; leave out --resume"):
        run(RECIPE, pack, tmp_path, resume=True)
    (tmp_path / "checkpoint-000000008.pt").touch()
    with pytest.raises(UsageError, match="holds an unfinished run; --resume goes on"):
        run(RECIPE, pack, tmp_path)
    with pytest.raises(UsageError, match="batch 4 does not divide by 3 devices"):
        loop.train(RECIPE, pack, tmp_path / "x", devices=3)
    with pytest.raises(UsageError, match="devices is 0"):
        loop.train(RECIPE, pack, tmp_path / "x", devices=0)
    if not torch.cuda.is_available():
        with pytest.raises(UsageError, match="device 'cuda' cannot be had"):
            loop.train(RECIPE, pack, tmp_path / "x", accelerator="cuda")
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be made a folder"):
        run(RECIPE, pack, tmp_path / "file" / "run")


@pytest.mark.parametrize("scale", [2, 4])
def test_a_pyramid_trains_too(tmp_path, pack, scale):
    arguments = {"channels": 4, "convolutions": 1, "shared_levels": True}
    recipe = replace(RECIPE, network="lapsrn", scale=scale, arguments=arguments, steps=2, warmup=0, settle=0, patch=6)
    assert run(recipe, pack, tmp_path).exists()


def test_last_layer_can_be_slower(tmp_path, pack):
    recipe = replace(RECIPE, last_layer="up", last_layer_rate=1e-9, settle=0)
    torch.manual_seed(recipe.seed)
    from upres.networks import FSRCNN

    start = FSRCNN(scale=2, **recipe.arguments)
    start.start_as_interpolation()
    trained = tensors(run(recipe, pack, tmp_path))
    torch.testing.assert_close(trained["up.weight"], start.up.weight.detach(), atol=1e-8, rtol=0)
    assert not torch.allclose(trained["feature.0.weight"], start.feature[0].weight.detach(), atol=1e-5)


def test_losses_are_what_they_are_called():
    prediction, target = torch.tensor([0.0, 3.0]), torch.tensor([0.0, 1.0])
    assert float(LOSSES["l1"](prediction, target)) == pytest.approx(1)
    assert float(LOSSES["mse"](prediction, target)) == pytest.approx(2)
    assert float(LOSSES["charbonnier"](prediction, target)) == pytest.approx((1e-3 + 2) / 2, abs=1e-6)
