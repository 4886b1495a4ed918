from __future__ import annotations

import ast
import inspect
from dataclasses import replace

import pytest

from upres import recipes
from upres.errors import UsageError
from upres.networks import NETWORKS
from upres.recipes import PAPER_RECIPES, RECIPES, SMALL_RECIPES
from upres.training.factors import Factors
from upres.training.loop import _parameter_groups
from upres.training.recipe import Recipe

GOOD = Recipe(network="fsrcnn", scale=2, steps=1000, warmup=100, settle=200, learning_rate=1.0)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_stands_in_its_own_documented_file(name):
    module = getattr(recipes, name)
    assert module.RECIPE is RECIPES[name]
    assert RECIPES[name].network == name in NETWORKS
    documentation = ast.get_docstring(ast.parse(inspect.getsource(module)))
    assert module.PAPER is PAPER_RECIPES[name]
    assert (module.PAPER.network, module.PAPER.start, module.PAPER.ema) == (name, "paper", 0)
    for part in ("arXiv", "PAPER", "Cost", "Expected", f"upres train {name}"):
        assert part in documentation


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("network", "espn", "network = 'espn'; it must be one of srcnn"),
        ("loss", "l3", "loss = 'l3'; it must be one of l1"),
        ("degradation", "blur", "degradation = 'blur'"),
        ("precision", "f16", "precision = 'f16'; it must be bf16 or f32"),
        ("start", "noise", "start = 'noise'"),
        ("scale", 0, "scale = 0; it must be at least 1"),
        ("batch", 0, "batch = 0"),
        ("learning_rate", 0, "learning_rate = 0; it must be above 0"),
        ("ema", 1.0, "ema = 1.0; it must be at least 0 and below 1"),
        ("settle", 1000, "settle = 1000; it must be below steps, 1000"),
        ("rescale", (), "rescale"),
        ("rescale", (1.2,), "rescale"),
        ("arguments", {"scale": 2}, "arguments"),
        ("seed", -1, "seed = -1"),
        ("expansion", 1.5, "expansion = 1.5; it must be a whole number"),
        ("steps", 2e3, "steps = 2000.0; it must be a whole number"),
        ("steps", "2000", "steps = '2000'; it must be a whole number"),
        ("optimizer", "lion", "optimizer = 'lion'; it must be adam or sgd or soap"),
        ("schedule", "linear", "schedule = 'linear'; it must be cosine or staged or plateau"),
        ("drop", 1.0, "drop = 1.0; it must be above 0 and below 1"),
        ("momentum", 1.0, "momentum"),
        ("clip_by_rate", 0, "clip_by_rate = 0; it must be above 0"),
        ("more_scales", (3,), r"more_scales = \(3,\); it must be empty but for srcnn, vdsr, drcn, red, drrn"),
        ("growth", ((0, 2),), "growth = .* it must be empty but for drcn, drrn"),
        ("recursion_loss", 0.5, "recursion_loss = 0.5; it must be 0 to 1, and 0 but for drcn"),
        ("schedule", "plateau", "settle = 200; it must be 0: a plateau schedule"),
        ("arguments", {"depth": 3}, "network cannot be built: .*'depth'"),
        ("scale", 10, "network cannot be built: kernel_size 9 is below stride 10"),
    ],
)
def test_a_field_out_of_range_is_named(field, value, says):
    with pytest.raises(UsageError, match=says):
        replace(GOOD, **{field: value})


def test_learning_rate_rises_falls_and_settles():
    rates = [GOOD.learning_rate_at(step) for step in range(1000)]
    assert rates[0] == pytest.approx(0.01)
    assert rates[99] == rates[100] == 1.0
    assert rates[100:800] == sorted(rates[100:800], reverse=True)
    assert rates[450] == pytest.approx(0.5)
    assert rates[799] < 1e-4
    assert rates[800] == pytest.approx(0.1)
    assert rates[900] == pytest.approx(0.05)
    assert rates[999] < 1e-4


def test_another_length_keeps_the_shares():
    short = GOOD.with_steps(10)
    assert (short.steps, short.warmup, short.settle) == (10, 2, 2)
    assert GOOD.with_steps(5000).warmup == GOOD.warmup
    assert all(short.learning_rate_at(step) > 0 for step in range(10))


def test_larger_batches_settle_over_no_more_patches():
    assert (GOOD.batch, GOOD.settle) == (16, 200)
    assert (GOOD.with_batch(64).batch, GOOD.with_batch(64).settle) == (64, 50)
    assert GOOD.with_batch(60).settle == 54
    assert GOOD.with_batch(1).settle == GOOD.settle
    with pytest.raises(UsageError, match="batch = 0"):
        GOOD.with_batch(0)


DRCN = Recipe(network="drcn", scale=2, more_scales=(3, 4), patch=24, steps=100, growth=((0, 4), (50, 16)))


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("more_scales", (2,), r"more_scales = \(2,\); it must be other whole factors than 2"),
        ("more_scales", (0,), "more_scales"),
        ("more_scales", (3.0, 4), r"more_scales = \(3.0, 4\); it must be other whole factors than 2"),
        ("patch", 25, "patch = 25; it must be such that 2·patch, 50, divides by 3"),
        ("growth", ((1, 16),), "it must be rising pairs, the first at step 0"),
        ("growth", ((0, 4), (50.5, 16)), "it must be pairs of whole numbers"),
        ("growth", ((0, 8), (50, 4)), "it must be rising pairs"),
        ("growth", ((0, 8), (100, 16)), "it must be pairs of steps below 100"),
        ("growth", ((0, 8),), "it must be pairs up to the network's 16 recursions"),
    ],
)
def test_what_must_fit_together_is_named(field, value, says):
    with pytest.raises(UsageError, match=says):
        replace(DRCN, **{field: value})


def test_stages_and_plateaus():
    staged = replace(GOOD, schedule="staged", warmup=0, settle=0, drop=0.5, drop_every=300)
    assert [staged.learning_rate_at(step) for step in (0, 299, 300, 899, 900)] == [1, 1, 0.5, 0.25, 0.125]
    plateau = replace(staged, schedule="plateau", least_rate=0.2)
    assert [plateau.learning_rate_at(500, drops) for drops in (0, 1, 2)] == [1, 0.5, 0.25]
    assert not plateau.is_finished(500, drops=2)
    assert plateau.is_finished(500, drops=3)
    assert plateau.is_finished(1000)


def test_growth_and_supervision_follow_the_step():
    assert [DRCN.recursions_at(step) for step in (0, 49, 50, 99)] == [4, 4, 16, 16]
    assert replace(DRCN, growth=()).recursions_at(5) is None
    assert DRCN.with_steps(10).growth == ((0, 4), (5, 16))
    recipe = replace(DRCN, recursion_loss=1.0, recursion_loss_steps=50)
    assert [recipe.recursion_loss_at(step) for step in (0, 25, 50, 80)] == [1, 0.5, 0, 0]


@pytest.mark.parametrize(
    "recipe",
    [*RECIPES.values(), *SMALL_RECIPES.values(), *PAPER_RECIPES.values()],
    ids=lambda r: f"{r.model}-{r.start}",
)
def test_recipes_can_be_shortened_and_rescaled(recipe):
    assert recipe.with_steps(100).steps == 100
    for scale in (2, 4):
        assert scale in recipe.at_scale(scale).scales


def test_variants_are_told_apart_by_name():
    assert list(SMALL_RECIPES) == ["fsrcnn-s", "srcnn-915", "drrn-s", "drcn-64"]
    names = [SMALL_RECIPES[model].name for model in SMALL_RECIPES]
    assert names == ["fsrcnn-s-x2", "srcnn-915", "drrn-s", "drcn-64"]
    for model, recipe in SMALL_RECIPES.items():
        small, usual = (NETWORKS[r.network](scale=2, **r.arguments) for r in (recipe, RECIPES[recipe.network]))
        sizes = [sum(p.numel() for p in network.parameters()) for network in (small, usual)]
        assert sizes[0] < sizes[1] / 2, model


def test_networks_that_enlarge_first_keep_the_side_of_their_patches():
    paper = PAPER_RECIPES["srcnn"]
    assert [paper.at_scale(scale).patch * scale for scale in (2, 3, 4)] == [32, 33, 32]
    together = RECIPES["vdsr"].at_scale(5)
    assert (together.scales, together.patch) == ((5, 2, 3, 4), 12)
    assert RECIPES["vdsr"].at_scale(3).patch * 3 == RECIPES["vdsr"].patch * 2
    assert PAPER_RECIPES["espcn"].at_scale(4).patch == 17


@pytest.mark.parametrize("expansion", [0, 2])
def test_rates_of_weights_biases_and_what_a_network_has_beside_its_layers(expansion):
    recipe = replace(RECIPES["drcn"], bias_rate=0.05, last_layer="ensemble", last_layer_rate=4.0)
    network = NETWORKS["drcn"](scale=2, channels=4)
    factors = Factors(network, expansion)
    groups = _parameter_groups(network, factors, recipe)
    rates = {id(p): group["rate_factor"] for group in groups for p in group["params"]}
    trained = {name: factors.trained_for(p) for name, p in network.named_parameters()}
    assert len(rates) == sum(map(len, trained.values()))
    named = {name: rates[id(first)] for name, (first, *_) in trained.items()}
    assert all(rates[id(p)] == named[name] for name, parts in trained.items() for p in parts)
    assert named.pop("ensemble") == 4.0
    assert {rate for name, rate in named.items() if name.endswith("weight")} == {1.0}
    assert {rate for name, rate in named.items() if name.endswith("bias")} == {0.05}
