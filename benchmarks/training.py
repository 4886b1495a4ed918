"""Measure training speed: upres's loop against two loops as textbooks write them, interleaved in one process.

    python benchmarks/training.py --data PICTURES [--json benchmarks/results/training-DATE.json]

PICTURES is a folder or a pack. All three train the same network class with the same arguments, on patches of the same
size from the same pictures, so many a step, on the processor, with the number of threads that PyTorch chooses:

textbook    Eager PyTorch in float32, channels first. Patches were cut beforehand, and each is a PNG file of its own. A
            `Dataset` opens a pair with Pillow and flips and turns it; a `DataLoader` without workers shuffles and
            collates. Mean squared error, Adam, `loss.item()` every step, no running mean of the weights. Nothing
            is read from the disk: the files were just written, so the system still holds them.
in memory   The same loop, but the patches are two tensors that stay in memory; a batch is indexed at once and flipped
            and turned as a whole. What is left of the ratio comes from computing, not from files.
upres       `upres.training.loop.train` as `upres train` runs it: torch.compile, bfloat16, channels last, patches cut
            from the whole pictures at every step, the recipe's loss, running mean of the weights, progress written.

SRCNN, VDSR, RED-Net and DRRN work on a picture that bicubic interpolation has enlarged. Textbooks enlarge when they
cut, and read the large patch; here the class enlarges, in every loop. That favours the textbook where it matters: its
files are a quarter as large to decode (at ×2), while enlarging costs 25 multiplications a pixel, and the smallest of
these networks 57,184.

Batch, patch, arguments and, for upres, optimizer are the shipped recipe's at ×2 alone, with all recursions from the
start and without the settling steps, which compute in float32. A round is as many steps as take the in-memory loop
`--seconds`; it has one turn of every loop. The first round is dropped: it compiles, and fills the caches of the others.
A turn's pace is its patches over its time; for upres that is `Report.patches_per_second`, in which neither validation
nor the other loops' turns count, since those are taken while the loop waits for its watcher. Reported is the median of
the rounds, and of the ratios within a round, with the smallest and the greatest. "data" is the time of
`PatchSource.batch` over the time of upres's step.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from record import write_record
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from upres.data.pack import Pack, open_data
from upres.data.patches import PatchSource
from upres.networks import NETWORKS
from upres.recipes import RECIPES
from upres.training.loop import Report, train
from upres.training.recipe import Recipe

Pair = tuple[Tensor, Tensor]  # low- and high-resolution patches, `(…, 1, p, p)` and `(…, 1, s·p, s·p)`

MEASURED = ("espcn", "fsrcnn", "srcnn", "vdsr", "lapsrn", "red", "drrn")
STORED_PAIRS = 2048
CUTS_A_ROUND = 50


class PngPairs(Dataset[Pair]):
    """Pairs of PNG files `low/N.png` and `high/N.png`, flipped and turned at random."""

    def __init__(self, folder: Path) -> None:
        self.low, self.high = (sorted((folder / name).glob("*.png")) for name in ("low", "high"))

    def __len__(self) -> int:
        return len(self.low)

    def __getitem__(self, index: int) -> Pair:
        return turned((to_tensor(self.low[index]), to_tensor(self.high[index])))


def to_tensor(path: Path) -> Tensor:
    """`(1, h, w)` in [0, 1]."""
    with Image.open(path) as image:
        return torch.from_numpy(np.asarray(image, dtype=np.float32) / 255)[None]


def turned(pair: Pair) -> Pair:
    """Both alike in one of the eight flips and rotations, drawn from NumPy's global generator."""
    turns, flip = np.random.randint(4), np.random.randint(2)  # noqa: NPY002 - as textbooks do
    low, high = (torch.rot90(patch, turns, (-2, -1)) for patch in pair)
    return (low.flip(-1), high.flip(-1)) if flip else (low, high)


def write_pairs(pair: Pair, folder: Path) -> None:
    """Write a batch of pairs as `PngPairs` reads them."""
    for name, patches in zip(("low", "high"), pair, strict=True):
        (folder / name).mkdir()
        pixels = (patches[:, 0].clamp(0, 1) * 255).round().byte().numpy()
        for i, patch in enumerate(pixels):
            Image.fromarray(patch).save(folder / name / f"{i:05}.png")


def from_files(folder: Path, batch: int) -> Iterator[Pair]:
    """Batches without end, shuffled anew each time all files were read."""
    loader = DataLoader(PngPairs(folder), batch_size=batch, shuffle=True, num_workers=0, drop_last=True)
    while True:
        yield from loader


def from_memory(pair: Pair, batch: int) -> Iterator[Pair]:
    """Batches without end, shuffled anew each time all pairs were used."""
    low, high = pair
    while True:
        for index in torch.randperm(len(low)).split(batch):
            if len(index) == batch:
                yield turned((low[index], high[index]))


def textbook(recipe: Recipe, batches: Iterator[Pair]) -> Callable[[int], float]:
    """A function that trains a number of steps and returns its pace in patches per second."""
    torch.manual_seed(recipe.seed)
    network = NETWORKS[recipe.network](scale=recipe.scale, **recipe.arguments)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)

    def run(steps: int) -> float:
        started = time.perf_counter()
        for low, high in itertools.islice(batches, steps):
            loss = F.mse_loss(network(low), high)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss.item()
        return steps * recipe.batch / (time.perf_counter() - started)

    return run


def steps_that_take(seconds: float, run: Callable[[int], float], batch: int) -> int:
    """Train with twice as many steps each time until the pace is sure enough to foretell a turn's length."""
    steps = 1
    while steps * batch / (pace := run(steps)) < seconds / 4:
        steps *= 2
    return max(2, round(seconds * pace / batch))


def seconds_a_batch(source: PatchSource, size: int) -> float:
    started = time.perf_counter()
    for step in range(CUTS_A_ROUND):
        source.batch(size, seed=1, step=step)
    return (time.perf_counter() - started) / CUTS_A_ROUND


def measure(recipe: Recipe, pack: Pack, *, rounds: int, seconds: float) -> dict[str, Any]:
    """Train a network with all three loops in turn."""
    source = PatchSource(
        pack.planes,
        scale=recipe.scale,
        patch=recipe.patch,
        degradation=recipe.degradation,
        rescale=recipe.rescale,
    )
    stored = source.batch(max(STORED_PAIRS, recipe.batch), seed=0, step=0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_pairs(stored, folder)
        run_files = textbook(recipe, from_files(folder, recipe.batch))
        run_memory = textbook(recipe, from_memory(stored, recipe.batch))
        steps = steps_that_take(seconds, run_memory, recipe.batch)
        turns: list[dict[str, float]] = []

        def take_the_other_turns(report: Report) -> None:
            paces = {
                "upres": report.patches_per_second,
                "textbook": run_files(steps),
                "in_memory": run_memory(steps),
            }
            turns.append(paces | {"cut_seconds": seconds_a_batch(source, recipe.batch)})

        total = (rounds + 1) * steps
        torch.compiler.reset()  # else the eighth network is one too many for the compiler, and runs eagerly
        train(
            replace(recipe.with_steps(total), settle=0, held_out=0, validate_every=total),
            pack,
            folder / "run",
            accelerator="cpu",
            compile=True,
            report_every=steps,
            watch=take_the_other_turns,
        )
    return {
        "network": recipe.network,
        "arguments": dict(recipe.arguments),
        "scale": recipe.scale,
        "batch": recipe.batch,
        "patch": recipe.patch,
        "steps_a_turn": steps,
    } | summary(turns[1:], recipe.batch)


def summary(turns: list[dict[str, float]], batch: int) -> dict[str, Any]:
    """Medians over the rounds; a ratio is within a round, as (median, smallest, greatest)."""

    def median(key: str) -> float:
        return statistics.median(turn[key] for turn in turns)

    def ratio(to: str) -> tuple[float, float, float]:
        ratios = [turn["upres"] / turn[to] for turn in turns]
        return statistics.median(ratios), min(ratios), max(ratios)

    return {
        "patches_per_second": {key: median(key) for key in ("upres", "textbook", "in_memory")},
        "ratio_to_textbook": ratio("textbook"),
        "ratio_to_in_memory": ratio("in_memory"),
        "data_share": statistics.median(turn["cut_seconds"] * turn["upres"] / batch for turn in turns),
        "rounds": turns,
    }


def table(rows: list[dict[str, Any]]) -> Table:
    shown = Table(caption="patches per second: median of the rounds; ratios: median, smallest–greatest")
    shown.add_column("network\nand batch")
    for heading in ("upres", "textbook", "in memory", "÷ textbook", "÷ in memory", "data"):
        shown.add_column(heading, justify="right")
    for row in rows:
        name = f"{row['network']} ×{row['scale']}\n{row['batch']} × {row['patch']}²"
        paces = (f"{pace:.1f}" for pace in row["patches_per_second"].values())
        ratios = ("{:.2f}\n{:.2f}–{:.2f}".format(*row[f"ratio_to_{to}"]) for to in ("textbook", "in_memory"))
        shown.add_row(name, *paces, *ratios, f"{row['data_share']:.1%}")
    return shown


def networks_asked_for(text: str) -> list[str]:
    names = text.split(",")
    if unknown := set(names) - set(MEASURED):
        raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}; choose from {', '.join(MEASURED)}")
    return names


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of pictures, or pack")
    parser.add_argument("--networks", type=networks_asked_for, default=list(MEASURED), help="separated by commas")
    parser.add_argument("--rounds", type=int, default=7, help="that count (%(default)s)")
    parser.add_argument("--seconds", type=float, default=5, help="of a turn of the in-memory loop (%(default)s)")
    parser.add_argument("--json", type=Path, help="write the result to this file")
    arguments = parser.parse_args()

    console = Console()
    threads = torch.get_num_threads()
    console.print(f"PyTorch {torch.__version__}, {threads} threads in every loop")
    pack, _ = open_data(arguments.data)
    rows: list[dict[str, Any]] = []
    for name in arguments.networks:
        recipe = replace(RECIPES[name], more_scales=(), growth=())
        with console.status(name):
            rows.append(measure(recipe, pack, rounds=arguments.rounds, seconds=arguments.seconds))
        console.print("{network}: {ratio_to_textbook[0]:.2f}, {ratio_to_in_memory[0]:.2f}".format(**rows[-1]))
        result = {"benchmark": "training", "torch": torch.__version__, "threads": threads, "networks": rows}
        write_record(arguments, result)
    console.print(table(rows))


if __name__ == "__main__":
    main()
