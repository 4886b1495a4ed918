from __future__ import annotations

import csv
import json
import sys

import numpy as np
import pytest

import upres
from upres.errors import DataError, MissingExtraError, OutputError, UsageError
from upres.evaluation import protocol, report
from upres.images import colour, io
from upres.images.io import Picture
from upres.inference.engines import OpenVINOEngine
from upres.inference.upscaler import Bicubic

# Bicubic under `paper`, as two independent programs computed it; the papers print the same to two decimals.
PAPER = {
    ("set5", 2): (33.661, 0.9299),
    ("set5", 3): (30.392, 0.8682),
    ("set5", 4): (28.421, 0.8104),
    ("set14", 2): (30.232, 0.8687),
    ("set14", 3): (27.541, 0.7736),
    ("set14", 4): (26.000, 0.7019),
    ("bsd100", 2): (29.558, 0.8431),
    ("bsd100", 3): (27.207, 0.7384),
    ("bsd100", 4): (25.961, 0.6674),
}


@pytest.mark.parametrize(("dataset", "scale"), PAPER)
def test_bicubic_reproduces_the_papers(shared, dataset, scale):
    result = report.evaluate(Bicubic(scale), shared / "data" / "test" / dataset, scale, model="bicubic")
    psnr, ssim = PAPER[dataset, scale]
    assert result.psnr == pytest.approx(psnr, abs=0.005)
    assert result.ssim == pytest.approx(ssim, abs=0.0005)


def test_selfexsr_reproduces_matlab_picture_by_picture(shared):
    with (shared / "reference" / "matlab-bicubic.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 57
    for row in rows:
        scale = int(row["scale"])
        picture = io.read(shared / "data" / "test" / row["dataset"] / f"{row['image']}.png").pixels
        score = protocol.score(Bicubic(scale), picture, scale, "selfexsr", image=row["image"])
        assert score.psnr == pytest.approx(float(row["psnr_db"]), abs=0.01), row
        assert score.ssim == pytest.approx(float(row["ssim"]), abs=0.0001), row


@pytest.mark.parametrize(("name", "psnr"), [("paper", 33.66), ("selfexsr", 33.64), ("lapsrn", 33.69), ("rgb", 31.79)])
def test_each_protocol_gives_its_known_value(shared, name, psnr):
    result = report.evaluate(Bicubic(2), shared / "data" / "test" / "set5", 2, name, model="bicubic", with_ssim=False)
    assert result.psnr == pytest.approx(psnr, abs=0.005)
    assert result.protocol == name


def test_a_perfect_upscaler_is_perfect_and_an_offset_costs_what_it_should(photo):
    class Truth:
        offset = 0

        def luma(self, y):
            return (colour.to_uint8(colour.luma(photo[:300, :450])) + self.offset) / 255

        def __call__(self, picture):
            truth = photo[:300, :450]
            return truth if picture.dtype == np.uint8 else truth / 255

    for name in protocol.PROTOCOLS:
        score = protocol.score(Truth(), photo[:300, :450], 3, name)
        assert score.psnr == np.inf
    off = Truth()
    off.offset = 2
    assert protocol.score(off, photo, 3).psnr == pytest.approx(10 * np.log10(255**2 / 4))


def test_border_of_scale_pixels_does_not_count(photo):
    class SpoiledBorder(Bicubic):
        def luma(self, y):
            result = super().luma(y)
            result[: self.scale] = result[-self.scale :] = result[:, : self.scale] = result[:, -self.scale :] = 0
            return result

    assert protocol.score(SpoiledBorder(3), photo, 3) == protocol.score(Bicubic(3), photo, 3)


def test_a_wrong_size_or_a_tiny_picture_is_an_error(photo):
    with pytest.raises(UsageError, match=r"cat: the model gave \(100, 150\); \(300, 450\) was expected"):
        protocol.score(Bicubic(1), photo, 3, image="cat")
    with pytest.raises(UsageError, match="picture: 451×3 pixels are fewer than the scale 4"):
        protocol.score(Bicubic(4), photo[:3], 4)
    with pytest.raises(UsageError, match="nothing is left after shaving"):
        protocol.score(Bicubic(4), photo[:8, :8], 4)


def test_json_holds_everything_and_reads_back(tmp_path, photo):
    folder = tmp_path / "tiny"
    folder.mkdir()
    for name, pixels in (("a", photo), ("b", photo[..., 0]), ("flat", np.full((40, 40), 9, np.uint8))):
        io.write(Picture(pixels, {}), folder / f"{name}.png")
    ours = report.evaluate(upres.load("fsrcnn", 2), folder, 2, model="fsrcnn", parameters=12_809, with_speed=True)
    plain = report.evaluate(Bicubic(2), folder, 2, "rgb", model="bicubic", with_consistency=True)
    report.write_json([ours, plain], tmp_path / "r.json")
    record = json.loads((tmp_path / "r.json").read_text())
    assert record["upres"] == upres.__version__
    assert {"commit", "date", "processor", "cores", "versions"} <= set(record)
    first, second = record["evaluations"]
    assert (first["model"], first["dataset"], first["scale"], first["protocol"]) == ("fsrcnn", "tiny", 2, "paper")
    assert first["parameters"] == 12_809
    assert first["megapixels_per_second"] > 0
    assert first["images"]["image"] == ["a", "b", "flat"]
    assert second["images"]["psnr"][2] is None  # infinite: JSON has no word for it
    made, (back, bicubic) = report.read_json(tmp_path / "r.json")
    assert made.commit == record["commit"]
    assert back.psnr == pytest.approx(ours.psnr, abs=1e-4)
    assert bicubic.images[2].psnr == np.inf
    assert bicubic.consistency == pytest.approx(plain.consistency, abs=1e-3)
    with pytest.raises(OutputError, match="could not be written"):
        report.write_json([ours], tmp_path / "no" / "r.json")
    (tmp_path / "other.json").write_text("{}")
    (tmp_path / "headless.json").write_text('{"format": "upres-scores-1"}')
    (tmp_path / "list.json").write_text("[]")
    images = first["images"]
    empty = first | {"images": {key: [] for key in images}}
    shorter = first | {"images": images | {"psnr": images["psnr"][:1]}}
    worded = first | {"images": images | {"psnr": ["x", 1, 2]}}
    for name, broken in (
        ("none", None),
        ("bare", [{"model": "x"}]),
        ("numbers", [3]),
        ("empty", [empty]),
        ("shorter", [shorter]),
        ("worded", [worded]),
    ):
        (tmp_path / f"{name}.json").write_text(json.dumps(record | {"evaluations": broken}))
    for name, says in (
        ("other.json", "not upres-scores-1"),
        ("list.json", "not upres-scores-1"),
        ("absent.json", "cannot be read as JSON"),
        ("headless.json", "lacks what that holds"),
        ("none.json", "lacks what that holds"),
        ("bare.json", "lacks what that holds"),
        ("numbers.json", "lacks what that holds"),
        ("empty.json", "an evaluation of no picture"),
        ("shorter.json", "lacks what that holds"),
        ("worded.json", "lacks what that holds"),
    ):
        with pytest.raises(DataError, match=says):
            report.read_json(tmp_path / name)


def test_consistency_is_perfect_for_the_picture_itself_and_low_for_an_offset(photo):
    class Truth:
        offset = 0

        def luma(self, y):
            return (colour.to_uint8(colour.luma(photo[:300, :450])) + self.offset) / 255

        def __call__(self, picture):
            return photo[:300, :450] if picture.dtype == np.uint8 else photo[:300, :450] / 255

    for name in protocol.PROTOCOLS:
        assert protocol.score(Truth(), photo, 3, name, with_consistency=True).consistency > 50, name
    off = Truth()
    off.offset = 2
    agreement = protocol.score(off, photo, 3, with_consistency=True).consistency
    assert agreement == pytest.approx(10 * np.log10(255**2 / 4), abs=0.01)


def test_scores_do_not_depend_on_how_many_pictures_are_scored_at_a_time(shared, monkeypatch):
    folder = shared / "data" / "test" / "set5"
    seen = []
    several = report.evaluate(Bicubic(2), folder, 2, model="bicubic", watch=lambda s: seen.append(s.image))
    assert seen == sorted(seen)
    monkeypatch.setattr(report, "core_count", lambda: 1)
    assert report.evaluate(Bicubic(2), folder, 2, model="bicubic") == several


def test_pictures_are_cut_for_the_cores_only_where_they_are_fewer_than_these(tmp_path, photo, monkeypatch):
    for name in "ab":
        io.write(Picture(photo[:60, :80], {}), tmp_path / f"{name}.png")
    network = upres.load("fsrcnn", 2, precision="f32")
    network.workers, network._make_alone = 2, None
    seen = []
    run = type(network._engine("f32")).__call__
    monkeypatch.setattr(OpenVINOEngine, "__call__", lambda engine, y: seen.append(y.shape) or run(engine, y))
    scores = {}
    for cores in (2, 3):
        monkeypatch.setattr(report, "core_count", lambda cores=cores: cores)
        seen.clear()
        scores[cores] = report.evaluate(network, tmp_path, 2, model="fsrcnn")
        assert len(seen) == (2 if cores == 2 else 4)
    assert network.workers == 2
    assert scores[2].psnr == pytest.approx(scores[3].psnr, abs=1e-3)


def test_unusable_folders_are_named(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        protocol.picture_files(tmp_path / "no")
    with pytest.raises(DataError, match="no pictures in it"):
        protocol.picture_files(tmp_path)
    io.write(Picture(np.zeros((20, 20, 4), np.uint8), {}), tmp_path / "a.png")
    with pytest.raises(DataError, match="20×20×4 uint8; test pictures are gray or RGB of 8 bits"):
        protocol.read_picture(tmp_path / "a.png")


def test_folders_of_pictures_in_a_test_sets_folder_are_named(tmp_path):
    for name in ("HR", ".cache", "empty"):
        (tmp_path / "Set5" / name).mkdir(parents=True)
    for name in ("HR", ".cache"):
        io.write(Picture(np.zeros((20, 20), np.uint8), {}), tmp_path / "Set5" / name / "a.png")
    assert protocol.folders_passed_over(tmp_path / "Set5") == [tmp_path / "Set5" / "HR"]
    with pytest.raises(DataError, match=r"no pictures in it, but in .*HR; give the folder that holds"):
        protocol.picture_files(tmp_path / "Set5")


def test_a_result_becomes_a_dataframe(tmp_path, photo, monkeypatch):
    io.write(Picture(photo, {}), tmp_path / "a.png")
    result = report.evaluate(Bicubic(2), tmp_path, 2, model="bicubic")
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'upres\[dataframe\]'"):
        result.to_dataframe()
    monkeypatch.undo()
    pandas = pytest.importorskip("pandas")
    frame = result.to_dataframe()
    assert isinstance(frame, pandas.DataFrame)
    assert frame.iloc[0][["model", "dataset", "scale", "protocol", "image"]].tolist() == [
        "bicubic",
        tmp_path.name,
        2,
        "paper",
        "a",
    ]
    assert frame["psnr"].mean() == result.psnr
