"""Whether one model is better than another on a set of pictures, or whether chance would do as well.

Pictures differ far more from each other than models do on one picture, so the models are compared picture by picture:
the mean of the differences, and an interval for it from resampling the pictures (paired bootstrap). The plain
percentile interval is too narrow for a handful of pictures; it is taken at the wider percentiles that make it as wide
as Student's t for differences that are normal ("expanded percentile": Hesterberg 2015, The American Statistician 69).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from upres.errors import UsageError

LEVEL = 0.95
FEWEST = 5  # pictures; with fewer, the resamples are too few to hold an interval
_RESAMPLES = 10_000


@dataclass(frozen=True)
class Difference:
    """The mean of a − b over pictures, with its confidence interval.

    Attributes:
        mean: in the unit of what was compared.
        low: lower end of the interval.
        high: upper end.
        wins: pictures on which a is above b.
        pictures: how many there are.
    """

    mean: float
    low: float
    high: float
    wins: int
    pictures: int

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves zero out."""
        return self.low > 0 or self.high < 0


def difference(a: Sequence[float], b: Sequence[float], *, seed: int = 0) -> Difference | None:
    """Compare two models' scores on the same pictures, in the same order.

    Returns:
        None for fewer than five pictures, or where a score is infinite: there is no interval then.

    Raises:
        UsageError: the lengths differ.
    """
    if len(a) != len(b):
        raise UsageError(f"compared {len(a)} scores with {len(b)}; give the scores of the same pictures.")
    if len(a) < FEWEST or not all(map(math.isfinite, (*a, *b))):
        return None
    differences = np.subtract(a, b)
    resamples = np.random.default_rng(seed).integers(len(a), size=(_RESAMPLES, len(a)))
    tail = _expanded_tail(len(a), (1 - LEVEL) / 2)
    low, high = np.quantile(differences[resamples].mean(axis=1), [tail, 1 - tail])
    return Difference(float(differences.mean()), float(low), float(high), int((differences > 0).sum()), len(a))


def _expanded_tail(count: int, tail: float) -> float:
    """The tail at which the percentile interval of `count` values is as wide as Student's t."""
    return NormalDist().cdf(-math.sqrt(count / (count - 1)) * _t_quantile(1 - tail, count - 1))


def _t_quantile(p: float, freedom: int) -> float:
    """Student's t, expanded around the normal quantile (Abramowitz & Stegun 26.7.5); within 1 % from 4 degrees up."""
    z = NormalDist().inv_cdf(p)
    return (
        z
        + (z**3 + z) / (4 * freedom)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
    )
