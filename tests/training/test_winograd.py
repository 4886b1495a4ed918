from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from upres.networks import NETWORKS
from upres.training import winograd


def _output_and_gradients(conv: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    x = x.clone().requires_grad_()
    output = conv(x)
    weights = torch.randn(output.shape, generator=torch.Generator().manual_seed(1)).to(output.dtype)
    (output * weights).sum().backward()
    return [output.detach(), x.grad, *(p.grad for p in conv.parameters())]


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize(
    ("batch", "channels_in", "channels_out", "height", "width"),
    [(3, 6, 5, 8, 12), (1, 4, 4, 1, 1), (2, 3, 7, 5, 18), (70, 2, 2, 6, 7), (1, 2, 3, 3, 450), (1, 2, 3, 50, 49)],
)
def test_winograd_gives_the_plain_convolution_and_its_gradients(
    batch, channels_in, channels_out, height, width, compiled
):
    torch.manual_seed(0)
    plain = nn.Conv2d(channels_in, channels_out, 3, padding=1)
    fast = copy.deepcopy(plain)
    winograd.use_in_wide_layers(fast, least_channels=1)
    assert type(fast) is winograd.WinogradConv2d
    x = torch.randn(batch, channels_in, height, width)
    expected = _output_and_gradients(plain.double(), x.double())
    got = _output_and_gradients(torch.compile(fast, dynamic=False) if compiled else fast, x)
    for ours, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=0, atol=2e-4 * float(theirs.square().mean().sqrt()))


def test_winograd_replaces_wide_convolutions_of_3x3_alone():
    def replaced(network: nn.Module) -> int:
        winograd.use_in_wide_layers(network)
        return sum(isinstance(module, winograd.WinogradConv2d) for module in network.modules())

    layers = (nn.Conv2d(128, 128, 1), nn.Conv2d(128, 128, 3), nn.Conv2d(128, 128, 3, padding=1, stride=2))
    assert [replaced(layer) for layer in layers] == [0, 0, 0]
    assert replaced(nn.Conv2d(128, 128, 3, padding=1, groups=2)) == 0
    assert {name: replaced(network(scale=2)) for name, network in NETWORKS.items()} == {
        "srcnn": 0,
        "fsrcnn": 0,
        "espcn": 0,
        "vdsr": 0,
        "red": 0,
        "lapsrn": 0,
        "drrn": 2,
        "drcn": 3,
    }


def test_a_converted_network_keeps_its_weights_and_what_it_computes():
    torch.manual_seed(0)
    network = NETWORKS["drrn"](scale=2, units=1)
    network.eval()
    low = torch.rand(1, 1, 9, 10)
    with torch.no_grad():
        before = network(low)
        names = list(network.state_dict())
        winograd.use_in_wide_layers(network)
        assert list(network.state_dict()) == names
        torch.testing.assert_close(network(low), before, rtol=0, atol=1e-4)
