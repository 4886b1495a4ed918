"""The command line: parse, call, print. One file a kind of work."""

from __future__ import annotations

import io
import sys
from typing import Annotated

import typer

import upres
from upres.cli.comparing import compare, report
from upres.cli.doctor import doctor
from upres.cli.options import printable
from upres.cli.pictures import upscale
from upres.cli.scores import evaluate, models
from upres.cli.training import export, pack, train
from upres.errors import MissingExtraError, UpresError, UsageError

_TRAINING_PACKAGES = ("torch", "lightning", "safetensors", "onnx", "onnxscript")

app = typer.Typer(
    name="upres",
    help="Faithful super-resolution with the eight classic networks.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(asked: bool) -> None:
    if asked:
        print(upres.__version__)
        raise typer.Exit


@app.callback()
def _options(  # pyright: ignore[reportUnusedFunction]
    version: Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True)] = False,
) -> None:
    pass


for command in (upscale, models, compare, evaluate, report, train, export, pack, doctor):
    app.command()(command)


def main() -> None:
    """Run the command line: exit code 0 for success, 1 for a failure, 2 for a call that is wrong."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that lacks × is no reason to fail
    try:
        app()
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _TRAINING_PACKAGES:
            raise
        print(f"upres: {MissingExtraError(package, 'train')}", file=sys.stderr)
        sys.exit(1)
    except UpresError as error:
        print("\n".join(map(printable, f"upres: {error}".split("\n"))), file=sys.stderr)
        sys.exit(2 if isinstance(error, UsageError) else 1)
