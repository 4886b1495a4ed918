from __future__ import annotations

import shlex
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import upres
from upres.errors import DataError, PictureError, ScaleError, ToolError, UnknownModelError, UsageError, WeightsError
from upres.evaluation import others, report
from upres.evaluation.others import find
from upres.images import colour, io
from upres.images.io import Picture
from upres.images.resize import imresize
from upres.inference import loading
from upres.inference.upscaler import Bicubic


@pytest.fixture
def folder(tmp_path, photo):
    """A test set of two colour pictures and a gray one."""
    made = tmp_path / "set"
    made.mkdir()
    for name, pixels in (("a", photo[:120, :160]), ("b", photo[100:220, 200:360]), ("gray", photo[:100, :100, 1])):
        io.write(Picture(pixels, {}), made / f"{name}.png")
    return made


def saved(nodes, shapes, constants, path):
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    tables = [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "graph", values[:1], values[1:], tables)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def enlarging_network(path, *, channels, layout, peak, sides=None):
    """Cubic enlargement ×2 as somebody else's ONNX file, with an 8-bit result where white is 255."""
    nodes = [
        helper.make_node("Resize", ["planes", "", "scales"], ["large"], mode="cubic", cubic_coeff_a=-0.5),
        helper.make_node("Round" if peak == 255 else "Identity", ["large"], ["whole"]),
        helper.make_node("Clip", ["whole", "black", "white"], ["result"]),
    ]
    turns = ([0, 1, 2, 3], [0, 1, 2, 3]) if layout == "NCHW" else ([0, 3, 1, 2], [0, 2, 3, 1])
    first = helper.make_node("Transpose", ["x"], ["planes"], perm=turns[0])
    last = helper.make_node("Transpose", ["result"], ["y"], perm=turns[1])
    shapes = {}
    for name in "xy":
        h, w = sides[name] if sides else (f"{name}h", f"{name}w")
        shapes[name] = ["n", channels, h, w] if layout == "NCHW" else ["n", h, w, channels]
    return saved([first, *nodes, last], shapes, {"scales": [1, 1, 2, 2], "black": 0, "white": peak}, path)


@pytest.mark.parametrize(
    ("channels", "layout", "peak"), [(1, "NCHW", 1), (1, "NHWC", 255), (3, "NCHW", 255), (3, "NHWC", 1)]
)
def test_a_foreign_network_is_called_as_it_wants(tmp_path, photo, channels, layout, peak):
    path = enlarging_network(tmp_path / "theirs.onnx", channels=channels, layout=layout, peak=peak)
    found = find(f"theirs={path}", 2)
    assert found.name == "theirs"
    assert found.found == f"{'luma' if channels == 1 else 'RGB'} in [0, {peak}] as {layout}"
    low = photo[:50, :70]
    result = found.enlarger(low)
    assert (result.shape, result.dtype) == ((100, 140, 3), np.uint8)
    assert np.abs(result.astype(int) - imresize(low, 2))[4:-4, 4:-4].max() <= 2
    if channels == 1:
        y = colour.luma(low) / 255
        np.testing.assert_allclose(
            found.enlarger.luma(y)[4:-4, 4:-4], imresize(y, 2)[4:-4, 4:-4], atol=1e-5 if peak == 1 else 0.002
        )
    else:
        with pytest.raises(UsageError, match="theirs: takes RGB; score it under the protocol selfexsr, lapsrn or rgb"):
            found.enlarger.luma(np.zeros((4, 4)))
        assert found.enlarger(low[..., 0]).shape == (100, 140)


def test_a_network_of_a_fixed_size_is_freed_of_it(tmp_path):
    path = tmp_path / "fixed.onnx"
    enlarging_network(path, channels=1, layout="NCHW", peak=1, sides={"x": (12, 16), "y": (24, 32)})
    found = find(str(path), 2)
    assert found.found == "luma in [0, 1] as NCHW"
    assert found.enlarger.luma(np.full((30, 20), 0.5)).shape == (60, 40)


def test_a_scale_between_a_networks_own_is_the_next_larger_reduced(photo):
    """LapSRN has ×2 and ×4; its paper makes ×3 of ×4."""
    found = find("lapsrn", 3)
    assert found.found == "its result at ×4, reduced"
    network = upres.load("lapsrn", 4, precision="f32")
    low = photo[:20, :30]
    y = colour.luma(low) / 255
    np.testing.assert_allclose(found.enlarger.luma(y), imresize(network.luma(y), size=(60, 90)), atol=1e-6)
    result, exact = found.enlarger(low), imresize(network(low / 255.0), size=(60, 90)) * 255
    assert result.dtype == np.uint8
    assert np.abs(result - np.clip(exact, 0, 255)).max() <= 0.5 + 1e-3
    with pytest.raises(ScaleError, match="lapsrn"):
        find("lapsrn", max(loading.scales("lapsrn")) + 1)
    assert find("lapsrn", 2).found is None


def test_a_folder_does_not_hide_a_model_of_the_same_name(tmp_path, monkeypatch):
    (tmp_path / "espcn").mkdir()
    monkeypatch.chdir(tmp_path)
    assert find("espcn", 2).parameters == 21_284
    finished = find("./espcn", 2).enlarger
    assert isinstance(finished, others.FinishedFolder)
    for ask in (finished, finished.luma):
        with pytest.raises(UsageError, match="espcn: holds finished pictures and enlarges none; name a model"):
            ask(np.zeros((4, 4)))


def test_a_network_for_enlarged_luma_is_given_enlarged_luma(tmp_path):
    """SRCNN's kind: the size stays. Here the network is a 1×1 convolution with weight 1."""
    shapes = {name: [1, 1, f"{name}h", f"{name}w"] for name in "xy"}
    weight = np.ones((1, 1, 1, 1))
    path = saved([helper.make_node("Conv", ["x", "w"], ["y"])], shapes, {"w": weight}, tmp_path / "srcnn.onnx")
    found = find(str(path), 3)
    assert found.found == "luma in [0, 1] as NCHW, enlarged by bicubic"
    assert found.parameters == 1
    y = np.random.default_rng(0).random((20, 30))
    np.testing.assert_allclose(found.enlarger.luma(y), imresize(y.astype(np.float32), 3), atol=1e-6)


def test_a_network_that_is_the_same_in_either_range_is_given_the_usual_one(tmp_path):
    shapes = {"x": [1, 1, "h", "w"], "y": [1, 1, "H", "W"]}
    for coefficient in (-0.5, -0.6, -0.7, -0.75):  # whichever range rounding favours
        node = helper.make_node("Resize", ["x", "", "s"], ["y"], mode="cubic", cubic_coeff_a=coefficient)
        path = saved([node], shapes, {"s": [1, 1, 2, 2]}, tmp_path / "cubic.onnx")
        assert find(str(path), 2).found == "luma in [0, 1] as NCHW"


def test_our_own_file_keeps_its_halo_and_a_wrong_network_is_refused(tmp_path, shared):
    ours = find(str(upres.models()[0].onnx), 2)
    assert ours.found is None
    assert ours.enlarger.halo == upres.models()[0].halo
    assert ours.parameters == upres.models()[0].parameters
    (tmp_path / "no.onnx").write_bytes(b"not a model")
    for given, says in (
        (tmp_path / "absent.onnx", "no such model file"),
        (tmp_path / "no.onnx", "OpenVINO cannot read this file"),
    ):
        with pytest.raises(WeightsError, match=says):
            find(str(given), 2)
    with pytest.raises(ScaleError, match="has no scale 2; it has 3"):
        find(str(shared / "peers" / "opencv" / "ESPCN_x3.pb"), 2)
    with pytest.raises(UnknownModelError, match="did you mean espcn"):
        find("espcnn", 2)


@pytest.mark.parametrize(("name", "psnr"), [("FSRCNN", 34.83), ("ESPCN", 34.71), ("LapSRN", 34.45)])
def test_opencvs_networks_score_as_measured_elsewhere(shared, name, psnr):
    found = find(str(shared / "peers" / "opencv" / f"{name}_x{{scale}}.pb"), 2)
    assert found.found == "luma in [0, 1] as NHWC"
    result = report.evaluate(found.enlarger, shared / "data" / "test" / "set5", 2, model=name, with_ssim=False)
    assert result.psnr == pytest.approx(psnr, abs=0.01)


COPY = "import sys; from upres.images import io; p = io.read(sys.argv[1]); s = int(sys.argv[3])\n"
COPY += "from upres.images.resize import imresize; io.write(p.with_pixels(imresize(p.pixels, s)), sys.argv[2])"


def test_a_command_scores_as_the_same_code_does_here(folder, tmp_path):
    script = tmp_path / "tool.py"
    script.write_text(COPY)
    command = f"tool=cmd:{sys.executable} {script} {{input}} {{output}} {{scale}}"
    theirs = upres.evaluate(command, folder, 3, protocol="rgb")
    assert theirs.model == "tool"
    assert theirs.images == upres.evaluate("bicubic", folder, 3, protocol="rgb").images


def test_a_command_runs_once_a_picture_and_is_timed_by_that(folder, tmp_path):
    log = tmp_path / "calls"
    code = f"""
import sys, time
from upres.images.io import Picture, read, write
time.sleep(0.5)
open({str(log)!r}, "a").write("x")
write(Picture(read(sys.argv[1]).pixels.repeat(2, 0).repeat(2, 1), {{}}), sys.argv[2])
"""
    command = others.Command(shlex.join([sys.executable, "-c", code]) + " {input} {output}", 2)
    scored = report.evaluate(command, folder, 2, "rgb", model="tool", with_speed=True)
    assert log.read_text() == "x" * 3
    assert 0 < scored.megapixels_per_second < 0.0192 / 0.5


def test_commands_that_fail_say_why(folder):
    def run(template, protocol="rgb"):
        return upres.evaluate(f"cmd:{template}", folder, protocol=protocol)

    with pytest.raises(UsageError, match=r"lacks \{input\} and \{output\}; write where"):
        run("tool")
    with pytest.raises(UsageError, match="no-such-tool: cannot be run"):
        run("no-such-tool {input} {output}")
    unlucky = "import sys; print('out of luck', file=sys.stderr); sys.exit(3)"
    with pytest.raises(ToolError, match="exit code 3: out of luck"):
        run(f'{sys.executable} -c "{unlucky}" {{input}} {{output}}')
    with pytest.raises(ToolError, match=r"ended well and wrote no output\.png"):
        run(f"{sys.executable} -c pass {{input}} {{output}}")
    with pytest.raises(UsageError, match="takes whole 8-bit pictures; score it under the protocol selfexsr or rgb"):
        run("tool {input} {output}", protocol="paper")


def test_finished_pictures_score_as_the_model_that_made_them(folder, tmp_path):
    finished = tmp_path / "finished-x2"
    finished.mkdir()
    for file in folder.iterdir():
        low = imresize(io.read(file).pixels, 0.5, edges="clamp")
        io.write(Picture(imresize(low, 2), {}), finished / f"{file.stem}_x2.png")
    theirs = upres.evaluate(f"{tmp_path}/finished-x{{scale}}", folder, 2, protocol="rgb")
    assert theirs.images == upres.evaluate("bicubic", folder, 2, protocol="rgb").images
    assert upres.evaluate(finished, folder, 2).psnr == pytest.approx(upres.evaluate("bicubic", folder, 2).psnr, abs=0.1)
    (finished / "a-again.png").write_bytes((finished / "a_x2.png").read_bytes())
    with pytest.raises(DataError, match=r"a-again\.png and a_x2\.png named a or a-…; keep one file"):
        upres.evaluate(finished, folder, 2)
    (finished / "a.png").write_bytes(b"")
    with pytest.raises(PictureError, match="empty"):
        upres.evaluate(finished, folder, 2)


@pytest.mark.parametrize("protocol", ["paper", "selfexsr", "rgb"])
@pytest.mark.parametrize("is_gray", [True, False])
def test_finished_pictures_count_in_the_channels_of_the_test_picture(tmp_path, photo, protocol, is_gray):
    truth = np.ascontiguousarray(photo[:100, :120, 1] if is_gray else photo[:100, :120])
    result = imresize(imresize(truth, 0.5, edges="clamp"), 2)
    colours = np.dstack([result] * 3) if is_gray else result
    opaque = np.full((100, 120), 255, np.uint8)
    scores = []
    for name, pixels in [("own", result), ("rgb", colours), ("alpha", np.dstack([result, opaque]))]:
        (tmp_path / name).mkdir()
        io.write(Picture(pixels), tmp_path / name / "a.png")
        (tmp_path / "truth").mkdir(exist_ok=True)
        io.write(Picture(truth), tmp_path / "truth" / "a.png", overwrite=True)
        scores.append(upres.evaluate(tmp_path / name, tmp_path / "truth", 2, protocol=protocol).psnr)
    assert scores == [scores[0]] * 3


def test_any_callable_can_be_scored(folder):
    def double(picture):
        return imresize(picture, 2)

    for protocol in ("paper", "lapsrn", "selfexsr", "rgb"):
        mine = upres.evaluate(double, folder, protocol=protocol)
        assert mine.images == upres.evaluate("bicubic", folder, protocol=protocol).images
    assert upres.evaluate(Bicubic(2), folder).model == "bicubic"
    full = upres.evaluate(double, folder, verify=True, speed=True)
    assert full.consistency > 40
    assert full.megapixels_per_second > 0
    for wrong, says in (
        (lambda y: None, "a: the model gave a NoneType; an array was expected"),
        (lambda y: double(y) * np.nan, "a: the model gave values that are not finite"),
    ):
        with pytest.raises(UsageError, match=says):
            upres.evaluate(wrong, folder)
    with pytest.raises(UsageError, match=r"scale is 2\.5"):
        upres.evaluate("bicubic", folder, 2.5)  # pyright: ignore
    with pytest.raises(UsageError, match="the model is a int; give a name, a file, or a callable"):
        upres.evaluate(3, folder)  # pyright: ignore
    with pytest.raises(UsageError, match="protocol is 'mine'; it must be one of paper"):
        upres.evaluate("bicubic", folder, protocol="mine")  # pyright: ignore


def test_a_label_names_anything():
    assert others.label("OpenCV FSRCNN=/x/FSRCNN_x{scale}.pb") == "OpenCV FSRCNN"
    assert others.label("cmd:tool --a=b {input} {output}") == "cmd:tool --a=b {input} {output}"
    assert others.label("/x=y/z.onnx") == "/x=y/z.onnx"


def test_finished_pictures_of_16_bits_are_scored_as_what_they_show(tmp_path, photo):
    for folder, pixels in (("truth", photo[:40, :40]), ("result", photo[:40, :40].astype(np.uint16) * 257)):
        (tmp_path / folder).mkdir()
        io.write(Picture(pixels), tmp_path / folder / "a.png")
    assert upres.evaluate(tmp_path / "result", tmp_path / "truth", protocol="rgb").psnr == np.inf
