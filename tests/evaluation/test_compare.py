from __future__ import annotations

import base64
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.text import Text

import upres
from upres.errors import DataError, OutputError, UsageError
from upres.evaluation import compare, protocol
from upres.evaluation.compare import Crop
from upres.evaluation.others import Candidate, find
from upres.images import io
from upres.images.io import Picture


def compared(photo, **options):
    candidates = [find(name, 3) for name in ("bicubic", "fsrcnn")]
    return compare.compare(candidates, photo, 3, title="cat", **options)


def test_scores_are_those_of_evaluate(photo):
    comparison = compared(photo)
    assert [p.name for p in comparison.panels] == ["bicubic", "fsrcnn"]
    for panel in comparison.panels:
        score = protocol.score(upres.load(panel.name, 3, precision="f32"), photo, 3, "selfexsr")
        assert (panel.psnr, panel.ssim) == (score.psnr, score.ssim)
        assert panel.scores == f"{score.psnr:.2f} dB / {score.ssim:.4f}"
    assert comparison.best == (comparison.panels[1],)
    np.testing.assert_array_equal(comparison.truth, photo[:300, :450])


def test_enlarging_measures_nothing(photo):
    comparison = compared(photo[:60, :80], enlarge=True)
    assert (comparison.truth, comparison.best) == (None, ())
    assert [p.pixels.shape for p in comparison.panels] == [(180, 240, 3)] * 2
    assert [p.scores for p in comparison.panels] == ["", ""]


def test_the_crop_is_where_the_models_disagree(photo):
    spoiled = photo.copy()
    spoiled[200:230, 310:340] = 255 - spoiled[200:230, 310:340]
    crop = compare.telling_crop([photo, photo, spoiled])
    assert crop.x <= 310
    assert crop.x + crop.width >= 340
    assert crop.y <= 200
    assert crop.y + crop.height >= 230
    assert crop.of(photo).shape == (60, 60, 3)
    assert compare.telling_crop([photo[:20, :30]]) == Crop(compare.telling_crop([photo[:20, :30]]).x, 0, 20, 20)


@pytest.mark.parametrize("shape", [(300, 300), (300, 120), (90, 300)])
def test_no_text_of_a_sheet_is_cut_off_or_over_another(photo, shape):
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    names = ("bicubic", "results/of/somebody/else/ESPCN_x3.pb", "OpenCV FSRCNN, small")
    candidates = [replace(find("bicubic", 3), name=name) for name in names]
    picture = photo[: shape[0], : shape[1]]
    comparison = compare.compare(candidates, picture, 3, title="A picture with a name of many words")
    for differences in (False, True):
        figure = compare.sheet(comparison, differences=differences)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        shown = [t for t in figure.findobj(Text) if t.get_text().strip() and t.get_visible()]
        boxes = {t.get_text(): t.get_window_extent(canvas.get_renderer()) for t in shown}
        assert any("selfexsr" in text for text in boxes)
        for text, box in boxes.items():
            assert box.x0 >= 0 and box.x1 <= figure.bbox.x1, text  # noqa: PT018
            assert box.y0 >= 0 and box.y1 <= figure.bbox.y1, text  # noqa: PT018
        captions = [box for text, box in boxes.items() if " dB" in text]
        assert len(captions) == 3
        assert not any(a.overlaps(b) for i, a in enumerate(captions) for b in captions[:i])


def test_crops_are_checked(photo):
    assert Crop.parse("1, 2,30,40") == Crop(1, 2, 30, 40)
    for text in ("1,2,3", "a,b,c,d", "-1,0,5,5", "0,0,0,5"):
        with pytest.raises(UsageError, match=f"the crop is '{text}'"):
            Crop.parse(text)
    with pytest.raises(UsageError, match="the crop 440,0,20,20 leaves the 450×300 picture"):
        compared(photo, crop=Crop(440, 0, 20, 20))
    with pytest.raises(UsageError, match="the crop 1340,0,20,20 leaves the 1353×900 picture"):
        compare.compare([Candidate("never run", None)], photo, 3, title="cat", enlarge=True, crop=Crop(1340, 0, 20, 20))


def test_models_of_other_sizes_are_refused(photo):
    candidates = [find("bicubic", 2), Candidate("same", lambda picture: picture)]
    with pytest.raises(UsageError, match="differ in size"):
        compare.compare(candidates, photo[:40, :40], 2, title="cat", enlarge=True)


@pytest.mark.parametrize("differences", [False, True])
@pytest.mark.parametrize("enlarge", [False, True])
def test_the_sheet_names_and_scores_every_model(photo, differences, enlarge):
    comparison = compared(photo[:90, :120], enlarge=enlarge)
    figure = compare.sheet(comparison, differences=differences)
    axes = [a for sub in figure.subfigs for a in sub.axes]
    titles = [a.get_title().strip() for a in axes]
    for panel in comparison.panels:
        assert f"{panel.name}\n{panel.scores}".strip() in titles
    assert ("truth" in titles) is not enlarge
    shown = {a.get_title().strip().partition("\n")[0]: a.images[0].get_array() for a in axes if a.images}
    np.testing.assert_array_equal(shown["fsrcnn"], comparison.crop.of(comparison.panels[1].pixels))
    maps = [a for a in axes if a.images and a.images[0].get_cmap().name == "cividis"]
    assert len(maps) == (0 if not differences else 1 if enlarge else 2)


def test_the_page_holds_every_pixel_and_needs_nothing_else(photo, tmp_path):
    comparison = compare.compare(
        [find("bicubic", 2), Candidate("</script><b>", upres.load("espcn", 2))], photo[:60, :80], 2, title="<cat>"
    )
    page = compare.page(comparison)
    assert "&lt;cat&gt; ×2" in page
    assert page.count("</script>") == 1
    assert not re.search(r"https?://|<link|src=[\"'][^\"']", page)
    data = json.loads(re.search(r"const data = (.*);\n", page)[1].replace("<\\/", "</"))
    assert [p["name"] for p in data["panels"]] == ["truth", "bicubic", "</script><b>"]
    for shown, pixels in zip(data["panels"], [comparison.truth, *(p.pixels for p in comparison.panels)], strict=True):
        file = tmp_path / "shown.png"
        file.write_bytes(base64.b64decode(shown["source"].partition(",")[2]))
        np.testing.assert_array_equal(io.read(file).pixels, pixels)


def test_files_are_of_the_kind_that_their_names_say(photo, tmp_path):
    comparison = compared(photo[:60, :90, 1])
    for suffix, start in ((".png", b"\x89PNG"), (".pdf", b"%PDF"), (".html", b"<!doctype html>")):
        compare.write(comparison, tmp_path / f"c{suffix}")
        assert (tmp_path / f"c{suffix}").read_bytes().startswith(start)
    with pytest.raises(UsageError, match=r"the ending is one of \.png, \.pdf, \.html"):
        compare.write(comparison, tmp_path / "c.gif")
    with pytest.raises(OutputError, match="could not be written"):
        compare.write(comparison, tmp_path / "no" / "c.html")


def test_finished_pictures_are_found_by_the_pictures_name(photo, tmp_path):
    finished = tmp_path / "finished"
    finished.mkdir()
    io.write(Picture(photo[:60, :90], {}), finished / "cat_theirs.png")
    comparison = compare.compare([find(str(finished), 3)], photo[:60, :90], 3, title="cat")
    assert comparison.panels[0].psnr == np.inf
    with pytest.raises(DataError, match="none named dog"):
        compare.compare([find(str(finished), 3)], photo[:60, :90], 3, title="dog")
