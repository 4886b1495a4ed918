"""One picture through several models, side by side: the sheet that papers print, and a page to look closer."""

from __future__ import annotations

import base64
import html
import importlib.util
import json
import math
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upres.errors import MissingExtraError, UsageError
from upres.evaluation import protocol
from upres.evaluation.others import Candidate, FinishedFolder
from upres.files import whole_file
from upres.images import colour

FORMATS = (".png", ".pdf", ".html")
_PROTOCOL = "selfexsr"  # what is shown is 8-bit files, so what is measured is, too
_SMALLEST_CROP, _LARGEST_CROP = 32, 96
_COLUMNS, _COLUMNS_WITH_DIFFERENCES = 4, 6
_CELL = 1.75  # inches
_OVERVIEW = 5.5  # inches across, at most
_MARK = "#D55E00"  # vermilion of Okabe and Ito's palette, which the colour-blind tell apart
_WIDEST = 0.7  # of a character's mean width over its height, capitals and bold type included
_AMPLIFIED = 32  # the difference that is drawn brightest, in levels of 255


@dataclass(frozen=True)
class Crop:
    """A rectangle in pixels of the enlarged picture."""

    x: int
    y: int
    width: int
    height: int

    @classmethod
    def parse(cls, text: str) -> Crop:
        """From `x,y,width,height`.

        Raises:
            UsageError: not four whole numbers, or an empty rectangle.
        """
        try:
            x, y, width, height = map(int, text.split(","))
        except ValueError as error:
            raise UsageError(f"the crop is {text!r}; give x,y,width,height in pixels of the large picture.") from error
        if min(x, y) < 0 or min(width, height) < 1:
            raise UsageError(f"the crop is {text!r}; x and y count from 0, width and height from 1.")
        return cls(x, y, width, height)

    def of(self, picture: NDArray[Any]) -> NDArray[Any]:
        """That part of a picture."""
        return picture[self.y : self.y + self.height, self.x : self.x + self.width]


@dataclass(frozen=True)
class Panel:
    """One model's picture, `(h, w)` or `(h, w, 3)` uint8; PSNR in dB and SSIM on luma, where the truth is known."""

    name: str
    pixels: NDArray[np.uint8]
    psnr: float | None = None
    ssim: float | None = None

    @property
    def scores(self) -> str:
        """For a caption; empty where the truth is not known."""
        if self.psnr is None or self.ssim is None:
            return ""
        return f"{self.psnr:.2f} dB / {self.ssim:.4f}"


@dataclass(frozen=True)
class Comparison:
    """A picture through several models.

    Attributes:
        title: of the picture.
        scale: factor.
        panels: one a model, in the order in which they were given.
        truth: the picture itself, where it was reduced first; None where it was enlarged as it is.
        crop: what is worth a closer look.
    """

    title: str
    scale: int
    panels: tuple[Panel, ...]
    truth: NDArray[np.uint8] | None
    crop: Crop

    @property
    def best(self) -> tuple[Panel, ...]:
        """The panels of the highest PSNR, as printed; none where there is no truth."""
        if self.truth is None:
            return ()
        printed = [-math.inf if p.psnr is None else round(p.psnr, 2) for p in self.panels]
        return tuple(p for p, psnr in zip(self.panels, printed, strict=True) if psnr == max(printed))


def compare(
    candidates: Sequence[Candidate],
    picture: NDArray[np.uint8],
    scale: int,
    *,
    title: str,
    enlarge: bool = False,
    crop: Crop | None = None,
    watch: Callable[[Panel], None] = lambda panel: None,
) -> Comparison:
    """Let each model bring a reduced picture back; or, with `enlarge`, enlarge it as it is.

    Args:
        candidates: what `others.find` found at this scale.
        picture: `(h, w)` or `(h, w, 3)`, uint8.
        scale: whole factor.
        title: the picture's name; finished pictures are found by it.
        enlarge: the picture is the input, and nothing is measured.
        crop: what is shown enlarged; where the models disagree most if not given.
        watch: called with each panel.

    Raises:
        UsageError: a crop beyond the picture, or a result of another size; and as `protocol.score`.
    """
    if crop is not None:
        height, width = (side * scale if enlarge else side // scale * scale for side in picture.shape[:2])
        _check_inside(crop, height, width)
    panels: list[Panel] = []
    for candidate in candidates:
        enlarger = candidate.enlarger
        if isinstance(enlarger, FinishedFolder):
            enlarger = enlarger.of(title, picture)
        if enlarge:
            panel = Panel(candidate.name, enlarger(picture))
        else:
            low = protocol.reduced(picture, scale, _PROTOCOL)
            result = enlarger(low)
            score = protocol.score(_Again(result), picture, scale, _PROTOCOL, image=f"{candidate.name} on {title}")
            panel = Panel(candidate.name, result, score.psnr, score.ssim)
        panels.append(panel)
        watch(panel)
    shapes = {panel.pixels.shape[:2] for panel in panels}
    if len(shapes) != 1:
        raise UsageError(f"the models' pictures differ in size ({', '.join(map(str, shapes))}); compare those of one.")
    height, width = shapes.pop()
    if crop is None:
        crop = telling_crop([panel.pixels for panel in panels])
    _check_inside(crop, height, width)
    return Comparison(title, scale, tuple(panels), None if enlarge else picture[:height, :width], crop)


def _check_inside(crop: Crop, height: int, width: int) -> None:
    if crop.x + crop.width > width or crop.y + crop.height > height:
        raise UsageError(f"the crop {crop.x},{crop.y},{crop.width},{crop.height} leaves the {width}×{height} picture.")


class _Again:
    """An answer that is there already, so that scoring does not run the model again."""

    def __init__(self, result: NDArray[Any]) -> None:
        self._result = result

    def luma(self, y: NDArray[Any], /) -> NDArray[Any]:
        """Not asked for under a protocol of whole pictures."""
        raise AssertionError

    def __call__(self, picture: NDArray[Any], /) -> NDArray[Any]:
        return self._result


def telling_crop(pictures: Sequence[NDArray[np.uint8]]) -> Crop:
    """The square in which the pictures' luma differs most, by the sum of its variance over the pictures.

    With a single picture, the square of the most detail.
    """
    lumas = np.stack([colour.luma(picture) for picture in pictures])
    height, width = lumas.shape[1:]
    side = min(max(min(height, width) // 5, _SMALLEST_CROP), _LARGEST_CROP, height, width)
    spread = lumas.var(axis=0) if len(pictures) > 1 else (lumas[0] - lumas[0].mean()) ** 2
    sums = np.pad(spread.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    inside = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    y, x = np.unravel_index(int(inside.argmax()), inside.shape)
    return Crop(int(x), int(y), side, side)


def check_format(path: Path) -> None:
    """Refuse, before any work is done, a file that is not one of `FORMATS`, or that cannot be drawn.

    Raises:
        UsageError: another ending.
        MissingExtraError: a sheet, and matplotlib is not installed.
    """
    if path.suffix.lower() not in FORMATS:
        raise UsageError(f"{path}: cannot write a comparison so; the ending is one of {', '.join(FORMATS)}.")
    if path.suffix.lower() != ".html" and importlib.util.find_spec("matplotlib") is None:
        raise MissingExtraError("matplotlib", "report")


def write(comparison: Comparison, path: Path, *, differences: bool = False) -> None:
    """Write a sheet (.png, .pdf) or a page (.html), whole or not at all.

    Args:
        comparison: what to show.
        path: where to; the ending is one of `FORMATS`.
        differences: also draw each model's difference from the truth, or from the first model where there is none.

    Raises:
        UsageError: another ending.
        OutputError: the file cannot be written.
        MissingExtraError: a sheet was asked for, and matplotlib is not installed.
    """
    check_format(path)
    suffix = path.suffix.lower()
    if suffix == ".html":
        text = page(comparison)
        with whole_file(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
        return
    figure = sheet(comparison, differences=differences)
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=200)


def sheet(comparison: Comparison, *, differences: bool = False) -> Any:
    """A matplotlib Figure: the whole picture with the crop marked, and the crop of each model with its scores."""
    try:
        from matplotlib.figure import Figure
        from matplotlib.patches import Rectangle
    except ImportError as error:
        raise MissingExtraError("matplotlib", "report") from error
    cells = _with_truth(comparison)
    crop, whole = comparison.crop, cells[0].pixels
    bands = math.ceil(len(cells) / (_COLUMNS_WITH_DIFFERENCES if differences else _COLUMNS))
    columns = math.ceil(len(cells) / bands)
    rows = bands * (2 if differences else 1)
    crop_height = _CELL * crop.height / crop.width
    height = max(rows * crop_height + 0.45 * bands, 2.5)
    left = min(height * whole.shape[1] / whole.shape[0], _OVERVIEW)
    note = f"PSNR / SSIM of the whole picture's luma, protocol {_PROTOCOL}" if comparison.truth is not None else ""
    note = _wrapped(note, left, 7)
    note_height = 0.14 * len(note.splitlines())
    figure: Any = Figure(figsize=(left + columns * (_CELL + 0.1), height + 0.35 + note_height), layout="constrained")
    overview, grid = figure.subfigures(1, 2, width_ratios=(left, columns * (_CELL + 0.1)))
    axes = overview.subplots()
    axes.set_anchor("N")
    _draw(axes, whole, "antialiased")
    frame = (crop.x - 0.5, crop.y - 0.5), crop.width, crop.height
    axes.add_patch(Rectangle(*frame, fill=False, edgecolor="white", linewidth=3.5))
    axes.add_patch(Rectangle(*frame, fill=False, edgecolor=_MARK, linewidth=1.8))
    axes.set_title(_wrapped(f"{comparison.title} ×{comparison.scale}", left, 10), fontsize=10)
    overview.supxlabel(note, fontsize=7)
    places: Any = grid.subplots(rows, columns, squeeze=False)
    for place in places.flat:
        place.set_axis_off()
    for i, panel in enumerate(cells):
        band, column = divmod(i, columns)
        row = band * (2 if differences else 1)
        _draw(places[row, column], crop.of(panel.pixels), "nearest")
        weight = "bold" if any(panel is best for best in comparison.best) else "normal"
        caption = "\n".join(filter(None, (_wrapped(panel.name, _CELL, 9), panel.scores)))
        places[row, column].set_title(caption, fontsize=9, fontweight=weight)
        if differences and i > 0:
            image = _draw_difference(places[row + 1, column], crop.of(panel.pixels), crop.of(whole))
            if i == 1:
                bar = grid.colorbar(image, ax=places, shrink=0.6, pad=0.01, extend="max")
                bar.set_label(f"luma's difference from {cells[0].name}, in levels of 255", fontsize=8)
                bar.ax.tick_params(labelsize=8)
    return figure


def _wrapped(text: str, inches: float, points: float) -> str:
    """A text in lines that fit that width."""
    return textwrap.fill(text, max(8, int(inches * 72 / (points * _WIDEST))))


def _with_truth(comparison: Comparison) -> list[Panel]:
    """The panels, after the truth where that is known."""
    truth = [] if comparison.truth is None else [Panel("truth", comparison.truth)]
    return [*truth, *comparison.panels]


def _draw(axes: Any, picture: NDArray[np.uint8], interpolation: str) -> None:
    axes.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation=interpolation)
    axes.set_axis_on()
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def _draw_difference(axes: Any, result: NDArray[np.uint8], reference: NDArray[np.uint8]) -> Any:
    difference = np.abs(colour.luma(result) - colour.luma(reference))
    axes.set_axis_on()
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    return axes.imshow(difference, cmap="cividis", vmin=0, vmax=_AMPLIFIED, interpolation="nearest")


def page(comparison: Comparison) -> str:
    """One self-contained HTML page: a slider between any two, and all of them under one zoom."""
    panels = _with_truth(comparison)
    crop = comparison.crop
    data = {
        "panels": [{"name": p.name, "scores": p.scores, "source": data_url(p.pixels)} for p in panels],
        "width": panels[0].pixels.shape[1],
        "height": panels[0].pixels.shape[0],
        "crop": [crop.x, crop.y, crop.width, crop.height],
    }
    measured = comparison.truth is not None
    note = f"PSNR / SSIM of the whole picture's luma, protocol {_PROTOCOL}." if measured else ""
    template = resources.files("upres.evaluation").joinpath("compare.html").read_text(encoding="utf-8")
    return (
        template.replace("{{title}}", html.escape(f"{comparison.title} ×{comparison.scale}"))
        .replace("{{note}}", html.escape(note))
        .replace("{{data}}", json.dumps(data).replace("</", "<\\/"))
    )


def data_url(pixels: NDArray[np.uint8]) -> str:
    """A picture as a lossless PNG inside an address."""
    import pyvips  # pyright: ignore[reportMissingTypeStubs]

    image: Any = pyvips.Image.new_from_array(np.ascontiguousarray(pixels))
    content: bytes = image.copy(interpretation="b-w" if pixels.ndim == 2 else "srgb").write_to_buffer(".png")
    return "data:image/png;base64," + base64.b64encode(content).decode("ascii")
