"""Measure how many minutes of training the shipped recipes need until Set5 ×2 passes a PSNR.

    python benchmarks/time_to_quality.py --data PICTURES --set5 ../shared/data/test/set5 \\
        [--steps 1000,2000,4000,8000] [--json benchmarks/results/time-to-quality-DATE.json] [--plot FILE.png]

PICTURES is a folder or a pack; all of it trains. The targets are 36.6 dB for ESPCN and 36.9 dB for FSRCNN, scored as
the papers do (`paper`) on what is kept: the running mean of the weights, in float32.

A recipe's rate falls to zero along a cosine, so its quality comes at the end, and a long run stopped early says little
about a short one. So each length is a run of its own with the whole schedule, `Recipe.with_steps`, and its result is
where it ends. The answer is the shortest that ends above the target. The points on the way there, every 250 steps, are
recorded too, but do not count.

Minutes are those of training on this machine's processor: the steps between two reports over the pace reported, which
includes cutting patches and, in the first interval, torch.compile. Its cache on disk is left unused, so that every run
pays for compiling; the first of all pays some seconds more. Not included are reading and reducing the pictures,
starting, and validating; "total_minutes" is what the whole call took.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from record import write_record
from rich.console import Console
from rich.table import Table

from upres.data.pack import Pack, open_data, read_folder
from upres.recipes import RECIPES
from upres.training.loop import Report, train
from upres.training.recipe import Recipe

SCALE = 2
TARGETS = {"espcn": 36.6, "fsrcnn": 36.9}  # dB on Set5
VALIDATE_EVERY = 250


@dataclass
class Curve:
    """A run's validations as (minutes of training, step, PSNR in dB); give it to `train` as `watch`."""

    batch: int
    points: list[tuple[float, int, float]] = field(default_factory=list[tuple[float, int, float]])
    _seconds: float = 0.0
    _step: int = 0

    def __call__(self, report: Report) -> None:
        self._seconds += (report.step - self._step) * self.batch / report.patches_per_second
        self._step = report.step
        if report.psnr is not None:
            self.points.append((self._seconds / 60, report.step, report.psnr))


def run(recipe: Recipe, pack: Pack, set5: Pack) -> dict[str, Any]:
    """Train a whole schedule."""
    curve = Curve(recipe.batch)
    torch.compiler.reset()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as out, torch.compiler.config.patch(force_disable_caches=True):
        train(recipe, pack, Path(out) / "run", accelerator="cpu", validation=set5, watch=curve)
    total_minutes = (time.perf_counter() - started) / 60
    minutes, step, psnr = curve.points[-1]
    return {"steps": step, "minutes": minutes, "psnr": psnr, "total_minutes": total_minutes, "points": curve.points}


def shortest_above(target: float, runs: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The run of the fewest steps that ends above the target; None if none does."""
    return min((run for run in runs if run["psnr"] > target), key=lambda run: run["steps"], default=None)


def plot(results: dict[str, dict[str, Any]], path: Path) -> None:
    """Final PSNR over minutes, one panel a network, with the ways there."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5 * len(results), 4), layout="constrained")
    panels = figure.subplots(1, len(results), squeeze=False)[0]
    for panel, (name, result) in zip(panels, results.items(), strict=True):
        for run in result["runs"]:
            minutes, _, psnr = zip(*run["points"], strict=True)
            panel.plot(minutes, psnr, color="0.75", linewidth=1)
            panel.annotate(f"{run['steps']} steps", (run["minutes"], run["psnr"]), (0, 5), textcoords="offset points")
        ends = sorted((run["minutes"], run["psnr"]) for run in result["runs"])
        panel.plot(*zip(*ends, strict=True), marker="o", label="end of a whole schedule")
        panel.plot([], [], color="0.75", linewidth=1, label="on the way there")
        panel.axhline(result["target"], color="C3", linestyle="--", label=f"target, {result['target']} dB")
        # An untrained network enlarges bilinearly; that end of the curve would flatten the rest.
        lowest = min(result["target"], *(psnr for _, psnr in ends))
        highest = max(result["target"], *(psnr for _, psnr in ends))
        panel.set(
            title=f"{name} ×{SCALE}",
            xlabel="training time / min",
            ylabel="PSNR on Set5 / dB",
            xlim=(0, None),
            ylim=(lowest - 0.3, highest + 0.15),
        )
        panel.legend(loc="lower right")
    figure.savefig(path, dpi=150)


def table(results: dict[str, dict[str, Any]]) -> Table:
    shown = Table()
    shown.add_column("network")
    for heading in ("target dB", "steps", "Set5 dB", "minutes", "with all else"):
        shown.add_column(heading, justify="right")
    for name, result in results.items():
        for run in result["runs"]:
            values = (f"{run['psnr']:.3f}", f"{run['minutes']:.2f}", f"{run['total_minutes']:.2f}")
            style = "bold" if run is result["shortest"] else None
            shown.add_row(f"{name} ×{SCALE}", f"{result['target']}", f"{run['steps']}", *values, style=style)
    return shown


def numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of pictures, or pack")
    parser.add_argument("--set5", type=Path, required=True, help="folder of Set5's pictures")
    parser.add_argument("--networks", default=",".join(TARGETS), help="separated by commas (%(default)s)")
    parser.add_argument("--steps", type=numbers, default="1000,2000,4000,8000", help="lengths (%(default)s)")
    parser.add_argument("--json", type=Path, help="write the result to this file")
    parser.add_argument("--plot", type=Path, help="draw the result to this PNG file; needs matplotlib")
    arguments = parser.parse_args()
    names: list[str] = arguments.networks.split(",")
    if unknown := set(names) - set(TARGETS):
        parser.error(f"no target for {', '.join(sorted(unknown))}; choose from {', '.join(TARGETS)}")
    if arguments.plot:
        try:
            import matplotlib  # noqa: F401 - to fail now, not after hours
        except ImportError:
            parser.error("--plot needs matplotlib: pip install matplotlib")

    warnings.filterwarnings("ignore", "dynamo_pgo force disabled")  # says what `run` asked for
    console = Console()
    pack, _ = open_data(arguments.data)
    set5, _ = read_folder(arguments.set5)
    results: dict[str, dict[str, Any]] = {}
    for name in names:
        runs: list[dict[str, Any]] = []
        for steps in arguments.steps:
            recipe = replace(RECIPES[name].with_steps(steps), scale=SCALE, validate_every=VALIDATE_EVERY)
            with console.status(f"{name}, {steps} steps"):
                runs.append(run(recipe, pack, set5))
            console.print("{0}, {steps} steps: {psnr:.3f} dB after {minutes:.2f} min".format(name, **runs[-1]))
            target = TARGETS[name]
            results[name] = {"target": target, "shortest": shortest_above(target, runs), "runs": runs}
            about = {"benchmark": "time to quality", "torch": torch.__version__, "threads": torch.get_num_threads()}
            write_record(arguments, about | {"networks": results})
    console.print(table(results))
    for name, result in results.items():
        if best := result["shortest"]:
            console.print(f"{name}: above {result['target']} dB after {best['minutes']:.2f} minutes")
        else:
            console.print(f"{name}: no schedule ends above {result['target']} dB")
    if arguments.plot:
        plot(results, arguments.plot)


if __name__ == "__main__":
    main()
