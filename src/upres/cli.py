"""The command line: parse, call, print."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from upres.errors import UpresError, UsageError

if TYPE_CHECKING:
    from upres.training.loop import Report
    from upres.training.recipe import Recipe

app = typer.Typer(
    name="upres",
    help="Faithful super-resolution with the eight classic networks.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the command line: exit code 0 for success, 1 for a failure, 2 for a call that is wrong."""
    try:
        app()
    except UpresError as error:
        print(f"upres: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, UsageError) else 1)


@app.command()
def train(
    network: Annotated[str, typer.Argument(help="A network, such as espcn, or the path of a recipe (.py).")],
    data: Annotated[Path, typer.Option(help="A folder of pictures, or a pack made by `upres pack`.")],
    scale: Annotated[int, typer.Option(help="How many times larger the result is.")] = 2,
    out: Annotated[Path | None, typer.Option(help="Where the run goes.", show_default="runs/NETWORK-xSCALE")] = None,
    steps: Annotated[int | None, typer.Option(help="Optimizer steps.", show_default="the recipe's")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the run.", show_default="the recipe's")] = None,
    init: Annotated[str | None, typer.Option(help="Start from weights: a name in the catalog, or a file.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the run's checkpoint.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    devices: Annotated[int, typer.Option(help="How many of them.")] = 1,
    compile: Annotated[bool, typer.Option(help="Use torch.compile.")] = True,
) -> None:
    """Train a network on your pictures."""
    from upres.data import pack
    from upres.training import loop

    recipe = _recipe(network)
    changes: dict[str, Any] = {"scale": scale, "steps": steps, "seed": seed}
    recipe = replace(recipe, **{name: value for name, value in changes.items() if value is not None})
    out = out or Path("runs") / f"{recipe.network}-x{recipe.scale}"
    pictures, skipped = pack.open_data(data)
    _print_skipped(skipped)
    print(f"{len(pictures.planes)} pictures, {recipe.held_out} of them held out; {recipe.steps} steps; {out}")
    with _progress(recipe) as watch:
        weights = loop.train(
            recipe,
            pictures,
            out,
            init=Path(init) if init else None,
            resume=resume,
            accelerator=device,
            devices=devices,
            compile=compile,
            watch=watch,
        )
    print(weights)


@app.command("pack")
def pack_(
    folder: Annotated[Path, typer.Argument(help="Pictures, in folders of any depth.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="The pack to write.")],
) -> None:
    """Make one file of a folder of pictures, for training."""
    from upres.data import pack

    pictures, skipped = pack.read_folder(folder)
    _print_skipped(skipped)
    pack.write_pack(pictures, out)
    print(f"{out}: {len(pictures.planes)} pictures, {out.stat().st_size / 2**20:.1f} MiB")


def _recipe(name: str) -> Recipe:
    from upres.recipes import RECIPES

    if name in RECIPES:
        return RECIPES[name]
    raise UsageError(f"no recipe {name!r}; there is {', '.join(RECIPES)}.")


def _print_skipped(skipped: Any) -> None:
    for file in skipped:
        print(f"skipped {file.path}: {file.reason}", file=sys.stderr)


class _progress:
    """A live line for a training run on a terminal; a plain line for each validation elsewhere."""

    def __init__(self, recipe: Recipe) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[state]}"),
            TimeRemainingColumn(),
        )
        self._task = self._bar.add_task(f"{recipe.network} ×{recipe.scale}", total=recipe.steps, state="")
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
