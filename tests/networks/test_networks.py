from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from upres.images.resize import imresize
from upres.networks import DRCN, DRRN, ESPCN, FSRCNN, NETWORKS, RED, SRCNN, VDSR, LapSRN, Network
from upres.networks.layers import (
    BicubicEnlarge,
    bilinear_phases,
    bilinear_transposed,
    draw_blind_to_brightness,
    draw_near_identity,
    draw_pairs,
    exact_transposed_conv,
    leaky_relu,
    tanh,
    transposed_conv_to_one_channel,
)
from upres.networks.widening import can_widen, widen

SCALES = [(name, scale) for name in NETWORKS for scale in ((2, 4, 8) if name == "lapsrn" else (2, 3, 4))]

# The forms in the notes and the papers' variants, each with its weights counted without biases and slopes.
VARIANTS: dict[str, tuple[Callable[[], Network], int]] = {
    "SRCNN 9-5-5": (lambda: SRCNN(scale=2), 57_184),
    "SRCNN 9-3-5": (lambda: SRCNN(scale=2, kernel_sizes=(9, 3, 5)), 24_416),
    "SRCNN 9-1-5, notes": (lambda: SRCNN(scale=2, kernel_sizes=(9, 1, 5)), 8_032),
    "FSRCNN(56, 12, 4)": (lambda: FSRCNN(scale=2), 12_464),
    "FSRCNN-s(32, 5, 1)": (lambda: FSRCNN(scale=2, d=32, s=5, m=1), 3_937),
    "FSRCNN, notes": (lambda: FSRCNN(scale=2, mapping_activations=False, shared_slope=True), 12_464),
    "ESPCN x2": (lambda: ESPCN(scale=2), 21_184),
    "ESPCN x3": (lambda: ESPCN(scale=3), 22_624),
    "ESPCN x4": (lambda: ESPCN(scale=4), 24_640),
    "VDSR": (lambda: VDSR(scale=2), 664_704),
    "VDSR, notes": (lambda: VDSR(scale=2, depth=22, centred_residual=True), 664_704 + 2 * 36_864),
    "DRCN": (lambda: DRCN(scale=2), 1_774_080),
    "DRCN, notes": (
        lambda: DRCN(scale=2, embedding_layers=1, reconstruction_layers=1, output_relu=True, ensemble_bias=True),
        594_432,
    ),
    "RED30": (lambda: RED(scale=2), 1_033_344),
    "RED30 with 128": (lambda: RED(scale=2, channels=128), 4_131_072),
    "RED20": (lambda: RED(scale=2, layers=10), 664_704),
    "RED10": (lambda: RED(scale=2, layers=5), 296_064),
    "RED, notes": (
        lambda: RED(scale=2, layers=6, channels=32, low_resolution=True, relu_after_sum=False),
        2 * 9 * 32 + 10 * 9 * 32 * 32,
    ),
    "DRRN B1U25": (lambda: DRRN(scale=2), 297_216),
    "DRRN B1U9": (lambda: DRRN(scale=2, units=9), 297_216),
    "DRRN B1U5 with 32": (lambda: DRRN(scale=2, units=5, channels=32), 2 * 9 * 32 + 2 * 9 * 32 * 32),
    "DRRN without BN": (lambda: DRRN(scale=2, units=9, batch_norm=False), 297_216),
    "DRRN, notes": (
        lambda: DRRN(scale=2, units=15, unit="post_activation"),
        2 * 9 * 128 + 2 * 9 * 128 * 128 + 2 * 128 * 128,
    ),
    "LapSRN x2": (lambda: LapSRN(scale=2), 406_672),
    "LapSRN x4": (lambda: LapSRN(scale=4), 812_768),
    "LapSRN x8": (lambda: LapSRN(scale=8), 1_218_864),
    "LapSRN x4, paper's 4x4": (lambda: LapSRN(scale=4, up_kernel=4), 812_768 + 2 * 7 * 64 * 64),
    "LapSRN x8, notes": (
        lambda: LapSRN(scale=8, convolutions=3, up_kernel=4, shared_levels=True),
        576 + 3 * 36_864 + 65_536 + 576 + 16,
    ),
}
SMALL = {
    "vdsr": {"channels": 8},
    "drcn": {"channels": 8, "recursions": 4},
    "red": {"channels": 8},
    "drrn": {"channels": 8, "units": 3},
    "lapsrn": {"channels": 8},
}


def small(name: str, scale: int) -> Network:
    torch.manual_seed(0)
    return NETWORKS[name](scale=scale, **SMALL.get(name, {})).eval()


@pytest.mark.parametrize("variant", VARIANTS)
def test_parameter_counts_are_those_of_the_papers(variant):
    make, expected = VARIANTS[variant]
    assert sum(p.numel() for p in make().parameters() if p.ndim == 4) == expected


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_keeps_the_contract(variant):
    network, y = VARIANTS[variant][0]().eval(), torch.rand(1, 1, 3, 2)
    with torch.inference_mode():
        outputs = network.outputs(y)
        assert outputs[-1].shape == (1, 1, 3 * network.scale, 2 * network.scale)
        torch.testing.assert_close(outputs[-1], network(y), rtol=0, atol=0)


@pytest.mark.parametrize(("name", "scale"), SCALES)
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (2, 1), (5, 3), (16, 17)])
def test_output_is_exactly_scale_times_the_input(name, scale, size):
    with torch.inference_mode():
        result = small(name, scale)(torch.rand(2, 1, *size))
    assert result.shape == (2, 1, scale * size[0], scale * size[1])
    assert result.isfinite().all()


@pytest.mark.parametrize(("name", "scale"), SCALES)
def test_last_supervised_prediction_is_the_output(name, scale):
    network, y = small(name, scale), torch.rand(1, 1, 9, 8)
    with torch.inference_mode():
        outputs = network.outputs(y)
        torch.testing.assert_close(outputs[-1], network(y), rtol=0, atol=0)
    expected = {"drcn": 5, "lapsrn": scale.bit_length() - 1}.get(name, 1)
    assert len(outputs) == expected


@pytest.mark.parametrize(("name", "scale"), SCALES)
def test_halo_is_how_far_the_gradient_reaches(name, scale):
    network = small(name, scale).double()
    for parameter in network.parameters():
        nn.init.uniform_(parameter, 0.01, 0.02)  # positive throughout, so that no ReLU hides a path
    assert network.halo is not None
    middle = network.halo + 2
    y = torch.rand(1, 1, 2 * middle + 1, 2 * middle + 1, dtype=torch.float64, requires_grad=True)
    output = network(y)
    reach = 0
    for phase in (0, scale - 1):
        (gradient,) = torch.autograd.grad(
            output[0, 0, middle * scale + phase, middle * scale + phase], y, retain_graph=True
        )
        reach = max(reach, int((gradient[0, 0].nonzero() - middle).abs().max()))
    assert reach <= network.halo
    assert reach >= network.halo - 1  # the bicubic enlargement's two pixels are counted in full on either side


@pytest.mark.parametrize("name", NETWORKS)
def test_overfits_one_patch(name):
    torch.manual_seed(0)
    network = NETWORKS[name](scale=2)
    network.start_as_interpolation()
    truth = torch.from_numpy(_texture(16))[None, None]
    low = torch.from_numpy(imresize(truth[0, 0].numpy(), 0.5))[None, None]
    deep = name in ("vdsr", "drcn", "red", "drrn")
    optimizer = torch.optim.Adam(network.parameters(), 5e-4 if deep else 2e-3)

    def error(result: Tensor) -> float:
        return float((result.detach() - truth).abs().mean())

    first = error(network(low))
    for _ in range(150):
        result = network(low)
        if error(result) < 0.4 * first:
            return
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(result, truth).backward()
        optimizer.step()
    pytest.fail(f"after 150 steps the error is {error(network(low)):.4f}; it began at {first:.4f}")


def _texture(side: int) -> np.ndarray:
    i, j = np.mgrid[:side, :side]
    return (0.5 + 0.2 * np.sin(i * 1.9) + 0.2 * np.cos(j * 1.3 + i)).astype(np.float32)


@pytest.mark.parametrize("scale", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("size", [(1, 1), (1, 2), (3, 1), (7, 5), (30, 20)])
def test_bicubic_layer_equals_imresize(scale, size):
    y = np.random.default_rng(0).random(size)
    result = BicubicEnlarge(scale).double()(torch.from_numpy(y)[None, None])[0, 0].numpy()
    np.testing.assert_allclose(result, imresize(y, scale), atol=1e-7)  # the layer's kernel is kept in float32


@pytest.mark.parametrize("name", ["vdsr", "drcn", "red", "drrn"])
def test_residual_networks_start_as_bicubic(name):
    network = small(name, 3)
    network.start_as_interpolation()
    y = torch.rand(1, 1, 8, 9)
    torch.testing.assert_close(network(y), BicubicEnlarge(3)(y))


@pytest.mark.parametrize("name", ["srcnn", "fsrcnn", "espcn"])
def test_the_residual_form_starts_as_bicubic_at_the_same_size(name):
    network = NETWORKS[name](scale=3, residual=True)
    network.start_as_interpolation()
    y = torch.rand(1, 1, 8, 9)
    torch.testing.assert_close(network(y), BicubicEnlarge(3)(y))
    sizes = [sum(p.numel() for p in n.parameters()) for n in (network, NETWORKS[name](scale=3))]
    assert sizes[0] == sizes[1]


@pytest.mark.parametrize(
    ("name", "scale", "tolerance"),
    [
        ("srcnn", 2, 0.02),
        ("lapsrn", 2, 1e-5),
        ("lapsrn", 4, 1e-5),
        *((n, s, 0.06) for n in ("espcn", "fsrcnn") for s in (2, 3, 4)),
    ],
)
def test_the_others_start_as_interpolation(name, scale, tolerance):
    network = NETWORKS[name](scale=scale).eval()
    network.start_as_interpolation()
    y = 0.3 + 0.4 * torch.rand(1, 1, 24, 24)
    mode = "bicubic" if name == "srcnn" else "bilinear"
    expected = BicubicEnlarge(scale)(y) if mode == "bicubic" else y
    for factor in [] if mode == "bicubic" else [2] * (scale.bit_length() - 1) if name == "lapsrn" else [scale]:
        expected = nn.functional.interpolate(expected, scale_factor=factor, mode="bilinear")
    inside = (..., slice(8 * scale, -8 * scale), slice(8 * scale, -8 * scale))
    assert (network(y) - expected)[inside].abs().mean() < tolerance


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_bilinear_kernels_agree_with_torch(scale):
    y = torch.rand(1, 1, 12, 10)
    expected = nn.functional.interpolate(y, scale_factor=scale, mode="bilinear")
    inside = (..., slice(2 * scale, -2 * scale), slice(2 * scale, -2 * scale))
    phases = nn.functional.conv2d(y, bilinear_phases(scale)[:, None], padding=1)
    torch.testing.assert_close(nn.functional.pixel_shuffle(phases, scale)[inside], expected[inside])
    up = exact_transposed_conv(1, 1, 9, stride=scale, bias=False)
    with torch.no_grad():
        up.weight[0, 0] = bilinear_transposed(9, stride=scale)
    torch.testing.assert_close(up(y)[inside], expected[inside])


def test_drrn_units_share_convolutions_and_add_the_blocks_start():
    network = DRRN(scale=2, units=3, channels=4, batch_norm=False).eval()
    block = network.blocks[0]
    x = torch.rand(1, 1, 6, 6)
    one, two = block.units[0][0].conv, block.units[0][1].conv
    start = block.first.conv(x.relu())
    expected = start
    for _ in range(3):
        expected = two(one(expected.relu()).relu()) + start
    torch.testing.assert_close(block(x), expected)


def test_lapsrn_names_the_scales_it_has():
    with pytest.raises(ValueError, match="scale 3; it doubles level by level, so choose 2, 4 or 8"):
        LapSRN(scale=3)


def test_a_transposed_kernel_below_its_stride_is_refused():
    with pytest.raises(ValueError, match="kernel_size 3 is below stride 4"):
        exact_transposed_conv(1, 1, 3, stride=4)
    with pytest.raises(ValueError, match="kernel_size 4 is even; with stride 1 give an odd one"):
        exact_transposed_conv(1, 1, 4, stride=1)


@pytest.mark.parametrize("slope", [0.0, 0.2])
def test_filters_blind_to_brightness_keep_the_variance_of_what_passes_them(slope):
    torch.manual_seed(0)
    convs = [nn.Conv2d(64, 64, 3) for _ in range(6)]
    x = F.leaky_relu(torch.randn(8, 64, 30, 30), slope)
    before = x.var()
    for conv in convs:
        draw_blind_to_brightness(conv, slope=slope)
        assert conv.weight.sum(dim=(1, 2, 3)).abs().max() < 1e-4
        assert conv(torch.ones(1, 64, 3, 3)).flatten().sub(conv.bias).abs().max() < 1e-4
        x = F.leaky_relu(conv(x) - conv.bias[:, None, None], slope)
    assert 0.7 < x.var() / before < 1.4


@pytest.mark.parametrize("channels", [7, 8])
def test_pairs_of_filters_and_layers_near_identity_lose_nothing(channels):
    """The picture, and what each filter sees of it, can be told from what comes out behind three layers."""
    torch.manual_seed(0)
    first, hidden = nn.Conv2d(1, channels, 3, bias=False), nn.Conv2d(channels, channels, 3, bias=False)
    draw_pairs(first, norm=2.0)
    draw_near_identity(hidden, share=0.0)
    y = torch.rand(2, 1, 20, 20)
    x = first(y).relu()
    for _ in range(2):
        x = hidden(x).relu()
    pairs = -(-channels // 2)
    torch.testing.assert_close(x[:, :1], y[..., 3:-3, 3:-3])
    seen = F.conv2d(y[..., 2:-2, 2:-2], first.weight)
    torch.testing.assert_close(x[:, : channels - pairs] - x[:, pairs:], seen[:, : channels - pairs])
    assert first(torch.ones(1, 1, 3, 3))[0, 1:pairs].abs().max() < 1e-5


def test_a_layer_near_identity_adds_a_share_of_a_plain_draw():
    torch.manual_seed(0)
    conv = nn.Conv2d(64, 64, 3)
    draw_near_identity(conv, share=0.3)
    identity = nn.init.dirac_(torch.empty_like(conv.weight))
    assert (conv.weight - identity).std().item() == pytest.approx(0.3 * (2 / 576) ** 0.5, rel=0.02)


def test_hardly_a_channel_of_vdsr_starts_cut_off():
    torch.manual_seed(0)
    network = VDSR(scale=2)
    network.start_as_interpolation()
    x = network.enlarge(torch.rand(1, 1, 24, 24))
    for layer in network.body:
        x = layer(x)
        if isinstance(layer, nn.ReLU):
            is_on = (x > 0).float().mean(dim=(0, 2, 3))
            assert (is_on < 0.01).sum() <= 2


@pytest.mark.parametrize(
    ("make", "channels"),
    [
        (lambda n: DRCN(scale=2, recursions=3, channels=n), (8, 24)),
        (lambda n: RED(scale=3, layers=5, channels=n), (4, 8)),
        (lambda n: LapSRN(scale=4, convolutions=2, channels=n), (4, 8)),
        (lambda n: DRRN(scale=2, units=2, channels=n), (4, 8)),
        (lambda n: FSRCNN(scale=2, d=n, s=n // 2, m=1), (8, 16)),
    ],
    ids=["drcn", "red", "lapsrn", "drrn", "fsrcnn"],
)
def test_a_widened_network_computes_the_same_and_its_copies_come_apart(make, channels):
    torch.manual_seed(0)
    narrow, wide = map(make, channels)
    for parameter in narrow.parameters():
        if parameter.ndim < 4:
            nn.init.uniform_(parameter, -0.1, 0.2)
    assert can_widen(narrow, wide)
    assert not can_widen(wide, narrow)
    assert not can_widen(narrow, narrow)
    widen(narrow, wide)
    y = torch.rand(2, 1, 13, 11)
    for network in (narrow, wide):
        network.train()
    torch.testing.assert_close(wide(y), narrow(y), atol=1e-4, rtol=1e-4)
    wide(y).square().mean().backward()
    few = channels[0]
    hidden = next(p for p in wide.parameters() if p.ndim == 4 and p.shape[1] == channels[1])
    assert hidden.grad is not None
    first = next(p for p in wide.parameters() if p.ndim == 4)
    assert first.grad is not None
    torch.testing.assert_close(first[:few], first[few : 2 * few])
    assert (first.grad[:few] - first.grad[few : 2 * few]).abs().max() > 1e-3 * first.grad.abs().max()


def test_leaky_relu_is_pytorchs_in_value_and_gradient():
    x = torch.tensor([-3.0, -1e-3, 1e-3, 2.0], requires_grad=True)
    for training in (True, False):
        y = leaky_relu(x, 0.2, training=training)
        theirs = F.leaky_relu(x, 0.2)
        assert torch.equal(y, theirs)
        assert torch.equal(*(torch.autograd.grad(z.sum(), x)[0] for z in (y, theirs)))


def test_tanh_is_pytorchs_in_value_and_gradient():
    x = torch.linspace(-12, 12, 1001, requires_grad=True)
    compiled = torch.compile(lambda x: tanh(x, training=True), backend="eager")
    for ours in (compiled(x), tanh(x, training=False)):
        theirs = x.tanh()
        torch.testing.assert_close(ours, theirs, atol=5e-7, rtol=0)
        torch.testing.assert_close(*(torch.autograd.grad(y.sum(), x)[0] for y in (ours, theirs)), atol=5e-7, rtol=0)
    small = torch.linspace(0.01, 0.05, 100, dtype=torch.bfloat16)
    assert torch.equal(tanh(small, training=True), small.tanh())


@pytest.mark.parametrize("size", [(6, 8), (7, 5), (1, 1)])
@pytest.mark.parametrize(("scale", "kernel_size"), [(1, 9), (2, 9), (3, 9), (4, 9), (2, 4), (3, 3), (5, 8)])
def test_a_transposed_convolution_is_the_same_in_training(size, scale, kernel_size):
    conv = exact_transposed_conv(3, 1, kernel_size, stride=scale).double()
    x = torch.randn(2, 3, *size, dtype=torch.double, requires_grad=True)
    ours, theirs = (transposed_conv_to_one_channel(conv, x, training=training) for training in (True, False))
    assert theirs.shape == (2, 1, scale * size[0], scale * size[1])
    wanted = torch.randn_like(theirs)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(
        *(torch.autograd.grad((y * wanted).sum(), (x, conv.weight, conv.bias)) for y in (ours, theirs))
    )
