"""What a training run would cost, from a few steps of it."""

from __future__ import annotations

import math
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from upres.data.pack import Pack
from upres.networks import NETWORKS
from upres.training import loop
from upres.training.recipe import Recipe
from upres.training.watching import Report

_STEPS = 20
_SECONDS = 10.0


@dataclass(frozen=True)
class Estimate:
    """What a run would cost on the machine and the device that it was measured on.

    Attributes:
        recipe: what would be run.
        parameters: the network's, biases included.
        flops: floating-point operations of a step, forward and backward; a multiplication and an addition are two.
        memory: greatest use in bytes: of the device's memory on CUDA, else of the process; None where unknown. Without
            a teacher, which enlarges whole pictures.
        steps_per_second: over 20 steps, or as many as a CPU takes ten seconds for, but at least one at each scale,
            after the first ones, which compile. Of fewer than 10, what SOAP does every tenth step may be left out, or
            weigh too much.
    """

    recipe: Recipe
    parameters: int
    flops: int
    memory: int | None
    steps_per_second: float

    @property
    def seconds(self) -> float:
        """The whole run's, validation and a teacher not counted."""
        return self.recipe.steps / self.steps_per_second

    def __str__(self) -> str:
        r = self.recipe
        uncounted = f"validation{' and its teacher' * bool(r.teacher)} not counted"
        without = " without its teacher" * bool(r.teacher)
        rate = self.flops * self.steps_per_second / 1e9
        as_products = ", trained as products of matrices" if r.expansion else ""
        return "\n".join(
            [
                f"{r.model} ×{', ×'.join(map(str, r.scales))}: {self.parameters:,} parameters{as_products}",
                f"a step: {r.batch} patches of {r.patch}×{r.patch}, {self.flops / 1e9:.2f} GFLOP in {r.precision}",
                f"pace: {_short(self.steps_per_second)} steps/s, {_short(rate)} GFLOP/s",
                f"memory: {self.memory / 2**20:.0f} MiB{without}" if self.memory else "memory: unknown",
                f"{r.steps} steps: about {_spelled(self.seconds)}, {uncounted}",
            ]
        )


def _short(number: float) -> str:
    return f"{number:.0f}" if number >= 100 else f"{number:.3g}"


def _spelled(seconds: float) -> str:
    if seconds < 90:
        return f"{math.ceil(seconds)} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


class _Enough(Exception):
    pass


def estimate(recipe: Recipe, data: Pack, *, accelerator: str = "auto", compile: bool | None = None) -> Estimate:
    """Run a few steps in a folder that is then removed; arguments as of `loop.train`.

    A recipe that grows is measured with all its recursions, which is what most of its steps cost at most.

    Raises:
        DataError, UsageError: as `loop.train` does.
    """
    on_gpu = accelerator != "cpu" and torch.cuda.is_available()
    at_once = _STEPS if on_gpu else len(recipe.scales)  # each scale compiles; a GPU would wait for each report
    compiled_by = at_once if on_gpu else 2 * at_once
    reports: list[tuple[int, float]] = []

    def watch(report: Report) -> None:
        if report.step < compiled_by:
            return
        reports.append((report.step, time.perf_counter()))
        (first, since), (last, now) = reports[0], reports[-1]
        if last > first and (last - first >= _STEPS or now - since > _SECONDS):
            raise _Enough

    steps = compiled_by + _STEPS + at_once
    short = replace(recipe, steps=steps, settle=0, growth=(), validate_every=10**9, teacher="")
    with tempfile.TemporaryDirectory() as folder, suppress(_Enough):
        loop.train(
            short,
            data,
            Path(folder),
            validation=Pack((), (), digest=""),
            accelerator=accelerator,
            compile=compile,
            report_every=at_once,
            watch=watch,
        )
    (first, since), (last, now) = reports[0], reports[-1]
    network = NETWORKS[recipe.network](scale=recipe.scale, **recipe.arguments)
    return Estimate(
        recipe=recipe,
        parameters=sum(p.numel() for p in network.parameters()),
        flops=flops_of_a_step(recipe),
        memory=_peak_memory(),
        steps_per_second=(last - first) / (now - since),
    )


def flops_of_a_step(recipe: Recipe) -> int:
    """Operations of forward and backward at the recipe's scale, counted by PyTorch on one patch.

    Of the network as written; in training some layers take a faster form, which does more, or, after Winograd, less.
    """
    network = NETWORKS[recipe.network](scale=recipe.scale, **recipe.arguments).eval()
    low = torch.zeros(1, 1, recipe.patch, recipe.patch)
    with FlopCounterMode(display=False) as counter:
        torch.stack([p.mean() for p in network.outputs(low)]).sum().backward()
    return recipe.batch * counter.get_total_flops()


def _peak_memory() -> int | None:
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return torch.cuda.max_memory_allocated()
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
