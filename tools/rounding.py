"""What bfloat16 costs, on any processor: the network in float32, with what its layers read rounded to bfloat16.

So OpenVINO computes in bfloat16: it multiplies such numbers, sums in float32, and rounds again what the next one reads.
What the catalog has from processors with bfloat16, this gives within 0.002 dB for every network, and it does not depend
on the processor.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from upres.inference import graphs
from upres.inference.engines import LumaEngine, TorchEngine
from upres.inference.runtime import core
from upres.inference.upscaler import Upscaler
from upres.networks.drcn import DRCN
from upres.networks.layers import BicubicEnlarge
from upres.weights import store

_SUMS = (Tensor.add, Tensor.__add__, Tensor.__radd__, Tensor.__iadd__)


def in_bf16(weights: Path, onnx: Path, scale: int) -> Upscaler:
    """A network that enlarges as it does in bfloat16.

    Args:
        weights: the safetensors file.
        onnx: the same network as it is run, which says whether its first convolution reads luma in two parts.
        scale: one that it serves.
    """
    network, metadata = store.load(weights, scale)
    run = TorchEngine(network)
    graph = graphs.with_exact_input(graphs.prepare(core().read_model(str(onnx))))
    enlargements = {m.kernel.data_ptr() for m in network.modules() if isinstance(m, BicubicEnlarge)}

    def enlarge(y: NDArray[np.float32]) -> NDArray[np.float32]:
        ensemble = _Ensemble.of(network, y) if isinstance(network, DRCN) and graph.interface.is_residual else None
        with _Rounding(enlargements, luma_is_exact=graph.interface.in_parts, ensemble=ensemble):
            return run(y)

    engine = LumaEngine(enlarge)
    return Upscaler(lambda precision: engine, name=metadata.model, scale=scale, halo=network.halo)


class _Ensemble(NamedTuple):
    """What DRCN sums its pictures with, and the bicubic-enlarged picture, which each of them is a sum with."""

    weights: Tensor
    enlarged: Tensor

    @staticmethod
    @torch.no_grad()
    def of(network: DRCN, y: NDArray[np.float32]) -> _Ensemble:
        return _Ensemble(network.ensemble, network.enlarge(torch.tensor(y)[None, None]))


class _Rounding(TorchFunctionMode):
    """Rounds what convolutions and sums of features read, but not what enlarges the picture itself, in float32.

    A sum is computed with the convolution just before it, whose result is therefore not rounded. DRCN's ensemble sums
    what its pictures have beyond the enlarged one.
    """

    def __init__(self, enlargements: set[int], *, luma_is_exact: bool, ensemble: _Ensemble | None) -> None:
        super().__init__()
        self._enlargements = enlargements
        self._luma_is_exact = luma_is_exact
        self._ensemble = ensemble
        self._just_convolved: Tensor | None = None

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if function in _SUMS:
            args = tuple(self._as_stored(each) for each in args)
        if function not in (F.conv2d, F.conv_transpose2d):
            return function(*args, **(kwargs or {}))
        features, weights, *others = args
        if self._ensemble is not None and weights.data_ptr() == self._ensemble.weights.data_ptr():
            enlarged = self._ensemble.enlarged
            return function(_rounded(features - enlarged), _rounded(weights)) + weights.sum() * enlarged
        of_luma = features.shape[1] == 1
        exact = weights.data_ptr() in self._enlargements or (function is F.conv_transpose2d and of_luma)
        if not exact and not (of_luma and self._luma_is_exact):
            features = _rounded(features)
        self._just_convolved = function(features, weights if exact else _rounded(weights), *others, **(kwargs or {}))
        return self._just_convolved

    def _as_stored(self, term: Any) -> Any:
        is_features = isinstance(term, Tensor) and term.ndim == 4 and term.shape[1] > 1
        return _rounded(term) if is_features and term is not self._just_convolved else term


def _rounded(values: Tensor) -> Tensor:
    return values.bfloat16().float()
