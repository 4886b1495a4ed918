"""Linear over-parameterisation: a convolution's weights trained as a product of two matrices.

The product is the convolution, so the network stays the same, and costs the same to run; what differs is the way that
the optimizer takes to it (Arora 2018, arXiv 1802.06509). SESR trains its "collapsible linear blocks" so (Bhardwaj 2021,
arXiv 2103.09404): a k×k convolution to many channels and a 1×1 one behind it, multiplied out at every step. Products
cost next to nothing beside the convolutions; SOAP takes three to four times as long, for the matrices are larger.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import nn

from upres.networks import Network

_LEAST_INNER = 32  # of a last layer, which may have one channel


class Factors(nn.Module):
    """Of each convolution's weights: `second`, `(n, inner)`, and `first`, `(inner, ...)`, whose product they are.

    At the start the product is what the weights are then: the first n rows of `first`, behind an identity; the further
    rows are drawn as He does (arXiv 1502.01852), and do not count yet. n is the weights' first side: the channels out,
    or, of a transposed convolution, those in. The weights themselves are no longer for an optimizer to change:
    `take_gradients` before its step, `multiply_out` behind it.

    Args:
        network: whose weights are trained, on the device where they will be.
        expansion: how many times n the inner side is, but 32 at least; 0 for no factors at all.
    """

    def __init__(self, network: Network, expansion: int) -> None:
        super().__init__()
        # In a list, they are not parameters of this module too.
        self._weights = [p for p in network.parameters() if p.ndim == 4] if expansion else []
        self.firsts, self.seconds = nn.ParameterList(), nn.ParameterList()
        for weight in self._weights:
            n, *shape = weight.shape
            inner = max(expansion * n, _LEAST_INNER)
            drawn = torch.randn(inner - n, *shape) * math.sqrt(2 / math.prod(shape))
            self.firsts.append(nn.Parameter(torch.cat([weight.detach(), drawn.to(weight.device)]).contiguous()))
            self.seconds.append(nn.Parameter(torch.eye(n, inner, device=weight.device)))

    def trained_for(self, parameter: nn.Parameter) -> list[nn.Parameter]:
        """What an optimizer changes in a parameter's place: its factors, or itself."""
        return next(
            ([first, second] for weight, first, second in self._all() if weight is parameter),
            [parameter],
        )

    @torch.no_grad()
    def take_gradients(self) -> None:
        """Turn the weights' gradients into the factors'."""
        for weight, first, second in self._all():
            if weight.grad is None:
                first.grad = second.grad = None
                continue
            gradient = weight.grad.flatten(1)
            first.grad = (second.T @ gradient).view_as(first)
            second.grad = gradient @ first.flatten(1).T
            weight.grad = None

    @torch.no_grad()
    def multiply_out(self) -> None:
        """Set the weights to the factors' products."""
        for weight, first, second in self._all():
            weight.copy_((second @ first.flatten(1)).view_as(weight))

    def _all(self) -> list[tuple[nn.Parameter, nn.Parameter, nn.Parameter]]:
        triples = zip(self._weights, self.firsts, self.seconds, strict=True)
        return cast(list[tuple[nn.Parameter, nn.Parameter, nn.Parameter]], list(triples))
