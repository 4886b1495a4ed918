"""From a name or a file to something that enlarges pictures."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from upres.errors import MissingExtraError, ScaleError, UsageError, WeightsError
from upres.inference import engines
from upres.inference.engines import Engine, EngineName, Precision
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
        tile: side of a tile in low-resolution pixels; the result does not depend on it.

    Raises:
        UnknownModelError: neither in the catalog nor a file.
        ScaleError: the model lacks this scale.
        WeightsError: the file is damaged, or its metadata is missing.
        UsageError: an engine or a precision that cannot be had for this model, or a tile below 1.
        MissingExtraError: the engine's package is not installed.
    """
    if tile < 1:
        raise UsageError(f"tile is {tile}; it must be at least 1.")
    if scale < 1:
        raise UsageError(f"scale is {scale}; it must be at least 1.")
    if model == "bicubic":
        return Bicubic(scale)
    path = Path(model)
    if path.suffix == ".safetensors":
        return _from_safetensors(path, scale, precision, tile)
    if path.suffix == ".onnx":
        strings = engines.read_metadata(path)
        if "halo" not in strings:
            raise WeightsError(f"{path}: no upres metadata in it; give a file that `upres export` wrote.")
        if int(strings["scale"]) != scale:
            raise ScaleError(str(path), scale, [int(strings["scale"])])
        halo, bf16_is_cheap = int(strings["halo"]), False
    else:
        record = catalog.find(str(model), scale)
        if engine == "torch":
            return _from_safetensors(record.safetensors, scale, precision, tile)
        path, halo, bf16_is_cheap = record.onnx, record.halo, record.bf16_loss <= BF16_MAX_LOSS
    if engine == "torch":
        raise UsageError(f"{path}: PyTorch does not run ONNX files; give the .safetensors file.")
    if precision == "auto":
        fast = engine == "openvino" and bf16_is_cheap and engines.has_bf16()
        precision = "bf16" if fast else "f32"
    if engine == "onnxruntime" and precision == "bf16":
        raise UsageError("engine onnxruntime has no bf16 on a CPU; use precision f32 or auto.")

    def make(precision: Precision) -> Engine:
        if engine == "onnxruntime":
            return engines.OnnxRuntimeEngine(path)
        return engines.OpenVINOEngine(path, precision)

    return Upscaler(make, name=str(model), scale=scale, halo=halo, precision=precision, tile=tile)


def _from_safetensors(path: Path, scale: int, precision: str, tile: int) -> Upscaler:
    try:
        import torch  # noqa: F401  # pyright: ignore[reportUnusedImport]
    except ImportError as error:
        raise MissingExtraError("torch", "train") from error
    from upres.weights import store

    if precision == "bf16":
        raise UsageError(f"{path}: PyTorch runs in f32 here; export the file for bf16.")
    network, metadata = store.load(path)
    if metadata.scale != scale:
        raise ScaleError(str(path), scale, [metadata.scale])
    torch_engine = engines.TorchEngine(network)
    return Upscaler(lambda precision: torch_engine, name=str(path), scale=scale, halo=network.halo, tile=tile)
