"""From narrow networks to wide ones that compute the same: Net2Net (Chen 2015, arXiv 1511.05641)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

_SHARE = 0.3  # of He's standard deviation, as in `draw_near_identity`


def can_widen(narrow: nn.Module, wide: nn.Module) -> bool:
    """Whether the two differ in their numbers of channels alone, and the wide one has whole times as many.

    What a network holds beside its layers, as DRCN a weight for each recursion, has no channels, and must agree.
    """
    shapes, wide_shapes = ({k: v.shape for k, v in each.state_dict().items()} for each in (narrow, wide))
    return (
        shapes.keys() == wide_shapes.keys()
        and all(
            len(shape) == len(wide_shapes[k])
            and shape[2:] == wide_shapes[k][2:]
            and ("." in k or shape == wide_shapes[k])
            and all(more % few == 0 for few, more in zip(shape[:2], wide_shapes[k][:2], strict=True))
            for k, shape in shapes.items()
        )
        and shapes != wide_shapes
    )


@torch.no_grad()
def widen(narrow: nn.Module, wide: nn.Module) -> None:
    """Let `wide` compute what `narrow` does: every channel stands there several times over.

    The copies of a channel share its outgoing weights, but for draws that add up to zero; by these they come apart in
    training.

    Args:
        narrow: a network.
        wide: one for which `can_widen` holds; its weights are replaced.
    """
    targets = wide.state_dict(keep_vars=True)
    for name, weights in narrow.state_dict().items():
        target = targets[name]
        if weights.ndim == 4:
            layer = wide.get_submodule(name.rpartition(".")[0])
            target.copy_(_wider_kernel(weights, target, transposed=isinstance(layer, nn.ConvTranspose2d)))
        else:
            copies = (more // few for few, more in zip(weights.shape, target.shape, strict=True))
            target.copy_(torch.tile(weights, tuple(copies)))


def _wider_kernel(weights: Tensor, like: Tensor, *, transposed: bool) -> Tensor:
    """`(out, in, k, k)`, or `(in, out, k, k)` if transposed → the shape of `like`."""
    if transposed:
        return _wider_kernel(weights.transpose(0, 1), like.transpose(0, 1), transposed=False).transpose(0, 1)
    copies_out, copies_in = like.shape[0] // weights.shape[0], like.shape[1] // weights.shape[1]
    std = _SHARE * math.sqrt(2 / like[0].numel()) if copies_in > 1 else 0.0
    draws = std * torch.randn(copies_in, like.shape[0], *weights.shape[1:], dtype=weights.dtype)
    draws -= draws.mean(dim=0)
    shared = weights.repeat(copies_out, 1, 1, 1) / copies_in
    return torch.cat([shared + draw for draw in draws], dim=1)
