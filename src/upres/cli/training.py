"""`upres train`, `upres export` and `upres pack`: from pictures to weights."""

from __future__ import annotations

import difflib
import logging
import os
import runpy
import shlex
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from upres.errors import DataError, Interrupted, MissingExtraError, UpresError, UsageError

if TYPE_CHECKING:
    from upres.data.pack import Pack, Skipped
    from upres.training.recipe import Recipe
    from upres.training.watching import Report

Device = Literal["auto", "cpu", "cuda", "mps"]
RecipeKind = Literal["shipped", "paper"]
Arithmetic = Literal["bf16", "f32"]
_OWN_PACK = ".pictures.pack"


def train(
    network: Annotated[str, typer.Argument(help="A network, such as espcn, or the path of a recipe (.py).")],
    data: Annotated[Path, typer.Option(help="A folder of pictures, or a pack made by `upres pack`.")],
    scale: Annotated[int | None, typer.Option(help="How many times larger.", show_default="the recipe's")] = None,
    recipe: Annotated[RecipeKind, typer.Option(help="Ours, or the paper's own.")] = "shipped",
    out: Annotated[Path | None, typer.Option(help="Where the run goes.", show_default="runs/NAME")] = None,
    steps: Annotated[int | None, typer.Option(help="Optimizer steps.", show_default="the recipe's")] = None,
    batch: Annotated[int | None, typer.Option(help="Patches a step.", show_default="the recipe's")] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="At the top of the schedule.", show_default="the recipe's")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the run.", show_default="the recipe's")] = None,
    precision: Annotated[
        Arithmetic | None,
        typer.Option(help="What the network computes in.", show_default="the recipe's; f32 where there is no bfloat16"),
    ] = None,
    held_out: Annotated[int | None, typer.Option(help="Pictures to validate on.", show_default="the recipe's")] = None,
    validation: Annotated[Path | None, typer.Option(help="Validate on these; train on all of DATA.")] = None,
    init: Annotated[
        list[str] | None,
        typer.Option(
            help="Start from a weights file, or from ours, such as espcn-x2; repeat for their mean.",
            show_default=False,
        ),
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option(
            help="Learn what this network makes of the pictures: ours, such as lapsrn, or a safetensors file."
        ),
    ] = None,
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
    from upres.training import checkpoint, estimate, loop, teaching
    from upres.training.hardware import has_bf16
    from upres.weights import store

    chosen = _recipe(network, recipe)
    if scale is not None:
        chosen = chosen.at_scale(scale)
    if seed is not None:
        chosen = replace(chosen, seed=seed)
    if steps is not None:
        chosen = chosen.with_steps(steps)
    if batch is not None:
        chosen = chosen.with_batch(batch)
    if learning_rate is not None:
        chosen = replace(chosen, learning_rate=learning_rate)
    if teacher is not None:
        chosen = replace(chosen, teacher=teacher)
    teaching.require(chosen)
    if held_out is not None and validation is not None:
        raise UsageError("--held-out sets pictures of DATA apart, and --validation names others; give one of them.")
    if held_out is not None:
        chosen = replace(chosen, held_out=held_out)
    init_weights = list(map(_weights, init or ()))
    if init_weights:
        chosen = chosen.starting_from(store.load(init_weights[0])[0])
    own_name = Path(network).stem if network.endswith(".py") else f"{chosen.name}{'-paper' * (recipe == 'paper')}"
    out = out or Path("runs") / own_name
    precision = precision or (loop.precision_of_run(out, chosen) if resume else None)
    if precision is None and nodes == 1 and not has_bf16(device):  # several machines have to agree, so they are told
        precision = "f32"
    chosen = replace(chosen, precision=precision or chosen.precision)
    if not data.exists():
        raise DataError(f"{data}: no such folder or pack; give a folder of pictures or a file of `upres pack`.")
    if not dry_run and (finished := loop.finished_weights(chosen, out, resume=resume)):
        print(f"{finished}: is finished already")
        if data.is_dir():
            (out / _OWN_PACK).unlink(missing_ok=True)  # a kill may have come between
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
        learned_from = len(pictures.planes) - chosen.held_out
        if learned_from < chosen.held_out:
            few = f"{learned_from} of {len(pictures.planes)} pictures are left to learn from"
            print(f"{few}; --held-out 1 leaves more.", file=sys.stderr)
    if dry_run:
        try:
            print(estimate.estimate(chosen, pictures, accelerator=device, compile=compile))
        except Interrupted:
            raise typer.Exit(130) from None
        return
    first_process = os.environ.get("LOCAL_RANK", "0") == os.environ.get("NODE_RANK", "0") == "0"
    on = f"{chosen.held_out} of them held out" if held_out_pictures is None else f"validation on {validation}"
    if first_process:
        print(f"{len(pictures.planes)} pictures, {on}; {chosen.steps} steps in {chosen.precision}; {out}")
        _show_log()
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
                report_every=max(1, min(50, chosen.steps // 20)),
                watch=watch,
            )
    except (Interrupted, KeyboardInterrupt) as stop:
        if not first_process:
            raise typer.Exit(130) from None
        kept = bool(checkpoint.find(out))
        again = shlex.join(["upres", *(word for word in sys.argv[1:] if word != "--resume"), *["--resume"] * kept])
        if isinstance(stop, Interrupted):
            left = str(stop)
        elif kept:
            left = f"stopped; {out} holds the last checkpoint."
        else:
            taught = f" What {chosen.teacher} has made of the pictures is kept." if chosen.teacher else ""
            left = f"stopped before the first checkpoint.{taught}"
        print(f"upres: {left} Go on with:\n{again}", file=sys.stderr)
        raise typer.Exit(130) from None
    if first_process:
        if data.is_dir():
            (out / _OWN_PACK).unlink(missing_ok=True)
        print(weights)
        try:
            print(export_weights(weights))
        except MissingExtraError as error:
            print(f"no ONNX file was made: {error}; then `upres export {weights}` makes it.", file=sys.stderr)


def export(
    weights: Annotated[Path, typer.Argument(help="A safetensors file that `upres train` wrote.")],
    out: Annotated[Path | None, typer.Option("-o", "--out", help="The file.", show_default="beside it")] = None,
) -> None:
    """Write trained weights as ONNX, which runs without PyTorch."""
    from upres.export import export as export_weights

    print(export_weights(weights, out))


def pack(
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
    """The file of a catalog entry, NAME-xSCALE, or NAME where one file serves all scales; or the path itself."""
    from upres.weights import catalog

    entry, _, scale = name.rpartition("-x")
    if entry and scale.isdecimal():
        return catalog.find(entry, int(scale)).safetensors
    own = {record.safetensors for record in catalog.records() if record.name == name}
    return own.pop() if len(own) == 1 else Path(name)


def _recipe(name: str, kind: RecipeKind) -> Recipe:
    from upres.recipes import PAPER_RECIPES, RECIPES, SMALL_RECIPES
    from upres.training.recipe import Recipe

    shipped = RECIPES | SMALL_RECIPES
    if name in shipped and kind == "shipped":
        return shipped[name]
    if name in PAPER_RECIPES:
        return PAPER_RECIPES[name]
    if name not in shipped and not name.endswith(".py"):
        nearest = difflib.get_close_matches(name, shipped, n=1)
        hint = f"did you mean {nearest[0]}?" if nearest else f"there is {', '.join(shipped)}, or give a .py file."
        raise UsageError(f"no recipe {name!r}; {hint}")
    if kind == "paper":
        raise UsageError(f"{name}: --recipe paper is for {', '.join(PAPER_RECIPES)}; this one has but ours.")
    try:
        recipe = runpy.run_path(name).get("RECIPE")
    except OSError as error:
        raise DataError(f"{name}: cannot be read ({error.strerror}); check the path.") from error
    except (SyntaxError, TypeError, NameError, ImportError, AttributeError) as error:
        raise UsageError(f"{name}: is no recipe that Python can run ({type(error).__name__}: {error}).") from error
    if not isinstance(recipe, Recipe):
        raise UsageError(f"{name}: sets no RECIPE; it must be an upres.training.recipe.Recipe.")
    return recipe


def _show_log() -> None:
    """Print what a run logs, above the bar: the handler of last resort looks up stderr, which the bar redirects."""
    for part in ("upres.training", "upres.data"):
        logging.getLogger(part).setLevel(logging.INFO)
    if logging.lastResort is not None:
        logging.lastResort.setLevel(logging.INFO)


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
        self._task = self._bar.add_task(f"{recipe.model} ×{recipe.scale}", total=recipe.steps, state="starting")
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
