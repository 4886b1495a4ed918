"""What two or more of the networks share: bicubic enlargement, transposed convolutions that fit, bilinear starts."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def _cubic_taps(scale: int) -> Tensor:
    """`(scale, 5)` weights of MATLAB's bicubic: row p makes output s·i + p from inputs i − 2 … i + 2."""
    phase = (torch.arange(scale, dtype=torch.float64) + 0.5) / scale - 0.5
    x = (phase[:, None] - torch.arange(-2, 3)).abs()
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return near * (x <= 1) + far * ((x > 1) & (x < 2))


def _mirror_two(y: Tensor) -> Tensor:
    """Pad two pixels a side as MATLAB mirrors, the edge pixel repeated; any picture from 1×1 up."""
    y = F.pad(y, (1, 1, 1, 1), mode="replicate")
    y = torch.cat([y[..., 2:3, :], y, y[..., -3:-2, :]], dim=-2)
    return torch.cat([y[..., :, 2:3], y, y[..., :, -3:-2]], dim=-1)


def leaky_relu(x: Tensor, slope: float, *, training: bool) -> Tensor:
    """PyTorch's leaky ReLU, slope below 1; while training as a maximum, whose gradient PyTorch compiles to far less.

    On a CPU the compiled `F.leaky_relu` takes half of LapSRN's step: what decides its gradient is kept as a bool a
    feature, and those are written one by one (PyTorch 2.13, bfloat16, channels last).
    """
    return torch.maximum(x, slope * x) if training else F.leaky_relu(x, slope)


def tanh(x: Tensor, *, training: bool) -> Tensor:
    """PyTorch's tanh; while training by the sigmoid, which PyTorch compiles for a CPU to a third of its time.

    Not compiled, bfloat16 would round the sigmoid, whose values near a half are coarse, before the half is taken off.
    """
    return 2 * torch.sigmoid(2 * x) - 1 if training and torch.compiler.is_compiling() else x.tanh()


class BicubicEnlarge(nn.Module):
    """`imresize(y, scale)` for a whole scale as a layer without parameters: `(B, 1, h, w)` → `(B, 1, s·h, s·w)`.

    Equal to `upres.images.resize.imresize` (tested). Autocast does not reach it: the picture itself passes through.
    """

    kernel: Tensor

    def __init__(self, scale: int) -> None:
        super().__init__()
        self.scale = scale
        taps = _cubic_taps(scale)
        kernel = torch.einsum("pi,qj->pqij", taps, taps).reshape(scale * scale, 1, 5, 5)
        self.register_buffer("kernel", kernel.float(), persistent=False)

    def forward(self, y: Tensor) -> Tensor:
        """`(B, 1, h, w)` → `(B, 1, s·h, s·w)`."""
        with torch.autocast(y.device.type, enabled=False):
            phases = F.conv2d(_mirror_two(y), self.kernel.to(y.dtype))  # (B, s², h, w)
            return F.pixel_shuffle(phases, self.scale)


@torch.no_grad()
def draw_blind_to_brightness(conv: nn.Conv2d, *, slope: float = 0.0) -> None:
    """Draw weights for ReLU as He does (arXiv 1502.01852), but each filter with a sum of zero.

    Brightness is most of what luma varies by, so of plain draws many are on, or off, all over a picture, and training
    turns more of them off for good. The spread makes up for the mean that is taken off: what counts of the layer below
    is its variance, not its mean square.

    Args:
        conv: its biases stay.
        slope: of the (leaky) ReLU below zero, there too.
    """
    mean = (1 - slope) / math.sqrt(2 * math.pi)  # of a standard normal variable behind the ReLU
    variance = (1 + slope**2) / 2 - mean**2
    nn.init.normal_(conv.weight, std=1 / math.sqrt(variance * (conv.weight[0].numel() - 1)))
    conv.weight -= conv.weight.mean(dim=(1, 2, 3), keepdim=True)


@torch.no_grad()
def draw_pairs(conv: nn.Conv2d, *, norm: float) -> None:
    """Draw filters in pairs of opposite sign, so that ReLU loses nothing of what they see.

    One pair is the picture itself; the others are blind to brightness, which would cut one of a pair off all over.

    Args:
        conv: of one input channel, with filters of odd size; of an odd number, the last lacks its opposite. Its biases
            stay.
        norm: of each filter but the first pair's, which passes the picture on as it is.
    """
    filters = torch.randn((-(-conv.out_channels // 2), *conv.weight.shape[1:]))
    filters -= filters.mean(dim=(1, 2, 3), keepdim=True)
    filters *= norm / filters.square().sum(dim=(1, 2, 3), keepdim=True).sqrt()
    filters[:1] = 0
    filters[0, 0, conv.weight.shape[2] // 2, conv.weight.shape[3] // 2] = 1
    conv.weight.copy_(torch.cat([filters, -filters])[: conv.out_channels])


@torch.no_grad()
def draw_near_identity(conv: nn.Conv2d | nn.ConvTranspose2d, *, share: float) -> None:
    """Draw a hidden layer that, behind ReLU, hands on what it is given, and a share of a plain draw after He.

    Args:
        conv: with as many channels out as in, and a kernel of odd size; its biases stay.
        share: of He's standard deviation (arXiv 1502.01852). DiracNets (Zagoruyko 2017, arXiv 1706.00388) train deep
            plain networks as such sums.
    """
    nn.init.dirac_(conv.weight)
    conv.weight += share * math.sqrt(2 / conv.weight[0].numel()) * torch.randn_like(conv.weight)


def exact_transposed_conv(
    in_channels: int, out_channels: int, kernel_size: int, *, stride: int, bias: bool = True
) -> nn.ConvTranspose2d:
    """A transposed convolution whose output is exactly `stride` times its input.

    The output is (i − 1)·s − 2·padding + k + output_padding, so the two paddings have to make up for k − s.

    Raises:
        ValueError: the kernel is smaller than the stride, which would leave output pixels that nothing reaches, or
            even for stride 1, which no padding makes up for.
    """
    if kernel_size < stride:
        raise ValueError(f"kernel_size {kernel_size} is below stride {stride}; give at least {stride}.")
    if stride == 1 and kernel_size % 2 == 0:
        raise ValueError(f"kernel_size {kernel_size} is even; with stride 1 give an odd one.")
    padding = -(-(kernel_size - stride) // 2)
    return nn.ConvTranspose2d(
        in_channels,
        out_channels,
        kernel_size,
        stride=stride,
        padding=padding,
        output_padding=2 * padding - (kernel_size - stride),
        bias=bias,
    )


def transposed_halo(conv: nn.ConvTranspose2d) -> int:
    """How many input pixels away an output of `exact_transposed_conv` looks, at most."""
    (kernel_size, _), (stride, _) = conv.kernel_size, conv.stride
    padding = int(conv.padding[0])
    return max((stride - 1 + padding) // stride, (kernel_size - 1 - padding) // stride)


def sub_pixel_kernel(conv: nn.ConvTranspose2d) -> Tensor:
    """The weights of `exact_transposed_conv` as those of a convolution that makes each phase of the output by itself.

    Output s·i + r of a transposed convolution with padding p takes input i + d with kernel element r + p − s·d; one
    that falls outside is zero.

    Returns:
        `(out, s, s, in, t, t)` with t = 2·halo + 1; see `transposed_halo`.
    """
    (kernel_size, _), (stride, _) = conv.kernel_size, conv.stride
    padding, halo = int(conv.padding[0]), transposed_halo(conv)
    sides = (stride * halo - padding, padding + stride * (halo + 1) - kernel_size)
    taps = F.pad(conv.weight, sides * 2)  # (in, out, t·s, t·s), from the last input that a phase takes to the first
    blocks = taps.reshape(*taps.shape[:2], 2 * halo + 1, stride, 2 * halo + 1, stride).flip(2, 4)
    return blocks.permute(1, 3, 5, 0, 2, 4)


def transposed_conv_to_one_channel(conv: nn.ConvTranspose2d, x: Tensor, *, training: bool) -> Tensor:
    """`conv(x)`; while training as a convolution, which takes PyTorch some half of the time on a CPU.

    It is sub-pixel convolution (Shi 2016, arXiv 1609.07009) of 2×2 input pixels at once, so that both ends of the
    convolution have channels enough for a processor's vectors.

    Args:
        conv: made by `exact_transposed_conv`, with one output channel.
        x: `(B, C, h, w)`.

    Returns:
        `(B, 1, s·h, s·w)`.
    """
    if not training:
        return conv(x)
    (scale, _), (height, width) = conv.stride, x.shape[-2:]
    phases = sub_pixel_kernel(conv)[0]
    shifted = [F.pad(phases, (left, 1 - left, top, 1 - top)) for top in (0, 1) for left in (0, 1)]
    even = F.pad(x, (0, width % 2, 0, height % 2))
    blocks = F.conv2d(even, torch.stack(shifted, dim=2).flatten(0, 2), stride=2, padding=transposed_halo(conv))
    large = F.pixel_shuffle(F.pixel_shuffle(blocks, 2), scale)[..., : scale * height, : scale * width]
    return large if conv.bias is None else large + conv.bias


def bilinear_phases(scale: int) -> Tensor:
    """Bilinear enlargement as a sub-pixel convolution: `(s², 3, 3)`, one kernel for each output phase."""
    phase = (torch.arange(scale) + 0.5) / scale - 0.5
    taps = (1 - (phase[:, None] - torch.arange(-1, 2)).abs()).clamp(min=0)
    return torch.einsum("pi,qj->pqij", taps, taps).reshape(scale * scale, 3, 3)


def bilinear_transposed(kernel_size: int, *, stride: int) -> Tensor:
    """Bilinear enlargement as the kernel of `exact_transposed_conv`: `(kernel_size, kernel_size)`.

    Bilinear as far as the kernel reaches; it needs a kernel of 2·stride (even strides) or 2·stride − 1 (odd ones).
    """
    padding = -(-(kernel_size - stride) // 2)
    offset = torch.arange(kernel_size) - padding + 0.5 - stride / 2
    taps = (1 - offset.abs() / stride).clamp(min=0)
    return torch.outer(taps, taps)
