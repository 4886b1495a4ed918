"""`upres models` and `upres evaluate`: what there is and how good it is."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import upres
from upres.cli.options import PROTOCOLS, Engine, Precision, ProtocolName, given_models, given_protocols, given_scales
from upres.errors import OutputError, ScaleError, UsageError

if TYPE_CHECKING:
    from upres.evaluation.others import Candidate
    from upres.evaluation.report import Evaluation
    from upres.evaluation.tables import Group


def models(
    json: Annotated[bool, typer.Option("--json", help="As JSON, with everything that is known.")] = False,
) -> None:
    """List the networks that come with weights."""
    from dataclasses import asdict

    records = upres.models()
    if json:
        import json as json_

        print(json_.dumps([asdict(record) for record in records], indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    sets = list(dict.fromkeys(name for record in records for name in record.results))
    table = Table(title="PSNR in dB, `paper` protocol", title_justify="left")
    for heading in ("model", "scale", "parameters", *sets, "bf16 costs"):
        table.add_column(heading, justify="left" if heading == "model" else "right")
    for record in records:
        scores = (f"{record.results[name][0]:.2f}" if name in record.results else "" for name in sets)
        cost = f"{record.bf16_loss:.3f}"
        table.add_row(record.name, f"×{record.scale}", f"{record.parameters:,}", *scores, cost)
    Console().print(table)
    print(f"`upres upscale` takes {upres.DEFAULT_MODEL} unless told otherwise; the README has the others' speeds.")
    print("`bicubic`, MATLAB's, goes by the same name everywhere, at any whole scale.")
    print("Any other factor is made of these: LapSRN's ×3 is its ×4, reduced.")
    print(
        "bf16 costs: dB on Set5. 8-bit pictures run in bfloat16 where the processor has it and it costs at most 0.01."
    )
    print("Where a score is missing, that set was not scored.")


def evaluate(
    data: Annotated[list[Path], typer.Option(help="The folder of a test set, such as Set5; repeat for several.")],
    models: Annotated[
        list[str] | None, typer.Argument(help="Names in `upres models`, files, folders, commands.", show_default=False)
    ] = None,
    also: Annotated[
        list[str] | None, typer.Option("-m", "--model", "--models", help="The same, as an option.", show_default=False)
    ] = None,
    scale: Annotated[str, typer.Option("-s", "--scale", help="Factors to reduce and enlarge by: 2, or 2,3,4.")] = "2",
    protocol: Annotated[str, typer.Option(help=f"How results are compared; of {', '.join(PROTOCOLS)}.")] = "paper",
    json: Annotated[Path | None, typer.Option(help="Write all scores to this file.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write the tables to this file.")] = None,
    csv: Annotated[Path | None, typer.Option(help="Write all scores to this file.")] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Also reduce results again: PSNR against the input.")
    ] = False,
    engine: Annotated[Engine, typer.Option(help="What runs our networks.")] = "openvino",
    precision: Annotated[Precision, typer.Option(help="Of their arithmetic.")] = "f32",
) -> None:
    """Score models on test sets, as the papers do.

    Bicubic comes first, then what is given, beside the papers' numbers. A model is a name, a file (.onnx,
    .safetensors, .pb), a folder of finished pictures, or a command: 'cmd:tool {input} {output} {scale}'. 'label=…'
    gives any of them a name, whose last word may be that of a network with a paper. {scale} in a path stands for the
    scale. Commas part several models, scales or protocols.
    """
    from upres.evaluation import provenance, report, tables, testsets

    names = given_models([*(models or []), *(also or [])])
    if not names:
        raise UsageError("no model is given; name one, such as bicubic or fsrcnn. `upres models` lists them.")
    protocols = given_protocols(protocol)
    scales = given_scales(scale)
    for path in (json, markdown, csv):
        if path is not None and not path.parent.is_dir():
            raise OutputError(f"{path}: the folder {path.parent} does not exist; create it first.")
    names_of_sets = [testsets.canonical(folder.resolve().name) for folder in data]
    for name in names_of_sets:
        if names_of_sets.count(name) > 1:
            raise UsageError(f"several sets are called {name}, and scores name their set; rename the other folders.")
    made = provenance.here()  # before the work, in which the source may change
    warnings = {folder: _check_set(folder) for folder in data}
    evaluations: list[Evaluation] = []
    for factor in scales:
        candidates = _candidates(names, factor, engine, precision, may_lack=len(scales) > 1)
        for name in protocols:
            able = _able(candidates, name, may_lack=len(protocols) > 1)
            for folder in data:
                here = [_scored(candidate, folder, factor, name, verify, warnings[folder]) for candidate in able]
                here = _check_bicubic(here)
                _print(tables.groups(here)[0])
                evaluations += here
                # After each table, so that a failure later on leaves what was scored before it.
                if json is not None:
                    report.write_json(evaluations, json, made)
                if markdown is not None:
                    report.write_text(tables.WRITTEN + tables.markdown(tables.groups(evaluations)), markdown)
                if csv is not None:
                    report.write_text(tables.as_csv(evaluations), csv)


def _candidates(
    names: list[str], scale: int, engine: Engine, precision: Precision, *, may_lack: bool
) -> list[Candidate]:
    """Bicubic, and the models; one that lacks this scale is left out where others are asked for too."""
    from upres.evaluation import others

    candidates: list[Candidate] = []
    for name in dict.fromkeys(("bicubic", *names)):
        try:
            candidates.append(others.find(name, scale, engine=engine, precision=precision))
        except ScaleError as error:
            if not may_lack:
                raise
            _note(f"left out: {error}")
            continue
        if candidates[-1].found is not None:
            _note(f"{candidates[-1].name} ×{scale} takes {candidates[-1].found}")
    return candidates


def _able(candidates: list[Candidate], protocol: ProtocolName, *, may_lack: bool) -> list[Candidate]:
    """Those that a protocol can score; the others are left out where further protocols are asked for."""
    for candidate in candidates:
        if protocol not in candidate.protocols:
            others = " or ".join(candidate.protocols)
            lacking = f"{candidate.name} cannot be scored under {protocol}; --protocol {others} can."
            if not may_lack:
                raise UsageError(lacking)
            _note(f"left out: {lacking}")
    return [candidate for candidate in candidates if protocol in candidate.protocols]


def _scored(
    candidate: Candidate, folder: Path, scale: int, protocol: ProtocolName, verify: bool, warnings: tuple[str, ...]
) -> Evaluation:
    from rich.console import Console
    from rich.text import Text

    from upres.evaluation import report

    doing = f"{candidate.name} ×{scale} on {folder.name}, protocol {protocol}"
    with Console(stderr=True).status(Text(doing)) as status:  # shown on a terminal only
        return report.evaluate(
            candidate.enlarger,
            folder,
            scale,
            protocol,
            model=candidate.name,
            with_consistency=verify,
            with_speed=True,
            parameters=candidate.parameters,
            warnings=warnings,
            watch=lambda score: status.update(Text(f"{doing}: {score.image} has {score.psnr:.2f} dB")),
        )


def _check_set(folder: Path) -> tuple[str, ...]:
    """Say how this copy of a known set differs from the one that papers used."""
    from upres.evaluation import protocol, testsets

    warnings = testsets.check(folder)
    for below in protocol.folders_passed_over(folder):
        _note(f"{below}: left out; a test set is the pictures of one folder.")
    for warning in warnings:
        _note(f"warning: {warning}")
    return warnings


def _check_bicubic(evaluations: list[Evaluation]) -> list[Evaluation]:
    """Say where bicubic, the first of them, does not come out as papers print it; all carry that warning."""
    from upres.evaluation import testsets

    bicubic = evaluations[0]
    if bicubic.protocol != "paper":
        return evaluations
    off = testsets.bicubic_is_off(testsets.canonical(bicubic.dataset), bicubic.scale, bicubic.psnr)
    if off is None:
        return evaluations
    _note(f"warning: {off}")
    return [replace(e, warnings=(*e.warnings, off)) for e in evaluations]


def _print(group: Group) -> None:
    from rich.console import Console
    from rich.table import Table

    from upres.evaluation import tables

    table = Table(title=f"{group.title}, {len(group.evaluations[0].images)} pictures", title_justify="left")
    shown = tables.used_columns(group)
    for heading in (tables.COLUMNS[i] for i in shown):
        table.add_column(heading, justify="left" if heading == "model" else "right")
    for evaluation in group.evaluations:
        cells = tables.row(evaluation)
        table.add_row(*(cells[i] for i in shown))
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(table)
    for sentence in tables.comparisons(group):
        console.print(f"  {sentence}", highlight=False, soft_wrap=True)


def _note(text: str) -> None:
    print(f"upres: {text}", file=sys.stderr)
