"""A recipe: everything that decides what a training run computes, as one frozen value."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from upres.data.patches import DEGRADATIONS
from upres.errors import UsageError
from upres.networks import NETWORKS
from upres.training.losses import LOSSES

Precision = Literal["bf16", "f32"]
Start = Literal["interpolation", "paper"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to train one network; checked when it is made.

    Attributes:
        network: name in `upres.networks.NETWORKS`.
        scale: factor to enlarge by.
        arguments: the network's constructor arguments besides `scale`.
        start: initial weights: `paper` as the network's constructor leaves them, `interpolation` so that the untrained
            network enlarges bilinearly, which saves the steps that it takes to find that out.
        steps: optimizer steps.
        batch: patches a step, over all devices.
        patch: side of a low-resolution patch in pixels.
        learning_rate: at the top of the schedule; Adam.
        warmup: steps over which the rate rises from zero, linearly; it then falls to zero as a half cosine. The
            `settle` steps have a half cosine of their own, from a tenth of the rate.
        last_layer_rate: factor on the rate of the parameters named in `last_layer` (the SRCNN papers use 0.1).
        last_layer: prefix of those parameters' names.
        loss: name in `upres.training.losses.LOSSES`.
        clip: greatest norm of the gradient; infinity for none.
        ema: decay of the running mean of the weights, which is what is validated and kept. Early steps decay faster,
            so that the mean forgets the start.
        degradation: name in `upres.data.patches.DEGRADATIONS`.
        rescale: factors by which each picture is also used reduced.
        held_out: pictures set apart for validation.
        validate_every: steps between two validations.
        precision: of the network's arithmetic; in `bf16` weights, loss and optimizer still stay in float32.
        settle: last steps, in which the convolutions' weights, now the running mean rounded to bfloat16, stay fixed
            while biases and slopes are trained on in float32. Without it a small network carries bfloat16's rounding
            as a brightness error of up to 0.3 gray levels; with it the weights are exact in either precision.
        seed: of initialisation and of every batch.

    Raises:
        UsageError: a field is outside its range; the field, its value and the range are named.
    """

    network: str
    scale: int
    arguments: Mapping[str, Any] = field(default_factory=dict[str, Any])
    start: Start = "interpolation"
    steps: int
    batch: int = 16
    patch: int = 32
    learning_rate: float = 1e-3
    warmup: int = 500
    last_layer: str = ""
    last_layer_rate: float = 1.0
    loss: str = "l1"
    clip: float = math.inf
    ema: float = 0.999
    degradation: str = "bicubic"
    rescale: tuple[float, ...] = (1.0,)
    held_out: int = 8
    validate_every: int = 2000
    precision: Precision = "bf16"
    settle: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, table in (("network", NETWORKS), ("loss", LOSSES), ("degradation", DEGRADATIONS)):
            self._require(name, getattr(self, name) in table, f"one of {', '.join(table)}")
        self._require("start", self.start in ("interpolation", "paper"), "interpolation or paper")
        self._require("precision", self.precision in ("bf16", "f32"), "bf16 or f32")
        for name in ("scale", "steps", "batch", "patch", "validate_every"):
            self._require(name, getattr(self, name) >= 1, "at least 1")
        for name in ("held_out", "warmup", "seed", "settle"):
            self._require(name, getattr(self, name) >= 0, "at least 0")
        for name in ("learning_rate", "clip", "last_layer_rate"):
            self._require(name, getattr(self, name) > 0, "above 0")
        self._require("settle", self.settle < self.steps, f"below steps, {self.steps}")
        self._require("ema", 0 <= self.ema < 1, "at least 0 and below 1")
        self._require("rescale", bool(self.rescale) and all(0 < f <= 1 for f in self.rescale), "factors in (0, 1]")
        self._require("arguments", "scale" not in self.arguments, "without 'scale', which is a field of its own")
        try:
            NETWORKS[self.network](scale=self.scale, **self.arguments)
        except (TypeError, ValueError) as error:
            raise UsageError(f"recipe's network cannot be built: {error}") from error

    def _require(self, name: str, holds: bool, rule: str) -> None:
        if not holds:
            raise UsageError(f"recipe has {name} = {getattr(self, name)!r}; it must be {rule}.")

    def with_steps(self, steps: int) -> Recipe:
        """The same recipe drawn out or shortened: settling keeps its share, warm-up takes a quarter at most."""
        settle = int(self.settle * steps / self.steps)
        return replace(self, steps=steps, warmup=min(self.warmup, steps // 4), settle=settle)

    def learning_rate_at(self, step: int) -> float:
        """The rate of a step counted from 0."""
        settle_from = self.steps - self.settle
        if step >= settle_from:
            return 0.1 * self.learning_rate * _half_cosine((step - settle_from) / self.settle)
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        return self.learning_rate * _half_cosine((step - self.warmup) / (settle_from - self.warmup))


def _half_cosine(progress: float) -> float:
    """From 1 at 0 to 0 at 1."""
    return 0.5 * (1 + math.cos(math.pi * progress))
