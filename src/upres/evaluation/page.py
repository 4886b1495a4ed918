"""Stored scores and runs as one self-contained page, and as the tables of the README and the docs.

A Markdown file beside a JSON file of the same name is shown with it: what was found out about those scores. The tables
that `upres evaluate --markdown` writes are not, for they say the same again.
"""

from __future__ import annotations

import base64
import csv
import html
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import upres
from upres.errors import DataError, MissingExtraError
from upres.evaluation import report, tables
from upres.evaluation.compare import Comparison, sheet
from upres.evaluation.provenance import Provenance
from upres.evaluation.report import Evaluation
from upres.evaluation.testsets import canonical

_METRICS = "metrics.csv"
_SETS = ("set5", "set14", "bsd100", "urban100")
# Okabe and Ito's palette, which the colour-blind tell apart; the marks tell apart what is printed in gray.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D31")
_MARKS = "osD^vP*Xhd<>p"
_PART = re.compile(r"(<!-- upres report: (\w+) -->\n).*?(<!-- upres report: end -->)", re.DOTALL)

_SPEED = (
    "Speeds are those of the fastest run on the set's largest picture, beside whatever else the machine did then: "
    "they are good for their order of magnitude."
)

_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; margin: 2rem auto; max-width: 75rem;
       padding: 0 1rem; }
h1 { font-size: 1.8rem; margin-bottom: .2rem; } h2 { font-size: 1.3rem; margin-top: 2.2rem; }
h3 { font-size: 1.05rem; margin-bottom: .3rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: .5rem 0; display: block;
        overflow-x: auto; }
th, td { padding: .2rem .7rem; border-bottom: 1px solid #ddd; white-space: nowrap; }
th { border-bottom: 2px solid #555; text-align: left; }
.made { color: #555; font-size: .9rem; } svg, img { max-width: 100%; height: auto; }
code { background: #f2f2f2; padding: 0 .2rem; }
"""


@dataclass(frozen=True)
class Run:
    """A training run: its folder's name, and the validation PSNR in dB by step."""

    name: str
    steps: tuple[int, ...]
    psnrs: tuple[float, ...]


@dataclass(frozen=True)
class Gathered:
    """What lies in folders.

    Attributes:
        evaluations: one for each model, set, scale and protocol: the newest of those on the papers' own pictures.
        made: where these come from, each once.
        notes: Markdown that lay beside a file of scores.
        runs: training runs with a validation.
        left_out: what gave way to other scores of the same, in sentences.
    """

    evaluations: tuple[Evaluation, ...]
    made: tuple[Provenance, ...]
    notes: tuple[str, ...]
    runs: tuple[Run, ...]
    left_out: tuple[str, ...] = ()


def gather(paths: Iterable[Path]) -> Gathered:
    """Read files of scores, and all files of scores and all runs in folders.

    Raises:
        DataError: a path that does not exist, a file given by name that holds no scores, a damaged one, or nothing.
    """
    files: list[Path] = []
    for path in paths:
        if not path.exists():
            raise DataError(f"{path}: no such file or folder; give a file of `upres evaluate --json`, or a folder.")
        if path.is_dir():
            files += sorted(f for f in path.rglob("*") if f.name == _METRICS or _holds_scores(f))
        else:
            files.append(path)
    kept: dict[tuple[str, str, int, str], _Kept] = {}
    left_out: list[str] = []
    made: list[Provenance] = []
    notes: list[str] = []
    runs: list[Run] = []
    for file in files:
        if file.name == _METRICS:
            runs += [run] if (run := _run(file)).steps else []
            continue
        provenance, evaluations = report.read_json(file)
        if provenance not in made:
            made.append(provenance)
        for e in evaluations:
            key = (e.protocol, canonical(e.dataset), e.scale, e.model)
            this = _Kept(not e.warnings, provenance.date, file, e)
            if key in kept:
                worse, this = sorted((kept[key], this), key=lambda k: (k.genuine, k.date))
                if _printed(worse.evaluation) != _printed(this.evaluation):
                    left_out.append(_gives_way(worse, this))
            kept[key] = this
        note = file.with_suffix(".md")
        text = note.read_text(encoding="utf-8") if note.exists() else ""
        if text and not text.startswith(tables.WRITTEN):
            notes.append(text)
    if not kept and not runs:
        raise DataError("no scores and no runs there; give files of `upres evaluate --json`, or folders with runs.")
    ordered = sorted((k.evaluation for k in kept.values()), key=_order)
    return Gathered(tuple(ordered), tuple(made), tuple(notes), tuple(runs), tuple(left_out))


class _Kept(NamedTuple):
    genuine: bool  # on the pictures that papers used
    date: str
    file: Path
    evaluation: Evaluation


def _printed(e: Evaluation) -> tuple[object, ...]:
    return round(e.psnr, 2), e.warnings


def _gives_way(worse: _Kept, better: _Kept) -> str:
    e = worse.evaluation
    if (worse.genuine, worse.date) == (better.genuine, better.date):
        why = "read later"
    else:
        why = "newer" if worse.genuine == better.genuine else "on the pictures that papers used"
    what = f"{e.model} on {tables.title(e.dataset)} ×{e.scale}, protocol {e.protocol}"
    theirs = f"the {better.evaluation.psnr:.2f} dB of {better.file}, {why}"
    return f"{what}: {worse.file} has {e.psnr:.2f} dB, left out for {theirs}."


def _holds_scores(file: Path) -> bool:
    if file.suffix != ".json" or not file.is_file():
        return False
    with file.open(encoding="utf-8", errors="replace") as text:
        return f'"format": "{report.FORMAT}"' in text.read(200)


def _run(file: Path) -> Run:
    """A run's validation; empty where there was none, or where another program wrote the file."""
    with file.open(newline="", encoding="utf-8", errors="replace") as lines:
        table = csv.DictReader(line for line in lines if line.endswith("\n"))  # without one that was cut short
        try:
            ours = {"step", "psnr"} <= set(table.fieldnames or ())
            rows = [(int(row["step"]), float(row["psnr"])) for row in table if row["psnr"]] if ours else []
        except (ValueError, TypeError, csv.Error) as error:
            raise DataError(f"{file}: damaged ({error}); leave this run out.") from error
    return Run(file.parent.name, tuple(step for step, _ in rows), tuple(psnr for _, psnr in rows))


def _order(e: Evaluation) -> tuple[Any, ...]:
    """By protocol, set and scale, each as usual, then bicubic, our networks, and others."""
    dataset = canonical(e.dataset)
    ours = {record.name for record in upres.models()}
    place = _SETS.index(dataset) if dataset in _SETS else len(_SETS)
    return (
        e.protocol != "paper",
        e.protocol,
        place,
        dataset,
        e.scale,
        e.model != "bicubic",
        e.model not in ours,
        e.model,
    )


def summary(evaluations: Sequence[Evaluation], *, ours: bool = False) -> str:
    """One Markdown line a model and scale under the `paper` protocol: each set's PSNR / SSIM beside the paper's.

    Args:
        evaluations: in any order.
        ours: leave out bicubic and what upres does not ship.
    """
    shipped = {record.name for record in upres.models()}
    shown = [e for e in evaluations if e.protocol == "paper" and (e.model in shipped or not ours)]
    sets = [name for name in _SETS if any(canonical(e.dataset) == name for e in shown)]
    by_place = {(e.model, e.scale, canonical(e.dataset)): e for e in shown}
    lines = [
        f"| | parameters | {' | '.join(f'{tables.title(name)} | paper' for name in sets)} |",
        "|---|---:|" + "---|---|" * len(sets),
    ]
    rows = {(e.model != "bicubic", e.model not in shipped, e.model, e.scale): e for e in shown}
    for (*_, model, scale), first in sorted(rows.items()):
        cells: list[str] = []
        for name in sets:
            e = by_place.get((model, scale, name))
            theirs = tables.paper(e) if e else tables.papers(model, name, scale)
            cells.append(tables.cell(e.psnr, e.ssim) if e else "")
            cells.append(tables.cell(theirs.psnr, theirs.ssim) if theirs else "–")
        parameters = f"{first.parameters:,}" if first.parameters else "–"
        lines.append(f"| {model} ×{scale} | {parameters} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def updated(text: str, evaluations: Sequence[Evaluation]) -> str:
    """A document with its tables made anew: what stands between `<!-- upres report: NAME -->` and `… end -->`.

    NAME is `ours` or `all`, for the summary of what upres ships or of everything, or `details`.

    Raises:
        DataError: the document has no such part, or one of another name.
    """
    parts = {
        "ours": lambda: summary(evaluations, ours=True),
        "all": lambda: summary(evaluations),
        "details": lambda: tables.markdown(tables.groups(evaluations)),
    }
    names = [match[2] for match in _PART.finditer(text)]
    if not names or not set(names) <= set(parts):
        raise DataError(
            f"the document's parts for `upres report` are {names}; it needs some of {', '.join(parts)}, each "
            "between <!-- upres report: NAME --> and <!-- upres report: end -->."
        )
    return _PART.sub(lambda match: f"{match[1]}{parts[match[2]]()}{match[3]}", text)


def build(gathered: Gathered, comparisons: Sequence[Comparison] = ()) -> str:
    """The page: summary, plots, notes, every table with its comparisons, training curves, crops.

    Raises:
        MissingExtraError: matplotlib or markdown-it-py is not installed.
    """
    try:
        from markdown_it import MarkdownIt
    except ImportError as error:
        raise MissingExtraError("markdown-it-py", "report") from error
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    evaluations = gathered.evaluations
    parts = ["<h1>Super-resolution, measured</h1>", *map(_made, gathered.made)]
    if any(e.protocol == "paper" for e in evaluations):
        parts += ["<h2>Beside the papers</h2>", "<p>PSNR in dB / SSIM on luma, protocol <code>paper</code>.</p>"]
        parts.append(markdown.render(summary(evaluations)))
    parts += [_trade_offs(evaluations)] if any(e.protocol == "paper" for e in evaluations) else []
    parts += [markdown.render(note) for note in gathered.notes]
    if comparisons:
        parts.append("<h2>To look at</h2>")
        parts += [_png(sheet(comparison), f"{comparison.title} ×{comparison.scale}") for comparison in comparisons]
    if gathered.runs:
        parts += ["<h2>Training</h2>", _training_curves(gathered.runs)]
    if evaluations:
        parts += ["<h2>Every score</h2>", markdown.render(tables.markdown(tables.groups(evaluations)))]
    head = f'<meta charset="utf-8"><title>Super-resolution, measured</title><style>{_STYLE}</style>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>\n' + "\n".join(parts) + "\n</body></html>\n"


def _made(made: Provenance) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in made.versions.items())
    where = f"{made.processor}, {made.cores} cores"
    text = f"{made.date}, upres {made.upres} ({made.commit[:10]}), {versions}; {where}"
    return f'<p class="made">{html.escape(text)}</p>'


def _figure(width: float, height: float) -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("matplotlib", "report") from error
    return Figure(figsize=(width, height), layout="constrained")


def _trade_offs(evaluations: Sequence[Evaluation]) -> str:
    """PSNR over speed and over parameters, a column a scale, on the first set that there is."""
    scored = [e for e in evaluations if e.protocol == "paper"]
    dataset = min((canonical(e.dataset) for e in scored), key=lambda name: (name not in _SETS, name != "set5", name))
    scored = [e for e in scored if canonical(e.dataset) == dataset]
    scales = sorted({e.scale for e in scored})
    models = sorted({e.model for e in scored} - {"bicubic"})
    shipped = {record.name for record in upres.models()}
    figure = _figure(3.9 * len(scales) + 1, 7)
    from matplotlib.ticker import LogLocator

    axes = figure.subplots(2, len(scales), squeeze=False)
    for column, scale in enumerate(scales):
        for row, (quantity, label) in enumerate(
            (("megapixels_per_second", "output megapixels a second"), ("parameters", "parameters"))
        ):
            place = axes[row, column]
            for e in (e for e in scored if e.scale == scale and getattr(e, quantity)):
                if e.model == "bicubic":
                    continue
                i = models.index(e.model)
                style = {"color": _COLOURS[i % len(_COLOURS)], "marker": _MARKS[i % len(_MARKS)], "markersize": 8}
                place.plot(getattr(e, quantity), e.psnr, linestyle="none", label=e.model, **style)
                theirs = tables.paper(e) if e.model in shipped else None  # another's parameters are not the paper's
                if theirs is not None and quantity == "parameters":
                    place.plot(e.parameters, theirs.psnr, linestyle="none", markerfacecolor="none", **style)
            bicubic = [e.psnr for e in scored if (e.scale, e.model) == (scale, "bicubic")]
            for psnr in bicubic:
                place.axhline(psnr, color="gray", linestyle=":", label="bicubic")
            place.set_xscale("log")
            place.xaxis.set_major_locator(LogLocator(subs=(1, 3), numticks=5))
            place.xaxis.set_major_formatter(_short)
            place.xaxis.set_minor_formatter("")
            place.set(xlabel=label, ylabel="PSNR in dB" if column == 0 else "", title=f"×{scale}" if row == 0 else "")
            place.grid(alpha=0.3)
    labelled = {label: handle for a in axes.flat for handle, label in zip(*a.get_legend_handles_labels(), strict=True)}
    figure.legend(labelled.values(), labelled.keys(), loc="outside right upper", fontsize=9)
    said = f"On {tables.title(dataset)}. Hollow marks: the papers' own numbers. {_SPEED}"
    return f"<h2>Quality, speed and size</h2><p>{said}</p>" + _svg(figure, "PSNR over speed and over parameters")


def _short(value: float, position: int) -> str:
    """A tick's label, such as 20k."""
    return f"{value / 1000:g}k" if value >= 1000 else f"{value:g}"


def _training_curves(runs: Sequence[Run]) -> str:
    figure = _figure(9, 4)
    axes = figure.subplots()
    for i, run in enumerate(runs):
        style = {"color": _COLOURS[i % len(_COLOURS)], "marker": _MARKS[i % len(_MARKS)], "markersize": 4}
        axes.plot(run.steps, run.psnrs, label=run.name, **style)
    axes.set(xlabel="step", ylabel="validation PSNR in dB")
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper", fontsize=9)
    return _svg(figure, "validation PSNR over steps")


def _svg(figure: Any, alternative: str) -> str:
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None})
    text = stream.getvalue()
    label = f'<svg role="img" aria-label="{html.escape(alternative, quote=True)}" '
    return text[text.index("<svg") :].replace("<svg ", label, 1)


def _png(figure: Any, alternative: str) -> str:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=150)
    source = base64.b64encode(stream.getvalue()).decode("ascii")
    return f'<p><img alt="{html.escape(alternative, quote=True)}" src="data:image/png;base64,{source}"></p>'
