"""From a name or a file to something that enlarges pictures."""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from upres.errors import MissingExtraError, ScaleError, UsageError, WeightsError
from upres.inference import engines
from upres.inference.engines import Engine, EngineName
from upres.inference.runtime import Precision, core_count, has_bf16
from upres.inference.upscaler import DEFAULT_TILE, Bicubic, Upscaler
from upres.weights import catalog

BF16_MAX_LOSS = 0.01  # dB


def load(
    model: str | os.PathLike[str],
    scale: int = 2,
    *,
    engine: EngineName = "openvino",
    precision: Precision | Literal["auto"] = "auto",
    tile: int = DEFAULT_TILE,
) -> Upscaler | Bicubic:
    """Make a model ready for repeated use.

    Args:
        model: `bicubic`, a name that `upres models` lists, or the path of an `.onnx` or `.safetensors` file.
        scale: whole factor to enlarge by; one that the model has.
        engine: `openvino`, `onnxruntime`, or `torch`; a safetensors file always runs in PyTorch.
        precision: `auto` takes bf16 where the processor has it and the catalog says that it costs at most 0.01 dB.
            `int8` is faster still and costs more, so it has to be asked for; see `quantize`.
        tile: a tile contributes at most tile · tile low-resolution pixels; the result does not depend on it.

    Raises:
        UnknownModelError: neither in the catalog nor a file.
        ScaleError: the model lacks this scale.
        WeightsError: the file is damaged, or its metadata is missing.
        UsageError: an engine or a precision that cannot be had for this model, or a tile below 1.
        MissingExtraError: the engine's package is not installed.
    """
    for name, value, allowed in (
        ("engine", engine, get_args(EngineName)),
        ("precision", precision, ("auto", *get_args(Precision))),
    ):
        if value not in allowed:
            raise UsageError(f"{name} is {value!r}; it must be one of {', '.join(allowed)}.")
    numbers: dict[str, Any] = {"scale": scale, "tile": tile}
    for name, number in numbers.items():
        if not (isinstance(number, int | np.integer) and number >= 1):
            raise UsageError(f"{name} is {number!r}; it must be a whole number from 1 up.")
    if model == "bicubic":
        return Bicubic(scale)
    path = Path(model)
    if path.suffix == ".safetensors":
        return _from_safetensors(path, scale, precision, tile)
    if path.suffix == ".onnx":
        halos, enlarges_first = _halos(path)
        if scale not in halos:
            raise ScaleError(str(path), scale, halos)
        halo, bf16_loss = halos[scale], None
    else:
        record = catalog.find(str(model), scale)
        if engine == "torch":
            return _from_safetensors(record.safetensors, scale, precision, tile)
        path, halo, bf16_loss = record.onnx, record.halo, record.bf16_loss
        enlarges_first = record.enlarges_first
    if engine == "torch":
        raise UsageError(f"{path}: PyTorch does not run ONNX files; give the .safetensors file.")
    why = "as asked"
    if precision == "auto":
        precision, why = _best_precision(engine, bf16_loss)
    if engine == "onnxruntime" and precision != "f32":
        raise UsageError(f"engine onnxruntime has no {precision} here; use precision f32 or auto.")

    def make(precision: Precision, *, at_once: int | None = None) -> Engine:
        if engine == "onnxruntime":
            made = engines.OnnxRuntimeEngine(path)
        else:
            made = engines.OpenVINOEngine(path, precision, workers=at_once)
        return engines.EnlargesFirst(made, scale) if enlarges_first else made

    workers = core_count() if engine == "openvino" else 1
    return Upscaler(
        make,
        name=str(model),
        scale=scale,
        halo=halo,
        precision=precision,
        tile=tile,
        workers=workers,
        alone=partial(make, at_once=1) if workers > 1 else None,
        why=f"{engine}; {precision}{'' if precision == 'f32' else ' for 8-bit pictures'}, {why}",
    )


def _best_precision(engine: EngineName, bf16_loss: float | None) -> tuple[Precision, str]:
    """The precision of 8-bit pictures, and why; `bf16_loss` in dB, None where it was never measured."""
    if engine != "openvino":
        return "f32", f"all that {engine} has here"
    if not has_bf16():
        return "f32", "as this processor has no bfloat16"
    if bf16_loss is None:
        return "f32", "as it was not measured what bfloat16 costs this file"
    if bf16_loss > BF16_MAX_LOSS:
        return "f32", f"as bfloat16 would cost {bf16_loss:.3f} dB on Set5"
    return "bf16", f"which this processor has and which costs {max(bf16_loss, 0):.3f} dB on Set5"


def scales(model: str | os.PathLike[str]) -> tuple[int, ...]:
    """The whole factors that a model enlarges by; none for `bicubic`, which has them all.

    Raises:
        UnknownModelError: neither in the catalog nor a file.
        WeightsError: the file is damaged, or its metadata is missing.
    """
    path = Path(model)
    if model == "bicubic":
        return ()
    if path.suffix == ".onnx":
        return tuple(sorted(_halos(path)[0]))
    if path.suffix == ".safetensors":
        from upres.weights import store

        return tuple(sorted(store.load(path)[1].halos))
    return catalog.scales(str(model))


def nearest_scale(model: str | os.PathLike[str], scale: int) -> int:
    """The least of a model's scales that reaches one that is wanted, whose result can be reduced to it.

    Raises:
        ScaleError: all are smaller; those that there are stand in the message.
        UnknownModelError, WeightsError: as of `scales`.
    """
    own = scales(model)
    if not (reaching := [other for other in own if other >= scale]):
        raise ScaleError(str(model), scale, own)
    return min(reaching)


def _halos(path: Path) -> tuple[dict[int, int | None], bool]:
    """What an ONNX file's metadata says: the halo by each scale that it serves, and whether it wants enlarged luma.

    Raises:
        WeightsError: it says nothing, or nonsense.
    """
    strings = engines.read_metadata(path)
    try:
        by_scale, enlarges_first = json.loads(strings["halos"]), json.loads(strings["enlarges_first"])
        halos = {int(scale): halo for scale, halo in by_scale.items()}
    except (KeyError, ValueError, AttributeError) as error:
        raise WeightsError(f"{path}: no upres metadata in it; give a file that `upres export` wrote.") from error
    for scale, halo in halos.items():
        if not (scale >= 1 and (halo is None or (isinstance(halo, int) and halo >= 0))):
            raise WeightsError(f"{path}: its metadata has scale {scale!r} and halo {halo!r}; export the file again.")
    return halos, bool(enlarges_first)


def _from_safetensors(path: Path, scale: int, precision: str, tile: int) -> Upscaler:
    try:
        import torch  # noqa: F401  # pyright: ignore[reportUnusedImport]
    except ImportError as error:
        raise MissingExtraError("torch", "train") from error
    from upres.weights import store

    if precision in ("bf16", "int8"):
        raise UsageError(f"{path}: PyTorch runs in f32 here; export the file for {precision}.")
    network, _ = store.load(path, scale)
    torch_engine = engines.TorchEngine(network)
    return Upscaler(
        lambda precision: torch_engine,
        name=str(path),
        scale=scale,
        halo=network.halo,
        tile=tile,
        why="torch; f32, all that torch has here",
    )
