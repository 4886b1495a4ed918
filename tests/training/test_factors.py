from __future__ import annotations

import pytest
import torch
from torch.func import functional_call

from upres.networks import NETWORKS
from upres.training.factors import Factors


def a_network(name):
    torch.manual_seed(3)
    small = {"fsrcnn": {"d": 6, "s": 3, "m": 1}, "srcnn": {"channels": (5, 4)}, "drrn": {"units": 2, "channels": 4}}
    network = NETWORKS[name](scale=2, **small[name])
    return network, torch.rand(2, 1, 8, 8), torch.rand(2, 1, 16, 16)


@pytest.mark.parametrize("name", ["fsrcnn", "srcnn", "drrn"])
def test_starts_as_the_weights_are(name):
    network, *_ = a_network(name)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    factors = Factors(network, 3)
    factors.multiply_out()
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
    assert {p for p in network.parameters() if len(factors.trained_for(p)) == 2} == {
        p for p in network.parameters() if p.ndim == 4
    }


@pytest.mark.parametrize("name", ["fsrcnn", "srcnn", "drrn"])
def test_gradients_are_those_of_the_product(name):
    network, low, high = a_network(name)
    network.to(memory_format=torch.channels_last)  # as the loop does
    factors = Factors(network, 3)
    assert all(p.is_contiguous() for p in factors.parameters())
    with torch.no_grad():  # a start at the identity would hide a factor's transpose
        for second in factors.seconds:
            second += 0.1 * torch.randn_like(second)
    factors.multiply_out()
    (network(low) - high).square().mean().backward()
    factors.take_gradients()
    assert all(p.grad is None for p in network.parameters() if p.ndim == 4)

    pairs = list(zip(factors.firsts, factors.seconds, strict=True))
    leaves = [[part.detach().clone().requires_grad_() for part in pair] for pair in pairs]
    named = [k for k, p in network.named_parameters() if p.ndim == 4]
    products = {
        k: torch.einsum("nm,m...->n...", second, first) for k, (first, second) in zip(named, leaves, strict=True)
    }
    (functional_call(network, products, low) - high).square().mean().backward()
    for pair, leaf_pair in zip(pairs, leaves, strict=True):
        for part, leaf in zip(pair, leaf_pair, strict=True):
            torch.testing.assert_close(part.grad, leaf.grad)


def test_a_weight_without_a_gradient_gives_its_factors_none():
    network, *_ = a_network("srcnn")
    factors = Factors(network, 2)
    factors.take_gradients()
    assert all(p.grad is None for p in factors.parameters())


def test_no_factors_leave_every_parameter_as_it_is():
    network, *_ = a_network("srcnn")
    factors = Factors(network, 0)
    assert all(factors.trained_for(p)[0] is p for p in network.parameters())
    assert not list(factors.parameters())
