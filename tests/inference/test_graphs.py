from __future__ import annotations

import numpy as np
import pytest
import torch

import upres
from upres.export import PARITY, to_onnx
from upres.images.resize import imresize
from upres.inference import graphs, runtime
from upres.inference.engines import EnlargesFirst, OnnxRuntimeEngine, OpenVINOEngine
from upres.inference.runtime import Compiled, core, has_bf16
from upres.networks import NETWORKS, enlarges_first
from upres.weights import catalog
from upres.weights.store import Metadata

SMALL = {
    "vdsr": {"channels": 8, "depth": 4},
    "drcn": {"channels": 8, "recursions": 3},
    "red": {"channels": 8, "layers": 4},
    "drrn": {"channels": 8, "units": 2},
}
SCALES = {"lapsrn": (2, 4)}


def cases():
    for name in NETWORKS:
        for scale in SCALES.get(name, (2, 3, 4)):
            yield pytest.param(name, scale, id=f"{name}-x{scale}")
    yield pytest.param("fsrcnn-residual", 2, id="fsrcnn-residual-x2")
    yield pytest.param("espcn-residual", 2, id="espcn-residual-x2")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Makes the ONNX file of an untrained network, and keeps it."""
    folder = tmp_path_factory.mktemp("onnx")

    def make(name, scale):
        path = folder / f"{name}-{scale}.onnx"
        kind, _, residual = name.partition("-")
        torch.manual_seed(scale)
        network = NETWORKS[kind](scale=scale, **SMALL.get(kind, {}), **({"residual": True} if residual else {})).eval()
        if not path.exists():
            for parameter in network.parameters():
                torch.nn.init.normal_(parameter, std=0.5 * parameter[0].numel() ** -0.5)
            metadata = Metadata(
                network=kind,
                arguments={"scale": scale},
                scale=scale,
                halos={scale: network.halo},
                parameters=1,
                recipe={},
                steps=0,
                seed=0,
                data="",
                commit="",
            )
            path.write_bytes(to_onnx(network, metadata))
        return path, enlarges_first(network)

    return make


@pytest.mark.parametrize(("name", "scale"), list(cases()))
def test_rewritten_graphs_compute_what_onnxruntime_computes(exported, name, scale):
    path, first = exported(name, scale)
    reference, rewritten = OnnxRuntimeEngine(path), OpenVINOEngine(path)
    if first:
        reference, rewritten = EnlargesFirst(reference, scale), EnlargesFirst(rewritten, scale)
    for height, width in ((1, 1), (7, 10), (22, 13), (16, 16)):
        y = np.random.default_rng(height).random((height, width), np.float32)
        expected = reference(y)
        tolerance = PARITY * max(np.abs(expected).max(), 1)
        np.testing.assert_allclose(rewritten(y), expected, atol=tolerance)
        np.testing.assert_allclose(rewritten.residual(y), expected - imresize(y, scale), atol=tolerance)


@pytest.mark.parametrize(
    ("machine", "features", "activation"),
    [
        ("x86_64", ["avx2", "fma"], "Sigmoid"),
        ("AMD64", [], "Sigmoid"),
        ("x86_64", ["avx2", "avx512f"], "Tanh"),
        ("arm64", [], "Tanh"),
    ],
)
def test_tanh_is_computed_by_the_sigmoid_where_that_is_faster(machine, features, activation, monkeypatch, exported):
    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr(runtime, "processor_features", lambda: frozenset(features))
    path, _ = exported("espcn", 2)
    graph = graphs.prepare(core().read_model(str(path)))
    kinds = [node.get_type_name() for node in graph.model.get_ordered_ops()]
    assert [kind for kind in kinds if kind in ("Tanh", "Sigmoid")] == [activation] * 2
    y = np.random.default_rng(0).random((9, 12), np.float32)
    (result,) = Compiled(graph.model, "f32", streams=1)(*graph.interface.inputs(y))[0]
    np.testing.assert_allclose(result, OnnxRuntimeEngine(path)(y), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "scale", "channels"), [("fsrcnn", 2, 16), ("fsrcnn", 3, 9), ("espcn", 2, 16), ("srcnn", 2, 16)]
)
def test_the_last_convolution_fills_a_register_where_that_pays(name, scale, channels):
    graph = graphs.prepare(core().read_model(str(catalog.find(name, scale).onnx)))
    *_, last = (node for node in graph.model.get_ordered_ops() if node.get_type_name() == "Convolution")
    assert last.get_output_partial_shape(0)[1].get_length() == channels


@pytest.mark.parametrize(("scale", "modes"), [(2, []), (4, ["blocks_first"])])
def test_features_are_shuffled_only_for_further_levels_and_pixel_by_pixel(scale, modes):
    graph = graphs.prepare(core().read_model(str(catalog.find("lapsrn", scale).onnx)))
    shuffles = [node for node in graph.model.get_ordered_ops() if node.get_type_name() == "DepthToSpace"]
    of_features = [node for node in shuffles if node.get_output_partial_shape(0)[1].get_length() > 1]
    assert [node.get_attributes()["mode"] for node in of_features] == modes


@pytest.mark.parametrize("record", upres.models(), ids=lambda record: f"{record.name}-x{record.scale}")
def test_shipped_networks_run_without_the_bicubic_picture(record):
    graph = graphs.prepare(core().read_model(str(record.onnx)))
    assert graph.interface.is_residual == (record.name != "lapsrn")  # which learns how to enlarge the picture
    assert graph.interface.scale == (1 if record.enlarges_first else record.scale)


@pytest.mark.parametrize("name", ["vdsr", "red", "lapsrn", "drrn", "drcn-64"])
def test_luma_in_two_parts_is_the_same_luma(name, photo):
    """In float32 it changes nothing; in bfloat16 it undoes the rounding of the luma."""
    path = str(catalog.find(name, 2).onnx)
    y = (photo[40:100, 60:140, 1] / 255).astype(np.float32)
    plain, parted = graphs.prepare(core().read_model(path)), graphs.prepare(core().read_model(path))
    parted = graphs.with_exact_input(parted)
    assert (plain.interface.in_parts, parted.interface.in_parts) == (False, True)
    expected, result = (
        Compiled(graph.model, "f32", streams=1)(*graph.interface.inputs(y)) for graph in (plain, parted)
    )
    np.testing.assert_allclose(result, expected, atol=1e-5)
    if has_bf16():
        errors = [
            np.abs(Compiled(graph.model, "bf16", streams=1)(*graph.interface.inputs(y)) - expected).mean()
            for graph in (plain, parted)
        ]
        assert errors[1] < 0.8 * errors[0]


@pytest.mark.parametrize("name", ["espcn", "fsrcnn", "srcnn"])
def test_small_networks_keep_their_first_layer(name):
    graph = graphs.prepare(core().read_model(str(catalog.find(name, 2).onnx)))
    assert graphs.with_exact_input(graph) is graph


@pytest.mark.parametrize(("name", "values"), [("espcn", 64 + 64), ("fsrcnn", 56 + 56), ("srcnn", 64 + 64)])
def test_what_is_held_at_once_are_the_two_widest_layers(name, values):
    graph = graphs.prepare(core().read_model(str(catalog.find(name, 2).onnx)))
    assert graph.interface.values_per_pixel == values
