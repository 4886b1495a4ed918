from __future__ import annotations

import ast
import inspect
from dataclasses import replace

import pytest

from upres import recipes
from upres.errors import UsageError
from upres.networks import NETWORKS
from upres.recipes import RECIPES
from upres.training.recipe import Recipe

GOOD = Recipe(network="fsrcnn", scale=2, steps=1000, warmup=100, settle=200, learning_rate=1.0)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_stands_in_its_own_documented_file(name):
    module = getattr(recipes, name)
    assert module.RECIPE is RECIPES[name]
    assert RECIPES[name].network == name in NETWORKS
    documentation = ast.get_docstring(ast.parse(inspect.getsource(module)))
    for part in ("arXiv", "Cost", "Expected", f"upres train {name}"):
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
