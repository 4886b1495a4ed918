"""Scores as tables: rows to print, Markdown and CSV; and what may be said of two models."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from upres.evaluation import published, statistics
from upres.evaluation.protocol import ProtocolName
from upres.evaluation.published import Published
from upres.evaluation.report import Evaluation
from upres.evaluation.testsets import COUNTS, canonical

COLUMNS = ("model", "parameters", "Mpx/s", "PSNR", "SSIM", "consistency", "paper", "difference")
WRITTEN = "<!-- upres evaluate -->\n"  # how the Markdown that `upres evaluate` writes begins
TITLES = {"set5": "Set5", "set14": "Set14", "bsd100": "BSD100", "urban100": "Urban100"}


@dataclass(frozen=True)
class Group:
    """Evaluations that compare: of one set, at one scale, under one protocol; bicubic first, the others by PSNR."""

    dataset: str
    scale: int
    protocol: ProtocolName
    evaluations: tuple[Evaluation, ...]

    @property
    def title(self) -> str:
        """Such as `Set5 ×2, protocol paper`."""
        return f"{title(self.dataset)} ×{self.scale}, protocol {self.protocol}"

    @property
    def warnings(self) -> tuple[str, ...]:
        """Each of the evaluations' warnings once."""
        return tuple(dict.fromkeys(warning for e in self.evaluations for warning in e.warnings))


def title(dataset: str) -> str:
    """The name that papers use for a set; a folder's name for any other."""
    return TITLES.get(canonical(dataset), dataset)


def groups(evaluations: Iterable[Evaluation]) -> list[Group]:
    """Evaluations by protocol, set and scale, in the order in which these first occur."""
    found: dict[tuple[ProtocolName, str, int], list[Evaluation]] = {}
    for e in evaluations:
        found.setdefault((e.protocol, e.dataset, e.scale), []).append(e)

    def bicubic_first(e: Evaluation) -> tuple[bool, float]:
        return e.model != "bicubic", e.psnr

    return [
        Group(dataset, scale, protocol, tuple(sorted(several, key=bicubic_first)))
        for (protocol, dataset, scale), several in found.items()
    ]


def paper(evaluation: Evaluation) -> Published | None:
    """What the model's paper reports, where the protocol is that of the papers, and so are the pictures."""
    count = len(evaluation.images)
    alike = COUNTS.get(canonical(evaluation.dataset), count) == count and not evaluation.warnings
    if evaluation.protocol != "paper" or not alike:
        return None
    return papers(evaluation.model, evaluation.dataset, evaluation.scale)


def papers(model: str, dataset: str, scale: int) -> Published | None:
    """What the paper of a network reports; a label whose last word is a network's name, as `OpenCV FSRCNN`, has it too.

    `dataset` is a folder's name.
    """
    return published.find(model.split()[-1].lower(), canonical(dataset), scale) if model.strip() else None


def row(e: Evaluation) -> tuple[str, ...]:
    """One evaluation's cells, as `COLUMNS` names them; the difference is of PSNR, in dB."""
    theirs = paper(e)
    return (
        e.model,
        f"{e.parameters:,}" if e.parameters else "",
        f"{e.megapixels_per_second:.3g}" if e.megapixels_per_second else "",
        f"{e.psnr:.2f}",
        f"{e.ssim:.4f}" if e.ssim is not None else "",
        f"{e.consistency:.1f}" if e.consistency is not None else "",
        cell(theirs.psnr, theirs.ssim) if theirs else "–",
        _signed(e.psnr - theirs.psnr) if theirs else "",
    )


def _signed(difference: float) -> str:
    return f"{difference:+.2f}" if abs(difference) >= 0.005 else "0.00"


def cell(psnr: float, ssim: float | None) -> str:
    """PSNR with two decimals and SSIM with four, as papers print them."""
    return f"{psnr:.2f}" if ssim is None else f"{psnr:.2f} / {ssim:.4f}"


def comparisons(group: Group) -> Iterator[str]:
    """What may be said of each two neighbours in the order of PSNR; "better" only where the interval leaves out 0."""
    ranked = sorted(group.evaluations, key=lambda e: e.psnr, reverse=True)
    for above, below in pairwise(ranked):
        if [s.image for s in above.images] != [s.image for s in below.images]:
            yield f"{above.model} and {below.model}: scored on different pictures, so they are not compared."
            continue
        d = statistics.difference([s.psnr for s in above.images], [s.psnr for s in below.images])
        if d is None:
            yield f"{above.model} and {below.model}: too few pictures, or equal ones, to say which is better."
            continue
        nearest = min(abs(d.low), abs(d.high))
        digits = next((n for n in (2, 3) if round(nearest, n) != 0), 4)  # an end beside 0 shows on which side it lies
        mean, low, high = (f"{value:+.{digits}f}" for value in (d.mean, d.low, d.high))
        interval = f"{mean} dB [{low}, {high}], above it on {d.wins} of {d.pictures} pictures"
        verdict = "is better than" if d.is_clear else "is not shown to differ from"
        yield f"{above.model} {verdict} {below.model}: {interval}"


def markdown(found: Sequence[Group]) -> str:
    """A heading, a table and the comparisons for each group."""
    parts: list[str] = []
    for group in found:
        shown = used_columns(group)
        lines = [f"### {group.title}", "", *(f"Warning: {warning}\n" for warning in group.warnings)]
        lines.append(_line(COLUMNS[i] for i in shown))
        lines.append("|---|" + "---:|" * (len(shown) - 1))
        lines += [_line(row(e)[i] for i in shown) for e in group.evaluations]
        lines += ["", *(f"- {sentence}" for sentence in comparisons(group))]
        parts.append("\n".join(lines).rstrip())
    return "\n\n".join(parts) + "\n"


def used_columns(group: Group) -> list[int]:
    """Which of `COLUMNS` have something to say."""
    rows = [row(e) for e in group.evaluations]
    return [i for i in range(len(COLUMNS)) if any(cells[i] not in ("", "–") for cells in rows)]


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def as_csv(evaluations: Iterable[Evaluation]) -> str:
    """One line a picture, and one with an empty image for each mean."""
    text = io.StringIO()
    columns = ("model", "dataset", "scale", "protocol", "precision", "image", "psnr", "ssim", "consistency")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow((*columns, "paper_psnr", "paper_ssim", "parameters", "megapixels_per_second"))
    for e in evaluations:
        about = (e.model, e.dataset, e.scale, e.protocol, e.precision)
        theirs = paper(e)
        papers = (theirs.psnr, theirs.ssim) if theirs else (None, None)
        writer.writerow((*about, "", e.psnr, e.ssim, e.consistency, *papers, e.parameters, e.megapixels_per_second))
        for s in e.images:
            writer.writerow((*about, s.image, s.psnr, s.ssim, s.consistency, *[None] * 4))
    return text.getvalue()
