"""The command line: parse, call, print."""

from __future__ import annotations

import difflib
import io
import os
import runpy
import shlex
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

import upres
from upres.errors import DataError, Interrupted, MissingExtraError, PictureError, UpresError, UsageError

if TYPE_CHECKING:
    from upres.data.pack import Pack, Skipped
    from upres.evaluation.protocol import Score
    from upres.inference.upscaler import Bicubic, Upscaler
    from upres.training.recipe import Recipe
    from upres.training.watching import Report

Engine = Literal["openvino", "onnxruntime", "torch"]
Precision = Literal["auto", "f32", "bf16"]
Device = Literal["auto", "cpu", "cuda", "mps"]
RecipeKind = Literal["shipped", "paper"]
Protocol = Literal["paper", "selfexsr", "lapsrn", "rgb"]

_OWN_PACK = ".pictures.pack"
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
        print(f"upres: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, UsageError) else 1)


@app.command()
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


@app.command()
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


@app.command()
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


@app.command()
def train(
    network: Annotated[str, typer.Argument(help="A network, such as espcn, or the path of a recipe (.py).")],
    data: Annotated[Path, typer.Option(help="A folder of pictures, or a pack made by `upres pack`.")],
    scale: Annotated[int | None, typer.Option(help="How many times larger.", show_default="the recipe's")] = None,
    recipe: Annotated[RecipeKind, typer.Option(help="Ours, or the paper's own.")] = "shipped",
    out: Annotated[Path | None, typer.Option(help="Where the run goes.", show_default="runs/NAME")] = None,
    steps: Annotated[int | None, typer.Option(help="Optimizer steps.", show_default="the recipe's")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the run.", show_default="the recipe's")] = None,
    held_out: Annotated[int | None, typer.Option(help="Pictures to validate on.", show_default="the recipe's")] = None,
    validation: Annotated[Path | None, typer.Option(help="Validate on these; train on all of DATA.")] = None,
    init: Annotated[str | None, typer.Option(help="Start from a weights file, or from ours, such as espcn-x2.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the run's checkpoint.")] = False,
    device: Annotated[Device, typer.Option(help="What to train on.")] = "auto",
    devices: Annotated[int, typer.Option(help="How many of them, on each machine.")] = 1,
    nodes: Annotated[int, typer.Option(help="How many machines; see the README.")] = 1,
    compile: Annotated[
        bool | None, typer.Option(help="Use torch.compile.", show_default="where there is a compiler")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Measure a few steps and say what a run costs.")] = False,
) -> None:
    """Train a network on your pictures."""
    from upres.data import pack
    from upres.export import export as export_weights
    from upres.training import estimate, loop

    chosen = _recipe(network, recipe)
    if scale is not None:
        chosen = chosen.at_scale(scale)
    if seed is not None:
        chosen = replace(chosen, seed=seed)
    if steps is not None:
        chosen = chosen.with_steps(steps)
    if held_out is not None:
        chosen = replace(chosen, held_out=held_out)
    init_weights = _weights(init) if init else None
    own_name = Path(network).stem if network.endswith(".py") else f"{chosen.name}{'-paper' * (recipe == 'paper')}"
    out = out or Path("runs") / own_name
    if not data.exists():
        raise DataError(f"{data}: no such folder or pack; give a folder of pictures or a file of `upres pack`.")
    if not dry_run and (finished := loop.finished_weights(chosen, out, resume=resume)):
        print(f"{finished}: is finished already")
        if not finished.with_suffix(".onnx").exists():
            print(export_weights(finished))
        return
    pictures, skipped = pack.open_data(data) if dry_run else _own_pack(data, out, resume=resume)
    _print_skipped(skipped)
    held_out_pictures = None
    if validation is not None:
        held_out_pictures, skipped = pack.open_data(validation)
        _print_skipped(skipped)
    if held_out_pictures is None:
        pictures.split(chosen.held_out)  # says now, and not after a while, if there are too few
    if dry_run:
        try:
            print(estimate.estimate(chosen, pictures, accelerator=device, compile=compile))
        except Interrupted:
            raise typer.Exit(130) from None
        return
    first_process = os.environ.get("LOCAL_RANK", "0") == os.environ.get("NODE_RANK", "0") == "0"
    on = f"{chosen.held_out} of them held out" if held_out_pictures is None else f"validation on {validation}"
    if first_process:
        print(f"{len(pictures.planes)} pictures, {on}; {chosen.steps} steps; {out}")
    try:
        with _progress(chosen, shown=first_process) as watch:
            weights = loop.train(
                chosen,
                pictures,
                out,
                validation=held_out_pictures,
                init=init_weights,
                resume=resume,
                accelerator=device,
                devices=devices,
                nodes=nodes,
                compile=compile,
                watch=watch,
            )
    except Interrupted as error:
        if not first_process:
            raise typer.Exit(130) from error
        again = shlex.join(["upres", *(word for word in sys.argv[1:] if word != "--resume"), "--resume"])
        print(f"upres: {error} Go on with:\n{again}", file=sys.stderr)
        raise typer.Exit(130) from error
    if first_process:
        if data.is_dir():
            (out / _OWN_PACK).unlink(missing_ok=True)
        print(weights)
        try:
            print(export_weights(weights))
        except MissingExtraError as error:
            print(f"no ONNX file was made: {error}; then `upres export {weights}` makes it.", file=sys.stderr)


@app.command()
def export(
    weights: Annotated[Path, typer.Argument(help="A safetensors file that `upres train` wrote.")],
    out: Annotated[Path | None, typer.Option("-o", "--out", help="The file.", show_default="beside it")] = None,
) -> None:
    """Write the ONNX file of trained weights, which runs without PyTorch."""
    from upres.export import export as export_weights

    print(export_weights(weights, out))


@app.command("pack")
def pack_(
    folder: Annotated[Path, typer.Argument(help="Pictures, in folders of any depth.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="The pack to write.")],
) -> None:
    """Make one file of a folder of pictures, for training."""
    from upres.data import pack

    pictures, skipped = pack.pack_folder(folder, out)
    _print_skipped(skipped)
    print(f"{out}: {len(pictures.planes)} pictures, {out.stat().st_size / 2**20:.1f} MiB")


def _own_pack(data: Path, out: Path, *, resume: bool) -> tuple[Pack, list[Skipped]]:
    """A pack as it is; a folder as a pack in the run's folder: memory need not hold it, and it may change meanwhile."""
    from upres.data import pack
    from upres.files import make_folder

    own = out / _OWN_PACK
    if data.is_file():
        return pack.read_pack(data), []
    if resume and own.exists():
        print(f"going on with the pictures of {data} as they were when the run began")
        return pack.read_pack(own), []
    make_folder(out)
    try:
        return pack.pack_folder(data, own)
    except UpresError:
        with suppress(OSError):  # it holds something, which then stays
            out.rmdir()
        raise


def _weights(name: str) -> Path:
    """The file of a catalog entry, written NAME-xSCALE, or the path itself."""
    from upres.weights import catalog

    entry, _, scale = name.rpartition("-x")
    return catalog.find(entry, int(scale)).safetensors if entry and scale.isdecimal() else Path(name)


def _recipe(name: str, kind: RecipeKind) -> Recipe:
    from upres.recipes import PAPER_RECIPES, RECIPES
    from upres.training.recipe import Recipe

    if name in RECIPES:
        return (RECIPES if kind == "shipped" else PAPER_RECIPES)[name]
    if not name.endswith(".py"):
        nearest = difflib.get_close_matches(name, RECIPES, n=1)
        hint = f"did you mean {nearest[0]}?" if nearest else f"there is {', '.join(RECIPES)}, or give a .py file."
        raise UsageError(f"no recipe {name!r}; {hint}")
    if kind == "paper":
        raise UsageError(f"{name}: --recipe paper is for {', '.join(RECIPES)}; a file has the one RECIPE.")
    try:
        recipe = runpy.run_path(name).get("RECIPE")
    except OSError as error:
        raise DataError(f"{name}: cannot be read ({error.strerror}); check the path.") from error
    if not isinstance(recipe, Recipe):
        raise UsageError(f"{name}: sets no RECIPE; it must be an upres.training.recipe.Recipe.")
    return recipe


def _print_skipped(skipped: Any) -> None:
    for file in skipped:
        print(f"skipped {file.path}: {file.reason}", file=sys.stderr)


class _progress:
    """A live line for a training run on a terminal; a plain line for each validation elsewhere."""

    def __init__(self, recipe: Recipe, *, shown: bool) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[state]}"),
            TimeRemainingColumn(),
            disable=not shown,
        )
        self._task = self._bar.add_task(f"{recipe.network} ×{recipe.scale}", total=recipe.steps, state="starting")
        self._psnr = ""

    def __enter__(self) -> Any:
        self._bar.start()
        return self._update

    def _update(self, report: Report) -> None:
        if report.psnr is not None:
            self._psnr = f"{report.psnr:.3f} dB"
            self._bar.print(
                f"step {report.step}: loss {report.loss:.5f}, {self._psnr}, {report.patches_per_second:.0f} patches/s"
            )
        state = f"loss {report.loss:.5f} {self._psnr} {report.patches_per_second:.0f} patches/s"
        self._bar.update(self._task, completed=report.step, state=state)

    def __exit__(self, *exc_info: object) -> None:
        self._bar.stop()
