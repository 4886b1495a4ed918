"""Engines: what runs one network on luma.

OpenVINO is the default on a CPU; ONNX Runtime is the portable one; PyTorch runs weights that were not exported.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from upres.errors import MissingExtraError, UsageError, WeightsError
from upres.images.resize import imresize
from upres.inference import caching, graphs
from upres.inference.quantize import quantize
from upres.inference.runtime import (
    FIRST_USE,
    Compiled,
    Precision,
    core,
    core_count,
    has_bf16,
    has_int8,
    processor_features,
)
from upres.inference.tiling import WIDTH_STEP

if TYPE_CHECKING:
    from torch import nn

EngineName = Literal["openvino", "onnxruntime", "torch"]

# On processors with AMX, OpenVINO 2026.4 returns what lay in memory, or crashes, where bf16 or int8 convolutions get
# pictures of less than five pixels across.
_NARROWEST = 8
# There, its convolutions of 64 channels to 64 take, a pixel, 1.3 times as long for widths of 256 and more as below, and
# 2 to 3 times as long where those are no multiples of 8 (293 and 413, LapSRN; 262 and 298, VDSR, RED-Net and DRCN).
# Those of 64 to 32 mind the latter alone (ESPCN, SRCNN); of fewer, neither (FSRCNN). See benchmarks/widths.py.
_FASTEST_WIDTHS = 254
_STEP = 16  # engines prepare for each shape anew, so there should be few
_KEY_OF_WEIGHTS_ELSEWHERE = b"location"  # ONNX's word for the path of a file that holds a tensor's values


class Engine(Protocol):
    """What runs a network on luma `(h, w)`, float32 in [0, 1]."""

    @property
    def bytes_per_pixel(self) -> int:
        """What a call holds at once, at most, for each pixel of its input."""
        ...

    @property
    def step(self) -> int:
        """Pixels that sides are best multiples of, for shapes to be few and fast."""
        ...

    def cost(self, height: int, width: int, /) -> float:
        """What a call on so many pixels costs, in any unit."""
        ...

    def __call__(self, y: NDArray[np.float32], /) -> NDArray[np.float32]:
        """The enlarged luma `(s·h, s·w)`, unclipped."""
        ...

    def residual(self, y: NDArray[np.float32], /) -> NDArray[np.float32]:
        """The enlarged luma less the bicubic-enlarged luma, `(s·h, s·w)`."""
        ...


class OpenVINOEngine:
    """An ONNX file on the CPU through OpenVINO, in the form that runs fastest there; see `graphs`.

    Args:
        path: an ONNX model from luma `(1, 1, h, w)` to `(1, 1, s·h, s·w)`, as `upres export` writes it.
        precision: of the network's arithmetic; f32 for pictures of less than 8 pixels across, where others are wrong
            on some processors. A network that adds to the bicubic-enlarged picture runs without that
            last sum, which is done here in float32: neither bf16 nor int8 rounds the picture itself.
        workers: calls that run at once, each on its share of the cores; all cores take one each if not given.

    Raises:
        WeightsError: OpenVINO cannot read the file, or it is a model of another kind.
        UsageError: bf16 or int8 on a processor without it.
    """

    step = _STEP

    def __init__(
        self, path: str | os.PathLike[str], precision: Precision = "f32", *, workers: int | None = None
    ) -> None:
        for name, has in (("bf16", has_bf16), ("int8", has_int8)):
            if precision == name and not has():
                raise UsageError(f"precision {name} was asked for; this processor lacks it, so use f32 or auto.")
        self._path = path
        self._precision: Precision = precision
        self._kept = caching.Kept(_parts_of_key(path), precision, streams=workers or core_count())
        self._graph: graphs.LumaGraph | None = None
        if self._kept.facts is None:
            self._graph = graphs.prepare(_read_model(path))
            self._interface = self._graph.interface
        else:
            self._interface = graphs.Interface.from_facts(self._kept.facts)
        luma_in_parts = 2
        values = self._interface.values_per_pixel + luma_in_parts
        self.bytes_per_pixel = values * (2 if precision == "bf16" else 4)
        self._compiled: Compiled | None = None
        self._for_narrow: OpenVINOEngine | None = None

    def cost(self, height: int, width: int, /) -> float:
        """See `Engine`; in pixels of the fastest width."""
        pixels = height * width
        if self._precision == "f32" or "amx_tile" not in processor_features():
            return pixels
        return pixels + pixels * sum(
            share * (_slowness(width * enlargement, channels) - 1)
            for (channels, enlargement), share in self._interface.work.items()
        )

    def __call__(self, y: NDArray[np.float32], /) -> NDArray[np.float32]:
        """See `Engine`."""
        if not self._interface.is_residual:
            return self._run(y)
        large = imresize(y, self._interface.scale)
        return self._run(y, take=lambda residual: np.add(large, residual, out=large))

    def residual(self, y: NDArray[np.float32], /) -> NDArray[np.float32]:
        """See `Engine`."""
        result = self._run(y)
        return result if self._interface.is_residual else result - imresize(y, self._interface.scale)

    def _compile(self) -> Compiled:
        with FIRST_USE:
            if self._compiled is None:
                self._compiled = self._kept.compiled(self._make)
            return self._compiled

    def _make(self) -> tuple[Any, dict[str, Any]]:
        graph = self._graph or graphs.prepare(_read_model(self._path))
        if self._precision == "int8":
            quantize(graph)
        if self._precision != "f32" and has_bf16():
            graph = graphs.with_exact_input(graph)
        self._interface, self._graph = graph.interface, None
        return graph.model, graph.interface.facts()

    def _narrow(self) -> OpenVINOEngine:
        with FIRST_USE:
            if self._for_narrow is None:
                self._for_narrow = OpenVINOEngine(self._path, "f32", workers=1)
                self._for_narrow(np.zeros((1, 1), np.float32))
            return self._for_narrow

    def _run(
        self, y: NDArray[np.float32], *, take: Callable[[NDArray[np.float32]], NDArray[np.float32]] = np.array
    ) -> NDArray[np.float32]:
        if y.shape[1] < _NARROWEST and self._precision != "f32":
            return self._narrow()._run(y, take=take)
        compiled = self._compiled or self._compile()
        height, width = (side * self._interface.scale for side in y.shape)
        return compiled(*self._interface.inputs(y), take=lambda result: take(result[0, 0, :height, :width]))


def _slowness(width: float, channels: int) -> float:
    """Of AMX convolutions, by the width of what they make and their channels, in or out; the fastest being 1."""
    if width <= _FASTEST_WIDTHS or channels < 32:
        return 1.0
    if width % WIDTH_STEP:
        return 2.5
    return 1.3 if channels >= 64 else 1.0


def _parts_of_key(path: str | os.PathLike[str]) -> list[Any] | None:
    """What tells a model from others; None for a file that does not hold all of it, or that is not there."""
    if Path(path).suffix != ".onnx":
        return None
    try:
        content = Path(path).read_bytes()
    except OSError:
        return None
    return None if _KEY_OF_WEIGHTS_ELSEWHERE in content else ["network", hashlib.blake2b(content).hexdigest()]


def _read_model(path: str | os.PathLike[str]) -> Any:
    """An OpenVINO model from luma to luma.

    Raises:
        WeightsError: no such file, not an ONNX file, or one with other inputs or outputs.
    """
    if not Path(path).is_file():
        raise WeightsError(f"{path}: no such model file; check the path.")
    try:
        with FIRST_USE:
            model = core().read_model(str(path))
    except RuntimeError as error:
        raise WeightsError(f"{path}: OpenVINO cannot read this file; give an ONNX model.") from error
    ports = [*model.inputs, *model.outputs]
    shapes = [port.partial_shape for port in ports]
    if len(ports) != 2 or not all(_is_free_luma(shape) for shape in shapes):
        kinds = ", ".join(str(shape) for shape in shapes)
        raise WeightsError(f"{path}: goes through {kinds}; give a model from (1, 1, h, w) to (1, 1, s·h, s·w).")
    return model


def _is_free_luma(shape: Any) -> bool:
    fixed = shape.rank.is_dynamic or len(shape) != 4 or shape[2].is_static or shape[3].is_static
    return not fixed and str(shape[1]) == "1"


class EnlargesFirst:
    """Bicubic enlargement, then an engine that leaves the size: how one file serves every scale."""

    def __init__(self, engine: Engine, scale: int) -> None:
        self._engine, self._scale = engine, scale
        self.bytes_per_pixel = engine.bytes_per_pixel * scale**2
        self.step = WIDTH_STEP // math.gcd(WIDTH_STEP, scale)  # more would cost a deep network more than new shapes do

    def cost(self, height: int, width: int, /) -> float:
        """See `Engine`."""
        return self._engine.cost(height * self._scale, width * self._scale)

    def __call__(self, y: NDArray[np.float32], /) -> NDArray[np.float32]:
        """See `Engine`."""
        return self._engine(imresize(y, self._scale))

    def residual(self, y: NDArray[np.float32], /) -> NDArray[np.float32]:
        """See `Engine`."""
        return self._engine.residual(imresize(y, self._scale))


class LumaEngine:
    """Any function from luma to enlarged luma as an engine."""

    step = _STEP
    bytes_per_pixel = 4 * 2 * 256 * 4  # unknown: as for two layers of 256 features on twice the picture

    def __init__(self, enlarge: Callable[[NDArray[np.float32]], NDArray[np.float32]]) -> None:
        self._enlarge = enlarge

    def cost(self, height: int, width: int, /) -> float:
        """See `Engine`."""
        return height * width

    def __call__(self, y: NDArray[np.float32], /) -> NDArray[np.float32]:
        """See `Engine`."""
        return self._enlarge(y)

    def residual(self, y: NDArray[np.float32], /) -> NDArray[np.float32]:
        """See `Engine`."""
        enlarged = self._enlarge(y)
        height, width = enlarged.shape
        return enlarged - imresize(y, size=(height, width))


class OnnxRuntimeEngine(LumaEngine):
    """An ONNX file on the CPU through ONNX Runtime, in float32."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        try:
            import onnxruntime  # pyright: ignore[reportMissingTypeStubs]
        except ImportError as error:
            raise MissingExtraError("onnxruntime", "onnxruntime") from error
        session: Any = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        name: str = session.get_inputs()[0].name
        super().__init__(lambda y: session.run(None, {name: y[None, None]})[0][0, 0])


class TorchEngine(LumaEngine):
    """A network in PyTorch, on the device where its weights are, in float32."""

    def __init__(self, network: nn.Module) -> None:
        def enlarge(y: NDArray[np.float32]) -> NDArray[np.float32]:
            import torch

            device = next(network.parameters()).device
            with torch.inference_mode():
                return (
                    network(torch.from_numpy(np.require(y, requirements="W"))[None, None].to(device))[0, 0]
                    .cpu()
                    .numpy()
                )

        super().__init__(enlarge)


def read_metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """The metadata strings of an ONNX file, empty where it has none.

    Raises:
        WeightsError: no such file, or not a model from luma to luma.
    """
    info = _read_model(path).get_rt_info()
    has_properties = "framework" in info
    properties: dict[str, Any] = info["framework"] if has_properties else {}
    return {key: str(getattr(value, "value", value)) for key, value in properties.items()}
