"""One page a network in docs/models: its structure drawn, its size and cost, its recipe, its scores, a crop.

    python tools/model_cards.py

Texts are the docstrings of the network and of its recipe; scores come from docs/results.
"""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import Any

import matplotlib as mpl
import torch
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

import upres
from upres.evaluation import compare, others, page, protocol
from upres.evaluation.report import Evaluation
from upres.networks import NETWORKS
from upres.networks.layers import BicubicEnlarge
from upres.recipes import RECIPES

DOCS = Path(__file__).parents[1] / "docs"
PHOTO = Path(__file__).parents[1] / "examples" / "cat.jpg"
_SIDE = 48  # low-resolution pixels that a network is run on to be drawn and counted
_LONGEST_PATTERN = 12  # layers that are drawn once where they repeat
_LEGEND = "The layers in the order in which they run, at ×2: kernel, channels in → out. Sums of branches are not drawn."
_COLOURS = {"bicubic": "#BBBBBB", "convolution": "#56B4E9", "transposed": "#E69F00", "shuffle": "#F0E442"}


class Layers(TorchDispatchMode):
    """Writes down the layers that run: convolutions with their kernel and channels, and what bends or enlarges."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, str]] = []  # kind, label

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Note the operation and run it."""
        name = str(func.overloadpacket).removeprefix("aten.")
        if name == "convolution":
            self._convolution(args[1].shape, transposed=args[6])
        elif name in ("relu", "tanh", "leaky_relu", "_prelu_kernel", "prelu"):
            self._after({"leaky_relu": "leaky ReLU", "relu": "ReLU", "tanh": "tanh"}.get(name, "PReLU"))
        elif "batch_norm" in name:
            self.seen.append(("norm", "batch norm"))
        elif name == "pixel_shuffle":
            self.seen.append(("shuffle", "pixel shuffle"))
        return func(*args, **(kwargs or {}))

    def _convolution(self, shape: torch.Size, *, transposed: bool) -> None:
        into, out = (shape[0], shape[1]) if transposed else (shape[1], shape[0])
        kind = "transposed" if transposed else "convolution"
        prefix = "transposed " if transposed else ""
        self.seen.append((kind, f"{prefix}{shape[2]}×{shape[3]}\n{into} → {out}"))

    def _after(self, activation: str) -> None:
        kind, label = self.seen.pop() if self.seen else ("norm", "")
        self.seen.append((kind, f"{label}\n{activation}".strip()))


def layers(network: torch.nn.Module) -> list[tuple[str, str]]:
    """The layers in the order in which they run, the fixed bicubic enlargement as one."""
    seen = Layers()
    hooks = [
        module.register_forward_hook(lambda *_: _as_bicubic(seen))
        for module in network.modules()
        if isinstance(module, BicubicEnlarge)
    ]
    with torch.no_grad(), seen:
        network.eval()(torch.zeros(1, 1, _SIDE, _SIDE))
    for hook in hooks:
        hook.remove()
    return seen.seen


def _as_bicubic(seen: Layers) -> None:
    del seen.seen[-2:]  # its convolution and pixel shuffle
    seen.seen.append(("bicubic", "bicubic\nenlargement"))


def folded(sequence: list[tuple[str, str]]) -> list[tuple[list[tuple[str, str]], int]]:
    """A sequence as patterns with their counts: the longest stretch of repetitions first found at each place."""
    found: list[tuple[list[tuple[str, str]], int]] = []
    start = 0
    while start < len(sequence):
        best = (1, 1)
        for length in range(1, _LONGEST_PATTERN + 1):
            pattern = sequence[start : start + length]
            count = 1
            while sequence[start + count * length : start + (count + 1) * length] == pattern:
                count += 1
            if count > 1 and length * count > best[0] * best[1]:
                best = (length, count)
        found.append((sequence[start : start + best[0]], best[1]))
        start += best[0] * best[1]
    return found


def draw(name: str, path: Path) -> None:
    """The structure at ×2 as boxes from left to right; what repeats stands in a frame with its count."""
    stretches = folded(layers(NETWORKS[name](scale=2, **RECIPES[name].arguments)))
    width = sum(len(pattern) for pattern, _ in stretches) * 1.25 + 0.2
    figure = Figure(figsize=(max(width, 4), 1.5))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, max(width, 4)), ylim=(0, 1.5))
    axes.set_axis_off()
    x = 0.1
    for pattern, count in stretches:
        if count > 1:
            frame = FancyBboxPatch((x + 0.03, 0.18), len(pattern) * 1.25 - 0.06, 1.02, boxstyle="round,pad=0.02")
            frame.set(facecolor="none", edgecolor="#555555", linestyle="--")
            axes.add_patch(frame)
            axes.text(x + len(pattern) * 0.625, 1.32, f"{count} times", ha="center", va="center", fontsize=9)
        for kind, label in pattern:
            box = FancyBboxPatch((x + 0.12, 0.3), 1.01, 0.78, boxstyle="round,pad=0.02")
            box.set(facecolor=_COLOURS.get(kind, "#EEEEEE"), edgecolor="#333333")
            axes.add_patch(box)
            axes.text(x + 0.625, 0.69, label, ha="center", va="center", fontsize=8)
            x += 1.25
    with mpl.rc_context({"svg.hashsalt": name}):
        figure.savefig(path, metadata={"Date": None})


def gflop_a_megapixel(name: str, scale: int) -> float:
    """Operations, in 10⁹, for a megapixel of output; a multiplication and an addition are two."""
    network = NETWORKS[name](scale=scale, **RECIPES[name].arguments).eval()
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 1, _SIDE, _SIDE))
    return counter.get_total_flops() / (_SIDE * scale) ** 2 / 1e3


def card(name: str, evaluations: tuple[Evaluation, ...], *, scales: tuple[int, ...]) -> str:
    """The page's Markdown; `scales` are those that have weights."""
    network = inspect.getdoc(importlib.import_module(f"upres.networks.{name}")) or ""
    recipe = inspect.getdoc(importlib.import_module(f"upres.recipes.{name}")) or ""
    heading, _, rest = network.partition("\n")
    lines = [
        f"# {heading}",
        "",
        rest.strip(),
        "",
        "## Structure",
        "",
        _LEGEND,
        "",
        f"![structure](figures/{name}.svg)",
        "",
    ]
    lines += ["| | parameters | GFLOP a megapixel of output | receptive field |", "|---|---:|---:|---|"]
    for scale in (2, 4) if name == "lapsrn" else (2, 3, 4):
        built = NETWORKS[name](scale=scale, **RECIPES[name].arguments)
        parameters = sum(p.numel() for p in built.parameters())
        side = (
            "the whole picture" if built.halo is None else f"{2 * built.halo + 1} × {2 * built.halo + 1} input pixels"
        )
        lines.append(f"| ×{scale} | {parameters:,} | {gflop_a_megapixel(name, scale):,.1f} | {side} |")
    lines += ["", "## Recipe", "", recipe, "", "## Results", ""]
    if scales:
        scored = {e.scale for e in evaluations if e.model == name}
        own = [e for e in evaluations if e.model in ("bicubic", name) and e.scale in scored]
        lines += ["PSNR in dB / SSIM on luma, protocol `paper`.", "", page.summary(own), ""]
        lines += [f"![bicubic, {name} and the truth](figures/{name}-crop.png)", ""]
    else:
        lines += ["No weights yet.", ""]
    return "\n".join(lines).replace("\n\n\n", "\n\n").rstrip() + "\n"


def draw_crop(name: str, path: Path) -> None:
    """Bicubic and the network on the example photo at ×3, or at the scale next to it that there is."""
    scales = [record.scale for record in upres.models() if record.name == name]
    scale = min(scales, key=lambda s: abs(s - 3))
    candidates = [others.find(model, scale) for model in ("bicubic", name)]
    comparison = compare.compare(candidates, protocol.read_picture(PHOTO), scale, title=PHOTO.stem)
    compare.sheet(comparison).savefig(path, dpi=90)


def main() -> None:
    """Write all pages and their figures."""
    figures = DOCS / "models" / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    evaluations = page.gather([DOCS / "results"]).evaluations
    for name in NETWORKS:
        draw(name, figures / f"{name}.svg")
        scales = tuple(record.scale for record in upres.models() if record.name == name)
        if scales:
            draw_crop(name, figures / f"{name}-crop.png")
        (DOCS / "models" / f"{name}.md").write_text(card(name, evaluations, scales=scales), encoding="utf-8")
        print(f"docs/models/{name}.md")


if __name__ == "__main__":
    main()
