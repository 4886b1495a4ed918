"""A trained network as the ONNX file that inference runs: the same function in the form that runs fastest.

Transposed convolutions become convolutions: one of stride s with s² times the channels, followed by pixel shuffle.
Height and width are dynamic. A network that works on the bicubic-enlarged picture is exported without that first
step: its input is the enlarged luma, and one file serves all its scales. Convolutions whose weights half precision
holds exactly are stored so. The file carries the weights' metadata and its own parity error.
"""

from __future__ import annotations

import copy
import io
import json
import logging
import os
import warnings
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from upres.errors import MissingExtraError, UsageError, WeightsError
from upres.files import whole_file
from upres.networks import Network, enlarges_first
from upres.networks.layers import sub_pixel_kernel, transposed_halo
from upres.weights import store

OPSET = 18
PARITY = 1e-5


class SubPixelConv(nn.Module):
    """A transposed convolution in sub-pixel form: a convolution to s² times the channels, then pixel shuffle.

    Of the kernel's offsets, those at either end that no phase takes are left out.
    """

    def __init__(self, transposed: nn.ConvTranspose2d) -> None:
        super().__init__()
        (size, _), (stride, _) = transposed.kernel_size, transposed.stride
        padding, halo = int(transposed.padding[0]), transposed_halo(transposed)
        before, after = (size - 1 - padding) // stride, (stride - 1 + padding) // stride
        taken = slice(halo - before, halo + after + 1)
        weight = sub_pixel_kernel(transposed).flatten(0, 2)[..., taken, taken]
        self.stride = stride
        self.uneven = (before, after, before, after) if before != after else None
        self.conv = nn.Conv2d(
            transposed.in_channels,
            weight.shape[0],
            before + 1 + after,
            padding=0 if self.uneven else before,
            bias=transposed.bias is not None,
        )
        with torch.no_grad():
            self.conv.weight.copy_(weight)
            if self.conv.bias is not None and transposed.bias is not None:
                self.conv.bias.copy_(transposed.bias.repeat_interleave(stride**2))

    def forward(self, x: Tensor) -> Tensor:
        """`(B, in, h, w)` → `(B, out, s·h, s·w)`."""
        x = self.conv(F.pad(x, self.uneven) if self.uneven else x)
        return F.pixel_shuffle(x, self.stride) if self.stride > 1 else x


def deployable(network: Network) -> nn.Module:
    """A copy of a network without transposed convolutions and without a bicubic first step, in evaluation mode.

    It computes the same function, of the enlarged picture where the network enlarges first. A transposed convolution
    that enlarges the picture itself stays: it costs next to nothing, and OpenVINO leaves it in float32 when it computes
    all others in bfloat16, which would round the picture by up to half a gray level.
    """
    network = copy.deepcopy(network).eval()
    if enlarges_first(network):
        network.add_module("enlarge", nn.Identity())
    replaced: dict[nn.Module, nn.Module] = {}  # a shared layer stays shared
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.ConvTranspose2d) and child.in_channels > 1:
                parent.add_module(name, replaced.setdefault(child, SubPixelConv(child)))
    return network


def export(weights: str | os.PathLike[str], out: str | os.PathLike[str] | None = None) -> Path:
    """Write the ONNX file of a weights file.

    Args:
        weights: a safetensors file that `upres train` wrote.
        out: where to; beside the weights if not given.

    Returns:
        The path of the ONNX file.

    Raises:
        WeightsError: the file is not one of ours, or the exported graph does not compute the network's function.
        UsageError: `out` does not end in `.onnx`.
        OutputError: the file cannot be written.
    """
    network, metadata = store.load(weights)
    path = Path(out) if out else Path(weights).with_suffix(".onnx")
    if path.suffix != ".onnx":
        raise UsageError(f"{path}: the exported file must end in .onnx.")
    content = to_onnx(network, metadata)
    with whole_file(path) as temporary:
        temporary.write_bytes(content)
    return path


def to_onnx(network: Network, metadata: store.Metadata) -> bytes:
    """A network as a serialized ONNX model: input `luma`, output `enlarged`, height and width free.

    Its property `enlarges_first` says whether the input has to be enlarged before.

    Raises:
        WeightsError: the graph's output differs from the network's by more than 1e-5.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401  # pyright: ignore[reportUnusedImport, reportMissingTypeStubs]
    except ImportError as error:
        raise MissingExtraError("onnx and onnxscript", "train") from error
    sample = torch.rand(1, 1, 24, 20)
    height, width = torch.export.Dim("height", min=1), torch.export.Dim("width", min=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # the exporter's use of its own deprecated functions
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it warns of torchvision, which nothing here needs
        program = torch.onnx.export(
            deployable(network),
            (sample,),
            input_names=["luma"],
            output_names=["enlarged"],
            opset_version=OPSET,
            dynamic_shapes=({2: height, 3: width},),
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    for part in (model.graph, *model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output):
        del part.metadata_props[:]  # the exporter's stack traces, which hold this machine's paths
        part.doc_string = ""
    _store_in_half_precision(model)
    error = parity_error(model, network)
    if not error <= PARITY:
        raise WeightsError(
            f"{metadata.network}: the exported graph is off by {error:.1e}; at most {PARITY} is allowed."
        )
    about = {"parity": f"{error:.1e}", "enlarges_first": json.dumps(enlarges_first(network))}
    onnx.helper.set_model_props(model, metadata.to_strings() | about)
    buffer = io.BytesIO()
    onnx.save_model(model, buffer)
    return buffer.getvalue()


def _store_in_half_precision(model: Any) -> None:
    """Store convolutions' weights as float16, cast to float32 when the model is read, where that loses nothing."""
    from onnx import TensorProto, helper, numpy_helper

    casts: list[Any] = []
    for tensor in model.graph.initializer:
        weights = numpy_helper.to_array(tensor)
        if weights.ndim == 4 and weights.dtype == np.float32 and np.array_equal(weights.astype(np.float16), weights):
            name = tensor.name
            tensor.CopyFrom(numpy_helper.from_array(weights.astype(np.float16), f"{name}.half"))
            casts.append(helper.make_node("Cast", [tensor.name], [name], to=TensorProto.FLOAT))
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*casts, *nodes])


def parity_error(model: Any, network: Network) -> float:
    """Largest difference between an ONNX model, run by ONNX's reference evaluator, and a network in PyTorch."""
    from onnx.reference import ReferenceEvaluator

    y = torch.rand(1, 1, 17, 23, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = network.eval()(y).numpy()
        if enlarges_first(network):
            y = cast(nn.Module, network.enlarge)(y)
    result = cast("list[np.ndarray]", ReferenceEvaluator(model).run(None, {"luma": y.numpy()}))[0]
    return float(np.abs(result - expected).max())
