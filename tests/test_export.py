from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

import upres
from upres.errors import ScaleError, WeightsError
from upres.export import SubPixelConv, deployable, export, parity_error, to_onnx
from upres.images.resize import imresize
from upres.inference.engines import OpenVINOEngine, read_metadata
from upres.inference.runtime import has_bf16
from upres.networks import NETWORKS, RED, LapSRN, enlarges_first
from upres.networks.layers import exact_transposed_conv
from upres.weights import store

SCALES = [(name, scale) for name in NETWORKS for scale in ((2, 4) if name == "lapsrn" else (2, 3))]
SMALL = {"drcn": {"channels": 16, "recursions": 3}, "drrn": {"channels": 16, "units": 2}, "red": {"layers": 5}}


def trained_looking(name, scale):
    """A network whose output is near a picture, as after training: interpolation and a little noise."""
    torch.manual_seed(0)
    network = NETWORKS[name](scale=scale, **SMALL.get(name, {})).eval()
    network.start_as_interpolation()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.01 * parameter.std(correction=0) * torch.randn_like(parameter)
    return network


def metadata_of(network, name):
    return store.Metadata(
        network=name,
        arguments={"scale": network.scale, **SMALL.get(name, {})},
        scale=network.scale,
        halos={network.scale: network.halo},
        parameters=1,
        recipe={},
        steps=0,
        seed=0,
        data="",
        commit="",
    )


@pytest.mark.parametrize(("kernel_size", "stride"), [(3, 1), (3, 2), (4, 2), (4, 4), (5, 3), (9, 2), (9, 3), (9, 4)])
@pytest.mark.parametrize("bias", [True, False])
def test_sub_pixel_form_computes_the_transposed_convolution(kernel_size, stride, bias):
    transposed = exact_transposed_conv(3, 2, kernel_size, stride=stride, bias=bias)
    x = torch.rand(2, 3, 7, 5)
    with torch.no_grad():
        torch.testing.assert_close(SubPixelConv(transposed)(x), transposed(x))


def test_only_the_picture_keeps_its_transposed_convolution_and_sharing_stays():
    for network in (RED(scale=2, layers=5), LapSRN(scale=4, shared_levels=True, convolutions=2)):
        graph = deployable(network)
        left = [m for m in graph.modules() if isinstance(m, nn.ConvTranspose2d)]
        assert all(m.in_channels == 1 for m in left)
        assert any(isinstance(m, nn.ConvTranspose2d) for m in network.modules())
    assert graph.levels[0] is graph.levels[1]
    assert left == [graph.levels[0].picture_up]


@pytest.mark.skipif(not has_bf16(), reason="this processor has no bfloat16")
def test_bf16_does_not_round_lapsrns_picture(tmp_path, photo):
    torch.manual_seed(0)
    network = LapSRN(scale=4).eval()
    network.start_as_interpolation()
    for level in network.levels:
        nn.init.normal_(level.residual.weight, std=1e-4)  # a residual whose own rounding is far below the picture's
    path = tmp_path / "n.onnx"
    path.write_bytes(to_onnx(network, metadata_of(network, "lapsrn")))
    y = photo[:40, :50, 1].astype(np.float32) / np.float32(255)
    exact, rounded = (OpenVINOEngine(path, precision)(y) for precision in ("f32", "bf16"))
    assert np.abs(rounded - exact).max() * 255 < 0.1  # rounded to bfloat16, values above a half are off by up to 0.5
    assert (rounded != exact).any()


@pytest.mark.parametrize(("name", "scale"), SCALES)
def test_every_network_exports_and_three_engines_agree(name, scale, tmp_path):
    network = trained_looking(name, scale)
    path = tmp_path / "n.onnx"
    path.write_bytes(to_onnx(network, metadata_of(network, name)))
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    openvino = OpenVINOEngine(path)
    assert read_metadata(path)["enlarges_first"] == json.dumps(enlarges_first(network))
    for size in ((1, 1), (2, 9), (33, 21)):
        y = torch.rand(*size)
        with torch.inference_mode():
            expected = network(y[None, None])[0, 0].numpy()
        luma = imresize(y.numpy(), scale) if enlarges_first(network) else y.numpy()
        np.testing.assert_allclose(session.run(None, {"luma": luma[None, None]})[0][0, 0], expected, atol=1e-5)
        np.testing.assert_allclose(openvino(luma), expected, atol=1e-5)


def test_file_carries_the_metadata_and_its_parity(tmp_path):
    network = trained_looking("espcn", 2)
    store.save(network, metadata_of(network, "espcn"), tmp_path / "e.safetensors")
    path = export(tmp_path / "e.safetensors")
    assert path == tmp_path / "e.onnx"
    assert b".py" not in path.read_bytes()  # no stack traces, no paths of this machine
    strings = read_metadata(path)
    assert float(strings.pop("parity")) <= 1e-5
    assert strings.pop("enlarges_first") == "false"
    assert store.Metadata.from_strings(strings, source=path) == metadata_of(network, "espcn")
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_a_graph_that_computes_something_else_is_refused(monkeypatch):
    network = trained_looking("espcn", 2)
    model = onnx.load_from_string(to_onnx(network, metadata_of(network, "espcn")))
    with torch.no_grad():
        network.conv3.bias += 1e-3
    assert parity_error(model, network) == pytest.approx(1e-3, rel=0.01)
    monkeypatch.setattr("upres.export.parity_error", lambda model, network: float("nan"))
    with pytest.raises(WeightsError, match="the exported graph is off by nan"):
        to_onnx(network, metadata_of(network, "espcn"))


@pytest.mark.parametrize("name", ["srcnn", "vdsr"])
@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_one_file_of_a_network_that_enlarges_first_serves_every_scale(name, precision, tmp_path, photo):
    if precision == "bf16" and not has_bf16():
        pytest.skip("this processor lacks bfloat16")
    network = trained_looking(name, 2)
    halos = {scale: NETWORKS[name](scale=scale).halo for scale in (2, 3, 4)}
    store.save(network, replace(metadata_of(network, name), halos=halos), tmp_path / "n.safetensors")
    path = export(tmp_path / "n.safetensors")
    y = (photo[:70, :90, 1] / 255).astype(np.float32)
    for scale in (2, 3, 4):
        at_scale, _ = store.load(tmp_path / "n.safetensors", scale)
        with torch.inference_mode():
            expected = at_scale(torch.from_numpy(y)[None, None])[0, 0].numpy()
        for tile in (512, 40):
            upscaler = upres.load(path, scale, precision=precision, tile=tile)
            tolerance = 1e-5 if precision == "f32" else 0.02
            np.testing.assert_allclose(upscaler.luma(y), expected, atol=tolerance)
    with pytest.raises(ScaleError, match="has no scale 5; it has 2, 3, 4"):
        upres.load(path, 5)


def test_what_half_precision_holds_is_stored_so():
    network = trained_looking("vdsr", 2)
    whole = to_onnx(network, metadata_of(network, "vdsr"))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(parameter.half())
    half = to_onnx(network, metadata_of(network, "vdsr"))
    assert len(half) < 0.52 * len(whole)
