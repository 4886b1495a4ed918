"""DRRN: Image Super-Resolution via Deep Recursive Residual Network.

Tai et al., CVPR 2017. B blocks follow each other. A block starts with a convolution and then applies one residual
unit of two convolutions U times with the same weights, adding the block's start each time.

    b₀ = conv(x),  b_u = unit(b_{u−1}) + b₀,  f(y) = bicubic(y) + W * b_U       each conv: BN, ReLU, 3×3

Deviations: none in the network. The units share convolutions, not batch norms, as in the authors' code.

Notes' form: `units=15, unit="post_activation"`: 3×3, BN, ReLU, 1×1, twice, all of it shared; its quick combination is
`units=5, channels=32`. `batch_norm=False` is what many public versions use.
"""

from __future__ import annotations

from typing import Literal, cast

import torch
from torch import Tensor, nn

from upres.networks.layers import BicubicEnlarge, draw_near_identity, draw_pairs


def _norm(channels: int, batch_norm: bool) -> nn.Module:
    return nn.BatchNorm2d(channels) if batch_norm else nn.Identity()


class PreActivation(nn.Module):
    """BN, ReLU, 3×3 convolution. The convolution may belong to several of these."""

    def __init__(self, conv: nn.Conv2d, *, batch_norm: bool) -> None:
        super().__init__()
        self.norm = _norm(conv.in_channels, batch_norm)
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        """`(B, c, h, w)` → `(B, c', h, w)`."""
        return self.conv(self.norm(x).relu())


def _conv(in_channels: int, out_channels: int, kernel_size: int = 3) -> nn.Conv2d:
    conv = nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2)
    nn.init.kaiming_normal_(conv.weight)
    assert conv.bias is not None
    nn.init.zeros_(conv.bias)
    return conv


class RecursiveBlock(nn.Module):
    """A convolution, then U residual units that share their convolutions and all add that convolution's output."""

    def __init__(
        self,
        in_channels: int,
        channels: int,
        units: int,
        *,
        unit: Literal["pre_activation", "post_activation"],
        batch_norm: bool,
    ) -> None:
        super().__init__()
        first = _conv(in_channels, channels)
        if unit == "pre_activation":
            self.first = PreActivation(first, batch_norm=batch_norm)
            one, two = _conv(channels, channels), _conv(channels, channels)
            self.units = nn.ModuleList(
                nn.Sequential(PreActivation(one, batch_norm=batch_norm), PreActivation(two, batch_norm=batch_norm))
                for _ in range(units)
            )
        else:
            self.first = first
            half = [
                layer
                for _ in range(2)
                for layer in (
                    _conv(channels, channels),
                    _norm(channels, batch_norm),
                    nn.ReLU(),
                    _conv(channels, channels, 1),
                )
            ]
            self.units = nn.ModuleList([nn.Sequential(*half)] * units)
        self.running = units

    def start_near_identity(self, *, is_first: bool) -> None:
        """See `DRRN.start_as_interpolation`."""
        if not isinstance(self.first, PreActivation) or not isinstance(self.first.norm, nn.Identity):
            return
        if is_first:
            draw_pairs(self.first.conv, norm=2.0)
        else:
            draw_near_identity(self.first.conv, share=0.3)
        one, two = (cast(nn.Conv2d, half.get_submodule("conv")) for half in self.units[0].children())
        draw_near_identity(one, share=0.3)
        draw_near_identity(two, share=0.3)
        two.weight.mul_(0.5)

    def forward(self, x: Tensor) -> Tensor:
        """`(B, in_channels, h, w)` → `(B, channels, h, w)`."""
        start = b = self.first(x)
        for unit in self.units[: self.running]:
            b = unit(b) + start
        return b

    def grow(self, units: int) -> None:
        """Run the first `units` only; those that join later take over the batch norms of the last that ran."""
        last = self.units[self.running - 1].state_dict()
        for unit in self.units[self.running : units]:
            unit.load_state_dict(last)
        self.running = units


class DRRN(nn.Module):
    """`blocks` recursive blocks of `units` residual units, 3×3-128, and a last 3×3-1, added to bicubic.

    Args:
        scale: how many times larger the output is, at least 1; the weights do not depend on it.
        blocks: recursive blocks; 1 in the published B1U9 and B1U25.
        units: residual units a block; the convolutions' weights do not depend on it.
        channels: features throughout.
        unit: the paper's pre-activation unit, or the notes'.
        batch_norm: normalise as the paper does.
    """

    def __init__(
        self,
        *,
        scale: int,
        blocks: int = 1,
        units: int = 25,
        channels: int = 128,
        unit: Literal["pre_activation", "post_activation"] = "pre_activation",
        batch_norm: bool = True,
    ) -> None:
        super().__init__()
        self.scale = scale
        self.recursions = units
        self.enlarge = BicubicEnlarge(scale)
        self.blocks = nn.Sequential(
            *(
                RecursiveBlock(1 if i == 0 else channels, channels, units, unit=unit, batch_norm=batch_norm)
                for i in range(blocks)
            )
        )
        last = _conv(channels, 1)
        self.last = PreActivation(last, batch_norm=batch_norm) if unit == "pre_activation" else last
        self.halo = 2 + -(-(blocks * (1 + 2 * units) + 1) // scale)

    def forward(self, y: Tensor) -> Tensor:
        """`(B, 1, h, w)` luma in [0, 1] → `(B, 1, s·h, s·w)`, unclipped."""
        u = self.enlarge(y)
        return u + self.last(self.blocks(u))

    def outputs(self, y: Tensor) -> list[Tensor]:
        """Every supervised prediction: here the output alone."""
        return [self(y)]

    def grow(self, units: int) -> None:
        """Run the first `units` of each block only; the convolutions are the same for all of them."""
        for block in self.blocks:
            assert isinstance(block, RecursiveBlock)
            block.grow(units)

    @torch.no_grad()
    def start_as_interpolation(self) -> None:
        """Start from bicubic interpolation: the residual is zero.

        Without batch norm, every layer of the paper's unit sees what the first one does: a unit hands on half of what
        it is given, so that the block's start, which is added each time, stays in bounds.
        """
        last = self.last.conv if isinstance(self.last, PreActivation) else self.last
        nn.init.zeros_(last.weight)
        for i, block in enumerate(self.blocks):
            assert isinstance(block, RecursiveBlock)
            block.start_near_identity(is_first=i == 0)
