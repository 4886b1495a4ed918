"""The training loop, top to bottom, over Lightning Fabric.

It does not know which network it trains, what made the low-resolution patches, or who watches. Step i's batch depends
on (seed, i) alone, so a run that was interrupted and resumed equals one that was not.
"""

from __future__ import annotations

import csv
import logging
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from lightning.fabric import Fabric
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel

from upres.data.pack import Pack
from upres.data.patches import PatchSource
from upres.errors import DataError, OutputError, UsageError
from upres.evaluation import protocol
from upres.files import whole_file
from upres.inference.engines import TorchEngine
from upres.inference.upscaler import Upscaler
from upres.networks import NETWORKS, SCALE_LAYERS, Network
from upres.training.losses import LOSSES
from upres.training.recipe import Recipe
from upres.weights import store

log = logging.getLogger(__name__)

CHECKPOINT = "checkpoint.pt"
_REPORT_EVERY = 50


@dataclass(frozen=True)
class Report:
    """What a watcher is told: the step just done, mean loss since the last report, and the pace.

    Attributes:
        step: steps done so far, out of `steps`.
        loss: mean since the last report.
        learning_rate: of the step just done.
        patches_per_second: pace since the last report, validation not counted.
        psnr: mean in dB on the held-out pictures, on the steps that validate.
    """

    step: int
    steps: int
    loss: float
    learning_rate: float
    patches_per_second: float
    psnr: float | None


class _AllOutputs(nn.Module):
    """Makes `outputs` the forward, so that compiling and distributing see every supervised prediction."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, y: Tensor) -> list[Tensor]:
        return self.network.outputs(y)


def _validate(ema: AveragedModel, pack: Pack, scale: int) -> float | None:
    """Mean PSNR in dB over a pack's pictures under the `paper` protocol; None for an empty pack."""
    if not pack.planes:
        return None
    network = cast(Network, ema.module).eval()
    engine = TorchEngine(network)
    upscaler = Upscaler(lambda precision: engine, name="in training", scale=scale, halo=network.halo)
    scores = [protocol.score(upscaler, plane, scale, with_ssim=False).psnr for plane in pack.planes]
    return float(np.mean(scores))


def train(
    recipe: Recipe,
    data: Pack,
    out: Path,
    *,
    init: Path | None = None,
    resume: bool = False,
    accelerator: str = "auto",
    devices: int = 1,
    compile: bool | None = None,
    watch: Callable[[Report], None] = lambda report: None,
) -> Path:
    """Train a network and write its weights.

    Args:
        recipe: what to compute.
        data: pictures; `recipe.held_out` of them validate.
        out: folder for the checkpoint, `metrics.csv`, TensorBoard events and the weights; made if missing.
        init: weights to start from; tensors of the same name and shape are taken, the others start anew.
        resume: go on from the checkpoint in `out`.
        accelerator: Fabric's: `auto`, `cpu`, `cuda` or `mps`.
        devices: how many of them.
        compile: use `torch.compile`, which is up to twice as fast; if not said, where there is a C++ compiler.
        watch: called every 50 steps and after each validation.

    Returns:
        The path of the weights, `<network>-x<scale>.safetensors` in `out`.

    Raises:
        UsageError: `resume` without a checkpoint, a checkpoint without `resume`, or a batch that does not divide by
            the devices.
        DataError: too few or too small pictures.
    """
    if devices < 1:
        raise UsageError(f"devices is {devices}; it must be at least 1.")
    checkpoint = out / CHECKPOINT
    weights = out / f"{recipe.network}-x{recipe.scale}.safetensors"
    if weights.exists():
        raise UsageError(f"{weights}: is finished already; --out trains elsewhere.")
    if resume and not checkpoint.is_file():
        raise UsageError(f"{out}: no checkpoint to resume from; leave out --resume to start.")
    if not resume and checkpoint.is_file():
        raise UsageError(f"{out}: holds an unfinished run; --resume goes on with it, --out starts elsewhere.")
    if recipe.batch % devices:
        raise UsageError(f"batch {recipe.batch} does not divide by {devices} devices; change one of them.")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{out}: cannot be made a folder ({error.strerror}); --out names another.") from error

    try:
        fabric = Fabric(accelerator=accelerator, devices=devices)
    except (RuntimeError, ValueError) as error:
        raise UsageError(f"device {accelerator!r} cannot be had: {error}") from error
    fabric.launch()
    commit = _commit()
    training, held_out = data.split(recipe.held_out)
    patches = PatchSource(
        training.planes,
        scale=recipe.scale,
        patch=recipe.patch,
        degradation=recipe.degradation,
        rescale=recipe.rescale,
        device=fabric.device,
    )

    torch.manual_seed(recipe.seed)
    network: Network = NETWORKS[recipe.network](scale=recipe.scale, **recipe.arguments)
    if recipe.start == "interpolation":
        network.start_as_interpolation()
    started_from = _take(network, init) if init else None
    network.to(device=fabric.device)
    network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    ema = AveragedModel(network, multi_avg_fn=_running_mean(recipe.ema))
    optimizer = torch.optim.Adam(_parameter_groups(network, recipe), lr=recipe.learning_rate)
    all_outputs = _AllOutputs(network)
    if compile is None:
        compile = any(map(shutil.which, ("c++", "g++", "clang++", "cl")))
    compiled = cast(nn.Module, torch.compile(all_outputs)) if compile else all_outputs
    model, optimizer = fabric.setup(compiled, optimizer)
    origin: dict[str, Any] = {"recipe": asdict(recipe), "data": data.digest, "init": started_from, "commit": commit}
    first_step = 0
    if resume:
        saved = _read_checkpoint(checkpoint, origin)
        network.load_state_dict(saved["network"])
        ema.load_state_dict(saved["ema"])
        optimizer.load_state_dict(saved["optimizer"])
        origin, first_step = saved["origin"], saved["step"]
    compute_loss = LOSSES[recipe.loss]

    with _Metrics(out, enabled=fabric.is_global_zero, after=first_step) as metrics:
        losses: list[Tensor] = []
        since = time.perf_counter()
        for step in range(first_step, recipe.steps):
            settling = step >= recipe.steps - recipe.settle
            if step == recipe.steps - recipe.settle:
                _round_weights(network, ema)
            rate = recipe.learning_rate_at(step)
            for group in optimizer.param_groups:
                group["lr"] = 0.0 if settling and group["is_weight"] else rate * group["rate_factor"]
            low, high = patches.batch(recipe.batch, seed=recipe.seed, step=step)
            low, high = (_share(fabric, batch) for batch in (low, high))

            in_bf16 = recipe.precision == "bf16" and not settling
            with torch.autocast(fabric.device.type, torch.bfloat16, enabled=in_bf16):
                predictions = model(low)
            loss = torch.stack([compute_loss(p, _reduced(high, p.shape[-1])) for p in predictions]).mean()
            optimizer.zero_grad()
            fabric.backward(loss)
            if recipe.clip < float("inf"):
                fabric.clip_gradients(model, optimizer, max_norm=recipe.clip)
            optimizer.step()
            ema.update_parameters(network)

            losses.append(loss.detach())
            done = step + 1
            validating = done % recipe.validate_every == 0 or done == recipe.steps
            if validating or done % _REPORT_EVERY == 0:
                mean_loss = cast(Tensor, fabric.all_reduce(torch.stack(losses).mean()))
                pace = recipe.batch * len(losses) / (time.perf_counter() - since)
                psnr = _validate(ema, held_out, recipe.scale) if validating else None
                report = Report(done, recipe.steps, float(mean_loss), rate, pace, psnr)
                metrics.write(report)
                watch(report)
                if validating and fabric.is_global_zero:
                    states = {"network": network, "ema": ema, "optimizer": optimizer}
                    content = {name: part.state_dict() for name, part in states.items()}
                    with whole_file(checkpoint) as temporary:
                        torch.save(content | {"step": done, "origin": origin}, temporary)
                losses.clear()
                since = time.perf_counter()

    if fabric.is_global_zero:
        trained = ema.module
        metadata = store.Metadata(
            network=recipe.network,
            arguments={"scale": recipe.scale, **recipe.arguments},
            scale=recipe.scale,
            halo=network.halo,
            parameters=sum(p.numel() for p in network.parameters()),
            recipe=asdict(recipe),
            steps=recipe.steps,
            seed=recipe.seed,
            data=data.digest,
            commit=origin["commit"],
            init=origin["init"],
        )
        store.save(trained, metadata, weights)
        checkpoint.unlink()
    fabric.barrier()
    return weights


def _take(network: Network, init: Path) -> str:
    """Copy every tensor of `init` whose name and shape fit; return a line that says what was taken."""
    source, metadata = store.load(init)
    own = network.state_dict()
    fitting = {k: v for k, v in source.state_dict().items() if k in own and v.shape == own[k].shape}
    if metadata.scale != network.scale and metadata.network in SCALE_LAYERS:
        fitting = {k: v for k, v in fitting.items() if not k.startswith(SCALE_LAYERS[metadata.network])}
    if not fitting:
        raise UsageError(f"{init}: is a {metadata.network}, of which nothing fits; give weights of the same network.")
    network.load_state_dict(fitting, strict=False)
    log.info("started from %s: %d of %d tensors", init, len(fitting), len(own))
    return f"{metadata.network}-x{metadata.scale} ({metadata.steps} steps): {len(fitting)} of {len(own)} tensors"


def _parameter_groups(network: Network, recipe: Recipe) -> list[dict[str, Any]]:
    """One group a parameter, with the factor on its rate and whether it is a convolution's weight."""
    return [
        {
            "params": [parameter],
            "rate_factor": recipe.last_layer_rate if recipe.last_layer and name.startswith(recipe.last_layer) else 1.0,
            "is_weight": parameter.ndim == 4,
        }
        for name, parameter in network.named_parameters()
    ]


def _running_mean(decay: float) -> Callable[[Any, Any, Any], None]:
    """An exponential running mean that forgets its start: update n decays by (1 + n) / (10 + n) at most."""

    @torch.no_grad()
    def update(mean: list[Tensor], current: list[Tensor], updates: Tensor | int) -> None:
        n = int(updates)
        for m, c in zip(mean, current, strict=True):
            m.lerp_(c, 1 - min(decay, (1 + n) / (10 + n)))

    return update


@torch.no_grad()
def _round_weights(network: Network, ema: AveragedModel) -> None:
    """Go on from the running mean, with every convolution's weights rounded to bfloat16."""
    network.load_state_dict(ema.module.state_dict())
    for parameter in network.parameters():
        if parameter.ndim == 4:
            parameter.copy_(parameter.bfloat16())
    ema.module.load_state_dict(network.state_dict())


def _reduced(high: Tensor, side: int) -> Tensor:
    """The target of a prediction that is smaller than the output, as a pyramid's lower levels are."""
    if high.shape[-1] == side:
        return high
    return F.interpolate(high, size=(side, side), mode="bicubic", antialias=True)


def _share(fabric: Fabric, batch: Tensor) -> Tensor:
    """This process's part of a batch that every process cut alike."""
    return batch.chunk(fabric.world_size)[fabric.global_rank]


def _read_checkpoint(path: Path, asked: dict[str, Any]) -> dict[str, Any]:
    """Read a checkpoint, once it is clear that it is of the run that is asked for.

    Raises:
        UsageError: the recipe or the data differ; the field and both values are named.
        DataError: the checkpoint is damaged.
    """
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=False)
        began = content["origin"]
    except Exception as error:  # torch.load passes on whatever zip, pickle or the file system raise
        raise DataError(f"{path}: the checkpoint is damaged ({error}); remove it and start again.") from error
    then, now = (origin["recipe"] | {"data": origin["data"]} for origin in (began, asked))
    for name, value in now.items():
        if then.get(name) != value:
            raise UsageError(
                f"{path.parent}: was begun with {name} = {then.get(name)!r}, not {value!r}; "
                "resume with the same, or start elsewhere with --out."
            )
    return content


def _commit() -> str:
    """The commit of the running source, `+` for uncommitted changes, `unknown` outside a checkout."""
    package = Path(__file__).parents[1]
    git = ["git", "-C", str(package)]
    try:
        subprocess.run([*git, "ls-files", "--error-unmatch", __file__], capture_output=True, check=True)
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        changes = subprocess.run(
            [*git, "status", "--porcelain", "--", str(package)], capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit + "+" * bool(changes)


class _Metrics:
    """Reports as rows of `metrics.csv` and as TensorBoard scalars."""

    def __init__(self, out: Path, *, enabled: bool, after: int) -> None:
        self._out, self._enabled, self._after = out, enabled, after

    def __enter__(self) -> _Metrics:
        if self._enabled:
            from torch.utils.tensorboard import SummaryWriter

            path = self._out / "metrics.csv"
            kept = _rows_up_to(path, self._after) if self._after else []
            self._file = path.open("w", newline="")
            self._csv = csv.DictWriter(self._file, list(Report.__annotations__))
            self._csv.writeheader()
            self._csv.writerows(kept)
            self._board = SummaryWriter(self._out, purge_step=self._after or None)
        return self

    def write(self, report: Report) -> None:
        if not self._enabled:
            return
        values = asdict(report)
        self._csv.writerow(values)
        self._file.flush()
        for name in ("loss", "learning_rate", "patches_per_second", "psnr"):
            if values[name] is not None:
                self._board.add_scalar(name, values[name], report.step)

    def __exit__(self, *exc_info: object) -> None:
        if self._enabled:
            self._file.close()
            self._board.close()


def _rows_up_to(path: Path, step: int) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return [row for row in csv.DictReader(file) if int(row["step"]) <= step]
