"""The command line: parse, call, print. One file a kind of work."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated

import typer

import upres
from upres.cli.options import printable
from upres.errors import MissingExtraError, UpresError, UsageError

_MODULES = {
    "upscale": "pictures",
    "models": "scores",
    "compare": "comparing",
    "evaluate": "scores",
    "report": "comparing",
    "train": "training",
    "export": "training",
    "pack": "training",
    "doctor": "doctor",
}  # where each command is
_EXAMPLES = {
    "upscale": (
        "upres upscale photo.jpg",
        "upres upscale photos/ -o large/ --scale 4 --model lapsrn",
        "upres upscale scan.tif --width 6000 --memory 1GB",
    ),
    "models": ("upres models --json",),
    "compare": ("upres compare photo.png --models bicubic,espcn,lapsrn -o sheet.pdf -o page.html",),
    "evaluate": (
        "upres evaluate fsrcnn --data Set5",
        "upres evaluate espcn theirs.onnx -s 2,3,4 --data Set5 --data Set14 --json scores.json",
    ),
    "report": ("upres report scores.json runs/ -o report.html",),
    "train": (
        "upres train espcn --data photos/",
        "upres train vdsr --data my.pack --dry-run",
        "upres train vdsr --data my.pack --init vdsr --teacher lapsrn --steps 1800",
    ),
    "export": ("upres export runs/espcn-x2/espcn-x2.safetensors",),
    "pack": ("upres pack photos/ -o my.pack",),
    "doctor": ("upres doctor",),
}
_UNUSED = "openvino.tools.ovc"  # OpenVINO's converters, which it loads with itself where it finds them
_TRAINING_PACKAGES = ("torch", "lightning", "safetensors", "onnx", "onnxscript")


def _print_version(asked: bool) -> None:
    if asked:
        print(upres.__version__)
        raise typer.Exit


def _options(
    version: Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True)] = False,
) -> None:
    pass


def _app(arguments: list[str]) -> typer.Typer:
    """The commands that arguments may ask for: the one that they begin with, or all; each takes time to set up."""
    app = typer.Typer(
        name="upres",
        help="Faithful super-resolution with the eight classic networks.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,  # takes as long to load as all the rest
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    for name in [word for word in arguments[:1] if word in _MODULES] or _MODULES:
        app.command(name, epilog=_shown(_EXAMPLES[name]))(getattr(import_module(f"upres.cli.{_MODULES[name]}"), name))
    return app


def _shown(examples: Sequence[str]) -> str:
    unwrapped = "\b\n"
    return "Examples:\n\n" + unwrapped + "\n".join(f"  {example}" for example in examples)


def main() -> None:
    """Run the command line: exit code 0 for success, 1 for a failure, 2 for a call that is wrong."""
    sys.modules.setdefault(_UNUSED, None)  # pyright: ignore[reportArgumentType]
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that lacks × is no reason to fail
    try:
        _app(sys.argv[1:])()
    except SystemExit as end:
        if isinstance(getattr(end.__context__, "__cause__", None), KeyboardInterrupt):  # Typer ends then without a word
            print("upres: stopped.", file=sys.stderr)
        raise
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _TRAINING_PACKAGES:
            raise
        print(f"upres: {MissingExtraError(package, 'train')}", file=sys.stderr)
        sys.exit(1)
    except UpresError as error:
        print("\n".join(map(printable, f"upres: {error}".split("\n"))), file=sys.stderr)
        sys.exit(2 if isinstance(error, UsageError) else 1)
