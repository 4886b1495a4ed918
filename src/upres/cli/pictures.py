"""`upres upscale`: pictures in, larger pictures out."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import upres
from upres.cli.options import Engine, Precision
from upres.errors import PictureError, UpresError, UsageError

if TYPE_CHECKING:
    from upres.inference.upscaler import Bicubic, Upscaler


def upscale(
    pictures: Annotated[list[Path], typer.Argument(help="One picture, or several.", show_default=False)],
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", help="A file, or a folder for several.", show_default="beside: NAME-x2.EXT"),
    ] = None,
    scale: Annotated[int, typer.Option("-s", "--scale", help="How many times larger.")] = 2,
    model: Annotated[str, typer.Option("-m", "--model", help="See `upres models`; or a file.")] = upres.DEFAULT_MODEL,
    engine: Annotated[Engine, typer.Option(help="What runs the network.")] = "openvino",
    precision: Annotated[Precision, typer.Option(help="auto: bf16 where that costs at most 0.01 dB.")] = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist.")] = False,
) -> None:
    """Enlarge pictures faithfully."""
    to_folder = out is not None and os.path.isdir(out)  # Path's raises for a name that is too long
    if out is not None and len(pictures) > 1 and not to_folder:
        raise UsageError(f"{out}: is not a folder; with {len(pictures)} pictures -o must name a folder that exists.")
    targets = [_beside(picture, scale, out) if out is None or to_folder else out for picture in pictures]
    twice = next((target for target in targets if targets.count(target) > 1), None)
    if twice is not None:
        raise UsageError(f"{twice}: would be written twice; give each picture once, and those of one name separately.")
    upscaler = upres.load(model, scale, engine=engine, precision=precision)
    failures = 0
    for picture, target in zip(pictures, targets, strict=True):
        try:
            _upscale_one(picture, target, upscaler, overwrite=overwrite)
        except UpresError as error:
            if len(pictures) == 1:
                raise
            print(f"upres: {error}", file=sys.stderr)
            failures += 1
    if failures:
        print(f"upres: {failures} of {len(pictures)} pictures failed.", file=sys.stderr)
        raise typer.Exit(1)


def _upscale_one(picture: Path, target: Path, upscaler: Upscaler | Bicubic, *, overwrite: bool) -> None:
    from upres.images import io

    started = time.perf_counter()
    io.check_output(target, overwrite=overwrite)
    read = io.read(picture)
    try:
        large = upscaler(read.pixels)
    except UsageError as error:
        raise PictureError(f"{picture}: {error}") from error
    except MemoryError as error:
        raise PictureError(f"{picture}: there is not enough memory for the result; take a smaller scale.") from error
    io.write(read.with_pixels(large), target, overwrite=overwrite)
    print(f"{target}: {large.shape[1]}×{large.shape[0]}, {time.perf_counter() - started:.2f} s")


def _beside(picture: Path, scale: int, folder: Path | None) -> Path:
    from upres.images import io

    suffix = picture.suffix if picture.suffix.lower() in io.SAVERS else ".png"
    return (folder or picture.parent) / f"{picture.stem}-x{scale}{suffix}"
