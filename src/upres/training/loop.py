"""The training loop, top to bottom, over Lightning Fabric.

It does not know which network it trains, what made the low-resolution patches, or who watches. Step i's batch depends
on (seed, i) alone, so a run that was interrupted and resumed equals one that was not.
"""

from __future__ import annotations

import gc
import json
import logging
import math
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from types import FrameType
from typing import Any, cast

import numpy as np
import torch
from lightning.fabric import Fabric
from lightning.fabric.strategies.ddp import DDPStrategy
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from upres.data.pack import Pack
from upres.data.patches import PatchSource
from upres.errors import Diverged, Interrupted, MissingExtraError, UpresError, UsageError
from upres.evaluation import protocol, provenance
from upres.files import make_folder, remove_unfinished
from upres.inference.engines import TorchEngine
from upres.inference.upscaler import Bicubic, Upscaler
from upres.networks import NETWORKS, SCALE_LAYERS, SUPERVISES_RECURSIONS, Network, Recursive
from upres.networks.widening import can_widen, widen
from upres.training import checkpoint, plots, teaching, winograd
from upres.training.factors import Factors
from upres.training.losses import LOSSES
from upres.training.recipe import Precision, Recipe
from upres.training.watching import Journal, Report, remove_samples, save_samples, telling_crop
from upres.weights import store

log = logging.getLogger(__name__)


class _AllOutputs(nn.Module):
    """Makes `outputs` the forward, so that compiling and distributing see every supervised prediction.

    Holds the network at each scale that it learns; all share their parameters.
    """

    def __init__(self, network: Network, recipe: Recipe) -> None:
        super().__init__()
        self.network = network
        self.others = nn.ModuleDict()
        for scale in recipe.more_scales:
            other = NETWORKS[recipe.network](scale=scale, **recipe.arguments)
            other.load_state_dict(network.state_dict(keep_vars=True), assign=True)
            self.others[str(scale)] = other

    def forward(self, y: Tensor, scale: int) -> list[Tensor]:
        network = self.network if scale == self.network.scale else self.others[str(scale)]
        return cast(Network, network).outputs(y)


@dataclass
class _Progress:
    """Where a run stands, apart from its tensors: what a checkpoint must hold to go on exactly."""

    step: int = 0
    drops: int = 0
    best: float = -math.inf
    validations_since_best: int = 0

    def follow_plateau(self, psnr: float, patience: int) -> None:
        """Count a validation; after `patience` without a new best PSNR, drop the rate."""
        if psnr > self.best:
            self.best, self.validations_since_best = psnr, 0
            return
        self.validations_since_best += 1
        if self.validations_since_best == patience:
            self.drops, self.validations_since_best = self.drops + 1, 0


def train(
    recipe: Recipe,
    data: Pack,
    out: Path,
    *,
    validation: Pack | None = None,
    init: Sequence[Path] = (),
    resume: bool = False,
    accelerator: str = "auto",
    devices: int = 1,
    nodes: int = 1,
    compile: bool | None = None,
    report_every: int = 50,
    checkpoint_seconds: float = 60.0,
    watch: Callable[[Report], None] = lambda report: None,
) -> Path:
    """Train a network and write its weights.

    Args:
        recipe: what to compute.
        data: pictures; `recipe.held_out` of them validate.
        out: folder for checkpoints, `metrics.csv`, TensorBoard events, plots and the weights; made if missing.
        validation: pictures to validate on instead; `data` then trains whole.
        init: weights to start from, or several of one network, whose mean is (Wortsman 2022, arXiv 2203.05482); tensors
            of the same name and shape are taken, the others start anew. Of a network whose channels are a whole
            fraction of this one's, all are, by `upres.networks.widening`. A network with all its recursions does not
            grow again.
        resume: go on from the newest whole checkpoint in `out`.
        accelerator: Fabric's: `auto`, `cpu`, `cuda` or `mps`.
        devices: how many of them, on each machine.
        nodes: how many machines.
        compile: use `torch.compile`, which is up to twice as fast; if not said, where there is a C++ compiler.
        report_every: steps between two reports.
        checkpoint_seconds: time between two checkpoints, apart from those after each validation.
        watch: called with each report, in the first process.

    Returns:
        The path of the weights in `out`, such as `espcn-x2.safetensors`, or `vdsr.safetensors` for several scales.

    Raises:
        UsageError: `out` holds a run that is not asked for, or none that is; a batch that does not divide by the
            devices; or weights to start from of which nothing fits, or whose mean cannot be taken.
        UnknownModelError, ScaleError, WeightsError: there is no such teacher, or not for each of the scales.
        DataError: too few or too small pictures, or no checkpoint is whole.
        OutputError: the disk is full; the last checkpoint is whole.
        Diverged: the loss is no longer finite; the last checkpoint is of before.
        Interrupted: Ctrl-C or SIGTERM; a checkpoint of the step just done is there.
    """
    if devices < 1 or nodes < 1:
        raise UsageError(f"devices is {devices} and nodes {nodes}; each must be at least 1.")
    if recipe.batch % (devices * nodes):
        raise UsageError(f"batch {recipe.batch} does not divide by {devices * nodes} devices; change one of them.")
    if init:
        recipe = recipe.starting_from(store.load(init[0])[0])
    teaching.require(recipe)
    if finished := finished_weights(recipe, out, resume=resume):
        return finished
    weights = out / f"{recipe.name}.safetensors"
    make_folder(out)
    fabric = _fabric(recipe, accelerator, devices, nodes)
    failure = None
    try:
        _train_on(fabric, recipe, data, out, validation, init, resume, compile, report_every, checkpoint_seconds, watch)
    except UpresError as error:
        failure = error
    if fabric.world_size > 1:
        # While its threads run, a process that ends may abort; where the network is freed after it, both wait for ever.
        if failure:
            failure.__traceback__ = failure.__cause__ = failure.__context__ = None  # which keep the network
        gc.collect()
        torch.distributed.destroy_process_group()
    if failure:
        raise failure
    return weights


def _train_on(
    fabric: Fabric,
    recipe: Recipe,
    data: Pack,
    out: Path,
    validation: Pack | None,
    init: Sequence[Path],
    resume: bool,
    compile: bool | None,
    report_every: int,
    checkpoint_seconds: float,
    watch: Callable[[Report], None],
) -> None:
    if fabric.is_global_zero:
        remove_unfinished(out)
        if not resume:
            remove_samples(out)

    torch.manual_seed(recipe.seed)
    network: Network = NETWORKS[recipe.network](scale=recipe.scale, **recipe.arguments)
    if recipe.start == "interpolation":
        network.start_as_interpolation()
    started_from = _take(network, init) if init and not resume else None
    network.to(device=fabric.device)
    network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    all_outputs = _AllOutputs(network, recipe).to(fabric.device)
    if fabric.device.type == "cpu" and recipe.precision == "f32":
        winograd.use_in_wide_layers(all_outputs)
    ema = AveragedModel(network, multi_avg_fn=_running_mean(recipe.ema))
    factors = Factors(network, recipe.expansion)
    optimizer = _optimizer(network, factors, recipe)
    if compile is None:
        compile = any(map(shutil.which, ("c++", "g++", "clang++", "cl")))
    compiled = cast(nn.Module, torch.compile(all_outputs, dynamic=False)) if compile else all_outputs
    model, optimizer = fabric.setup(compiled, optimizer)
    factors.load_state_dict(fabric.broadcast(factors.state_dict()))  # processors differ in what a seed draws
    origin: dict[str, Any] = {
        "recipe": asdict(recipe),
        "data": data.digest,
        "validation": validation.digest if validation else None,
        "order": data.order,
        "teacher": teaching.digest(recipe),
        "init": started_from,
        "commit": provenance.commit(),
    }
    saved = None
    if resume:
        saved = checkpoint.read_newest(out)
        _require_same_run(out, began=saved["origin"], asked=origin)
    training, held_out = (data, validation) if validation is not None else data.split(recipe.held_out)
    patches = {
        scale: PatchSource(
            training.planes,
            scale=scale,
            patch=recipe.patch * recipe.scale // scale,
            degradation=recipe.degradation,
            target=teaching.target_of(recipe, scale, fabric.device, out),
            rescale=recipe.rescale,
            device=fabric.device,
            folder=out,
        )
        for scale in recipe.scales
    }
    progress = _Progress()
    if saved:
        progress, origin = _Progress(**saved["progress"]), saved["origin"]
        _grow(recipe.recursions_at(max(0, progress.step - 1)), network, ema.module, *all_outputs.others.values())
        network.load_state_dict(saved["network"])
        ema.load_state_dict(saved["ema"])
        factors.load_state_dict(saved.get("factors", {}))
        optimizer.load_state_dict(saved["optimizer"])
        log.info("going on from step %d", progress.step)
    if compile:
        log.info("the first steps wait for torch.compile")

    def keep() -> None:
        if fabric.is_global_zero:
            states = {"network": network, "ema": ema, "factors": factors, "optimizer": optimizer}
            content: dict[str, Any] = {name: part.state_dict() for name, part in states.items()}
            checkpoint.write(out, progress.step, content | {"progress": asdict(progress), "origin": origin})

    with (
        Journal(out, after=progress.step) if fabric.is_global_zero else nullcontext() as journal,
        _StopRequest() as stop,
    ):
        losses: list[Tensor] = []
        since = kept_at = time.perf_counter()
        finished = recipe.is_finished(progress.step, progress.drops)
        while not finished:
            step = progress.step
            if step in dict(recipe.growth):
                _grow(recipe.recursions_at(step), network, ema.module, *all_outputs.others.values())
                torch.compiler.reset()  # else it counts the graphs of fewer recursions, and soon makes no more
            settling = step >= recipe.steps - recipe.settle
            if step == recipe.steps - recipe.settle:
                _round_weights(network, ema)
            rate = recipe.learning_rate_at(step, progress.drops)
            for group in optimizer.param_groups:
                group["lr"] = 0.0 if settling and group["is_weight"] else rate * group["rate_factor"]
            scale = recipe.scales[step % len(recipe.scales)]
            low, high = patches[scale].batch(recipe.batch, seed=recipe.seed, step=step)
            low, high = (_share(fabric, batch) for batch in (low, high))

            in_bf16 = recipe.precision == "bf16" and not settling
            with torch.autocast(fabric.device.type, torch.bfloat16, enabled=in_bf16):
                predictions = model(low, scale)
            loss = _loss(predictions, high, recipe, step)
            optimizer.zero_grad()
            fabric.backward(loss)
            factors.take_gradients()
            if recipe.clip < math.inf:
                fabric.clip_gradients(model, optimizer, max_norm=recipe.clip, error_if_nonfinite=False)
            if recipe.clip_by_rate < math.inf:
                fabric.clip_gradients(model, optimizer, clip_val=recipe.clip_by_rate / rate)
            optimizer.step()
            if not settling:
                factors.multiply_out()
            ema.update_parameters(network)

            losses.append(loss.detach())
            progress.step = done = step + 1
            validating = done == recipe.steps or done % recipe.validate_every == 0
            reporting = validating or done % report_every == 0
            if reporting:
                mean_loss = float(cast(Tensor, fabric.all_reduce(torch.stack(losses).mean())))
                if not math.isfinite(mean_loss):
                    raise Diverged(f"the loss is {mean_loss} at step {done}; lower learning_rate ({rate:.2g}) or clip.")
                pace = recipe.batch * len(losses) / (time.perf_counter() - since)
                samples = out if fabric.is_global_zero else None
                psnr = _validate(ema, held_out, recipe.scale, samples, done) if validating else None
                if fabric.world_size > 1:  # devices may round differently, but must follow one schedule
                    psnr = fabric.broadcast(psnr)
                if psnr is not None:
                    progress.follow_plateau(psnr, recipe.patience)
                report = Report(done, recipe.steps, mean_loss, rate, pace, psnr)
                if journal is not None:  # on the first process alone
                    journal.write(report)
                    watch(report)
                losses.clear()
            finished = recipe.is_finished(done, progress.drops)
            # Processes must stop at the same step, so several ask each other, which takes time, at reports only.
            stopping = stop.requested if fabric.world_size == 1 else reporting and _any(fabric, stop.requested)
            if stopping and losses and not bool(torch.stack(losses).isfinite().all()):
                raise Diverged(
                    f"the loss is no longer finite at step {done}; lower learning_rate ({rate:.2g}) or clip."
                )
            if validating or stopping or (reporting and time.perf_counter() - kept_at > checkpoint_seconds):
                keep()
                kept_at = time.perf_counter()
            if stopping and not finished:
                raise Interrupted(f"stopped after step {done} of {recipe.steps}; {out} holds a checkpoint.")
            if reporting:
                since = time.perf_counter()

    if fabric.is_global_zero:
        trained = ema.module
        metadata = store.Metadata(
            network=recipe.network,
            arguments={"scale": recipe.scale, **recipe.arguments},
            scale=recipe.scale,
            halos={each.scale: each.halo for each in (network, *map(_as_network, all_outputs.others.values()))},
            parameters=sum(p.numel() for p in network.parameters()),
            recipe=asdict(recipe),
            steps=progress.step,
            seed=recipe.seed,
            data=data.digest,
            commit=origin["commit"],
            init=origin["init"],
        )
        plots.draw(out, recipe, bicubic=_psnr(Bicubic(recipe.scale), held_out, recipe.scale))
        # Last of what a run makes: by it one knows that it is finished.
        store.save(trained, metadata, out / f"{recipe.name}.safetensors")
        checkpoint.remove_all(out)
        teaching.forget(recipe, out)
    fabric.barrier()


def finished_weights(recipe: Recipe, out: Path, *, resume: bool) -> Path | None:
    """Check that a folder is fit for a run to start or to go on in, before anything is written there.

    Returns:
        The weights, where the run to resume is finished already; else None.

    Raises:
        UsageError: it holds a run, finished or not, that is not asked for; or none to go on with.
    """
    found = sorted(out.glob("*.safetensors"))
    if not resume:
        if found:
            raise UsageError(f"{found[0]}: is finished already; --out trains elsewhere.")
        if checkpoint.find(out):
            raise UsageError(f"{out}: holds an unfinished run; --resume goes on with it, --out starts elsewhere.")
        return None
    weights = out / f"{recipe.name}.safetensors"
    if weights in found:
        _require_same(
            store.load(weights)[1].recipe,
            asdict(recipe),
            f"{weights}: is finished, with",
            "--out trains elsewhere, and --init starts from these weights.",
        )
        checkpoint.remove_all(out)  # a kill may have come between
        teaching.forget(recipe, out)
        return weights
    if not checkpoint.find(out):
        raise UsageError(f"{out}: no checkpoint to resume from; leave out --resume to start.")
    return None


def precision_of_run(out: Path, recipe: Recipe) -> Precision | None:
    """What a run in a folder computes in, finished or not; None where there is none that can be read."""
    weights = out / f"{recipe.name}.safetensors"
    try:
        began = store.load(weights)[1].recipe if weights.exists() else checkpoint.read_newest(out)["origin"]["recipe"]
    except UpresError:
        return None
    return began.get("precision", recipe.precision)


def _fabric(recipe: Recipe, accelerator: str, devices: int, nodes: int) -> Fabric:
    """Fabric on the devices that were asked for, its processes started.

    Raises:
        UsageError: such a device cannot be had, or several machines are asked for and do not know each other.
    """
    known_by = ("MASTER_ADDR", "SLURM_JOB_ID")
    if nodes > 1 and not any(map(os.environ.get, known_by)):
        raise UsageError(f"nodes is {nodes}; set MASTER_ADDR, MASTER_PORT and NODE_RANK on each of them.")
    strategy = "auto"
    if devices * nodes > 1:
        # Recursions that do not run yet leave parameters without a gradient. Buffers are the bicubic kernel, the same
        # everywhere, which PyTorch 2.13 cannot send alone, and batch norm's means, of which the first process's count.
        strategy = DDPStrategy(find_unused_parameters=bool(recipe.growth), broadcast_buffers=False)
    try:
        fabric = Fabric(accelerator=accelerator, devices=devices, num_nodes=nodes, strategy=strategy)
    except (RuntimeError, ValueError) as error:
        raise UsageError(f"device {accelerator!r} cannot be had: {error}") from error
    fabric.launch()
    if fabric.device.type == "cuda":
        torch.backends.cudnn.allow_tf32 = False  # float32 is meant where a recipe says so
        torch.backends.cuda.matmul.allow_tf32 = False
    return fabric


def _optimizer(network: Network, factors: Factors, recipe: Recipe) -> torch.optim.Optimizer:
    groups = _parameter_groups(network, factors, recipe)
    match recipe.optimizer:
        case "adam":
            return torch.optim.Adam(groups, lr=recipe.learning_rate, fused=True)
        case "sgd":
            return torch.optim.SGD(
                groups, lr=recipe.learning_rate, momentum=recipe.momentum, weight_decay=recipe.weight_decay
            )
        case "soap":
            try:
                from pytorch_optimizer import SOAP
            except ImportError as error:
                raise MissingExtraError("pytorch-optimizer", "train") from error
            soap = SOAP(groups, lr=recipe.learning_rate, betas=(0.95, 0.99), shampoo_beta=0.95, weight_decay=0.0)
            return cast(torch.optim.Optimizer, soap)


def _loss(predictions: list[Tensor], high: Tensor, recipe: Recipe, step: int) -> Tensor:
    compute_loss = LOSSES[recipe.loss]
    if recipe.network not in SUPERVISES_RECURSIONS:
        return torch.stack([compute_loss(p, _reduced(high, p.shape[-1])) for p in predictions]).mean()
    *recursions, final = predictions
    share = recipe.recursion_loss_at(step)
    loss = (1 - share) * compute_loss(final, high)
    if share > 0:
        loss = loss + share * torch.stack([compute_loss(p, high) for p in recursions]).mean()
    return loss


def _validate(ema: AveragedModel, pack: Pack, scale: int, out: Path | None, step: int) -> float | None:
    """Mean PSNR in dB over a pack's pictures under the `paper` protocol; None for an empty pack.

    Keeps a crop of the first picture in `out`, for the contact sheet.
    """
    network = cast(Network, ema.module).eval()
    engine = TorchEngine(network)
    upscaler = Upscaler(lambda precision: engine, name="in training", scale=scale, halo=network.halo)
    if out is not None and pack.planes:
        result, truth, _ = protocol.enlarge(upscaler, pack.planes[0], scale, "paper")
        bicubic = protocol.enlarge(Bicubic(scale), pack.planes[0], scale, "paper").result
        crop = telling_crop(bicubic)
        save_samples(out, {f"step-{step:09d}": result[crop], "bicubic": bicubic[crop], "truth": truth[crop]})
    return _psnr(upscaler, pack, scale)


def _as_network(module: nn.Module) -> Network:
    return cast(Network, module)


def _psnr(enlarger: protocol.Enlarger, pack: Pack, scale: int) -> float | None:
    scores = [protocol.score(enlarger, plane, scale, with_ssim=False).psnr for plane in pack.planes]
    return float(np.mean(scores)) if scores else None


def _grow(recursions: int | None, *networks: nn.Module) -> None:
    """Let the networks run that many recursions; None leaves them."""
    for network in networks if recursions is not None else ():
        assert isinstance(network, Recursive)
        network.grow(cast(int, recursions))


def _any(fabric: Fabric, flag: bool) -> bool:
    """Whether any process says so."""
    return bool(cast(Tensor, fabric.all_reduce(torch.tensor(float(flag), device=fabric.device), reduce_op="sum")))


def _mean_of(init: Sequence[Path]) -> tuple[Network, store.Metadata, str]:
    """The network whose weights are the mean of several's, the first one's metadata, and a line that names them all.

    Raises:
        UsageError: they are not of one network.
    """
    networks, metadata = zip(*map(store.load, init), strict=True)
    states = [network.state_dict() for network in networks]
    for path, each in zip(init, metadata, strict=True):
        if (each.network, each.arguments) != (metadata[0].network, metadata[0].arguments):
            raise UsageError(
                f"{path}: holds {each.network} with {each.arguments}, and {init[0]} {metadata[0].network} with "
                f"{metadata[0].arguments}; a mean is taken of the same."
            )
    weights = [name for name, tensor in states[0].items() if tensor.is_floating_point()]  # batch norm's count is none
    mean = {name: torch.stack([state[name] for state in states]).mean(0) for name in weights}
    networks[0].load_state_dict(states[0] | mean)
    names = " and ".join(f"{each.network}-x{each.scale} ({each.steps} steps)" for each in metadata)
    return networks[0], metadata[0], names if len(init) == 1 else f"mean of {names}"


def _take(network: Network, init: Sequence[Path]) -> str:
    """Copy every tensor that fits of `init`, or of their mean, or all of a narrower network; say what was taken."""
    source, metadata, named = _mean_of(init)
    given_as = ", ".join(map(str, init))
    own, given = network.state_dict(), source.state_dict()
    if metadata.scale != network.scale:
        foreign = SCALE_LAYERS.get(metadata.network, ())
        given = {k: v for k, v in given.items() if not k.startswith(foreign)}
    fitting = {k: v for k, v in given.items() if k in own and v.shape == own[k].shape}
    if len(given) == len(own) and can_widen(source, network):
        widen(source, network)
        taken = f"{len(given)} tensors, widened"
    elif fitting:
        network.load_state_dict(fitting, strict=False)
        taken = f"{len(fitting)} of {len(own)} tensors"
    else:
        raise UsageError(
            f"{given_as}: holds {metadata.network}, of which nothing fits; give weights of the same network."
        )
    log.info("started from %s%s: %s", "the mean of " if len(init) > 1 else "", given_as, taken)
    return f"{named}: {taken}"


def _parameter_groups(network: Network, factors: Factors, recipe: Recipe) -> list[dict[str, Any]]:
    """Parameters by the factor on their rate and by whether they are convolutions' weights."""
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        is_last = bool(recipe.last_layer) and name.startswith(recipe.last_layer)
        is_weight = parameter.ndim == 4
        is_bias_or_slope = not is_weight and "." in name  # of a layer, not the network's own
        factor = (recipe.last_layer_rate if is_last else 1.0) * (recipe.bias_rate if is_bias_or_slope else 1.0)
        groups.setdefault((factor, is_weight), []).extend(factors.trained_for(parameter))
    return [
        {"params": parameters, "rate_factor": factor, "is_weight": is_weight}
        for (factor, is_weight), parameters in groups.items()
    ]


def _running_mean(decay: float) -> Callable[[Any, Any, Any], None]:
    """An exponential running mean that forgets its start: update n decays by (1 + n) / (10 + n) at most."""

    def update(mean: list[Tensor], current: list[Tensor], updates: Tensor | int) -> None:
        n = int(updates)
        get_ema_multi_avg_fn(min(decay, (1 + n) / (10 + n)))(mean, current, updates)

    return update


@torch.no_grad()
def _round_weights(network: Network, ema: AveragedModel) -> None:
    """Go on from the running mean, with every convolution's weights rounded to bfloat16.

    Float16 then holds them too: only below 2⁻¹⁷ has it fewer digits, and there its own are taken.
    """
    network.load_state_dict(ema.module.state_dict())
    for parameter in network.parameters():
        if parameter.ndim == 4:
            parameter.copy_(parameter.bfloat16().half())
    ema.module.load_state_dict(network.state_dict())


def _reduced(high: Tensor, side: int) -> Tensor:
    """The target of a prediction that is smaller than the output, as a pyramid's lower levels are."""
    if high.shape[-1] == side:
        return high
    return F.interpolate(high, size=(side, side), mode="bicubic", antialias=True)


def _share(fabric: Fabric, batch: Tensor) -> Tensor:
    """This process's part of a batch that every process cut alike."""
    return batch.chunk(fabric.world_size)[fabric.global_rank]


def _require_same_run(out: Path, *, began: dict[str, Any], asked: dict[str, Any]) -> None:
    then, now = (origin["recipe"] | {k: origin[k] for k in ("data", "validation")} for origin in (began, asked))
    if now["schedule"] != "plateau":
        del now["validate_every"]  # it decides nothing but how often one looks
    _require_same(then, now, f"{out}: was begun with", "resume with the same, or start elsewhere with --out.")
    if began.get("order", asked["order"]) != asked["order"]:
        raise UsageError(
            f"{out}: was begun with the same pictures under other names, which order them; resume with those, or start "
            "elsewhere with --out."
        )
    if began.get("teacher") != asked["teacher"]:
        raise UsageError(
            f"{out}: {asked['recipe']['teacher']} has other weights now than when the run began; resume with those, or "
            "start elsewhere with --out."
        )


def _require_same(then: dict[str, Any], now: dict[str, Any], what: str, hint: str) -> None:
    """Raise a UsageError that names the first field that differs, and both its values.

    A field that recipes had not yet when a run began had then what is its default now.
    """
    then = {f.name: f.default for f in fields(Recipe) if f.default is not MISSING} | then
    then, now = (json.loads(json.dumps(each)) for each in (then, now))  # files have lists for tuples
    for name, value in now.items():
        if then.get(name) != value:
            raise UsageError(f"{what} {name} = {then.get(name)!r}, not {value!r}; {hint}")


class _StopRequest:
    """Notes SIGINT and SIGTERM, so that the loop can finish its step; a second signal acts as it always does."""

    _SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __enter__(self) -> _StopRequest:
        self.requested = False
        self._before: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():  # elsewhere Python sets no handlers
            self._before = {int(number): signal.signal(number, self._note) for number in self._SIGNALS}
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        signal.signal(number, self._before[number])

    def __exit__(self, *exc_info: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
