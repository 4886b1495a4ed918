"""Rewrites of an OpenVINO model from luma to luma: the same function in a form that its compiler makes faster.

OpenVINO fuses and schedules well, but it takes a convolution as it is written. What it cannot see:

- A PReLU slope of shape (C, 1, 1), as ONNX wants it, is not fused into the convolution before it; one of shape (C,)
  is. Left so, the PReLU runs by itself with a change of layout on either side.
- A pixel shuffle keeps the activation after it from being fused into the convolution before it. They commute.
- A shuffle of many channels takes longer than the convolutions around it, and two to three times as long where the
  pixels of a block are neighbours among the channels as where those of a pixel are; the convolution before it can give
  either order. A convolution to one channel after it need not wait for it: one before it, of larger kernels, makes the
  pixels of each block, which are then shuffled alone.
- A convolution with one or four output channels fills as much of a 16-lane register. The same convolution at stride b,
  making the b×b block of outputs around each position at once, fills it: its kernel grows from k to k + b − 1, and its
  time falls to a quarter or so.
- Without AVX-512, tanh takes its polynomials from a table, one number after the other, longer than ESPCN's first
  convolution. By the sigmoid, which needs no table, it is 2·σ(2x) − 1.
- A network that adds its output to the bicubic-enlarged picture need not enlarge: whoever runs it enlarges anyway, all
  colours together, in float32; bfloat16 then rounds the small difference alone. Nor need DRCN, whose output is a
  weighted sum of such sums.
- bfloat16 rounds the luma itself, to eight bits and fewer in the highlights, which costs more than all that it rounds
  later. Given what bfloat16 holds of it as one channel and the rest as another, with the same weights, the first
  convolution reads all of it.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upres.inference.runtime import is_x86_without_avx512

_SIDE = 32  # of the input that shapes are probed with; every block and scale divides it
_SMALL_SHARE = 0.05  # of a network's weights: of a larger first convolution, a second channel would be felt
_LANES = 16  # output channels that one AVX-512 register holds in float32, which convolutions accumulate in


@dataclass(frozen=True, kw_only=True)
class Interface:
    """How luma goes into a model and comes out, and what that costs.

    Attributes:
        scale: how much larger the output is.
        is_residual: the output is what bicubic interpolation lacks; else it is the enlarged luma itself.
        values_per_pixel: numbers that are held at once, at most, for each pixel of the input; without its parts.
        work: the share of all multiplications that convolutions make, by their channels, the fewer of those in and
            out, and by how many times wider their outputs are than the input.
        in_parts: the model takes luma also in two parts, `(1, 2, h, w)`, after itself.
    """

    scale: int
    is_residual: bool
    values_per_pixel: int
    work: dict[tuple[int, float], float]
    in_parts: bool = False

    def inputs(self, y: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """What the model takes for luma `(h, w)`."""
        luma = y[None, None]
        return [luma, _parts(y)[None]] if self.in_parts else [luma]

    def facts(self) -> dict[str, Any]:
        """As JSON has it."""
        return vars(self) | {"work": [[*kind, share] for kind, share in self.work.items()]}

    @staticmethod
    def from_facts(facts: dict[str, Any]) -> Interface:
        """What `facts` gave."""
        work = {(channels, enlargement): share for channels, enlargement, share in facts["work"]}
        others = {name: value for name, value in facts.items() if name != "work"}
        return Interface(work=work, **others)


@dataclass(frozen=True)
class LumaGraph:
    """An OpenVINO model from luma `(1, 1, h, w)` to `(1, 1, H, W)`, and how to use it.

    Attributes:
        model: the model. H and W may exceed `scale` · h and `scale` · w; what exceeds is to be cut off.
        interface: how to use it.
    """

    model: Any
    interface: Interface


def prepare(model: Any) -> LumaGraph:
    """Rewrite a model in all the ways that the module describes. The model given is changed.

    Args:
        model: an `openvino.Model` as `upres export` writes it, height and width free.
    """
    from openvino.passes import ConstantFolding, Manager

    passes: Any = Manager()
    passes.register_pass(ConstantFolding())  # a bias from ONNX is a constant only after this
    passes.run_passes(model)
    _flatten_prelu_slopes(model)
    if is_x86_without_avx512():
        _tanh_by_sigmoid(model)
    _activate_before_shuffling(model)
    _shuffle_pixels_together(model)
    _convolve_before_shuffling(model)
    is_residual = _drop_bicubic(model)
    enlargements = _enlargements(model)
    scale = enlargements[source(model.outputs[0].get_node()).get_friendly_name()]
    for node in model.get_ordered_ops():
        if node.get_type_name() == "Convolution":
            _widen(node, enlargements)
    nodes = _probe(model)
    return LumaGraph(
        model,
        Interface(
            scale=scale,
            is_residual=is_residual,
            values_per_pixel=_values_per_pixel(nodes),
            work=_work(nodes),
        ),
    )


def with_exact_input(graph: LumaGraph) -> LumaGraph:
    """The same function, for bfloat16: the first convolution reads luma in two parts; see the module.

    Only where that convolution is a small share of the network, and nothing is done to the luma before it but to cut
    off what is negative, which both parts then are. The model given is changed.
    """
    import openvino
    from openvino import opset13

    (luma,) = graph.model.get_parameters()
    convolutions = [node for node in graph.model.get_ordered_ops() if node.get_type_name() == "Convolution"]
    all_weights = [constant(source(node, 1)) for node in convolutions]
    total = sum(weights.size for weights in all_weights if weights is not None)
    for node, weights in zip(convolutions, all_weights, strict=True):
        if weights is None or weights.size >= _SMALL_SHARE * total:
            continue
        is_positive = source(node).get_type_name() == "Relu"
        read = source(source(node)) if is_positive else source(node)
        if not _is_same(read, luma):
            continue
        parts: Any = opset13.parameter([1, 2, -1, -1], np.float32)
        taken: Any = opset13.relu(parts) if is_positive else parts
        node.input(0).replace_source_output(taken.output(0))
        node.input(1).replace_source_output(opset13.constant(np.repeat(weights, 2, axis=1)).output(0))
        make: Any = openvino.Model
        model = make(graph.model.get_results(), [luma, parts])
        return LumaGraph(model, replace(graph.interface, in_parts=True))
    return graph


def _parts(y: NDArray[np.float32]) -> NDArray[np.float32]:
    """What bfloat16 holds of luma, and the rest, `(2, h, w)`: their sum is the luma."""
    parts = np.empty((2, *y.shape), np.float32)
    np.bitwise_and(y.view(np.uint32), np.uint32(0xFFFF_0000), out=parts[0].view(np.uint32))
    np.subtract(y, parts[0], out=parts[1])
    return parts


def _probe(model: Any) -> list[Any]:
    """The nodes of a copy whose input is `_SIDE` pixels square, so that all shapes are known."""
    import openvino

    probe = model.clone()
    probe.reshape(openvino.PartialShape([1, 1, _SIDE, _SIDE]))
    return probe.get_ordered_ops()


def _enlargements(model: Any) -> dict[str, int]:
    """How many times larger than the model's input each node's output is, by the node's name."""
    shapes = {node.get_friendly_name(): node.get_output_shape(0) for node in _probe(model)}
    return {name: shape[2] // _SIDE for name, shape in shapes.items() if len(shape) == 4}


def _values_per_pixel(nodes: list[Any]) -> int:
    """The most values that are alive at once when a probe's nodes run one after the other, an input pixel."""
    nodes = [node for node in nodes if node.get_type_name() not in ("Constant", "Convert", "Result")]
    sizes = {node.get_name(): math.prod(node.get_output_shape(0)) for node in nodes}
    last_use = {value.get_node().get_name(): i for i, node in enumerate(nodes) for value in node.input_values()}
    alive = most = 0
    for i, node in enumerate(nodes):
        alive += sizes[node.get_name()]
        most = max(most, alive)
        alive -= sum(size for name, size in sizes.items() if last_use.get(name) == i)
    return -(-most // _SIDE**2)


def _work(nodes: list[Any]) -> dict[tuple[int, float], float]:
    """See `LumaGraph`; of a probe's nodes."""
    work = Counter[tuple[int, float]]()
    for node in nodes:
        if node.get_type_name() == "Convolution":
            weights, made = node.get_input_shape(1), node.get_output_shape(0)
            work[min(weights[:2]), made[3] / _SIDE] += math.prod(weights) * math.prod(made[2:])
    return {kind: multiplications / work.total() for kind, multiplications in work.items()}


def _flatten_prelu_slopes(model: Any) -> None:
    from openvino import opset13

    for node in model.get_ordered_ops():
        if node.get_type_name() == "PRelu":
            slope = node.input_value(1).get_node()
            if slope.get_type_name() == "Constant":
                flat = opset13.constant(np.asarray(slope.get_data(), np.float32).reshape(-1))
                node.input(1).replace_source_output(flat.output(0))


def _tanh_by_sigmoid(model: Any) -> None:
    from openvino import opset13

    two, one = (opset13.constant(np.full((1, 1, 1, 1), value, np.float32)) for value in (2, 1))
    for node in model.get_ordered_ops():
        if node.get_type_name() == "Tanh":
            sigmoid: Any = opset13.sigmoid(opset13.multiply(node.input_value(0), two))
            doubled: Any = opset13.multiply(sigmoid, two)
            node.output(0).replace(opset13.subtract(doubled, one).output(0))


def _drop_bicubic(model: Any) -> bool:
    """Take away the last sum with the bicubic-enlarged picture; False where the model does not end in one.

    It may also end in a weighted sum of such sums.
    """
    total = source(model.outputs[0].get_node())
    if total.get_type_name() == "Convolution" and source(total).get_type_name() == "Concat":
        return _drop_bicubic_of_each(total)
    parted = _without_bicubic(total)
    if parted is None:
        return False
    _, residual = parted
    total.output(0).replace(residual)
    return True


def _drop_bicubic_of_each(ensemble: Any) -> bool:
    """Take the enlarged picture from each term; what their weights give of it beyond 1, as one more term, stays."""
    from openvino import opset13

    weights, pictures = constant(source(ensemble, 1)), source(ensemble).input_values()
    parted = [found for picture in pictures if (found := _without_bicubic(picture.get_node()))]
    if weights is None or weights.shape != (1, len(parted), 1, 1) or len(parted) < len(pictures):
        return False
    bicubic = parted[0][0]
    if not all(_is_same(other.get_node(), bicubic.get_node()) for other, _ in parted):
        return False
    beyond = weights.sum(keepdims=True) - 1
    terms: Any = opset13.concat([*(residual for _, residual in parted), bicubic], 1)
    ensemble.input(0).replace_source_output(terms.output(0))
    ensemble.input(1).replace_source_output(opset13.constant(np.append(weights, beyond, axis=1)).output(0))
    return True


def _without_bicubic(total: Any) -> tuple[Any, Any] | None:
    """The outputs that a sum adds: the bicubic-enlarged picture, and the other; None if it is no such sum."""
    if total.get_type_name() != "Add":
        return None
    one, other = total.input_values()
    if _is_bicubic(one.get_node()):
        return one, other
    return (other, one) if _is_bicubic(other.get_node()) else None


def _is_bicubic(node: Any) -> bool:
    """Whether a node is the picture that bicubic interpolation enlarged, be it in the model or before it."""
    if node.get_type_name() == "Parameter":
        return True
    while node.get_type_name() in ("DepthToSpace", "Convolution"):
        if any(value.get_node().get_friendly_name() == "enlarge.kernel" for value in node.input_values()):
            return True
        node = source(node)
    return False


def source(node: Any, index: int = 0) -> Any:
    """The node that gives another its input of this index."""
    return node.input_value(index).get_node()


def _activate_before_shuffling(model: Any) -> None:
    from openvino import opset13

    for node in model.get_ordered_ops():
        if node.get_type_name() != "PRelu" or list(node.get_input_shape(1)) != [1]:
            continue
        shuffle = source(node)
        if shuffle.get_type_name() == "DepthToSpace" and len(shuffle.output(0).get_target_inputs()) == 1:
            block = shuffle.get_attributes()
            activated: Any = opset13.prelu(shuffle.input_value(0), node.input_value(1))
            shuffled: Any = opset13.depth_to_space(activated, block["mode"], block["block_size"])
            node.output(0).replace(shuffled.output(0))


def _shuffle_pixels_together(model: Any) -> None:
    """Let shuffles find the channels of each pixel side by side, in the order that a convolution before them gives."""
    from openvino import opset13

    for shuffle in model.get_ordered_ops():
        if shuffle.get_type_name() != "DepthToSpace" or shuffle.get_attributes()["mode"] != "depth_first":
            continue
        block = shuffle.get_attributes()["block_size"]
        total: int = shuffle.get_input_partial_shape(0)[1].get_length()
        channels = total // block**2
        order: NDArray[np.int64] = np.arange(total).reshape(channels, block**2).T.reshape(-1)
        constants: list[tuple[Any, NDArray[np.float32]]] = []  # inputs, and what they get, channels in the new order
        node = source(shuffle)
        while node.get_type_name() in ("PRelu", "Add") and (values := constant(source(node, 1))) is not None:
            if values.size == total:
                constants.append((node.input(1), values.reshape(-1)[order].reshape(values.shape)))
            elif values.size != 1:
                break
            node = source(node)
        weights = constant(source(node, 1)) if node.get_type_name() == "Convolution" else None
        if weights is None or channels == 1 or not _is_same(_only_end(node), shuffle):
            continue
        for port, values in [*constants, (node.input(1), weights[order])]:
            port.replace_source_output(opset13.constant(np.ascontiguousarray(values)).output(0))
        together: Any = opset13.depth_to_space(shuffle.input_value(0), "blocks_first", block)
        shuffle.output(0).replace(together.output(0))


def _convolve_before_shuffling(model: Any) -> None:
    """Let convolutions from shuffled features to one channel take the features as they were, and make whole blocks."""
    from openvino import opset13

    for node in model.get_ordered_ops():
        if node.get_type_name() != "Convolution" or source(node).get_type_name() != "DepthToSpace":
            continue
        shuffle, weights = source(node), _square_kernels(node)
        if shuffle.get_attributes()["mode"] != "blocks_first" or not _is_same(_only_follower(shuffle), node):
            continue
        if weights is None or len(weights) != 1 or not _keeps_size(node, weights):
            continue
        block = shuffle.get_attributes()["block_size"]
        kernels = _before_shuffle(weights[0], block)
        pads = [kernels.shape[2] // 2] * 2
        wide: Any = opset13.convolution(shuffle.input_value(0), opset13.constant(kernels), [1, 1], pads, pads, [1, 1])
        last, bias = _with_bias(node)
        if bias is not None:
            wide = opset13.add(wide, opset13.constant(bias.reshape(1, 1, 1, 1)))
        shuffled: Any = opset13.depth_to_space(wide, "depth_first", block)
        last.output(0).replace(shuffled.output(0))


def _before_shuffle(weights: NDArray[np.float32], block: int) -> NDArray[np.float32]:
    """A kernel `(c, k, k)`, k odd, for features shuffled by `blocks_first`, as `(b², b²·c, K, K)` for those before."""
    channels, size, _ = weights.shape
    reach = size // 2
    reach_before = -(-reach // block)
    whole = 2 * reach_before + 1
    kernels = np.zeros((block, block, block, block, channels, whole, whole), np.float32)
    for row, column, i, j in np.ndindex(block, block, size, size):
        (dy, of_row), (dx, of_column) = divmod(row + i - reach, block), divmod(column + j - reach, block)
        kernels[row, column, of_row, of_column, :, dy + reach_before, dx + reach_before] = weights[:, i, j]
    return kernels.reshape(block**2, -1, whole, whole)


def _widen(node: Any, enlargements: dict[str, int]) -> None:
    """Let a convolution with few outputs make blocks of them, where that is faster; see the module.

    It may be followed by a bias and by a pixel shuffle, which then becomes one with the shuffle of the blocks. Where
    the model ends there, its output may get too large; elsewhere a block has to divide the picture.
    """
    from openvino import opset13

    weights, attributes = _square_kernels(node), node.get_attributes()
    last, bias = _with_bias(node)
    following, shuffle = _only_follower(last), 1
    if following.get_type_name() == "DepthToSpace":
        last, shuffle, following = following, following.get_attributes()["block_size"], _only_follower(following)
    if weights is None or len(weights) != shuffle**2:
        return
    channels, _, size, _ = weights.shape
    ends = following.get_type_name() == "Result"
    allowed = [block for block in (1, 2, 4) if ends or enlargements[node.get_friendly_name()] % block == 0]
    block = min(allowed, key=lambda b: _cost(channels, size, b))
    if block == 1:
        return
    after = [pad + block - 1 for pad in attributes["pads_end"]]
    wide: Any = opset13.convolution(
        node.input_value(0),
        opset13.constant(_blocks(weights, block, shuffle)),
        [block, block],
        attributes["pads_begin"],
        after,
        [1, 1],
    )
    if bias is not None:
        phases = np.broadcast_to(bias.reshape(-1), (channels,)).reshape(1, shuffle, 1, shuffle)
        values = np.broadcast_to(phases, (block, shuffle, block, shuffle)).reshape(1, -1, 1, 1)
        wide = opset13.add(wide, opset13.constant(np.ascontiguousarray(values)))
    shuffled: Any = opset13.depth_to_space(wide, "depth_first", block * shuffle)
    last.output(0).replace(shuffled.output(0))


def _square_kernels(node: Any) -> NDArray[np.float32] | None:
    """A convolution's constant weights `(o, i, k, k)`, if it makes an output for each position; else None."""
    weights, attributes = constant(source(node, 1)), node.get_attributes()
    steps = {*attributes["strides"], *attributes["dilations"]}
    if weights is None or steps != {1} or attributes["auto_pad"] != "explicit":
        return None
    return weights if weights.shape[2] == weights.shape[3] else None


def _keeps_size(node: Any, weights: NDArray[np.float32]) -> bool:
    """Whether a convolution's kernels have a middle, and pads as wide as they reach from there."""
    attributes, size = node.get_attributes(), weights.shape[2]
    return size % 2 == 1 and {*attributes["pads_begin"], *attributes["pads_end"]} == {size // 2}


def _with_bias(node: Any) -> tuple[Any, NDArray[np.float32] | None]:
    """Where a convolution ends, its bias included, and the bias; None without."""
    following = _only_follower(node)
    bias = constant(source(following, 1)) if following.get_type_name() == "Add" else None
    return (node, None) if bias is None else (following, bias)


def _only_follower(node: Any) -> Any:
    """The node that takes this one's output; with several, the node itself, which is none of what is looked for."""
    targets = node.output(0).get_target_inputs()
    return next(iter(targets)).get_node() if len(targets) == 1 else node


def _is_same(node: Any, other: Any) -> bool:
    return node.get_friendly_name() == other.get_friendly_name()


def _only_end(node: Any) -> Any:
    """The node where the only path from this one through sums and activations ends."""
    following = _only_follower(node)
    while not _is_same(following, node) and following.get_type_name() in ("PRelu", "Add"):
        node, following = following, _only_follower(following)
    return following


def constant(node: Any) -> NDArray[np.float32] | None:
    """A constant's values, also of one that is stored in another precision; None for any other node."""
    if node.get_type_name() == "Convert":
        node = source(node)
    return np.asarray(node.get_data(), np.float32) if node.get_type_name() == "Constant" else None


def _cost(channels: int, size: int, block: int) -> float:
    """Registers multiplied for each input channel and output position."""
    return (size + block - 1) ** 2 / block**2 * -(-channels * block**2 // _LANES)


def _blocks(weights: NDArray[np.float32], block: int, shuffle: int) -> NDArray[np.float32]:
    """Kernels `(s², in, k, k)` as `((b·s)², in, k + b − 1, k + b − 1)`: one for each pixel of a shuffled block."""
    _, inputs, size, _ = weights.shape
    wide = np.zeros((block, shuffle, block, shuffle, inputs, size + block - 1, size + block - 1), np.float32)
    phases = weights.reshape(shuffle, shuffle, inputs, size, size)
    for row in range(block):
        for column in range(block):
            wide[row, :, column, :, :, row : row + size, column : column + size] = phases
    return wide.reshape(-1, inputs, size + block - 1, size + block - 1)
