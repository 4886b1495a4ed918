"""Engines: callables that run one network on luma, `(h, w)` float32 in [0, 1] → `(s·h, s·w)` float32, unclipped.

OpenVINO is the default on a CPU; ONNX Runtime is the portable one; PyTorch runs weights that were not exported.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from upres.errors import MissingExtraError, UsageError, WeightsError
from upres.images.resize import imresize

if TYPE_CHECKING:
    from torch import nn

Engine = Callable[[NDArray[np.float32]], NDArray[np.float32]]
EngineName = Literal["openvino", "onnxruntime", "torch"]
Precision = Literal["f32", "bf16"]


@lru_cache(maxsize=1)
def core() -> Any:
    """OpenVINO, kept from reporting its use.

    Raises:
        MissingExtraError: it is not installed.
    """
    modules: dict[str, Any] = sys.modules
    modules.setdefault(
        "openvino_telemetry", None
    )  # it would report each use to Google Analytics; OpenVINO does without
    try:
        import openvino
    except ImportError as error:
        raise MissingExtraError("openvino", None) from error
    return openvino.Core()


def has_bf16() -> bool:
    """Whether this processor computes in bfloat16."""
    return "BF16" in core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


class OpenVINOEngine:
    """An ONNX file on the CPU through OpenVINO. One call runs at a time; further threads wait.

    Args:
        path: an ONNX model from luma `(1, 1, h, w)` to `(1, 1, s·h, s·w)`, as `upres export` writes it.
        precision: of the network's arithmetic. In bf16 a network that adds to the bicubic-enlarged picture runs
            without that last sum, which is done here in float32: the picture itself is not rounded.

    Raises:
        WeightsError: OpenVINO cannot read the file, or it is a model of another kind.
        UsageError: bf16 on a processor without it.
    """

    def __init__(self, path: str | os.PathLike[str], precision: Precision = "f32") -> None:
        if precision == "bf16" and not has_bf16():
            raise UsageError("precision bf16 was asked for; this processor lacks it, so use f32 or auto.")
        model = _read_model(path)
        _flatten_prelu_slopes(model)
        residual = _without_bicubic(model) if precision == "bf16" else None
        compiled = core().compile_model(
            residual or model, "CPU", {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
        )
        self._request = compiled.create_infer_request()
        self._adds_bicubic = residual is not None
        self._busy = threading.Lock()

    def __call__(self, y: NDArray[np.float32], /) -> NDArray[np.float32]:
        """See the module."""
        with self._busy:
            result: NDArray[np.float32] = self._request.infer({0: y[None, None]})[0][0, 0].copy()
        if self._adds_bicubic:
            height, width = result.shape
            result += imresize(y, size=(height, width))
        return result


def _read_model(path: str | os.PathLike[str]) -> Any:
    """An OpenVINO model from luma to luma.

    Raises:
        WeightsError: no such file, not an ONNX file, or one with other inputs or outputs.
    """
    if not Path(path).is_file():
        raise WeightsError(f"{path}: no such model file; check the path.")
    try:
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


def _without_bicubic(model: Any) -> Any | None:
    """The model less its last sum with the bicubic-enlarged picture, or None where it does not end in one."""
    total = model.outputs[0].get_node().input_value(0).get_node()
    if total.get_type_name() != "Add":
        return None
    for bicubic, residual in ((0, 1), (1, 0)):
        node = total.input_value(bicubic).get_node()
        if node.get_type_name() == "Parameter":  # a network whose input was enlarged before
            return _ending_in(total.input_value(residual), model)
        while node.get_type_name() in ("DepthToSpace", "Convolution"):
            sources = [value.get_node() for value in node.input_values()]
            if any(source.get_friendly_name() == "enlarge.kernel" for source in sources):
                return _ending_in(total.input_value(residual), model)
            node = sources[0]
    return None


def _ending_in(output: Any, model: Any) -> Any:
    import openvino

    make: Any = openvino.Model
    return make([output], model.get_parameters())


def _flatten_prelu_slopes(model: Any) -> None:
    """Make each PReLU slope one-dimensional, as OpenVINO needs it to fuse the PReLU into the convolution before it.

    ONNX wants the slope as (C, 1, 1). Left so, the PReLU runs by itself with a change of layout on either side.
    """
    from openvino import opset13

    for node in model.get_ordered_ops():
        if node.get_type_name() == "PRelu":
            slope = node.input_value(1).get_node()
            if slope.get_type_name() == "Constant":
                flat = opset13.constant(np.asarray(slope.get_data(), np.float32).reshape(-1))
                node.input(1).replace_source_output(flat.output(0))


class EnlargesFirst:
    """Bicubic enlargement, then an engine that leaves the size: how one file serves every scale."""

    def __init__(self, engine: Engine, scale: int) -> None:
        self._engine, self._scale = engine, scale

    def __call__(self, y: NDArray[np.float32], /) -> NDArray[np.float32]:
        """See the module."""
        return self._engine(imresize(y, self._scale))


class OnnxRuntimeEngine:
    """An ONNX file on the CPU through ONNX Runtime, in float32."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        try:
            import onnxruntime  # pyright: ignore[reportMissingTypeStubs]
        except ImportError as error:
            raise MissingExtraError("onnxruntime", "onnxruntime") from error
        self._session: Any = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        self._input: str = self._session.get_inputs()[0].name

    def __call__(self, y: NDArray[np.float32], /) -> NDArray[np.float32]:
        """See the module."""
        return self._session.run(None, {self._input: y[None, None]})[0][0, 0]


class TorchEngine:
    """A network in PyTorch, on the device where its weights are, in float32."""

    def __init__(self, network: nn.Module) -> None:
        self._network = network

    def __call__(self, y: NDArray[np.float32], /) -> NDArray[np.float32]:
        """See the module."""
        import torch

        device = next(self._network.parameters()).device
        with torch.inference_mode():
            return self._network(torch.from_numpy(y)[None, None].to(device))[0, 0].cpu().numpy()


def read_metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """The metadata strings of an ONNX file, empty where it has none.

    Raises:
        WeightsError: no such file, or not a model from luma to luma.
    """
    info = _read_model(path).get_rt_info()
    has_properties = "framework" in info
    properties: dict[str, Any] = info["framework"] if has_properties else {}
    return {key: str(getattr(value, "value", value)) for key, value in properties.items()}
