"""The page of a comparison in a browser that nobody sees: what its controls do to what is shown."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess

import numpy as np
import pytest

from upres.evaluation import compare
from upres.evaluation.compare import Comparison, Crop, Panel
from upres.images import io

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="needs Chromium: apt-get install chromium")

DARK, LIGHT = 40, 210
WIDTH, HEIGHT = 90, 60
CROP = Crop(50, 20, 24, 24)

# What every view shows, read from where the browser put its pictures.
SHOWN = """
const shown = () => [...document.querySelectorAll(".view")].map(view => {
  const box = view.getBoundingClientRect();
  return [...view.querySelectorAll("img")].map(image => {
    const at = image.getBoundingClientRect(), k = at.width / data.width;
    const left = box.left + view.clientLeft, top = box.top + view.clientTop;
    return {
      source: data.panels.findIndex(panel => panel.source === image.src),
      x: (left + view.clientWidth / 2 - at.left) / k, y: (top + view.clientHeight / 2 - at.top) / k,
      across: Math.min(view.clientWidth, view.clientHeight) / k, ratio: at.height / at.width,
    };
  });
});
const set = (id, value, type) => { byId(id).value = value; byId(id).dispatchEvent(new Event(type)); };
const press = id => byId(id).click();
"""


@pytest.fixture
def document():
    truth = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
    dark, light = (Panel(f"model {level}", np.full_like(truth, level), 30.0, 0.9) for level in (DARK, LIGHT))
    return compare.page(Comparison("flat", 2, (dark, light), truth, CROP))


def browse(document, tmp_path, script, *options):
    page = tmp_path / "page.html"
    page.write_text(document.replace("</body>", f"<script>{script}</script></body>"), encoding="utf-8")
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    done = subprocess.run(
        [*command, "--window-size=1000,800", *options, page.as_uri()], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def evaluated(document, tmp_path, script):
    """What a function of that body returns in the page."""
    answer = f"document.body.dataset.answer = JSON.stringify((() => {{ {SHOWN} {script} }})());"
    found = re.search(r'data-answer="([^"]*)"', browse(document, tmp_path, answer, "--dump-dom"))
    assert found, "the page's script failed"
    return json.loads(html.unescape(found[1]))


def places(views):
    """Centre and width of what each picture shows; all views have to agree."""
    found = [(image["x"], image["y"], image["across"]) for view in views for image in view]
    assert len(found) == 2 + 3  # two beside the slider, and each alone
    np.testing.assert_allclose(found, [found[0]] * len(found), atol=0.01)
    assert all(image["ratio"] == pytest.approx(HEIGHT / WIDTH, abs=1e-4) for view in views for image in view)
    return found[0]


def test_every_view_follows_the_buttons(document, tmp_path):
    start, whole, nearer, back = map(
        places,
        evaluated(
            document,
            tmp_path,
            """const seen = [shown()];
            for (const id of ["whole", "in", "crop"]) { press(id); seen.push(shown()); }
            return seen;""",
        ),
    )
    assert start == pytest.approx((CROP.x + CROP.width / 2, CROP.y + CROP.height / 2, CROP.width), abs=0.01)
    assert whole == pytest.approx((WIDTH / 2, HEIGHT / 2, WIDTH), abs=0.01)
    assert nearer == pytest.approx((WIDTH / 2, HEIGHT / 2, WIDTH / 1.5), abs=0.01)
    assert back == pytest.approx(start, abs=0.01)


def test_the_wheel_zooms_about_the_pointer_and_dragging_moves_all_views(document, tmp_path):
    answer = evaluated(
        document,
        tmp_path,
        """press("whole");
        const view = document.querySelectorAll("#all .view")[1], box = view.getBoundingClientRect();
        const at = [Math.round(box.left) + 30, Math.round(box.top) + 50];  // a mouse counts whole pixels
        const pointer = { clientX: at[0], clientY: at[1], bubbles: true, cancelable: true }, side = view.clientWidth;
        const middle = [box.left + view.clientLeft + side / 2, box.top + view.clientTop + side / 2];
        const offset = [at[0] - middle[0], at[1] - middle[1]];
        const before = shown();
        view.dispatchEvent(new WheelEvent("wheel", { ...pointer, deltaY: -300 }));
        const zoomed = shown();
        view.setPointerCapture = () => {};
        view.hasPointerCapture = () => true;
        view.dispatchEvent(new PointerEvent("pointermove", { ...pointer, movementX: 20, movementY: -10 }));
        return { side, offset, before, zoomed, dragged: shown() };""",
    )
    before, zoomed, dragged = (places(answer[name]) for name in ("before", "zoomed", "dragged"))
    assert zoomed[2] == pytest.approx(before[2] / 2, abs=0.01)
    for axis in (0, 1):
        offset = answer["offset"][axis] / answer["side"]
        under = [place[axis] + offset * place[2] for place in (before, zoomed)]
        assert under[0] == pytest.approx(under[1], abs=0.01)
    step = zoomed[2] / answer["side"]
    assert dragged == pytest.approx((zoomed[0] - 20 * step, zoomed[1] + 10 * step, zoomed[2]), abs=0.01)


def test_the_lists_choose_what_the_slider_parts(document, tmp_path):
    answer = evaluated(
        document,
        tmp_path,
        """const before = shown()[0];
        set("left", 2, "change"); set("right", 0, "change");
        const tags = [...slider.querySelectorAll(".tag")].map(tag => tag.textContent);
        return { before, after: shown()[0], tags };""",
    )
    assert [image["source"] for image in answer["before"]] == [1, 2]  # the first model and the last
    assert [image["source"] for image in answer["after"]] == [2, 0]
    assert [tag.strip() for tag in answer["tags"]] == [f"model {LIGHT} 30.00 dB / 0.9000", "truth"]


@pytest.mark.parametrize("place", [25, 80])
def test_the_slider_parts_the_pictures_where_it_stands(document, tmp_path, place):
    target = tmp_path / "shot.png"
    script = f'{SHOWN} set("place", {place}, "input"); slider.scrollIntoView();'
    browse(document, tmp_path, script, f"--screenshot={target}")
    row = io.read(target).pixels[200, :, 0].astype(int)
    dark, light = (np.flatnonzero(row == level) for level in (DARK, LIGHT))
    assert dark.max() < light.min()
    border = (dark.max() + light.min()) / 2
    assert (border - dark.min()) / (light.max() - dark.min()) == pytest.approx(place / 100, abs=0.01)
