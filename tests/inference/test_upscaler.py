from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import upres
from upres.errors import MissingExtraError, ScaleError, UnknownModelError, UsageError, WeightsError
from upres.images import colour
from upres.images.resize import imresize
from upres.inference import loading

DTYPES = ("uint8", "uint16", "float32", "float64")
SHAPES = ((), (1,), (2,), (3,), (4,))


@pytest.fixture(scope="module")
def double():
    return upres.load("fsrcnn", 2, precision="f32")


@pytest.fixture(scope="module", params=["fsrcnn", "espcn", "bicubic"])
def model(request):
    return upres.load(request.param, 2)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 40), st.integers(1, 40), st.sampled_from(DTYPES), st.sampled_from(SHAPES), st.integers(0, 2**32 - 1)
)
def test_any_picture_keeps_dtype_and_channels(height, width, dtype, channels, seed):
    random = np.random.default_rng(seed).random((height, width, *channels))
    peak = {"uint8": 255, "uint16": 65535}.get(dtype, 1)
    picture = (random * peak).astype(dtype)
    before = picture.copy()
    for name in ("fsrcnn", "bicubic"):
        large = upres.upscale(picture, 2, name)
        assert large.dtype == picture.dtype
        assert large.shape == (2 * height, 2 * width, *channels)
        assert large.max() <= peak
        assert large.min() >= 0
    np.testing.assert_array_equal(picture, before)


def test_flat_pictures_keep_their_colour(model):
    for value in ((0, 0, 0), (255, 255, 255), (200, 30, 90)):
        for size in ((40, 40), (1, 1), (1, 40), (40, 1), (3, 3)):
            picture = np.full((*size, 3), value, np.uint8)
            assert np.abs(model(picture).astype(int) - value).max() <= 2, size


def test_gray_goes_the_way_of_equal_channels(double, photo):
    gray = photo[..., 1]
    colours = double(np.stack([gray] * 3, axis=-1))
    assert np.abs(colours - double(gray)[..., None].astype(int)).max() <= 1
    np.testing.assert_array_equal(double(gray[..., None])[..., 0], double(gray))


def test_colour_is_the_network_on_luma_and_bicubic_on_the_rest(double, photo):
    result = colour.rgb_to_ycbcr(double(photo / 255.0) * 255.0)
    ycbcr = colour.rgb_to_ycbcr(photo)
    inside = (photo.repeat(2, 0).repeat(2, 1) > 40).all(-1) & (photo.repeat(2, 0).repeat(2, 1) < 215).all(
        -1
    )  # not clipped
    network_sees_no_border = np.zeros_like(inside)
    network_sees_no_border[16:-16, 16:-16] = True
    inside &= network_sees_no_border
    expected = double.luma(ycbcr[..., 0] / 255) * 255
    np.testing.assert_allclose(result[..., 0][inside], expected[inside], atol=0.02)
    np.testing.assert_allclose(result[..., 1:][inside], imresize(ycbcr[..., 1:], 2)[inside], atol=0.02)


def test_luma_is_not_clipped_and_takes_doubles(double):
    edge = np.zeros((32, 32))
    edge[:, 16:] = 1
    result = double.luma(edge)
    assert result.dtype == np.float32
    assert result.max() > 1
    assert result.min() < 0


@pytest.mark.parametrize("name", ["fsrcnn", "bicubic"])
@pytest.mark.parametrize("hidden", [0, 1, 2])
def test_transparency_leaves_no_fringe(name, hidden):
    # A disc on transparent green: enlarged, neither green nor black may show through where it can be seen.
    i, j = np.mgrid[:41, :39]
    disc = (i - 20) ** 2 + (j - 20) ** 2 < 144
    colour = (200, 90, 120)
    picture = np.zeros((41, 39, 4), np.uint8)
    picture[...] = (0, 255, 0, hidden)
    picture[disc] = (*colour, 255)
    large = upres.upscale(picture, 2, name).astype(int)
    visible = large[..., 3] > 32
    assert np.abs(large[visible][:, :3] - colour).max() <= 2 + 10 * hidden
    assert large[..., 3].max() == 255
    assert large[0, 0, 3] == hidden


def test_half_transparent_colours_stay(double):
    picture = np.zeros((16, 16, 4), np.uint8)
    picture[:, :8] = (200, 40, 40, 128)
    picture[:, 8:] = (40, 40, 200, 128)
    large = double(picture).astype(int)
    np.testing.assert_allclose(large[:, :8], np.broadcast_to([200, 40, 40, 128], (32, 8, 4)), atol=3)
    np.testing.assert_allclose(large[:, -8:], np.broadcast_to([40, 40, 200, 128], (32, 8, 4)), atol=3)


def test_opaque_alpha_changes_nothing(double, photo):
    opaque = np.dstack([photo, np.full(photo.shape[:2], 255, np.uint8)])
    large = double(opaque)
    assert (large[..., 3] == 255).all()
    np.testing.assert_array_equal(large[..., :3], double(photo))


def test_sixteen_bits_keep_their_levels(double):
    ramp = np.tile(np.linspace(0, 65535, 4096).astype(np.uint16), (16, 1))
    assert len(np.unique(double(ramp))) > 6000
    deep, shallow = double(ramp).astype(float) / 257, double((ramp // 257).astype(np.uint8)).astype(float)
    assert np.abs(deep - shallow).mean() < 1.5


def test_deep_pictures_never_run_in_bf16(monkeypatch):
    asked = []
    upscaler = upres.load("fsrcnn", 2)
    upscaler.precision = "bf16"
    make = upscaler._make_engine
    monkeypatch.setattr(upscaler, "_make_engine", lambda precision: asked.append(precision) or make("f32"))
    upscaler(np.zeros((8, 8), np.uint16))
    upscaler(np.zeros((8, 8), np.float32))
    assert asked == ["f32"]
    upscaler(np.zeros((8, 8), np.uint8))
    assert asked == ["f32", "bf16"]


@pytest.mark.parametrize(
    ("picture", "says"),
    [
        (np.zeros((4, 4), np.int64), "dtype int64; give uint8, uint16, float32, float64"),
        (np.zeros((4, 4), bool), "dtype bool"),
        ("photo.jpg", "the picture is a str; give an array"),
        (np.zeros((4, 4, 5), np.uint8), r"shape \(4, 4, 5\); give \(h, w\)"),
        (np.zeros((0, 4), np.uint8), "no empty side"),
        (np.zeros(4, np.uint8), r"shape \(4,\)"),
        (np.full((4, 4), 255.0), r"floats from 255 to 255; bring them to \[0, 1\] first"),
        (np.array([[0.5, np.nan]]), "no numbers"),
        (np.array([[0.5, -np.inf]]), "floats from -inf"),
    ],
)
def test_wrong_pictures_are_named(model, picture, says):
    with pytest.raises(UsageError, match=says):
        model(picture)


def test_wrong_luma_is_named(double):
    for y in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 1)), np.zeros((0, 4))):
        with pytest.raises(UsageError, match="it takes float"):
            double.luma(y)


def test_engines_agree(photo):
    y = (photo[..., 0] / 255).astype(np.float32)
    results = [upres.load("fsrcnn", 2, engine=e, precision="f32").luma(y) for e in ("openvino", "onnxruntime", "torch")]
    for other in results[1:]:
        np.testing.assert_allclose(other, results[0], atol=1e-5)


def test_load_takes_files(photo):
    record = upres.models()[-1]
    y = (photo[:40, :40, 0] / 255).astype(np.float32)
    expected = upres.load(record.name, record.scale, precision="f32").luma(y)
    for path in (record.onnx, str(record.onnx), record.safetensors):
        np.testing.assert_allclose(upres.load(path, record.scale, precision="f32").luma(y), expected, atol=1e-5)


def test_load_names_what_is_wrong(tmp_path):
    onnx, safetensors = upres.models()[-1].onnx, upres.models()[-1].safetensors
    wrong_scale = 5
    with pytest.raises(UnknownModelError, match="did you mean espcn"):
        upres.load("epscn")
    for model in ("fsrcnn", onnx, safetensors):
        with pytest.raises(ScaleError, match="has no scale 5"):
            upres.load(model, wrong_scale)
    for scale in (0, 2.5, "2"):
        with pytest.raises(UsageError, match=f"scale is {scale!r}; it must be a whole number from 1 up"):
            upres.load("bicubic", scale)
    with pytest.raises(UsageError, match="engine is 'tensorrt'; it must be one of openvino"):
        upres.load("fsrcnn", engine="tensorrt")
    with pytest.raises(UsageError, match="precision is 'fp16'; it must be one of auto, f32, bf16"):
        upres.load("fsrcnn", precision="fp16")
    with pytest.raises(UsageError, match="tile is 0"):
        upres.load("fsrcnn", tile=0)
    with pytest.raises(WeightsError, match="no such model file"):
        upres.load(tmp_path / "a.onnx")
    (tmp_path / "a.onnx").write_text("not a model")
    with pytest.raises(WeightsError, match="cannot read this file"):
        upres.load(tmp_path / "a.onnx")
    with pytest.raises(UsageError, match="has no bf16"):
        upres.load("fsrcnn", engine="onnxruntime", precision="bf16")
    with pytest.raises(UsageError, match="does not run ONNX"):
        upres.load(onnx, upres.models()[-1].scale, engine="torch")


def _save_onnx(path, shape, metadata):
    from onnx import TensorProto, helper

    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("luma", "enlarged")]
    node = helper.make_node("Relu", ["luma"], ["enlarged"])
    model = helper.make_model(helper.make_graph([node], "g", ports[:1], ports[1:]), ir_version=10)
    helper.set_model_props(model, metadata)
    path.write_bytes(model.SerializeToString())


@pytest.mark.parametrize(
    ("shape", "metadata", "says"),
    [
        ((1, 3, None, None), {}, r"goes through .*; give a model from \(1, 1, h, w\)"),
        ((1, 1, 64, 64), {}, "give a model from"),
        ((None, None), {}, "give a model from"),
        ((1, 1, None, None), {}, "no upres metadata in it"),
        ((1, 1, None, None), {"halos": "x", "enlarges_first": "false"}, "no upres metadata in it"),
        (
            (1, 1, None, None),
            {"halos": '{"2": -5}', "enlarges_first": "false"},
            "scale 2 and halo -5; export the file again",
        ),
    ],
)
def test_models_of_another_kind_are_refused(tmp_path, shape, metadata, says):
    _save_onnx(tmp_path / "a.onnx", shape, metadata)
    with pytest.raises(WeightsError, match=says):
        upres.load(tmp_path / "a.onnx")


def test_a_model_that_cannot_be_tiled_runs_whole(tmp_path):
    _save_onnx(tmp_path / "a.onnx", (1, 1, None, None), {"halos": '{"1": null}', "enlarges_first": "false"})
    y = np.random.default_rng(0).random((9, 2000), np.float32)
    np.testing.assert_array_equal(upres.load(tmp_path / "a.onnx", 1, tile=16).luma(y), y)


def test_threads_can_share_an_upscaler(double):
    pictures = [np.random.default_rng(i).integers(0, 256, (30 + i, 40, 3), np.uint8) for i in range(12)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(double, pictures))
    for picture, large in zip(pictures, together, strict=True):
        np.testing.assert_array_equal(large, double(picture))


def test_small_pictures_of_deep_networks_are_not_cut(photo):
    vdsr, espcn = upres.load("vdsr", 2, precision="f32"), upres.load("espcn", 2, precision="f32")
    seen = []
    for network in (vdsr, espcn):
        network.workers = 2
        engine = network._engine("f32")
        network._make_alone = lambda precision, engine=engine: Watched(engine, seen)
    sizes = ((180, 320), (700, 360), (1000, 1000))
    assert [vdsr.is_cut(*size, "f32") for size in sizes] == [False, True, True]
    assert espcn.is_cut(540, 960, "f32")
    assert vdsr.unsplit().is_cut(180, 320, "f32")  # into one part
    y = colour.luma(photo[:60, :90]) / 255
    alone, cut = vdsr.luma(y), vdsr.unsplit().luma(y)
    assert seen.pop() == (60, 90)
    np.testing.assert_allclose(alone, cut, atol=1e-5)
    seen.clear()
    vdsr(photo[:60, :90])
    assert len(seen) == 1


class Watched:
    def __init__(self, engine, seen):
        self._engine, self._seen, self.cost = engine, seen, engine.cost

    def __call__(self, y):
        self._seen.append(y.shape)
        return self._engine(y)

    def residual(self, y):
        self._seen.append(y.shape)
        return self._engine.residual(y)


def test_a_missing_extra_names_its_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'upres\[train\]'"):
        upres.load("fsrcnn", engine="torch")
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'upres\[onnxruntime\]'"):
        upres.load("fsrcnn", engine="onnxruntime")(np.zeros((4, 4), np.uint8))


@pytest.mark.parametrize(
    ("engine", "bf16", "loss", "precision", "why"),
    [
        ("openvino", True, 0.002, "bf16", "costs 0.002 dB"),
        ("openvino", True, -0.001, "bf16", "costs 0.000 dB"),
        ("openvino", True, 0.02, "f32", "would cost 0.020 dB"),
        ("openvino", True, None, "f32", "not measured"),
        ("openvino", False, 0.002, "f32", "no bfloat16"),
        ("onnxruntime", True, 0.002, "f32", "all that onnxruntime has"),
    ],
)
def test_the_choice_of_precision_gives_its_reason(monkeypatch, engine, bf16, loss, precision, why):
    monkeypatch.setattr(loading, "has_bf16", lambda: bf16)
    chosen, reason = loading._best_precision(engine, loss)
    assert chosen == precision
    assert why in reason
