"""Eight-bit arithmetic: convolutions that multiply activations of 8 bits by weights of 8 bits, for twice bf16's speed.

OpenVINO computes a convolution in integers when both its inputs come from a FakeQuantize, which rounds to one of 256
levels. How much that costs depends on the ranges that the levels span:

- Weights: each output channel has its own, from its largest weight.
- Activations: each input channel has its own, too. OpenVINO knows only one for all of them, so each channel is brought
  to the range of the widest, and the weights that read it are scaled back: the product stays the same (the idea of
  cross-layer equalization, Nagel 2019, arXiv 1906.04721). Ranges are those that dead leaves cause, whose edges,
  contrasts and sizes are distributed as in photos (Lee 2001, doi 10.1023/A:1011109015675): midway between leaves of any
  gray that are as soft as a photo and black and white ones with hard edges. The first alone would be 0.05 dB better on
  photos, but clip what text causes by up to 100 gray levels. So no pictures are needed, and on one kind of processor a
  file always gives the same results.

The first convolution, which reads the luma itself, the last, whose rounding nothing after it evens out, transposed ones
and those of a single pixel stay in floating point: the last are a small share of any network, and OpenVINO 2026.4
crashes in them at some sizes on processors with AMX.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upres.images.resize import imresize
from upres.inference import graphs
from upres.inference.runtime import Compiled, is_x86_without_dot_products

_SIDE = 128  # pixels of the picture that ranges are taken from, as the network sees it
_TINY = 1e-30
_FLATTEST = 1e-3  # the least range of a channel beside the widest: one that the picture did not excite may wake up
# An x86 without dot products of bytes adds their products in pairs first, and such sums saturate. Of ESPCN ×3 it loses
# 0.75 dB where zero is the middle one of the 256 levels, as a symmetric range has it, but 0.2 dB, as others do, up to
# the 114th (OpenVINO 2026.4, AMD Zen 3). With halved weights nothing could saturate, but ESPCN would lose 0.4 to 0.9.
_MOST_LEVELS_BELOW_ZERO = 110
# Where two products are much of a sum, they are kept from saturating: of FSRCNN ×2, with 12 channels, black text is 48
# dB from what float32 makes of it, 36 dB otherwise. ESPCN ×3, with 64, would lose 0.23 dB by coarser weights, not 0.1.
_FEW_CHANNELS = 16


def quantize(graph: graphs.LumaGraph) -> None:
    """Make a network's convolutions compute in 8 bits. The model given is changed.

    Args:
        graph: as `graphs.prepare` leaves it.
    """
    convolutions = [
        node
        for node in graph.model.get_ordered_ops()
        if node.get_type_name() == "Convolution"
        and str(node.get_input_partial_shape(0)[1]) != "1"
        and graphs.constant(graphs.source(node, 1)) is not None
        and list(node.get_input_shape(1))[2:] != [1, 1]
        and _feeds_a_convolution(node)
    ]
    if not convolutions:
        return
    ranges = _ranges(graph, [graphs.source(node).get_friendly_name() for node in convolutions])
    activations: dict[str, Any] = {}
    for node in convolutions:
        weights = graphs.constant(graphs.source(node, 1))
        assert weights is not None
        name = graphs.source(node).get_friendly_name()
        least, most = ranges[name]
        if name not in activations:
            activations[name] = _rounded_activations(node.input_value(0), least, most)
        node.input(0).replace_source_output(activations[name].output(0))
        node.input(1).replace_source_output(_rounded_weights(weights * _shares(least, most)[:, None, None]).output(0))


def _feeds_a_convolution(node: Any) -> bool:
    reached, seen = [node], set[str]()
    while reached:
        for output in reached.pop().outputs():
            for reader in (each.get_node() for each in output.get_target_inputs()):
                if reader.get_type_name() in ("Convolution", "ConvolutionBackpropData"):
                    return True
                if reader.get_friendly_name() not in seen:
                    seen.add(reader.get_friendly_name())
                    reached.append(reader)
    return False


def _shares(least: NDArray[np.float32], most: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each channel's range as a share of the widest on either side of zero, `(c,)`."""
    shares = np.maximum(most / max(most.max(), _TINY), least / min(least.min(), -_TINY))
    return np.maximum(shares, _FLATTEST).astype(np.float32)


def _rounded_activations(activations: Any, least: NDArray[np.float32], most: NDArray[np.float32]) -> Any:
    """Activations rounded within each channel's range and scaled to the widest; zero is one of the 256 levels."""
    above, below = max(float(most.max()), _TINY), max(-float(least.min()), 0.0)
    most_below = _MOST_LEVELS_BELOW_ZERO if is_x86_without_dot_products() else 254
    levels_below = min(math.ceil(255 * below / (below + above)), most_below)
    step = max(above / (255 - levels_below), below / max(levels_below, 1))
    lowest, highest = -step * levels_below, step * (255 - levels_below)
    shares = _shares(least, most).reshape(1, -1, 1, 1)
    return _fake_quantize(activations, lowest * shares, highest * shares, lowest, highest, 256)


def _rounded_weights(weights: NDArray[np.float32]) -> Any:
    from openvino import opset13

    most = np.maximum(np.abs(weights).max(axis=(1, 2, 3), keepdims=True), _TINY)
    if is_x86_without_dot_products() and weights.shape[1] <= _FEW_CHANNELS:
        most *= np.maximum(1, _greatest_sum_of_two(weights) / most * (255 * 127 / 32767))
    return _fake_quantize(opset13.constant(np.ascontiguousarray(weights)), -most, most, -most, most, 255)


def _greatest_sum_of_two(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of neighbouring input channels, whose products such a processor adds first, in each output channel."""
    even = np.pad(weights, ((0, 0), (0, weights.shape[1] % 2), (0, 0), (0, 0)))
    of_one_sign = np.stack([np.maximum(even, 0), np.maximum(-even, 0)])
    return (of_one_sign[:, :, ::2] + of_one_sign[:, :, 1::2]).max(axis=(0, 2, 3, 4))[:, None, None, None]


def _fake_quantize(values: Any, *ranges: Any) -> Any:
    from openvino import opset13

    *bounds, levels = ranges
    return opset13.fake_quantize(values, *(opset13.constant(np.asarray(b, np.float32)) for b in bounds), levels)


def _ranges(graph: graphs.LumaGraph, names: list[str]) -> dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """The least and the greatest value in each channel of each node named, `(c,)`, midway between both pictures."""
    import openvino
    from openvino import opset13

    model = graph.model.clone()
    nodes = {node.get_friendly_name(): node for node in model.get_ordered_ops()}
    distinct = list(dict.fromkeys(names))
    axes = opset13.constant(np.array([0, 2, 3]))
    extremes: list[Any] = []
    for name in distinct:
        extremes += [opset13.reduce_min(nodes[name], axes), opset13.reduce_max(nodes[name], axes)]
    make: Any = openvino.Model
    probe = Compiled(make([opset13.concat(extremes, 0)], model.get_parameters()), "f32", streams=1)
    leaves = dead_leaves(2 * _SIDE)
    pictures = (imresize(leaves, 0.5), (leaves[::2, ::2] > 0.5).astype(np.float32))
    if graph.interface.scale == 1:  # the network wants luma that bicubic interpolation has enlarged
        pictures = tuple(imresize(picture[: _SIDE // 2, : _SIDE // 2], 2) for picture in pictures)
    soft, hard = (probe(picture[None, None].astype(np.float32)) for picture in pictures)
    counts = [nodes[name].get_output_partial_shape(0)[1].get_length() for name in distinct]
    found = iter(np.split(((soft + hard) / 2).astype(np.float32), np.cumsum(np.repeat(counts, 2))[:-1]))
    return {name: (next(found), next(found)) for name in distinct}


def dead_leaves(side: int) -> NDArray[np.float32]:
    """A picture of discs that fall on each other, their radii r as r⁻³, between black and white; `(side, side)`."""
    smallest, largest, count = 2.0, side / 3, 8 * side
    random = np.random.default_rng(0)
    row, column = np.mgrid[:side, :side]
    picture = np.full((side, side), 0.5, np.float32)
    for _ in range(count):
        spread = 1 - (smallest / largest) ** 2
        radius = smallest / np.sqrt(1 - random.random() * spread)
        x, y = random.random(2) * side
        picture[(row - y) ** 2 + (column - x) ** 2 < radius**2] = random.random()
    return picture
