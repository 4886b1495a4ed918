"""A run in two pictures: `curves.png`, and `samples.png`, a validation picture as the run went on."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upres.evaluation import metrics, published
from upres.training.recipe import Recipe
from upres.training.watching import SAMPLES, read

log = logging.getLogger(__name__)

_STEPS_SHOWN = 4


def draw(out: Path, recipe: Recipe, *, bicubic: float | None) -> None:
    """Draw a finished run from what it left in its folder; what cannot be drawn is a warning, for the run is done.

    Args:
        out: the run's folder.
        recipe: what was run.
        bicubic: PSNR in dB of bicubic interpolation on the validation pictures.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        log.info("matplotlib is not installed; no curves are drawn")
        return
    try:
        _curves(Figure(figsize=(8, 9), layout="constrained"), out, recipe, bicubic).savefig(out / "curves.png", dpi=120)
        panels = _panels(out)
        if panels:
            figure = Figure(figsize=(2.4 * len(panels), 2.9), layout="constrained")
            _contact_sheet(figure, panels).savefig(out / "samples.png", dpi=120)
    except (OSError, EOFError, ValueError) as error:  # a full disk, or files that a power cut left damaged
        log.warning("%s: the plots could not be drawn (%s)", out, error)


def _curves(figure: Any, out: Path, recipe: Recipe, bicubic: float | None) -> Any:
    rows = read(out)
    steps = [int(row["step"]) for row in rows]
    quality, loss, rate = figure.subplots(3, 1, sharex=True, height_ratios=(2, 2, 1))
    quality.set_title(f"{recipe.model} ×{recipe.scale}")
    scored = [(int(row["step"]), float(row["psnr"])) for row in rows if row["psnr"]]
    if scored:
        quality.plot(*zip(*scored, strict=True), marker=".", label="validation")
    if bicubic is not None:
        quality.axhline(bicubic, color="gray", linestyle=":", label="bicubic")
        paper = _paper_on_the_same(recipe, bicubic)
        if paper is not None:
            quality.axhline(paper, color="black", linestyle="--", label="the paper")
    quality.set_ylabel("PSNR in dB")
    if quality.get_legend_handles_labels()[0]:
        quality.legend()
    if not rows:
        raise ValueError("metrics.csv is empty")
    losses = [float(row["loss"]) for row in rows]
    loss.plot(steps, losses, alpha=0.3)
    window = max(1, len(losses) // 40)
    smooth = np.convolve(losses, np.full(window, 1 / window), mode="valid")
    loss.plot(steps[window - 1 :], smooth, color="C0", label=f"mean of {window} reports")
    if window > 1:
        loss.legend()
    loss.set_yscale("log")
    loss.set_ylabel(f"loss ({recipe.loss})")
    rate.plot(steps, [float(row["learning_rate"]) for row in rows])
    rate.set_ylabel("learning rate")
    rate.set_xlabel("step")
    for axes in (quality, loss, rate):
        axes.grid(alpha=0.3)
    return figure


def _paper_on_the_same(recipe: Recipe, bicubic: float) -> float | None:
    """The paper's PSNR, where the validation pictures are a set that it reports: bicubic's tells them apart."""
    for dataset in ("set5", "set14", "bsd100"):
        base, paper = (published.find(name, dataset, recipe.scale) for name in ("bicubic", recipe.model))
        if base and paper and abs(base.psnr - bicubic) < 0.01:
            return paper.psnr
    return None


def _panels(out: Path) -> list[tuple[str, NDArray[np.uint8]]]:
    """Bicubic, a few of the steps, and the truth, each with its title; empty where nothing was validated."""
    samples = {path.stem: np.load(path) for path in sorted((out / SAMPLES).glob("*.npy"))}
    if not samples:
        return []
    truth = samples.pop("truth")
    bicubic = samples.pop("bicubic")
    shown = _spread([name for name in samples if re.fullmatch(r"step-\d+", name)], _STEPS_SHOWN)
    between = [(f"step {int(name.removeprefix('step-')):,}", samples[name]) for name in shown]
    scored = [("bicubic", bicubic), *between]
    return [(f"{title}\n{metrics.psnr(panel, truth):.2f} dB", panel) for title, panel in scored] + [("truth\n", truth)]


def _spread(names: list[str], count: int) -> list[str]:
    """At most `count` of the names, evenly spread, first and last included."""
    places = np.linspace(0, len(names) - 1, min(count, len(names))).round().astype(int)
    return [names[place] for place in places]


def _contact_sheet(figure: Any, panels: Sequence[tuple[str, NDArray[np.uint8]]]) -> Any:
    for axes, (title, panel) in zip(figure.subplots(1, len(panels)), panels, strict=True):
        axes.imshow(panel, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axes.set_title(title, fontsize=9)
        axes.set_axis_off()
    return figure
