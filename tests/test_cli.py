from __future__ import annotations

import csv
import json
import os
import re
import resource
import shlex
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import cast

import click
import numpy as np
import pytest
import pyvips
import typer

import upres
from upres import cli
from upres.data.pack import Pack, write_pack
from upres.evaluation import page
from upres.images import io
from upres.images.io import Picture
from upres.inference.runtime import has_bf16, has_int8
from upres.training.hardware import has_bf16 as training_has_bf16
from upres.weights import store

REPOSITORY = Path(__file__).parent.parent


def upres_(*arguments, cwd=None, **options):
    """Run the command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "upres", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=os.environ | {"COLUMNS": "200"},
        timeout=300,
        **options,
    )


@pytest.fixture
def picture(tmp_path, photo):
    path = tmp_path / "photo.png"
    io.write(Picture(photo[:60, :80], {}), path)
    return path


def test_upscale_writes_a_picture_beside(picture):
    done = upres_("upscale", picture)
    assert (done.returncode, done.stderr) == (0, "")
    large = io.read(picture.with_name("photo-x2.png")).pixels
    np.testing.assert_array_equal(large, upres.upscale(io.read(picture).pixels, 2))
    assert "photo-x2.png: 160×120" in done.stdout


def test_upscale_takes_out_scale_model_and_several(picture, tmp_path):
    done = upres_("upscale", picture, "-o", tmp_path / "a.webp", "--scale", 3, "--model", "bicubic")
    assert done.returncode == 0
    assert io.read(tmp_path / "a.webp").pixels.shape == (180, 240, 3)
    (tmp_path / "out").mkdir()
    done = upres_("upscale", picture, tmp_path / "a.webp", tmp_path / "missing.png", "-o", tmp_path / "out")
    assert done.returncode == 1
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a-x2.webp", "photo-x2.png"]
    assert "missing.png: no such file" in done.stderr
    assert "1 of 3 pictures failed" in done.stderr


def test_overwrite_is_asked_for(picture):
    target = picture.with_name("photo-x2.png")
    target.write_text("mine")
    done = upres_("upscale", picture)
    assert (done.returncode, target.read_text()) == (1, "mine")
    assert "exists already; give --overwrite" in done.stderr
    assert upres_("upscale", picture, "--overwrite").returncode == 0
    assert io.read(target).pixels.shape == (120, 160, 3)


def _bad_files(folder, photo):
    io.write(Picture(photo, {}), folder / "whole.png")
    whole = (folder / "whole.png").read_bytes()
    (folder / "whole.png").unlink()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.jpg").touch()
    (folder / "text.jpg").write_text("not a picture")
    header = bytearray(whole)
    header[16:24] = bytes(8)
    (folder / "zero.png").write_bytes(header)
    io.write(Picture(photo[:20, :20], {}), folder / "good.png")
    ramp = pyvips.Image.new_from_array(np.linspace(0, 300, 400, dtype=np.float32).reshape(20, 20))
    ramp.tiffsave(str(folder / "float.tif"))
    ramp.cast("short").tiffsave(str(folder / "signed.tif"))
    two = pyvips.Image.black(20, 40).copy()
    two.set_type(pyvips.GValue.gint_type, "page-height", 20)
    two.tiffsave(str(folder / "pages.tif"))


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["missing.png"], 1, "missing.png: no such file; check the path."),
        (["cut.png"], 1, "cut.png: the picture is damaged or cut short"),
        (["empty.jpg"], 1, "empty.jpg: the file is empty"),
        (["text.jpg"], 1, "text.jpg: not a picture that upres can read"),
        (["zero.png"], 1, "zero.png: not a picture that upres can read"),
        (["good.png", "--scale", "0"], 2, "scale is 0; it must be a finite number above 0, and below a billion."),
        (["good.png", "--scale", "2", "--width", "9"], 2, "the size is given by scale and width; give one of"),
        (["good.png", "--fit", "9"], 2, "fit is '9'; give width and height as in 1920x1080."),
        (["good.png", "--memory", "much"], 2, "memory is 'much'; give a number with a unit, as in 800MB or 2GB."),
        (["good.png", "--memory", "500"], 2, "memory is '500', 500 bytes; give a number with a unit, as in 800MB"),
        (["good.png", "--memory", "1MB"], 1, "are allowed (--memory)."),
        (["good.png", "--max-megapixels", "0.0001"], 1, "20×20 pixels, 0.0004 megapixels; the limit is 0.0001 ("),
        (["good.png", "--quality", "0"], 2, "quality is 0; it must lie between 1 and 100."),
        (["good.png", "--format", "webp", "--effort", "7"], 2, "effort is 7; for webp it lies between 0 and 6."),
        (["good.png", "--format", "gif", "--lossless"], 2, "gif cannot be lossless; use png, tiff, webp or avif."),
        (["good.png", "--scale", "900", "--format", "webp"], 1, "18000×18000 pixels; webp has at most 16,383 a side"),
        (["good.png", "--back-projection", "21"], 2, "back-projection is 21; it must lie between 0 and 20."),
        (["good.png", "--back-projection", "1", "-m", "bicubic"], 2, "back-projection is for networks"),
        (["good.png", "-", "-o", "a.png"], 2, "- stands for one picture"),
        (["nothing/*.png", "-o", "out"], 1, "no picture in it"),
        (["good.png", "--model", "espcm"], 2, "unknown model 'espcm'; did you mean espcn"),
        (["good.png", "--model", "no.onnx"], 1, "no.onnx: no such model file; check the path."),
        (["good.png", "-o", "a.xyz"], 2, "cannot write a file ending in '.xyz'; use one of .png"),
        (["good.png", "-o", "no/a.png"], 1, "the folder no does not exist; create it first."),
        (["good.png", "good.png", "-o", "a.png"], 2, "a.png: is not a folder"),
        (["good.png", "-o", "good.png"], 2, "would be replaced by its own result"),
        (["good.png", "--engine", "magic"], 2, "magic"),
        (["good.png", "good.png"], 2, "good-x2.png: would be written twice"),
        (["n" * 300 + ".png"], 1, "cannot be opened (File name too long)"),
        (["float.tif"], 1, "float.tif: the picture has floats from 0 to 300; bring them to [0, 1] first."),
        (["pages.tif", "-o", "a.jpg"], 1, "a.jpg: jpeg holds one picture, not 2 pages or frames; write .tif, .webp"),
        (["signed.tif"], 1, "signed.tif: has short samples; give 8 or 16 bits without sign, or floats."),
        ([], 2, "Missing argument"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(tmp_path, photo, arguments, code, says):
    _bad_files(tmp_path, photo)
    before = sorted(p.name for p in tmp_path.iterdir())
    done = upres_("upscale", *arguments, cwd=tmp_path)
    assert done.returncode == code
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    if done.stderr.startswith("upres: "):
        assert done.stderr.count("\n") == 1
    assert done.stdout == ""
    assert sorted(p.name for p in tmp_path.iterdir()) == before


def test_a_full_disk_leaves_no_half_written_file(picture):
    """A limit on file size stands in for a full disk: the write fails half way in the same manner."""
    before = sorted(p.name for p in picture.parent.iterdir())
    done = upres_("upscale", picture, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)))
    assert done.returncode == 1
    assert "photo-x2.png: could not be written" in done.stderr
    assert done.stderr.count("\n") == 1
    assert sorted(p.name for p in picture.parent.iterdir()) == before


@pytest.mark.skipif(os.name != "posix", reason="needs another user's identity")
def test_a_folder_that_is_not_writable(picture):
    picture.parent.chmod(0o555)
    try:
        if os.access(picture.parent, os.W_OK):  # root may write anywhere; what it meets is a missing directory
            pytest.skip("this user may write anywhere")
        done = upres_("upscale", picture)
    finally:
        picture.parent.chmod(0o755)
    assert done.returncode == 1
    assert "is not writable; give -o" in done.stderr


def test_models_lists_the_catalog():
    done = upres_("models")
    assert done.returncode == 0
    for record in upres.models():
        assert record.name in done.stdout
        assert f"{record.parameters:,}" in done.stdout
        assert f"{record.results['set5'][0]:.2f}" in done.stdout
    listed = json.loads(upres_("models", "--json").stdout)
    assert [(e["name"], e["scale"]) for e in listed] == [(r.name, r.scale) for r in upres.models()]


def test_evaluate_prints_and_writes_scores(tmp_path, picture):
    folder = picture.parent / "set5"
    folder.mkdir()
    picture.rename(folder / "a.png")
    files = {name: tmp_path / f"r.{name}" for name in ("json", "markdown", "csv")}
    options = [part for name, path in files.items() for part in (f"--{name}", path)]
    done = upres_("evaluate", "fsrcnn,espcn", "--data", folder, "--scale", "3,4,5", "--protocol", "paper,rgb", *options)
    assert done.returncode == 0, done.stderr
    evaluations = json.loads(files["json"].read_text())["evaluations"]
    assert [(e["scale"], e["protocol"], e["model"]) for e in evaluations if e["scale"] != 5] == [
        (scale, protocol, model)
        for scale in (3, 4)
        for protocol in ("paper", "rgb")
        for model in ("bicubic", "fsrcnn", "espcn")
    ]
    assert [e["model"] for e in evaluations if e["scale"] == 5] == ["bicubic"] * 2
    assert "left out: espcn has no scale 5" in done.stderr
    assert "warning: set5 has 5 pictures; here are 1." in done.stderr
    assert "bicubic ×3 on set5 gives" in done.stderr
    assert all(e["warnings"][0] == "set5 has 5 pictures; here are 1." for e in evaluations)
    assert "Warning: set5 has 5 pictures; here are 1." in files["markdown"].read_text()
    assert page.gather([tmp_path]).notes == ()  # its own tables are none
    for evaluation in evaluations:
        assert f"{evaluation['psnr']:.2f}" in done.stdout
        assert f"| {evaluation['psnr']:.2f} |" in files["markdown"].read_text()
    rows = list(csv.DictReader(files["csv"].read_text().splitlines()))
    assert len(rows) == 2 * len(evaluations)
    assert float(rows[0]["psnr"]) == pytest.approx(evaluations[0]["psnr"], abs=1e-4)
    for arguments, code, says in (
        (["bicubic", "--data", tmp_path / "no"], 1, "no such folder"),
        (["bicubicc", "--data", folder], 2, "did you mean bicubic"),
        (["espcn", "--data", folder, "--scale", "5"], 2, "espcn has no scale 5; it has 2, 3, 4"),
        (["bicubic", "--data", folder, "--protocol", "mine"], 2, "no protocol 'mine'; there are paper"),
        (
            ["cmd:t {input} {output}", "--data", folder],
            2,
            "cannot be scored under paper; --protocol selfexsr or rgb can",
        ),
        (["-m", "cmd:false [/b] {input} {output}", "--data", folder, "--protocol", "rgb"], 1, "false '[/b]' "),
        (["bicubic", "--data", folder, "--scale", "2,x"], 2, "--scale is '2,x'; give a whole number"),
        (["bicubic", "--data", folder, "--data", folder], 2, "several sets are called set5"),
        (["bicubic", "--data", folder / "a.png"], 1, "a.png: not a folder"),
        (["finished/", "--data", folder], 1, "finished/: no such folder"),
        (["--data", folder], 2, "no model is given"),
        (["bicubic", "--data", folder, "--json", tmp_path / "no" / "r.json"], 1, "does not exist; create it first"),
    ):
        done = upres_("evaluate", *arguments)
        assert done.returncode == code
        assert says in done.stderr
        assert "Traceback" not in done.stderr


def test_a_model_is_left_out_of_a_protocol_that_cannot_score_it(tmp_path, photo):
    io.write(io.Picture(photo[:60, :80], {}), tmp_path / "a.png")
    copy = f"copy=cmd:{sys.executable} -c 'import shutil, sys; shutil.copy(*sys.argv[1:])' {{input}} {{output}}"
    done = upres_("evaluate", copy, "--data", tmp_path, "--scale", "1", "--protocol", "paper,rgb")
    assert done.returncode == 0, done.stderr
    assert "left out: copy cannot be scored under paper; --protocol selfexsr or rgb can." in done.stderr
    assert re.findall(r"│ (\w+) ", done.stdout) == ["bicubic", "bicubic", "copy"]


def test_a_failure_leaves_the_scores_before_it(tmp_path, photo):
    for name in ("first", "second", "finished"):
        (tmp_path / name).mkdir()
    for path in ("first/a.png", "second/b.png", "finished/a.png"):
        io.write(io.Picture(photo[:60, :80], {}), tmp_path / path)
    sets = ("--data", tmp_path / "first", "--data", tmp_path / "second")
    files = {name: tmp_path / f"r.{name}" for name in ("json", "markdown", "csv")}
    options = [part for name, path in files.items() for part in (f"--{name}", path)]
    done = upres_("evaluate", tmp_path / "finished", *sets, *options)
    assert done.returncode == 1
    assert done.stderr.startswith(f"upres: {tmp_path / 'finished'}: none named b or b-…")
    assert len(done.stderr.splitlines()) == 1
    assert [e["dataset"] for e in json.loads(files["json"].read_text())["evaluations"]] == ["first", "first"]
    for name in ("markdown", "csv"):
        assert "first" in files[name].read_text()
        assert not re.search("second[ ,]", files[name].read_text())
    assert "paper" not in done.stdout.split("protocol paper", 1)[1]  # no column for what nobody printed


def test_compare_writes_sheets_and_pages_and_replaces_none(picture):
    page, sheet = picture.with_name("page.html"), picture.with_name("sheet.pdf")
    done = upres_("compare", picture, "--models", "bicubic,espcn", "-s", 3, "-o", page, "-o", sheet, "--differences")
    assert done.returncode == 0, done.stderr
    assert page.exists()
    assert sheet.exists()
    assert re.search(r"espcn +\d\d\.\d\d dB / 0\.\d{4}", done.stdout)
    own = upres_("compare", picture, "--crop", "3,4,40,30")
    assert own.returncode == 0, own.stderr
    assert f"{picture.stem}-x2-compare.png: crop 3,4,40,30" in own.stdout
    quick = {r.name for r in upres.models() if r.scale == 2} - {"drcn", "drcn-64", "drrn"}
    assert {"bicubic", *quick} <= set(own.stdout.split())
    for arguments, code, says in (
        (["-o", page], 1, "page.html: exists already; give --overwrite"),
        (["-o", picture.with_name("c.gif")], 2, "the ending is one of .png, .pdf, .html"),
        (["--crop", "1,2"], 1, "exists already"),
        (["--crop", "1,2", "--overwrite"], 2, "the crop is '1,2'"),
    ):
        done = upres_("compare", picture, *arguments)
        assert done.returncode == code
        assert says in done.stderr
        assert "Traceback" not in done.stderr


def test_compare_says_how_it_calls_a_foreign_network(picture, shared):
    theirs = shared / "peers" / "opencv" / "ESPCN_x{scale}.pb"
    done = upres_("compare", picture, "-m", f"theirs={theirs}", "-s", 2, "-o", picture.with_name("sheet.png"))
    assert done.returncode == 0, done.stderr
    assert done.stderr == "upres: theirs ×2 takes luma in [0, 1] as NHWC\n"
    assert re.search(r"theirs +\d\d\.\d\d dB", done.stdout)


def test_report_makes_a_page_and_tables(tmp_path):
    document = tmp_path / "doc.md"
    document.write_text("<!-- upres report: ours -->\n<!-- upres report: end -->\n")
    results = REPOSITORY / "docs" / "results"
    done = upres_("report", results, "-o", tmp_path / "r.html", "--update", document)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "r.html").read_text().startswith("<!doctype html>")
    assert "| fsrcnn ×2 | 12,809 |" in document.read_text()
    for arguments, code, says in (
        ([results], 2, "nothing is asked for; -o names the page"),
        ([results, "--update", tmp_path / "absent.md"], 1, "absent.md: cannot be read"),
        ([tmp_path, "-o", tmp_path / "x.html"], 1, "no scores and no runs there"),
    ):
        done = upres_("report", *arguments)
        assert done.returncode == code
        assert says in done.stderr


def test_pack_train_export_and_use(tmp_path, photo):
    """The whole way on a small scale: pictures, pack, training, ONNX file, a picture."""
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for i in range(10):
        io.write(Picture(photo[i * 20 : i * 20 + 110, i * 30 : i * 30 + 120], {}), pictures / f"{i}.png")
    (pictures / "notes.txt").write_text("not a picture")
    done = upres_("pack", pictures, "-o", tmp_path / "packs" / "p.pack")
    assert done.returncode == 0
    assert "notes.txt" in done.stderr
    recipe = tmp_path / "mine.py"
    recipe.write_text(
        "from dataclasses import replace\nfrom upres.recipes import RECIPES\n"
        "RECIPE = replace(RECIPES['espcn'], patch=16, rescale=(1.0,))\n"
    )
    arguments = ["train", recipe, "--scale", 2, "--data", tmp_path / "packs" / "p.pack", "--steps", 6, "--no-compile"]
    done = upres_(*arguments, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    onnx = tmp_path / "run" / "espcn-x2.onnx"
    assert onnx.exists()
    done = upres_("upscale", pictures / "0.png", "--model", onnx)
    assert done.returncode == 0, done.stderr
    assert io.read(pictures / "0-x2.png").pixels.shape == (220, 240, 3)
    done = upres_(*arguments, "--out", tmp_path / "second", "--init", tmp_path / "run" / "espcn-x2.safetensors")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("package", ["torch", "lightning"])
def test_training_without_its_packages_names_their_install(package, tmp_path):
    code = f"import sys; sys.modules[{package!r}] = None; sys.argv[1:] = ['train', 'espcn', '--data', '.']"
    code += "; import upres.__main__"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert done.returncode == 1
    assert done.stderr == f"upres: this needs {package}, which is not installed; run: pip install 'upres[train]'\n"


def test_a_call_that_is_stopped_anywhere_says_so():
    code = """
import sys, typer
from upres import cli
def stopped():
    raise KeyboardInterrupt
app = typer.Typer()
app.command()(stopped)
cli._app = lambda arguments: app
sys.argv = ["upres"]
cli.main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr.strip()) == (130, "upres: stopped.")


def test_a_folder_of_few_pictures_is_warned_of(tmp_path, photo):
    planes = tuple(np.ascontiguousarray(photo[y : y + 80, :80, 1]) for y in range(9))
    write_pack(Pack(tuple("abcdefghi"), planes, digest="cat"), tmp_path / "cat.pack")
    call = ["train", "fsrcnn-s", "--no-compile", "--dry-run", "--data", tmp_path / "cat.pack"]
    warning = "pictures are left to learn from; --held-out 1 leaves more."
    assert upres_(*call).stderr == f"1 of 9 {warning}\n"
    assert warning not in upres_(*call, "--held-out", 4).stderr


def test_help_ends_with_calls_that_are_right():
    """Each is taken apart by the command that it is of, which refuses options that it does not have."""
    commands = cast(click.Group, typer.main.get_command(cli._app([])))  # pyright: ignore[reportPrivateUsage]
    for name, command in commands.commands.items():
        shown = upres_(name, "--help").stdout.partition("Examples:")[2].strip().splitlines()
        assert shown
        for line in map(shlex.split, shown):
            assert line[:2] == ["upres", name]
            command.make_context(name, line[2:])


def test_version_and_short_help():
    assert upres_("--version").stdout == f"{upres.__version__}\n"
    assert "Enlarge pictures faithfully" in upres_("upscale", "-h").stdout


def test_bad_training_calls(tmp_path):
    (tmp_path / "empty.py").touch()
    (tmp_path / "syntax.py").write_text("RECIPE = (")
    (tmp_path / "typo.py").write_text("from upres.training.recipe import Recipe\nRECIPE = Recipe(stpes=3)")
    for arguments, code, says in (
        (["espcm", "--data", tmp_path], 2, "no recipe 'espcm'; did you mean espcn?"),
        (["espcn", "--data", tmp_path / "no"], 1, "no such folder or pack"),
        (["espcn", "--data", tmp_path], 1, "files below it is a usable picture; add some"),
        (["espcn", "--data", tmp_path, "--held-out", 1, "--validation", tmp_path], 2, "names others; give one of them"),
        (["espcn", "--data", tmp_path, "--steps", 0], 2, "steps = 0; it must be at least 1"),
        (["espcn", "--data", tmp_path, "--batch", 0], 2, "batch = 0; it must be at least 1"),
        (["espcn", "--data", tmp_path, "--learning-rate", 0], 2, "learning_rate = 0.0; it must be above 0"),
        (["espcn", "--data", tmp_path, "--init", "espcm-x2"], 2, "unknown model 'espcm'"),
        (["espcn", "--data", tmp_path, "--teacher", "lapsnr"], 2, "unknown model 'lapsnr'; did you mean lapsrn"),
        (["espcn", "--data", tmp_path, "--scale", "-1"], 2, "scale = -1; it must be at least 1"),
        (["espcn", "--data", tmp_path, "--device", "tpu"], 2, "tpu"),
        (["mine.py", "--data", tmp_path], 1, "mine.py: cannot be read"),
        ([tmp_path / "empty.py", "--data", tmp_path], 2, "sets no RECIPE"),
        ([tmp_path / "syntax.py", "--data", tmp_path], 2, "is no recipe that Python can run (SyntaxError"),
        ([tmp_path / "typo.py", "--data", tmp_path], 2, "unexpected keyword argument 'stpes'"),
    ):
        done = upres_("train", *arguments, cwd=tmp_path)
        assert done.returncode == code, done.stderr
        assert says in done.stderr
        assert "Traceback" not in done.stderr


def test_a_folder_of_pictures_is_estimated_and_trained_on(tmp_path, photo):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for i in range(4):
        io.write(Picture(photo[i * 20 : i * 20 + 110, i * 30 : i * 30 + 120], {}), pictures / f"{i}.png")
    recipe = tmp_path / "mine.py"
    recipe.write_text(
        "from dataclasses import replace\nfrom upres.recipes import RECIPES\n"
        "RECIPE = replace(RECIPES['srcnn'], patch=12, rescale=(1.0,), held_out=1, steps=6, settle=1, warmup=1)\n"
    )
    out = tmp_path / "run"
    train = ["train", recipe, "--data", pictures, "--no-compile", "--learning-rate", 5e-4, "--out", out]
    first = [*train, "--precision", "f32"]
    dry = upres_(*train, "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert "srcnn ×2, ×3, ×4: 57,281 parameters" in dry.stdout
    assert "GFLOP/s" in dry.stdout
    assert f" in {'bf16' if training_has_bf16('cpu') else 'f32'}\n" in dry.stdout
    assert " in f32\n" in upres_(*first, "--dry-run").stdout
    assert not out.exists()
    done = upres_(*first, "--validation", pictures)
    assert done.returncode == 0, done.stderr
    assert "4 pictures, validation on" in done.stdout
    assert "; 6 steps in f32; " in done.stdout
    names = {path.name for path in out.iterdir()}
    assert {"srcnn.safetensors", "srcnn.onnx", "curves.png", "samples.png"} <= names
    assert not any(name.startswith(".") for name in names)
    assert store.load(out / "srcnn.safetensors")[1].recipe["learning_rate"] == 5e-4
    for scale in (2, 3, 4):
        assert upres_("evaluate", out / "srcnn.onnx", "--data", pictures, "--scale", scale).returncode == 0
    resumed = upres_(*train, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert resumed.stdout == f"{out / 'srcnn.safetensors'}: is finished already\n"
    longer = upres_(*train, "--resume", "--steps", 12)
    assert longer.returncode == 2
    assert "is finished, with steps = 6, not 12; --out trains elsewhere, and --init starts" in longer.stderr
    repeated = upres_(*train)
    assert repeated.returncode == 2
    assert "srcnn.safetensors: is finished already; --out trains elsewhere" in repeated.stderr
    paper = ["train", "fsrcnn", "--recipe", "paper", "--held-out", 1, "--data", pictures, "--dry-run"]
    again = upres_(*paper)
    assert again.returncode == 0, again.stderr
    assert "a step: 128 patches of 7×7" in again.stdout
    assert "a step: 3 patches of 7×7" in upres_(*paper, "--batch", 3).stdout


def test_a_picture_that_takes_long_has_a_bar_on_a_terminal(picture, tmp_path):
    pty = pytest.importorskip("pty")
    code = "import sys, upres.cli.pictures as p; p._SHOWS_PROGRESS_AFTER = 0; from upres.cli import main; main()"
    for arguments in ([], ["--json"]):
        ours, theirs = pty.openpty()
        out = tmp_path / f"{len(arguments)}.png"
        command = [sys.executable, "-c", code, "upscale", str(picture), "-o", str(out), "-s", "20", *arguments]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, text=True) as process:
            os.close(theirs)
            shown = b""
            with suppress(OSError):  # Linux says so at the end
                while chunk := os.read(ours, 4096):
                    shown += chunk
            stdout = process.stdout.read()
        os.close(ours)
        assert process.returncode == 0
        assert "1600" in stdout
        assert b"%" in shown


def test_standard_input_and_output(picture):
    content = picture.read_bytes()
    command = [sys.executable, "-m", "upres", "upscale", "-", "-o", "-"]
    done = subprocess.run(command, input=content, capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout[:8] == b"\x89PNG\r\n\x1a\n"  # as what came in
    np.testing.assert_array_equal(io.read(done.stdout).pixels, upres.upscale(io.read(picture).pixels, 2))
    jpeg = subprocess.run([*command, "--format", "jpeg"], input=content, capture_output=True, timeout=300)
    assert jpeg.stdout[:2] == b"\xff\xd8"
    for wrong, says in (
        (b"", b"upres: standard input is empty; give a picture file.\n"),
        (content[:-40], b"upres: standard input: the picture is damaged or cut short"),
        (b"text", b"upres: standard input: not a picture that upres can read"),
        (bytes(3_000_000), b"upres: standard input: not a picture that upres can read"),
    ):
        done = subprocess.run(command, input=wrong, capture_output=True, timeout=300)
        assert (done.returncode, done.stdout) == (1, b"")
        assert done.stderr.startswith(says)


def test_standard_input_has_an_end(picture):
    """What begins as a picture and goes on for ever is given up once the memory for it is used."""
    content = picture.read_bytes()
    command = [sys.executable, "-m", "upres", "upscale", "-", "-o", "-", "--memory", "300MB"]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(command, bufsize=0, **pipes) as process:
        written = process.stdin.write(content)
        with suppress(BrokenPipeError):
            while written < 2_000_000_000:
                written += process.stdin.write(bytes(1 << 20))
        assert written < 400_000_000
        process.stdin.close()
        out, errors = process.stdout.read(), process.stderr.read()
        assert process.wait(timeout=60) == 1
    assert out == b""
    assert errors == b"upres: standard input goes on beyond 0.3 GB, all that may be used (--memory).\n"


def test_streams_that_cannot_be_are_named(picture, tmp_path):
    done = upres_("upscale", "-", "-o", f"{tmp_path}/", input="")
    assert done.returncode == 2
    assert "is a folder; what goes through - has no name, so name a file." in done.stderr
    closed = subprocess.run(
        f"{sys.executable} -m upres upscale - -o {tmp_path}/a.png <&-", shell=True, capture_output=True, timeout=60
    )
    assert closed.returncode == 2
    assert closed.stderr == b"upres: - reads standard input, which is closed; give a picture file.\n"


def test_any_size_and_verification(picture):
    done = upres_("upscale", picture, "--fit", "300x300", "--verify", "--json")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["result"] == str(picture.with_name("photo-300x300.png"))
    assert (record["status"], record["width"], record["height"]) == ("done", 300, 225)
    assert 35 < record["psnr"] < 80
    smaller = upres_("upscale", picture, "--width", 40)
    assert "photo-w40.png: 40×30, smaller than it was: reduced by bicubic interpolation, no network" in smaller.stdout
    same = upres_("upscale", picture, "--scale", 1, "--format", "tiff", "-o", picture.with_name("same.tif"))
    assert "80×60, the size it had: no network" in same.stdout
    np.testing.assert_array_equal(io.read(picture.with_name("same.tif")).pixels, io.read(picture).pixels)


def test_quality_effort_and_format_have_an_effect(picture):
    sizes = {}
    for name, arguments in {
        "high.jpg": ["--quality", 98],
        "low.jpg": ["--quality", 30],
        "quick.png": ["--effort", 1],
        "small.png": ["--effort", 9],
        "exact.webp": ["--lossless"],
    }.items():
        assert upres_("upscale", picture, "-m", "bicubic", "-o", picture.with_name(name), *arguments).returncode == 0
        sizes[name] = picture.with_name(name).stat().st_size
    assert sizes["high.jpg"] > 2 * sizes["low.jpg"]
    assert sizes["quick.png"] > sizes["small.png"]
    exact = io.read(picture.with_name("exact.webp")).pixels
    np.testing.assert_array_equal(exact, io.read(picture.with_name("small.png")).pixels)
    assert upres_("upscale", picture, "--format", "avif").returncode == 0
    assert io.format_of(picture.with_name("photo-x2.avif")).name == "avif"


def test_an_option_that_no_result_would_heed_is_refused(picture, tmp_path):
    for arguments, says in (
        (
            ["-o", "a.jpg", "--effort", 5],
            "effort is 5, but there is none for jpeg; leave it out: png, webp, avif, gif have it",
        ),
        (
            ["-o", "a.tif", "--quality", 50],
            "quality is 50, but there is none for tiff; leave it out: jpeg, webp, avif have it",
        ),
        (["-o", "a.webp", "--effort", 7], "effort is 7; for webp it lies between 0 and 6"),
    ):
        done = upres_("upscale", picture, *arguments, cwd=tmp_path)
        assert done.returncode == 2
        assert says in done.stderr
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    for suffix in (".png", ".jpg"):
        io.write(io.read(picture), mixed / f"a{suffix}")
    assert upres_("upscale", mixed, "-m", "bicubic", "-o", tmp_path / "out", "--effort", 1).returncode == 0
    named = [mixed / "a.png", mixed / "a.jpg"]
    assert upres_("upscale", *named, "-m", "bicubic", "--quality", 50).returncode == 0


def test_what_a_format_cannot_carry_is_said(tmp_path, photo):
    caption = b"Photoshop 3.0\x008BIM\x04\x04\0\0\0\0\0\x0c\x1c\x02\x78\x00\x07A cat !"
    io.write(Picture(photo, {"iptc-data": caption}), tmp_path / "a.jpg")
    done = upres_("upscale", tmp_path / "a.jpg", "-m", "bicubic", "--format", "png")
    assert "902×600, without its IPTC" in done.stdout
    deep = np.dstack([photo, photo[..., :1]]).astype(np.uint16) * 200
    io.write(Picture(deep, {"xmp-data": b"<x:xmpmeta/>" + b" " * 70_000}), tmp_path / "deep.tif")
    done = upres_("upscale", tmp_path / "deep.tif", "-m", "bicubic", "--format", "gif", "--json")
    assert json.loads(done.stdout)["lost"] == ["XMP", "16 bits", "partial transparency"]
    io.write(Picture(photo, {"xmp-data": b"<x:xmpmeta/>" + b" " * 70_000}), tmp_path / "b.webp")
    done = upres_("upscale", tmp_path / "b.webp", "-m", "bicubic", "--format", "jpg")
    assert "902×600, without its XMP" in done.stdout
    assert b"xmpmeta" not in (tmp_path / "b-x2.jpg").read_bytes()


def test_a_picture_is_not_replaced_by_its_own_result(picture):
    before = picture.read_bytes()
    done = upres_("upscale", picture, "-o", picture, "--overwrite")
    assert done.returncode == 2
    assert "would be replaced by its own result; name another file with -o" in done.stderr
    link = picture.with_name("link.png")
    link.symlink_to(picture)
    linked = upres_("upscale", link, "-o", link, "--overwrite")
    assert linked.returncode == 2
    assert "link.png: would be replaced by its own result" in linked.stderr
    assert picture.read_bytes() == before


def test_results_among_the_pictures_are_left_out(picture):
    assert upres_("upscale", picture, "-m", "bicubic").returncode == 0
    result = picture.with_name("photo-x2.png")
    done = upres_("upscale", picture, result, "-m", "bicubic", "--overwrite")
    assert (done.returncode, done.stdout.count("×")) == (0, 1)
    assert f"{result}: left out, being what another of these pictures becomes." in done.stderr
    assert not picture.with_name("photo-x2-x2.png").exists()


def test_one_picture_under_two_spellings_is_one(picture, tmp_path):
    (tmp_path / "link").symlink_to(picture.parent)
    for other in (picture.parent / ".." / picture.parent.name / picture.name, tmp_path / "link" / picture.name):
        twice = upres_("upscale", picture, other, "-m", "bicubic", "--overwrite")
        assert twice.returncode == 2
        assert "would be written twice; give each picture once" in twice.stderr
    assert upres_("upscale", picture, "-m", "bicubic").returncode == 0
    result = tmp_path / "link" / "photo-x2.png"
    done = upres_("upscale", result, picture, "-m", "bicubic", "--overwrite")
    assert f"{result}: left out, being what another of these pictures becomes." in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["loop/a.png"],
        ["photo.png", "-o", "loop/x.png"],
        ["photo.png", "-o", "loop/"],
        [".", "-o", "loop"],
        [".", "-o", "a" * 300],
        ["?" * 300, "-o", "out"],
        ["[" + "a" * 300 + "]", "-o", "out"],
        ["***.jpg", "-o", "out"],
    ],
)
def test_names_that_lead_nowhere_are_one_sentence(picture, arguments):
    (picture.parent / "loop").symlink_to("loop")
    done = upres_("upscale", *arguments, "-m", "bicubic", cwd=picture.parent)
    assert done.returncode in (1, 2)
    assert done.stderr.startswith("upres: ")
    assert "Traceback" not in done.stderr


def test_a_folder_that_no_result_came_into_is_taken_away(tmp_path, photo):
    (tmp_path / "bad.png").write_text("no picture")
    io.write(Picture(photo[:20, :30]), tmp_path / "a.png")
    assert upres_("upscale", "bad.png", "-o", "new/", "-m", "bicubic", cwd=tmp_path).returncode == 1
    assert not (tmp_path / "new").exists()
    assert upres_("upscale", "bad.png", "a.png", "-o", "new/", "-m", "bicubic", cwd=tmp_path).returncode == 1
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a-x2.png"]


@pytest.mark.parametrize("as_folder", [True, False])
def test_a_dry_run_with_an_unknown_model_fails_too(picture, as_folder):
    source = picture.parent if as_folder else picture
    done = upres_("upscale", source, "-m", "espnc", "--dry-run")
    assert (done.returncode, done.stdout) == (2, "")
    assert "unknown model 'espnc'; did you mean espcn" in done.stderr


@pytest.mark.skipif(os.name != "posix", reason="closes standard output as a shell does")
def test_a_closed_standard_output_is_one_sentence(picture):
    call = [sys.executable, "-m", "upres", "upscale", str(picture), "-o", "-", "-m", "bicubic"]
    done = subprocess.run(["/bin/sh", "-c", '"$@" >&-', "sh", *call], stderr=subprocess.PIPE, text=True, timeout=300)
    assert done.returncode == 2
    assert "upres: -o - writes to standard output, which is closed; give -o FILE." in done.stderr


def test_ending_and_format_have_to_agree(picture, tmp_path):
    done = upres_("upscale", picture, "-o", tmp_path / "a.jpg", "--format", "png")
    assert done.returncode == 2
    assert "a.jpg: ends as jpeg does, and the format is png; let them agree." in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_standard_output_is_one_sentence(picture):
    with Path("/dev/full").open("wb") as full:
        command = [sys.executable, "-m", "upres", "upscale", picture, "-o", "-", "-m", "bicubic"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=300)
    assert done.returncode == 1
    assert "upres: standard output: could not be written (No space left on device)." in done.stderr
    assert "Traceback" not in done.stderr


def _heed_interrupts():
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # tests that run in the background inherit that it is ignored


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
@pytest.mark.parametrize("as_folder", [True, False])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_nothing(tmp_path, photo, number, as_folder):
    io.write(Picture(np.tile(photo, (12, 8, 1))), tmp_path / "large.png")
    (tmp_path / "in").mkdir()
    (tmp_path / "large.png").rename(tmp_path / "in" / "large.png")
    (tmp_path / "out").mkdir()
    source = tmp_path / "in" if as_folder else tmp_path / "in" / "large.png"
    command = [sys.executable, "-m", "upres", "upscale", source, "-o", f"{tmp_path}/out/", "-m", "srcnn"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=_heed_interrupts
    )
    while not list((tmp_path / "out").glob(".upres-*")):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == (143 if number == signal.SIGTERM else 130), errors
    assert "Traceback" not in errors
    assert ("stopped; the same call goes on" in errors) == as_folder
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".upres.jsonl"] * as_folder


def test_verbose_says_what_runs_and_why(picture, tmp_path):
    done = upres_("upscale", picture, "-o", tmp_path / "a.png", "--verbose", "--memory", "1GB")
    assert done.returncode == 0
    reason = "bf16 for 8-bit pictures, which this processor has" if has_bf16() else "f32, as this"
    assert f"fsrcnn ×2: openvino; {reason}" in done.stderr
    assert "share a border of 8" in done.stderr
    assert "memory up to 1.0 GB" in done.stderr


def test_doctor_names_processor_engines_and_speed():
    done = upres_("doctor")
    assert (done.returncode, done.stderr) == (0, "")
    assert "of its cores for this process" in done.stdout
    assert re.search(r"engine openvino: \d", done.stdout)
    assert re.search(r"compiled networks: \d+\.\d MB of at most 100 in .", done.stdout)
    speeds = re.findall(r"  (fsrcnn|espcn), (?:bf16|f32|int8): (\d+\.\d)", done.stdout)
    assert [name for name, _ in speeds] == [*["fsrcnn"] * (1 + has_bf16()), *["espcn"] * (1 + has_int8())]
    assert all(float(speed) > 0 for _, speed in speeds)


def test_interrupted_it_ends_at_once_and_leaves_nothing(tmp_path):
    io.write(Picture(np.zeros((4000, 4000, 3), np.uint8)), tmp_path / "a.png")
    process = subprocess.Popen(
        [sys.executable, "-m", "upres", "upscale", "a.png", "-o", "b.png"],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=_heed_interrupts,
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".upres-*")):  # the temporary file of a result in work
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    interrupted = time.monotonic()
    assert process.wait(60) != 0
    assert time.monotonic() - interrupted < 10
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_a_result_never_replaces_its_input_in_a_folder(tmp_path, photo):
    io.write(Picture(photo[:20, :30]), tmp_path / "a.png")
    done = upres_("upscale", tmp_path, "-o", tmp_path, "--overwrite")
    assert done.returncode == 2
    assert "holds the pictures themselves; name another folder" in done.stderr


def test_a_folder_for_pictures_named_one_by_one_is_made(tmp_path, photo):
    for name in "ab":
        io.write(Picture(photo[:20, :30]), tmp_path / f"{name}.png")
    planned = upres_("upscale", "a.png", "-o", "new/large/", "-m", "bicubic", "--dry-run", cwd=tmp_path)
    assert planned.stdout.splitlines() == [f"a.png → {Path('new/large/a-x2.png')}, 60×40"]
    assert not (tmp_path / "new").exists()
    assert upres_("upscale", "a.png", "b.png", "-o", "new/large/", "-m", "bicubic", cwd=tmp_path).returncode == 0
    assert sorted(path.name for path in (tmp_path / "new" / "large").iterdir()) == ["a-x2.png", "b-x2.png"]
    for arguments, says in (
        (["none.png", "-o", "made/"], "none.png: no such file"),
        (["a.png", "-o", "b.png/"], "cannot be made a folder"),
    ):
        for more in ([], ["--dry-run"]):
            failed = upres_("upscale", *arguments, "-m", "bicubic", *more, cwd=tmp_path)
            assert failed.returncode == 1
            assert says in failed.stderr
    assert not (tmp_path / "made").exists()
    several = upres_("upscale", "a.png", "b.png", "-o", "other", cwd=tmp_path)
    assert several.returncode == 2
    assert "other: is not a folder; with 2 pictures -o must name one, as in other/." in several.stderr


def test_a_missing_picture_is_named_before_a_mistake_in_the_output(tmp_path):
    done = upres_("upscale", "none.png", "-o", "other", cwd=tmp_path)
    assert done.returncode == 1
    assert "none.png: no such file; check the path" in done.stderr
    (failed,) = upres_("upscale", "none.png", "-o", "a.png", "--json", cwd=tmp_path).stdout.splitlines()
    assert json.loads(failed)["status"] == "failed"


def test_a_pattern_leaves_its_own_results_out(tmp_path, photo):
    io.write(Picture(photo[:20, :30]), tmp_path / "a.png")
    for _ in range(2):
        assert upres_("upscale", "**/*.png", "-o", "large", cwd=tmp_path).returncode == 0
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.png")) == ["a.png", "large/a.png"]


def test_what_a_format_has_not_is_refused_in_folders_too(tmp_path, photo):
    io.write(Picture(photo[:20, :30]), tmp_path / "a.jpg")
    done = upres_("upscale", tmp_path, "-o", tmp_path / "out", "--lossless")
    assert (done.returncode, (tmp_path / "out").exists()) == (2, False)
    done = upres_("upscale", "-", "-o", tmp_path / "b.jpg", "--dry-run", input="")
    assert done.returncode == 2
    assert "--dry-run and --json are for files and folders" in done.stderr


def test_verifying_stops_no_folder_and_writes_valid_json(tmp_path, photo):
    io.write(Picture(photo[:20, :30]), tmp_path / "a.png")
    io.write(Picture(np.zeros((20, 30), np.uint8)), tmp_path / "b.png")
    done = upres_("upscale", tmp_path, "-o", tmp_path / "small", "--scale", 0.5, "--verify")
    assert done.returncode == 0
    assert done.stdout.count("not larger, so not verified") == 2
    done = upres_("upscale", tmp_path / "b.png", "-o", tmp_path / "c.png", "--scale", 1, "--verify", "--json")
    record = json.loads(done.stdout, parse_constant=lambda constant: pytest.fail(constant))
    assert record["psnr"] is None
