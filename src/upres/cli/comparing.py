"""`upres compare` and `upres report`: figures and pages to look at."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import upres
from upres.cli.options import given_models
from upres.errors import DataError, OutputError, UsageError

if TYPE_CHECKING:
    from upres.evaluation.compare import Comparison, Panel

_SLOW = ("drcn", "drcn-64", "drrn")  # their recursions take minutes for a photo


def compare(
    picture: Annotated[Path, typer.Argument(help="It is reduced, and each model brings it back.", show_default=False)],
    models: Annotated[
        list[str] | None,
        typer.Option(
            "-m", "--models", "--model", help="As for evaluate.", show_default="bicubic, ours but drcn, drcn-64, drrn"
        ),
    ] = None,
    scale: Annotated[int, typer.Option("-s", "--scale", help="How many times larger.")] = 2,
    out: Annotated[
        list[Path] | None,
        typer.Option(
            "-o", "--out", help="A .png, .pdf or .html file; repeat for several.", show_default="NAME-xN-compare.png"
        ),
    ] = None,
    crop: Annotated[
        str | None,
        typer.Option(help="x,y,width,height to show enlarged.", show_default="where the models disagree most"),
    ] = None,
    differences: Annotated[bool, typer.Option("--differences", help="Also draw maps of the differences.")] = False,
    enlarge: Annotated[
        bool, typer.Option("--enlarge", help="Enlarge the picture as it is; there is no truth to measure by then.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist.")] = False,
) -> None:
    """Show what several models make of one picture.

    The sheet that papers print, or a page with a slider.
    """
    from upres.evaluation import compare as comparing
    from upres.evaluation import others, protocol

    targets = out or [picture.with_name(f"{picture.stem}-x{scale}-compare.png")]
    for target in targets:
        comparing.check_format(target)
        if target.exists() and not overwrite:
            raise OutputError(f"{target}: exists already; give --overwrite to replace it, or -o to write elsewhere.")
    ours = [record.name for record in upres.models() if record.scale == scale and record.name not in _SLOW]
    names = given_models(models or ["bicubic", *ours])
    shown = None if crop is None else comparing.Crop.parse(crop)
    pixels = protocol.read_picture(picture)
    candidates = [others.find(name, scale) for name in names]
    for candidate in candidates:
        if candidate.found is not None:
            print(f"upres: {candidate.name} ×{scale} takes {candidate.found}", file=sys.stderr)
    comparison = comparing.compare(
        candidates, pixels, scale, title=picture.stem, enlarge=enlarge, crop=shown, watch=_print_panel
    )
    for target in targets:
        comparing.write(comparison, target, differences=differences)
        place = comparison.crop
        print(f"{target}: crop {place.x},{place.y},{place.width},{place.height}")


def _print_panel(panel: Panel) -> None:
    print(f"{panel.name:24} {panel.scores}")


def report(
    sources: Annotated[
        list[Path],
        typer.Argument(help="Files of `evaluate --json`; folders of these, and of runs.", show_default=False),
    ],
    out: Annotated[Path | None, typer.Option("-o", "--out", help="The page (.html); replaced if it exists.")] = None,
    update: Annotated[
        list[Path] | None, typer.Option(help="A Markdown file whose tables are made anew; repeat for several.")
    ] = None,
    picture: Annotated[
        list[Path] | None, typer.Option(help="Also show what our networks make of it; repeat for several.")
    ] = None,
) -> None:
    """Make one page of stored scores and runs, or tables of documents."""
    from upres.evaluation import page
    from upres.evaluation.report import write_text

    if out is None and not update:
        raise UsageError("nothing is asked for; -o names the page, --update a document whose tables are made anew.")
    gathered = page.gather(sources)
    for sentence in gathered.left_out:
        print(f"upres: {sentence}", file=sys.stderr)
    for document in update or []:
        write_text(page.updated(_text(document), gathered.evaluations), document)
        print(f"{document}: tables made anew")
    if out is not None:
        write_text(page.build(gathered, [_compared(file, scale=3) for file in picture or []]), out)
        print(f"{out}: {len(gathered.evaluations)} evaluations, {len(gathered.runs)} runs")


def _text(document: Path) -> str:
    try:
        return document.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"{document}: cannot be read ({error.strerror}); name a Markdown file.") from error


def _compared(picture: Path, *, scale: int) -> Comparison:
    """Bicubic and all of ours on one picture, those of a larger scale reduced."""
    from upres.evaluation import compare as comparing
    from upres.evaluation import others, protocol

    names = ["bicubic", *dict.fromkeys(record.name for record in upres.models() if record.scale >= scale)]
    candidates = [others.find(name, scale) for name in names]
    return comparing.compare(candidates, protocol.read_picture(picture), scale, title=picture.stem)
