from __future__ import annotations

import pytest

from upres.training.estimate import Estimate
from upres.training.recipe import Recipe


@pytest.mark.parametrize(
    ("seconds", "spelled"),
    [(0.4, "about 1 s,"), (89, "about 89 s,"), (90, "about 2 min,"), (3599, "about 1 h 0 min,"), (9000, "2 h 30 min,")],
)
def test_a_run_of_any_length_is_spelled_out(seconds, spelled):
    recipe = Recipe(network="espcn", scale=2, steps=100)
    estimate = Estimate(recipe, parameters=1, flops=10**7, memory=None, steps_per_second=100 / seconds)
    assert estimate.seconds == pytest.approx(seconds)
    assert spelled in str(estimate)


@pytest.mark.parametrize(
    ("flops", "pace", "said"),
    [
        (10**7, 20, "pace: 20 steps/s, 0.2 GFLOP/s"),
        (10**12, 0.00123, "pace: 0.00123 steps/s, 1.23 GFLOP/s"),
        (10**12, 123.4, "pace: 123 steps/s, 123400 GFLOP/s"),
    ],
)
def test_a_pace_of_any_size_is_said_in_plain_digits(flops, pace, said):
    recipe = Recipe(network="espcn", scale=2, steps=100)
    assert said in str(Estimate(recipe, parameters=1, flops=flops, memory=None, steps_per_second=pace))


@pytest.mark.parametrize(
    ("expansion", "first_line"), [(0, "21,284 parameters"), (4, "21,284 parameters, trained as products of matrices")]
)
def test_products_are_named(expansion, first_line):
    recipe = Recipe(network="espcn", scale=2, steps=100, expansion=expansion)
    estimate = Estimate(recipe, parameters=21_284, flops=10**7, memory=None, steps_per_second=20)
    assert str(estimate).splitlines()[0].endswith(first_line)
