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


def test_a_slow_pace_is_not_called_none():
    recipe = Recipe(network="espcn", scale=2, steps=100)
    estimate = Estimate(recipe, parameters=1, flops=10**7, memory=None, steps_per_second=20)
    assert "pace: 20 steps/s, 0.2 GFLOP/s" in str(estimate)
