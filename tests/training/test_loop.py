from __future__ import annotations

import csv
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch

from upres.data.pack import Pack
from upres.errors import DataError, Diverged, Interrupted, OutputError, UsageError
from upres.evaluation import protocol
from upres.inference.engines import TorchEngine
from upres.inference.upscaler import Bicubic, Upscaler
from upres.networks import ESPCN, NETWORKS
from upres.training import checkpoint, loop, winograd
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
    assert (metadata.data, metadata.halos, metadata.init) == ("cat", {2: network.halo}, None)
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
@pytest.mark.parametrize("expansion", [0, 2])
def test_an_interrupted_run_ends_as_one_left_alone(tmp_path, pack, stop_after, settle, expansion):
    recipe = replace(RECIPE, settle=settle, expansion=expansion)
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
        run(RECIPE, pack, out, init=[first], watch=stop)
    for field, value in (("seed", 5), ("learning_rate", 0.5), ("steps", 16), ("loss", "mse")):
        with pytest.raises(UsageError, match=f"was begun with {field} = .*, not {value!r}; resume with the same"):
            run(replace(RECIPE, **{field: value}), pack, out, resume=True)
    with pytest.raises(UsageError, match="was begun with data = 'cat', not 'dog'"):
        run(RECIPE, replace(pack, digest="dog"), out, resume=True)
    loop._require_same({}, {"variant": "", "momentum": 0.9}, "", "")  # of a run that began before there were these
    seen_more_often = replace(RECIPE, validate_every=4)
    finished = store.load(run(seen_more_often, pack, out, resume=True))[1]
    assert finished.init.startswith("fsrcnn-x2")  # as it was begun
    with pytest.raises(UsageError, match="is finished already"):
        run(RECIPE, pack, out)


def test_a_damaged_checkpoint_is_named(tmp_path, pack):
    tmp_path.joinpath("checkpoint-000000008.pt").write_bytes(b"PK nothing")
    with pytest.raises(DataError, match=r"every checkpoint is damaged: checkpoint-000000008.pt; remove"):
        run(RECIPE, pack, tmp_path, resume=True)


def test_seed_decides(tmp_path, pack):
    one, two = (tensors(run(RECIPE, pack, tmp_path / name)) for name in "ab")
    assert_equal(one, two)
    other = tensors(run(replace(RECIPE, seed=1), pack, tmp_path / "c"))
    assert not torch.equal(one["feature.0.weight"], other["feature.0.weight"])


@pytest.mark.parametrize("expansion", [0, 2])
def test_settling_leaves_rounded_weights_and_trained_biases(tmp_path, pack, expansion):
    recipe = replace(RECIPE, expansion=expansion)
    settled = tensors(run(recipe, pack, tmp_path / "settled"))
    weights = {k: v for k, v in settled.items() if v.ndim == 4}
    assert weights
    assert all(torch.equal(v, v.bfloat16().float()) for v in weights.values())
    without = tensors(run(replace(recipe, settle=0), pack, tmp_path / "without"))
    assert not all(torch.equal(v, v.bfloat16().float()) for v in without.values() if v.ndim == 4)
    # The rounded weights are the running mean of the same steps.
    before = tensors(run(replace(recipe, steps=18, settle=0, validate_every=18), pack, tmp_path / "before"))
    for name, value in weights.items():
        assert torch.equal(value, before[name].bfloat16().half().float()), name
    assert any(not torch.equal(settled[k], before[k]) for k, v in settled.items() if v.ndim < 4)


def test_start_from_weights_takes_what_fits(tmp_path, pack):
    first = run(replace(RECIPE, settle=0), pack, tmp_path / "first")
    third = replace(RECIPE, scale=3, steps=1, settle=0, learning_rate=1e-12, patch=6)
    second = run(third, pack, tmp_path / "second", init=[first])
    assert torch.equal(tensors(second)["feature.0.weight"], tensors(first)["feature.0.weight"])
    assert not torch.allclose(tensors(second)["up.weight"], tensors(first)["up.weight"], atol=1e-3)  # another scale's
    assert store.load(second)[1].init == "fsrcnn-x2 (24 steps): 12 of 14 tensors"
    again = run(replace(third, scale=2), pack, tmp_path / "again", init=[first])
    assert store.load(again)[1].init == "fsrcnn-x2 (24 steps): 14 of 14 tensors"
    espcn = ESPCN(scale=2)
    metadata = replace(store.load(first)[1], network="espcn", arguments={"scale": 2})
    store.save(espcn, metadata, tmp_path / "espcn.safetensors")
    with pytest.raises(UsageError, match="holds espcn, of which nothing fits"):
        run(third, pack, tmp_path / "third", init=[tmp_path / "espcn.safetensors"])


def test_start_from_several_takes_their_mean(tmp_path, pack):
    recipe = replace(RECIPE, settle=0)
    first = run(recipe, pack, tmp_path / "first")
    second = run(replace(recipe, steps=8), pack, tmp_path / "second", init=[first])
    third = run(replace(recipe, steps=1, learning_rate=1e-12), pack, tmp_path / "third", init=[first, second])
    for name, mean in tensors(third).items():
        one, two = tensors(first)[name], tensors(second)[name]
        torch.testing.assert_close(mean, (one + two) / 2, atol=1e-6, rtol=1e-3)
    assert any(not torch.equal(tensors(first)[name], two) for name, two in tensors(second).items())
    init = store.load(third)[1].init
    assert init == "mean of fsrcnn-x2 (24 steps) and fsrcnn-x2 (8 steps): 14 of 14 tensors"
    other = run(replace(recipe, scale=3, steps=1, patch=6), pack, tmp_path / "other")
    with pytest.raises(UsageError, match=r"fsrcnn-x3.safetensors: holds fsrcnn with {'scale': 3, .*'scale': 2, "):
        run(recipe, pack, tmp_path / "fourth", init=[first, other])
    shaped_alike = replace(recipe, steps=1, arguments={**recipe.arguments, "residual": True})
    other = run(shaped_alike, pack, tmp_path / "shaped-alike")
    with pytest.raises(UsageError, match="'residual': True"):
        run(recipe, pack, tmp_path / "fifth", init=[first, other])


def test_a_mean_counts_shared_layers_once_and_no_batches(tmp_path, pack):
    """DRRN's batch norm counts its batches, and its units share their convolutions."""
    recipe = replace(DRRN, growth=(), steps=1, learning_rate=1e-12)
    first = run(replace(recipe, steps=4, learning_rate=1e-3), pack, tmp_path / "first")
    second = run(replace(recipe, steps=4, learning_rate=1e-3, seed=1), pack, tmp_path / "second", init=[first])
    ours = run(recipe, pack, tmp_path / "mean", init=[first, second])
    one, two, mean = map(tensors, (first, second, ours))
    assert any(not tensor.is_floating_point() for tensor in one.values())
    for name, tensor in mean.items():
        if tensor.ndim == 4:
            torch.testing.assert_close(tensor, (one[name] + two[name]) / 2, atol=1e-6, rtol=1e-3)


def test_start_from_a_narrower_network_takes_its_function(tmp_path, pack):
    narrow = replace(RECIPE, settle=0, steps=4, warmup=1, arguments={"d": 8, "s": 4, "m": 1})
    wide = replace(narrow, steps=1, learning_rate=1e-12, arguments={"d": 16, "s": 4, "m": 1})
    first = run(narrow, pack, tmp_path / "narrow")
    second = run(wide, pack, tmp_path / "wide", init=[first])
    source, target = store.load(first)[0], store.load(second)[0]
    y = torch.rand(1, 1, 15, 12)
    torch.testing.assert_close(target(y), source(y), atol=2e-3, rtol=0)  # weights are kept in half precision
    assert (target(y) - source(y)).abs().mean() < 2e-4
    assert store.load(second)[1].init.endswith("tensors, widened")


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


@pytest.mark.parametrize("expansion", [0, 2])
def test_last_layer_can_be_slower(tmp_path, pack, expansion):
    recipe = replace(RECIPE, last_layer="up", last_layer_rate=1e-9, settle=0, expansion=expansion)
    torch.manual_seed(recipe.seed)
    start = NETWORKS["fsrcnn"](scale=2, **recipe.arguments)
    start.start_as_interpolation()
    trained = tensors(run(recipe, pack, tmp_path))
    torch.testing.assert_close(trained["up.weight"], start.up.weight.detach(), atol=1e-8, rtol=0)
    assert not torch.allclose(trained["feature.0.weight"], start.feature[0].weight.detach(), atol=1e-5)


def test_losses_are_what_they_are_called():
    prediction, target = torch.tensor([0.0, 3.0]), torch.tensor([0.0, 1.0])
    assert float(LOSSES["l1"](prediction, target)) == pytest.approx(1)
    assert float(LOSSES["mse"](prediction, target)) == pytest.approx(2)
    assert float(LOSSES["charbonnier"](prediction, target)) == pytest.approx((1e-3 + 2) / 2, abs=1e-6)
    two_patches = prediction.reshape(2, 1, 1, 1).expand(2, 1, 1, 3), target.reshape(2, 1, 1, 1).expand(2, 1, 1, 3)
    assert float(LOSSES["half_squares"](*two_patches)) == pytest.approx(0.5 * 3 * 4 / 2)
    assert float(LOSSES["charbonnier_sum"](*two_patches)) == pytest.approx(3 * (1e-3 + 2) / 2, abs=1e-5)


DRCN = replace(
    RECIPE,
    network="drcn",
    arguments={"recursions": 3, "channels": 4},
    growth=((0, 1), (8, 2), (16, 3)),
    recursion_loss=0.5,
    recursion_loss_steps=12,
    settle=0,
)
DRRN = replace(RECIPE, network="drrn", arguments={"units": 3, "channels": 4}, growth=((0, 1), (12, 3)), settle=0)


@pytest.mark.parametrize("recipe", [DRCN, replace(DRRN, more_scales=(1, 4))], ids=["drcn", "drrn"])
@pytest.mark.parametrize("optimizer", ["adam", "sgd", "soap"])
def test_every_kind_of_run_resumes_exactly(tmp_path, pack, recipe, optimizer):
    recipe = replace(recipe, optimizer=optimizer, clip_by_rate=0.01, last_layer="last", last_layer_rate=0.1)
    alone = tensors(run(recipe, pack, tmp_path / "alone"))

    def stop(report):
        if report.step > 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(recipe, pack, tmp_path / "cut", watch=stop)
    assert_equal(tensors(run(recipe, pack, tmp_path / "cut", resume=True)), alone)


def test_recursions_grow_during_training(tmp_path, pack, monkeypatch):
    ran = []
    forward = loop._AllOutputs.forward

    def counting(self, y, scale):
        outputs = forward(self, y, scale)
        ran.append(len(outputs) - 1)
        return outputs

    monkeypatch.setattr(loop._AllOutputs, "forward", counting)
    network, _ = store.load(run(DRCN, pack, tmp_path))
    assert ran == [1] * 8 + [2] * 8 + [3] * 8
    assert network.running == 3


@pytest.mark.parametrize("name", ["drcn", "drrn"])
def test_growth_keeps_what_was_learned(name):
    arguments = {"drcn": {"recursions": 4}, "drrn": {"units": 4}}[name]
    network = NETWORKS[name](scale=2, channels=4, **arguments).eval()
    if name == "drcn":
        torch.nn.init.normal_(network.recursion.weight, std=0.2)  # it begins as the identity
    torch.nn.init.normal_(network.last.weight if name == "drcn" else network.last.conv.weight)
    y = torch.rand(1, 1, 8, 8)
    full = network(y)
    network.grow(2)
    few = network(y)
    assert not torch.allclose(few, full)
    network.grow(4)
    torch.testing.assert_close(network(y), full)


def test_recursions_that_join_count_as_much_as_the_others():
    network = NETWORKS["drcn"](scale=2, channels=4, recursions=4)
    network.grow(2)
    assert network.ensemble.tolist() == [0.5, 0.5, 0, 0]
    with torch.no_grad():
        network.ensemble[:2] = torch.tensor([0.9, 0.2])
    network.grow(4)
    assert network.ensemble.tolist() == [0.25] * 4


def test_several_scales_share_their_weights(tmp_path, pack):
    seen = []
    recipe = replace(RECIPE, network="vdsr", arguments={"depth": 3, "channels": 4}, more_scales=(4,), settle=0)
    forward = loop._AllOutputs.forward

    class Spy(loop._AllOutputs):
        def forward(self, y, scale):
            outputs = forward(self, y, scale)
            seen.append((scale, y.shape[-1], outputs[-1].shape[-1]))
            return outputs

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "_AllOutputs", Spy)
        run(recipe, pack, tmp_path / "both")
    assert seen == [(2, 8, 16), (4, 4, 16)] * 12
    only = replace(recipe, more_scales=())
    both, one = (tensors(run(r, pack, tmp_path / f"{len(r.scales)}")) for r in (recipe, only))
    assert not torch.equal(both["last.weight"], one["last.weight"])  # ×4 taught it too
    again = recipe.at_scale(4)
    assert (again.scale, again.more_scales, again.patch) == (4, (2,), 4)


def test_a_plateau_lowers_the_rate_and_ends_the_run(tmp_path, pack):
    reports = []
    recipe = replace(
        RECIPE,
        steps=400,
        settle=0,
        ema=0.0,
        learning_rate=1e-9,  # learns nothing, so no validation is better than the first
        schedule="plateau",
        warmup=0,
        patience=2,
        least_rate=5e-11,
    )
    weights = run(recipe, pack, tmp_path, watch=reports.append)
    assert reports[-1].step < 400
    assert store.load(weights)[1].steps == reports[-1].step
    rates = [report.learning_rate for report in reports]
    assert rates == sorted(rates, reverse=True)
    assert set(np.round(np.log10(rates)).astype(int)) == {-9, -10}


def test_clipping_by_rate_bounds_each_step(tmp_path, pack):
    """With plain SGD a weight cannot move by more than rate · θ / rate = θ in a step."""
    theta = 1e-4
    recipe = replace(
        RECIPE,
        steps=1,
        warmup=0,
        settle=0,
        optimizer="sgd",
        momentum=0.0,
        learning_rate=1e3,
        ema=0.0,
        clip_by_rate=theta,
        start="paper",
        precision="f32",
    )
    torch.manual_seed(recipe.seed)
    before = NETWORKS["fsrcnn"](scale=2, **recipe.arguments).state_dict()
    after = tensors(run(recipe, pack, tmp_path / "clipped"))
    moved = torch.cat([(after[name] - before[name]).abs().ravel() for name in before])
    assert theta * 0.9 < float(moved.max()) < theta * 1.01
    free = tensors(run(replace(recipe, clip_by_rate=float("inf")), pack, tmp_path / "free"))
    assert max(float((free[name] - before[name]).abs().max()) for name in before) > 10 * theta


def test_the_single_recursions_count_less_and_less():
    high = torch.rand(2, 1, 12, 12)
    predictions = [high + 1, high + 3, high]  # two recursions, off by one and three; the final output is right
    recipe = replace(DRCN, arguments={"recursions": 2, "channels": 4}, growth=(), loss="l1")
    losses = [float(loop._loss(predictions, high, recipe, step)) for step in (0, 6, 12, 20)]
    assert losses == pytest.approx([0.5 * 2, 0.25 * 2, 0, 0])


def test_own_validation_pictures_leave_all_others_to_train_on(tmp_path, pack):
    reports = []
    own = Pack(("e",), (pack.planes[0][:50, :60],), digest="own")
    run(RECIPE, pack, tmp_path / "own", validation=own, watch=reports.append)
    network, _ = store.load(tmp_path / "own" / "fsrcnn-x2.safetensors")
    engine = TorchEngine(network.eval())
    upscaler = Upscaler(lambda precision: engine, name="x", scale=2, halo=network.halo)
    expected = protocol.score(upscaler, own.planes[0], 2, with_ssim=False).psnr
    assert reports[-1].psnr == pytest.approx(expected, abs=1e-4)


def test_a_finished_run_is_drawn(tmp_path, pack):
    run(RECIPE, pack, tmp_path)
    for name in ("curves.png", "samples.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    assert {path.stem for path in (tmp_path / "samples").iterdir()} == {
        "bicubic",
        "truth",
        *(f"step-{step:09d}" for step in (8, 16, 24)),
    }


def test_reports_come_as_often_as_asked(tmp_path, pack):
    reports = []
    run(RECIPE, pack, tmp_path, report_every=3, watch=reports.append)
    assert [report.step for report in reports] == [3, 6, 8, 9, 12, 15, 16, 18, 21, 24]


@pytest.mark.parametrize(("name", "count"), [("drcn", "recursions"), ("drrn", "units")])
def test_few_recursions_lend_their_weights_to_many(tmp_path, pack, name, count):
    few = replace(RECIPE, network=name, arguments={count: 1, "channels": 4}, settle=0)
    many = replace(few, arguments={count: 3, "channels": 4}, steps=1, learning_rate=1e-12)
    first = run(few, pack, tmp_path / "few")
    then = tensors(run(many, pack, tmp_path / "many", init=[first]))
    learned = {k: v for k, v in tensors(first).items() if v.ndim == 4}
    assert learned
    for key, value in learned.items():
        torch.testing.assert_close(then[key], value, atol=1e-6, rtol=0)


def test_a_network_with_all_its_recursions_does_not_grow_again(tmp_path, pack):
    recipe = replace(DRRN, steps=14)
    first = run(recipe, pack, tmp_path / "first")
    second = run(recipe, pack, tmp_path / "second", init=[first])
    assert store.load(first)[1].recipe["growth"] == [[0, 1], [12, 3]]
    assert store.load(second)[1].recipe["growth"] == []
    assert run(recipe, pack, tmp_path / "second", init=[first], resume=True) == second
    few = run(replace(recipe, arguments=recipe.arguments | {"units": 1}, growth=()), pack, tmp_path / "few")
    third = run(recipe, pack, tmp_path / "third", init=[few])
    assert store.load(third)[1].recipe["growth"] == [[0, 1], [12, 3]]


@pytest.mark.parametrize("clip", [float("inf"), 1.0])
def test_a_run_that_diverges_says_so_and_keeps_the_checkpoint_before(tmp_path, pack, clip):
    recipe = replace(RECIPE, steps=400, settle=0, learning_rate=1e30, clip=clip, optimizer="sgd", start="paper")
    recipe = replace(recipe, schedule="staged", precision="f32", ema=0.0)
    with pytest.raises(Diverged, match=r"the loss is (nan|inf) at step \d+; lower learning_rate"):
        run(replace(recipe, warmup=0), pack, tmp_path)
    assert not list(tmp_path.glob("*.safetensors"))


def test_a_folder_that_holds_another_run_is_refused(tmp_path, pack):
    run(RECIPE, pack, tmp_path)
    with pytest.raises(UsageError, match=r"fsrcnn-x2.safetensors: is finished already; --out trains elsewhere"):
        run(replace(RECIPE, scale=3, patch=6), pack, tmp_path)


def test_what_cannot_be_drawn_does_not_cost_the_weights(tmp_path, pack, caplog):
    def damage(report):
        if report.step == 24:
            (tmp_path / "samples" / "step-000000008.npy").write_bytes(b"")

    assert run(RECIPE, pack, tmp_path, watch=damage).exists()
    assert "the plots could not be drawn" in caplog.text


def test_a_compiled_run_resumes_exactly_too(tmp_path, pack):
    recipe = replace(DRRN, arguments={"units": 2, "channels": 4, "batch_norm": False}, growth=((0, 1), (4, 2)))
    recipe = replace(recipe, more_scales=(4,), steps=10, warmup=2, validate_every=2, optimizer="soap", expansion=2)

    def compiled(out, **options):
        return loop.train(recipe, pack, out, accelerator="cpu", compile=True, **options)

    def stop(report):
        if report.step > 6:
            raise KeyboardInterrupt

    alone = tensors(compiled(tmp_path / "alone"))
    with pytest.raises(KeyboardInterrupt):
        compiled(tmp_path / "cut", watch=stop)
    assert_equal(tensors(compiled(tmp_path / "cut", resume=True)), alone)


@pytest.mark.parametrize("count", [3, 4])
def test_a_weight_for_each_recursion_is_not_taken_for_channels(tmp_path, pack, count):
    few = replace(RECIPE, network="drcn", arguments={"recursions": 2, "channels": 4}, steps=3, settle=0)
    first = run(few, pack, tmp_path / "few")
    many = replace(few, arguments={"recursions": count, "channels": 4}, steps=1, learning_rate=1e-12)
    network = store.load(run(many, pack, tmp_path / "many", init=[first]))[0]
    torch.testing.assert_close(network.ensemble.sum(), torch.tensor(1.0), atol=1e-3, rtol=0)


def test_a_loss_that_is_not_finite_does_not_replace_the_checkpoint_when_stopped(tmp_path, pack, monkeypatch):
    def poisoned(predictions, high, recipe, step, _loss=loop._loss):
        if step == 20:
            signal.raise_signal(signal.SIGINT)
        return _loss(predictions, high, recipe, step) * (float("nan") if step >= 18 else 1.0)

    monkeypatch.setattr(loop, "_loss", poisoned)
    with pytest.raises(Diverged, match="the loss is no longer finite at step 21; lower learning_rate"):
        run(RECIPE, pack, tmp_path)
    assert checkpoint.read_newest(tmp_path)["progress"]["step"] == 16


def test_pictures_in_another_order_do_not_go_on_with_a_run(tmp_path, pack, monkeypatch):
    def stop(report):
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(Interrupted):
        run(RECIPE, pack, tmp_path, report_every=4, watch=stop)
    renamed = Pack(tuple("abdc"), tuple(pack.planes[i] for i in (0, 1, 3, 2)), digest=pack.digest)
    with pytest.raises(UsageError, match="was begun with the same pictures under other names, which order them"):
        run(RECIPE, renamed, tmp_path, resume=True)
    run(RECIPE, pack, tmp_path, resume=True)


def test_fields_that_a_finished_recipe_had_not_yet_have_their_defaults(tmp_path, pack):
    weights = run(RECIPE, pack, tmp_path)
    network, metadata = store.load(weights)
    for name in ("growth", "more_scales", "bias_rate", "expansion"):
        metadata.recipe.pop(name)
    store.save(network, metadata, weights)
    assert run(RECIPE, pack, tmp_path, resume=True) == weights


def test_a_folder_with_another_programs_metrics_is_refused(tmp_path, pack):
    (tmp_path / "metrics.csv").write_text("epoch,accuracy\n1,0.5\n")
    with pytest.raises(UsageError, match=r"metrics\.csv: is another program's; choose another folder with --out"):
        run(RECIPE, pack, tmp_path)


@pytest.mark.parametrize(("precision", "converted"), [("f32", 2), ("bf16", 0)])
def test_wide_layers_multiply_less_in_float32(tmp_path, pack, monkeypatch, precision, converted):
    made = []
    averaged = loop.AveragedModel
    monkeypatch.setattr(loop, "AveragedModel", lambda *args, **kw: made.append(averaged(*args, **kw)) or made[0])
    arguments = {"units": 1, "batch_norm": False}
    recipe = replace(RECIPE, network="drrn", arguments=arguments, steps=1, settle=0, patch=6, precision=precision)
    weights = run(replace(recipe, more_scales=(3,), held_out=0), pack, tmp_path)
    kinds = [type(module) for module in made[0].module.modules()]
    assert kinds.count(winograd.WinogradConv2d) == converted
    assert [type(module) for module in store.load(weights)[0].modules()].count(winograd.WinogradConv2d) == 0
