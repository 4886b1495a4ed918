from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

import upres
from upres.errors import UsageError
from upres.images.resize import imresize
from upres.inference import graphs, quantize
from upres.inference.engines import OpenVINOEngine
from upres.inference.runtime import core, has_bf16, has_int8, is_x86_without_dot_products
from upres.weights import catalog

RECORDS = [
    pytest.param(record, id=f"{record.name}-x{record.scale}", marks=[pytest.mark.slow] * (record.name == "drcn"))
    for record in upres.models()
]
needs_int8 = pytest.mark.skipif(not has_int8(), reason="OpenVINO has no int8 on this processor")


def quantized(name, scale):
    graph = graphs.prepare(core().read_model(str(catalog.find(name, scale).onnx)))
    quantize.quantize(graph)
    return graph.model


def test_dead_leaves_are_always_the_same_and_have_flat_parts_with_sharp_edges():
    picture = quantize.dead_leaves(96)
    assert picture.shape == (96, 96)
    assert picture.min() < 0.05
    assert picture.max() > 0.95
    np.testing.assert_array_equal(picture, quantize.dead_leaves(96))
    flat = ndimage.maximum_filter(picture, 3) == ndimage.minimum_filter(picture, 3)
    assert 0.2 < flat.mean() < 0.9


@needs_int8
@pytest.mark.parametrize(("name", "others"), [("fsrcnn", 2), ("espcn", 0), ("srcnn", 0), ("vdsr", 0), ("lapsrn", 1)])
def test_all_convolutions_but_first_last_transposed_and_single_pixels_run_in_integers(name, others):
    compiled = core().compile_model(quantized(name, 2), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    compiled(np.zeros((1, 1, 16, 16), np.float32))
    about = [node.get_rt_info() for node in compiled.get_runtime_model().get_ordered_ops()]
    ran = [(str(a["layerType"].value), str(a["runtimePrecision"].value)) for a in about if "layerType" in a]
    integers = sum(kind == "Convolution" and precision in ("u8", "i8") for kind, precision in ran)
    floats = sum(kind in ("Convolution", "Deconvolution") and precision == "f32" for kind, precision in ran)
    kinds = ("Convolution", "ConvolutionBackpropData")
    total = sum(node.get_type_name() in kinds for node in quantized(name, 2).get_ordered_ops())
    assert floats == 2 + others
    assert integers == total - floats


@needs_int8
@pytest.mark.parametrize("record", RECORDS)
def test_int8_stays_near_float32(record, photo):
    y = np.ascontiguousarray(photo[60:120, 100:180, 1]).astype(np.float32) / np.float32(255)
    exact, rounded = (upres.load(record.name, record.scale, precision=p).luma(y) for p in ("f32", "int8"))
    found = np.sqrt(np.mean((exact - imresize(y, record.scale)) ** 2))
    # Of what bicubic interpolation lacks, two thirds and more survive.
    assert np.sqrt(np.mean((rounded - exact) ** 2)) < found / 3
    # SRCNN 9-1-5 is all first, last and single pixels, so that what it loses is bf16's.
    assert (rounded != exact).any() == (has_bf16() or record.name != "srcnn-915")


@needs_int8
@pytest.mark.parametrize(
    "shares",
    [
        (1, -0.5),
        pytest.param(
            (1, 1),
            marks=pytest.mark.xfail(
                is_x86_without_dot_products(), reason="sums of two products of bytes saturate here", strict=True
            ),
        ),
    ],
)
def test_channels_of_different_width_are_each_rounded_in_their_own_range(shares):
    from openvino import Model, opset13

    luma = opset13.parameter([1, 1, -1, -1], np.float32)
    widths = np.array([1.0, 0.01], np.float32)
    spread = opset13.convolution(luma, widths.reshape(2, 1, 1, 1), [1, 1], [0, 0], [0, 0], [1, 1])
    sums = np.zeros((1, 2, 3, 3), np.float32)
    sums[0, :, 1, 1] = shares / widths
    summed = opset13.convolution(spread, sums, [1, 1], [1, 1], [1, 1], [1, 1])
    last = opset13.convolution(summed, np.ones((1, 1, 1, 1), np.float32), [1, 1], [0, 0], [0, 0], [1, 1])
    graph = graphs.LumaGraph(
        Model([last], [luma]), graphs.Interface(scale=2, is_residual=False, values_per_pixel=3, work={})
    )
    quantize.quantize(graph)
    rounded = [node for node in graph.model.get_ops() if node.get_type_name() == "FakeQuantize"]
    assert len(rounded) == 2  # what the second convolution reads, and its weights; the first and the last are left
    ramp = np.linspace(0, 1, 256, dtype=np.float32).reshape(1, 1, 16, 16)
    result = core().compile_model(graph.model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(ramp)[0]
    assert np.abs(result - sum(shares) * ramp).max() < 2.5 / 255


@needs_int8
def test_deeper_pictures_run_in_float32(photo):
    deep = photo.astype(np.uint16) * 257
    asked = upres.load("fsrcnn", 2, precision="int8")
    assert asked.precision_for(deep.dtype) == "f32"
    np.testing.assert_array_equal(asked(deep), upres.load("fsrcnn", 2, precision="f32")(deep))


@pytest.mark.parametrize("precision", ["bf16", "int8"])
@pytest.mark.parametrize("record", [param for param in RECORDS if param.values[0].scale == 2])
def test_narrow_pictures_are_as_right_as_wide_ones(record, precision):
    if not {"bf16": has_bf16, "int8": has_int8}[precision]():
        pytest.skip(f"this processor has no {precision}")
    found = catalog.find(record.name, 2).onnx
    exact, asked = OpenVINOEngine(found, "f32", workers=1), OpenVINOEngine(found, precision, workers=1)
    random = np.random.default_rng(0)
    for height, width in [(1, 1), (2, 2), (64, 2), (40, 3), (33, 4), (70, 5), (70, 7), (70, 8), (64, 9), (3, 50)]:
        y = (0.4 + 0.2 * random.random((height, width))).astype(np.float32)
        np.testing.assert_allclose(asked(y), exact(y), atol=0.02 if precision == "bf16" else 0.1)
        np.testing.assert_allclose(asked.residual(y), exact.residual(y), atol=0.02 if precision == "bf16" else 0.1)


@needs_int8
def test_fsrcnn_runs_at_any_size():
    """Where its layers of single pixels ran in integers, some of these sizes crashed on AMX."""
    engine, exact = (OpenVINOEngine(catalog.find("fsrcnn", 2).onnx, p, workers=1) for p in ("int8", "f32"))
    random = np.random.default_rng(0)
    for size in [(64, 2), (68, 132), (188, 130), (127, 136), *random.integers(8, 200, (40, 2))]:
        y = (0.4 + 0.2 * random.random(tuple(size))).astype(np.float32)
        np.testing.assert_allclose(engine(y), exact(y), atol=0.1)


@needs_int8
def test_tiles_do_not_show(photo):
    y = photo[:90, :120, 1].astype(np.float32) / np.float32(255)
    whole, tiled = (upres.load("fsrcnn", 2, precision="int8", tile=tile).luma(y) for tile in (512, 24))
    np.testing.assert_allclose(tiled, whole, atol=1e-5)


def test_other_engines_say_that_they_have_no_int8():
    with pytest.raises(UsageError, match="engine onnxruntime has no int8 here; use precision f32 or auto"):
        upres.load("fsrcnn", 2, engine="onnxruntime", precision="int8")
    with pytest.raises(UsageError, match="export the file for int8"):
        upres.load("fsrcnn", 2, engine="torch", precision="int8")


def test_a_processor_without_it_is_told(monkeypatch):
    monkeypatch.setattr("upres.inference.engines.has_int8", lambda: False)
    with pytest.raises(UsageError, match="precision int8 was asked for; this processor lacks it"):
        OpenVINOEngine(catalog.find("fsrcnn", 2).onnx, "int8")


@needs_int8
@pytest.mark.parametrize("name", ["espcn", "fsrcnn", "srcnn", "lapsrn"])
def test_hard_edges_survive(name):
    from PIL import Image, ImageDraw

    page = Image.new("L", (96, 96), 255)
    for line in range(9):
        ImageDraw.Draw(page).text((1, line * 11), f"The quick brown fox {line}", fill=0)
    text = np.asarray(page).astype(np.float32) / 255
    exact, rounded = (np.clip(upres.load(name, 2, precision=p).luma(text), 0, 1) for p in ("f32", "int8"))
    assert -10 * np.log10(np.mean((exact - rounded) ** 2)) > 40
