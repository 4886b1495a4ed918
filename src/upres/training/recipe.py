"""A recipe: everything that decides what a training run computes, as one frozen value."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from numbers import Integral
from typing import Any, Literal, get_args

from upres.data.patches import DEGRADATIONS
from upres.errors import UsageError
from upres.networks import GROWS, NETWORKS, PRE_ENLARGED, SUPERVISES_RECURSIONS, Network
from upres.training.losses import LOSSES

Precision = Literal["bf16", "f32"]
Start = Literal["interpolation", "paper"]
Optimizer = Literal["adam", "sgd", "soap"]
Schedule = Literal["cosine", "staged", "plateau"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to train one network; checked when it is made.

    Attributes:
        network: name in `upres.networks.NETWORKS`.
        scale: factor to enlarge by.
        more_scales: further factors that the same weights learn, one after the other, a step each; for the networks
            that work on the enlarged picture. Validation is at `scale`.
        arguments: the network's constructor arguments besides `scale`.
        variant: what tells networks with other arguments apart: part of the model's name, such as the `s` of FSRCNN-s.
        start: initial weights: `paper` as the network's constructor leaves them, `interpolation` so that the untrained
            network enlarges bilinearly or bicubically, which saves the steps that it takes to find that out.
        growth: pairs (step, recursions): how many recursions of DRCN or units of DRRN are run from that step on. Their
            weights are shared, so few train faster and lend what they learned to many. Empty: all of them, always.

        steps: optimizer steps, at most.
        batch: patches a step, over all devices.
        patch: side of a low-resolution patch in pixels, at `scale`; patches of further scales cover the same
            high-resolution side.
        degradation: name in `upres.data.patches.DEGRADATIONS`.
        rescale: factors by which each picture is also used reduced.
        teacher: what the network learns from instead of the pictures: the results of a network in the catalog, or in a
            safetensors file, at the same scale or at the next larger one, reduced. Empty: from the pictures.
        teacher_share: of those results in what it learns from; the rest is the pictures.
        held_out: pictures set apart for validation.
        validate_every: steps between two validations.

        optimizer: `adam`; `sgd` with `momentum`; `soap`, Adam in the eigenbasis of Shampoo's preconditioner (Vyas
            2024, arXiv 2409.11321), which small networks need far fewer steps with.
        momentum: of SGD.
        weight_decay: of SGD: adds this much of each weight to its gradient.
        learning_rate: at the top of the schedule.
        schedule: `cosine`: to zero as a half cosine. `staged`: times `drop` every `drop_every` steps. `plateau`: times
            `drop` after `patience` validations without a new best PSNR, and the run ends below `least_rate`.
        warmup: steps over which the rate first rises from zero, linearly.
        drop: factor on the rate.
        drop_every: steps.
        patience: validations.
        least_rate: below it a run with a plateau schedule ends.
        last_layer_rate: factor on the rate of the parameters named in `last_layer` (the SRCNN papers use 0.1).
        last_layer: prefix of those parameters' names.
        bias_rate: factor on the rate of biases and slopes. Adam and SOAP move a bias as far as a weight, though a
            feature changes by the sum over many weights: at the full rate the biases of a ReLU network soon cut
            features off that never come back.
        expansion: each convolution's weights are trained as the product of two matrices, whose inner side is this many
            times the weights' first side, and 32 at least (`upres.training.factors`). Clipping and weight decay are
            then the matrices'. 0 trains the weights themselves.

        loss: name in `upres.training.losses.LOSSES`.
        recursion_loss: α, the share of the single recursions' losses in DRCN's; the rest is the final output's. It
            falls linearly to zero over `recursion_loss_steps`. Of a network with several outputs that are no
            recursions, each counts alike.
        recursion_loss_steps: steps.
        clip: greatest norm of the gradient; infinity for none.
        clip_by_rate: θ: each component of the gradient is clipped to ±θ / rate, VDSR's "adjustable" clipping; DRRN
            uses it too. Infinity for none.
        ema: decay of the running mean of the weights, which is what is validated and kept; 0 keeps the weights
            themselves. Early steps decay faster, so that the mean forgets the start.
        precision: of the network's arithmetic; in `bf16` weights, loss and optimizer still stay in float32. `upres
            train` turns `bf16` into `f32` where the processor lacks it.
        settle: last steps, in which the convolutions' weights, now the running mean rounded to bfloat16, stay fixed
            while biases and slopes are trained on in float32, at a tenth of the rate and a half cosine. Without it a
            small network carries bfloat16's rounding as a brightness error of up to 0.3 gray levels; with it the
            weights are exact in either precision.
        seed: of initialisation and of every batch.

    Raises:
        UsageError: a field is outside its range; the field, its value and the range are named.
    """

    network: str
    scale: int
    more_scales: tuple[int, ...] = ()
    arguments: Mapping[str, Any] = field(default_factory=dict[str, Any])
    variant: str = ""
    start: Start = "interpolation"
    growth: tuple[tuple[int, int], ...] = ()

    steps: int
    batch: int = 16
    patch: int = 32
    degradation: str = "bicubic"
    rescale: tuple[float, ...] = (1.0,)
    teacher: str = ""
    teacher_share: float = 1.0
    held_out: int = 8
    validate_every: int = 2000

    optimizer: Optimizer = "adam"
    momentum: float = 0.9
    weight_decay: float = 0.0
    learning_rate: float = 1e-3
    schedule: Schedule = "cosine"
    warmup: int = 500
    drop: float = 0.1
    drop_every: int = 100_000
    patience: int = 5
    least_rate: float = 1e-6
    last_layer: str = ""
    last_layer_rate: float = 1.0
    bias_rate: float = 1.0
    expansion: int = 0

    loss: str = "l1"
    recursion_loss: float = 0.0
    recursion_loss_steps: int = 10_000
    clip: float = math.inf
    clip_by_rate: float = math.inf
    ema: float = 0.999
    precision: Precision = "bf16"
    settle: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, table in (("network", NETWORKS), ("loss", LOSSES), ("degradation", DEGRADATIONS)):
            self._require(name, getattr(self, name) in table, f"one of {', '.join(table)}")
        for name, choices in (
            ("start", Start),
            ("precision", Precision),
            ("optimizer", Optimizer),
            ("schedule", Schedule),
        ):
            self._require(name, getattr(self, name) in get_args(choices), " or ".join(get_args(choices)))
        counts = (
            "scale",
            "steps",
            "batch",
            "patch",
            "validate_every",
            "drop_every",
            "patience",
            "recursion_loss_steps",
        )
        counts_or_none = ("held_out", "warmup", "seed", "settle", "expansion")
        for name in (*counts, *counts_or_none):
            self._require(name, isinstance(getattr(self, name), Integral), "a whole number")
        for name in counts:
            self._require(name, getattr(self, name) >= 1, "at least 1")
        for name in (*counts_or_none, "weight_decay", "least_rate"):
            self._require(name, getattr(self, name) >= 0, "at least 0")
        for name in ("learning_rate", "clip", "clip_by_rate", "last_layer_rate", "bias_rate"):
            self._require(name, getattr(self, name) > 0, "above 0")
        for name in ("ema", "momentum"):
            self._require(name, 0 <= getattr(self, name) < 1, "at least 0 and below 1")
        self._require("teacher", isinstance(self.teacher, str), "a name, or a path as text")  # pyright: ignore[reportUnnecessaryIsInstance]
        self._require("teacher_share", 0 < self.teacher_share <= 1, "above 0 and at most 1")
        self._require("drop", 0 < self.drop < 1, "above 0 and below 1")
        self._require("settle", self.settle < self.steps, f"below steps, {self.steps}")
        self._require("rescale", bool(self.rescale) and all(0 < f <= 1 for f in self.rescale), "factors in (0, 1]")
        self._require("arguments", "scale" not in self.arguments, "without 'scale', which is a field of its own")
        if self.schedule == "plateau":
            self._require("held_out", self.held_out > 0, "at least 1: a plateau schedule follows their PSNR")
            self._require("settle", self.settle == 0, "0: a plateau schedule does not know its last steps")
            self._require("growth", not self.growth, "empty: a plateau schedule may end before the last of it")
        try:
            NETWORKS[self.network](scale=self.scale, **self.arguments)
        except (TypeError, ValueError) as error:
            raise UsageError(f"recipe's network cannot be built: {error}") from error
        self._require(
            "recursion_loss",
            0 <= self.recursion_loss <= 1 and (self.recursion_loss == 0 or self.network in SUPERVISES_RECURSIONS),
            f"0 to 1, and 0 but for {', '.join(SUPERVISES_RECURSIONS)}",
        )
        self._check_scales()
        self._check_growth()

    def _check_scales(self) -> None:
        if not self.more_scales:
            return
        self._require("more_scales", self.network in PRE_ENLARGED, f"empty but for {', '.join(PRE_ENLARGED)}")
        whole = all(isinstance(scale, Integral) and scale >= 1 for scale in self.more_scales)
        distinct = len({self.scale, *self.more_scales}) == 1 + len(self.more_scales)
        self._require("more_scales", whole and distinct, f"other whole factors than {self.scale}")
        high = self.patch * self.scale
        for scale in self.more_scales:
            self._require("patch", high % scale == 0, f"such that {self.scale}·patch, {high}, divides by {scale}")

    def _check_growth(self) -> None:
        if not self.growth:
            return
        self._require("growth", self.network in GROWS, f"empty but for {', '.join(GROWS)}")
        steps, recursions = zip(*self.growth, strict=True)
        whole = all(isinstance(value, Integral) for value in (*steps, *recursions))
        self._require("growth", whole, "pairs of whole numbers")
        rising = all(list(values) == sorted(set(values)) for values in (steps, recursions))
        self._require("growth", rising and steps[0] == 0 and recursions[0] >= 1, "rising pairs, the first at step 0")
        self._require("growth", steps[-1] < self.steps, f"pairs of steps below {self.steps}")
        network = NETWORKS[self.network](scale=self.scale, **self.arguments)
        most = network.recursions  # pyright: ignore[reportAttributeAccessIssue]
        self._require("growth", recursions[-1] == most, f"pairs up to the network's {most} recursions")

    def _require(self, name: str, holds: bool, rule: str) -> None:
        if not holds:
            raise UsageError(f"recipe has {name} = {getattr(self, name)!r}; it must be {rule}.")

    @property
    def model(self) -> str:
        """The network's name, and the variant's."""
        return f"{self.network}-{self.variant}" if self.variant else self.network

    @property
    def name(self) -> str:
        """Of the weights that it makes: the model, and the scale if there is but one."""
        return self.model if self.more_scales else f"{self.model}-x{self.scale}"

    @property
    def scales(self) -> tuple[int, ...]:
        """`scale` and `more_scales`."""
        return (self.scale, *self.more_scales)

    def at_scale(self, scale: int) -> Recipe:
        """The same recipe with validation at another scale.

        A network that works on the enlarged picture keeps the patches' high-resolution side, as nearly as all scales
        divide it; where several scales are trained together, this one joins them.

        Raises:
            UsageError: the network, or the patches, cannot be made for this scale.
        """
        if self.network not in PRE_ENLARGED:
            return replace(self, scale=scale)
        others = tuple(other for other in self.scales if other != scale) if self.more_scales else ()
        self._require("scale", scale >= 1, "at least 1")
        step = math.lcm(scale, *others)  # the side in high resolution must divide by every scale
        high = max(step, round(self.patch * self.scale / step) * step)
        return replace(self, scale=scale, more_scales=others, patch=high // scale)

    def with_steps(self, steps: int) -> Recipe:
        """The same recipe drawn out or shortened: what is counted in steps keeps its share, but warm-up does not grow.

        Raises:
            UsageError: so few steps that parts of the recipe fall together.
        """

        def share(count: int) -> int:
            return max(1, round(count * steps / self.steps))

        return replace(
            self,
            steps=steps,
            warmup=min(self.warmup, steps // 4),
            settle=self.settle * steps // self.steps,
            drop_every=share(self.drop_every),
            recursion_loss_steps=share(self.recursion_loss_steps),
            growth=tuple((step * steps // self.steps, recursions) for step, recursions in self.growth),
        )

    def with_batch(self, batch: int) -> Recipe:
        """The same recipe with another number of patches a step, and no more patches to settle on, which is slow.

        Raises:
            UsageError: it is below 1.
        """
        changed = replace(self, batch=batch)
        return replace(changed, settle=min(self.settle, -(-self.settle * self.batch // batch)))

    def starting_from(self, network: Network) -> Recipe:
        """The same recipe, which does not grow again where it starts from a network that has grown already.

        Args:
            network: with the weights that a run starts from.
        """
        if not self.growth:
            return self
        own = NETWORKS[self.network](scale=self.scale, **self.arguments)
        has_grown = isinstance(network, type(own)) and network.recursions == own.recursions
        return replace(self, growth=()) if has_grown else self

    def learning_rate_at(self, step: int, drops: int = 0) -> float:
        """The rate of a step counted from 0, after `drops` drops of a plateau schedule."""
        settle_from = self.steps - self.settle
        if step >= settle_from:
            return 0.1 * self.learning_rate * _half_cosine((step - settle_from) / self.settle)
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        if self.schedule == "cosine":
            return self.learning_rate * _half_cosine((step - self.warmup) / (settle_from - self.warmup))
        if self.schedule == "staged":
            drops = step // self.drop_every
        return self.learning_rate * self.drop**drops

    def is_finished(self, step: int, drops: int = 0) -> bool:
        """Whether a run ends after `step` steps and `drops` drops of a plateau schedule."""
        too_slow = self.schedule == "plateau" and self.learning_rate * self.drop**drops < self.least_rate
        return step >= self.steps or too_slow

    def recursion_loss_at(self, step: int) -> float:
        """α of a step counted from 0."""
        return self.recursion_loss * max(0.0, 1 - step / self.recursion_loss_steps)

    def recursions_at(self, step: int) -> int | None:
        """Recursions that a step runs; None for all there are."""
        return next((recursions for start, recursions in reversed(self.growth) if start <= step), None)


def _half_cosine(progress: float) -> float:
    """From 1 at 0 to 0 at 1."""
    return 0.5 * (1 + math.cos(math.pi * progress))
