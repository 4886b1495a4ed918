from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from upres.errors import UsageError
from upres.evaluation import statistics


@pytest.mark.parametrize("freedom", [4, 7, 13, 99])
def test_t_quantile_agrees_with_scipy(freedom):
    expected = stats.t.ppf(0.975, freedom)
    assert statistics._t_quantile(0.975, freedom) == pytest.approx(expected, rel=0.01)


def test_a_hundred_pictures_give_scipys_interval():
    """At a hundred pictures the widening is slight, and scipy's own paired bootstrap must come out the same."""
    random = np.random.default_rng(1)
    a = random.normal(30, 3, 100)
    b = a - random.gamma(2, 0.1, 100)
    mine = statistics.difference(list(a), list(b))
    theirs = stats.bootstrap((a - b,), np.mean, method="percentile", n_resamples=10_000, rng=2).confidence_interval
    assert mine is not None
    assert mine.mean == pytest.approx(np.mean(a - b))
    assert (mine.low, mine.high) == pytest.approx((theirs.low, theirs.high), abs=0.004)
    assert (mine.wins, mine.pictures, mine.is_clear) == (100, 100, True)


@pytest.mark.parametrize(("count", "at_least"), [(5, 0.90), (14, 0.92), (100, 0.93)])
def test_the_interval_holds_the_truth_as_often_as_it_says(count, at_least):
    """95 % is promised; the plain percentile interval would hold it 83 % of the time for five pictures."""
    random = np.random.default_rng(3)
    held, trials = 0, 300
    for _ in range(trials):
        d = statistics.difference(list(random.normal(0.1, 0.2, count)), [0.0] * count)
        assert d is not None
        held += d.low <= 0.1 <= d.high
    assert held / trials >= at_least


def test_noise_is_not_called_better_and_few_pictures_are_not_judged():
    even = statistics.difference([30, 31, 32, 33, 34, 35], [31, 30, 33, 32, 35, 34])
    assert even is not None
    assert not even.is_clear
    assert statistics.difference([30, 31, 32, 33], [29, 30, 31, 32]) is None
    assert statistics.difference([math.inf] * 5, [30] * 5) is None
    with pytest.raises(UsageError, match="compared 2 scores with 1"):
        statistics.difference([1, 2], [1])
