"""`upres models` and `upres evaluate`: what there is and how good it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

import upres
from upres.cli.options import Engine, Precision

if TYPE_CHECKING:
    from upres.evaluation.protocol import Score

Protocol = Literal["paper", "selfexsr", "lapsrn", "rgb"]


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
    print("`bicubic`, MATLAB's, goes by the same name everywhere, at any whole scale.")


def evaluate(
    model: Annotated[str, typer.Argument(help="bicubic, a name in `upres models`, or an .onnx or .safetensors file.")],
    data: Annotated[Path, typer.Option(help="The folder of a test set, such as Set5.")],
    scale: Annotated[int, typer.Option("-s", "--scale", help="Factor to reduce and enlarge by.")] = 2,
    protocol: Annotated[Protocol, typer.Option(help="How results are made and compared.")] = "paper",
    json: Annotated[Path | None, typer.Option(help="Also write the scores to this file.")] = None,
    engine: Annotated[Engine, typer.Option(help="What runs the network.")] = "openvino",
    precision: Annotated[Precision, typer.Option(help="Of the arithmetic.")] = "f32",
) -> None:
    """Score a model on a test set as the papers do."""
    from upres.evaluation import report

    enlarger = upres.load(model, scale, engine=engine, precision=precision)
    result = report.evaluate(enlarger, data, scale, protocol, model=model, watch=_print_score)
    print(f"{'mean':24} {result.psnr:7.3f} dB   {result.ssim:.4f}")
    print(f"{model} ×{scale} on {result.dataset}, {len(result.images)} pictures, protocol {protocol}")
    if json is not None:
        result.write_json(json)


def _print_score(score: Score) -> None:
    print(f"{score.image:24} {score.psnr:7.3f} dB   {score.ssim:.4f}")
