from __future__ import annotations

import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import upres
from upres.errors import Interrupted, PictureError, TooLittleMemory, UsageError
from upres.images import formats, io
from upres.images.formats import Encoding
from upres.images.io import Picture
from upres.images.resize import imresize
from upres.inference import caching, engines, enlarging, fidelity, tiling
from upres.inference.enlarging import Enlarger, Settings, free_memory
from upres.inference.sizes import Wanted

EXAMPLES = int(os.environ.get("UPRES_EXAMPLES", "40"))
TIFF, PNG = formats.named("tiff"), formats.named("png")


def enlarger(memory=2_000_000_000, model="fsrcnn", back_projection=0, **wanted):
    settings = Settings(
        model=model, wanted=Wanted(**wanted), encoding=Encoding(), precision="f32", back_projection=back_projection
    )
    return Enlarger(settings, memory=memory)


def through(pixels, folder, **options):
    """The pixels that come out when a file of these goes in."""
    io.write(Picture(pixels), folder / "in.tif", overwrite=True)
    done = enlarger(**options).file(folder / "in.tif", folder / "out.tif", format=TIFF)
    result = io.read(folder / "out.tif").pixels
    assert result.shape[:2] == done.size
    return result


@pytest.mark.parametrize("model", ["fsrcnn", "bicubic"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_a_file_equals_the_array(tmp_path, photo, model, channels, dtype):
    pixels = np.dstack([photo, photo[..., 1]])[:60, :50]
    pixels = pixels[..., {1: [0], 2: [0, 3], 3: [0, 1, 2], 4: [0, 1, 2, 3]}[channels]]
    white = 1 if dtype == np.float32 else np.iinfo(dtype).max
    pixels = (pixels / 255 * white).astype(dtype)
    pixels = pixels[..., 0] if channels == 1 else pixels
    expected = upres.load(model, 2, precision="f32") if model != "bicubic" else upres.load(model, 2)
    np.testing.assert_array_equal(through(pixels, tmp_path, model=model, scale=2), expected(pixels))


@pytest.mark.parametrize(("model", "side", "is_cut"), [("vdsr", 60, False), ("espcn", 500, True)])
def test_one_engine_is_compiled_for_a_picture(tmp_path, monkeypatch, model, side, is_cut):
    """Compiling one takes longer than a small picture; that memory and cost are reckoned must not compile another."""
    compiled = []
    make = engines.OpenVINOEngine._make
    monkeypatch.setattr(engines.OpenVINOEngine, "_make", lambda self: compiled.append(1) or make(self))
    monkeypatch.setenv(caching.VARIABLE, "")
    network = enlarger(model=model, scale=2)
    upscaler = network._upscalers[2]
    upscaler.workers, upscaler._make_alone = 2, upscaler._make_engine
    io.write(Picture(np.zeros((side, side), np.uint8)), tmp_path / "in.png")
    network.file(tmp_path / "in.png", tmp_path / "out.png", format=PNG)
    assert len(compiled) == 1
    assert upscaler.is_cut(side, side, "f32") is is_cut


@pytest.mark.parametrize("size", [(4000, 64), (64, 4000)])
def test_the_long_tiles_of_narrow_pictures_are_reckoned(size):
    asked = []
    large = (2 * size[0], 2 * size[1])
    side = enlarging._tile(
        size, 1, np.dtype(np.uint8), large, PNG, lambda h, w: asked.append((h, w)) or 0, lossless=False, workers=2,
        memory=2_000_000_000,
    )  # fmt: skip
    parts = tiling.split(*large, halo=0, tile=side, workers=2)
    longest = [max(kept.stop - kept.start for kept in sides) for sides in zip(*(p.kept for p in parts), strict=True)]
    assert all(reckoned >= made for reckoned, made in zip(asked[-1], longest, strict=True))


def test_little_memory_changes_no_pixel_and_too_little_is_said(tmp_path, photo):
    pixels = np.tile(photo, (2, 3, 1))
    large = through(pixels, tmp_path, scale=2)
    small = through(pixels, tmp_path, scale=2, memory=320_000_000).astype(int)
    assert np.abs(small - large).max() <= 1  # float32 sums of other lengths, rounded to integers
    assert (small != large).mean() < 1e-4
    with pytest.raises(TooLittleMemory, match=r"in\.tif: a result of 2706×1200 pixels takes about \d+ MB; \d+ MB are"):
        through(pixels, tmp_path, scale=2, memory=302_000_000)


@pytest.mark.parametrize("model", ["fsrcnn", "bicubic"])
@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (7, 3), (33, 65)])
def test_odd_sizes(tmp_path, model, size):
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    for scale in (0.5, 1, 2, 2.5, 6):
        result = through(pixels, tmp_path, model=model, scale=scale)
        assert result.shape == (*(max(1, int(side * scale + 0.5)) for side in size), 3)
        if scale == 1:
            np.testing.assert_array_equal(result, pixels)


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    st.tuples(st.integers(1, 70), st.integers(1, 70)),
    st.integers(1, 4),
    st.sampled_from(["uint8", "uint16", "float32"]),
    st.floats(0.1, 9),
    st.sampled_from(["fsrcnn", "espcn", "bicubic"]),
    st.sampled_from(formats.FORMATS),
)
def test_any_size_dtype_channels_scale_and_format(tmp_path_factory, size, channels, dtype, scale, model, format):
    folder = tmp_path_factory.mktemp("any")
    white = 1 if dtype == "float32" else np.iinfo(dtype).max
    pixels = (np.random.default_rng(0).random((*size, channels)) * white).astype(dtype)
    io.write(Picture(pixels[..., 0] if channels == 1 else pixels), folder / "in.tif")
    target = folder / f"out{format.suffixes[0]}"
    make = enlarger(model=model, scale=scale)
    if channels in (2, 4) and not format.alpha:
        with pytest.raises(PictureError, match="has no transparency"):
            make.file(folder / "in.tif", target, format=format)
        assert not target.exists()
        return
    done = make.file(folder / "in.tif", target, format=format)
    picture = io.read(target)
    assert picture.pixels.shape[:2] == done.size == make.settings.wanted.of(size)
    assert picture.pixels.dtype == format.dtype(np.dtype(dtype))


@pytest.mark.parametrize("channels", [2, 4])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_an_opaque_alpha_is_left_out_of_a_format_that_has_none(tmp_path, photo, channels, dtype):
    white = 1 if dtype == "float32" else np.iinfo(dtype).max
    colours = (photo[:30, :40, : channels - 1] / 255 * white).astype(dtype)
    pixels = np.concatenate([colours, np.full((30, 40, 1), white, dtype)], axis=2)
    (jpeg,) = (format for format in formats.FORMATS if format.name == "jpeg")
    make = enlarger(model="bicubic", scale=2)
    source, target = tmp_path / "in.tif", tmp_path / "out.jpg"
    for name, content in (("out", pixels), ("plain", colours if channels == 4 else colours[..., 0])):
        io.write(Picture(content), source, overwrite=True)
        make.file(source, tmp_path / f"{name}.jpg", format=jpeg)
    assert target.read_bytes() == (tmp_path / "plain.jpg").read_bytes()
    for transparent in (0, *[np.nan] * (dtype == "float32")):
        pixels[-1, -1, -1] = transparent
        io.write(Picture(pixels), source, overwrite=True)
        with pytest.raises(PictureError, match="has no transparency"):
            make.file(source, target, format=jpeg)


def test_memory_counts_the_picture_without_its_alpha_too(tmp_path):
    pixels = np.full((2000, 2000, 4), 255, np.uint8)
    io.write(Picture(pixels), tmp_path / "in.png")
    make = Enlarger(replace(enlarger(model="bicubic", scale=1).settings), memory=enlarging.OWN_BYTES + pixels.nbytes)
    megabytes: list[int] = []
    for name in ("png", "jpeg"):
        (format,) = (format for format in formats.FORMATS if format.name == name)
        with pytest.raises(TooLittleMemory, match=r"takes about \d+ MB") as raised:
            make.file(tmp_path / "in.png", tmp_path / f"out.{name}", format=format)
        megabytes.append(int(str(raised.value).partition("about ")[2].partition(" ")[0]))
    assert megabytes[1] - megabytes[0] == 12  # 2000 · 2000 pixels of three bytes


def test_a_share_of_the_rows_is_told_as_they_are_made(tmp_path, photo):
    io.write(Picture(photo[:40, :50]), tmp_path / "in.png")
    shares = []
    make = enlarger(model="bicubic", scale=60)
    make.file(tmp_path / "in.png", tmp_path / "out.png", format=formats.FORMATS[0], advanced=shares.append)
    assert len(shares) > 1
    assert shares == sorted(set(shares))
    assert shares[-1] == 1


def test_fractions_go_through_the_network_above(tmp_path, photo):
    pixels = photo[:100, :120].astype(np.float32) / 255
    triple = upres.load("fsrcnn", 3, precision="f32")(pixels)
    expected = np.clip(imresize(triple, size=(250, 300)), 0, 1)
    np.testing.assert_allclose(through(pixels, tmp_path, scale=2.5), expected, atol=1e-5)


def test_eight_times_is_two_times_four_times(tmp_path, photo):
    pixels = photo[:40, :50].astype(np.float32) / 255
    expected = upres.load("fsrcnn", 4, precision="f32")(upres.load("fsrcnn", 2, precision="f32")(pixels))
    np.testing.assert_allclose(through(pixels, tmp_path, scale=8), expected, atol=1e-5)


def test_a_smooth_ramp_of_sixteen_bits_keeps_its_levels(tmp_path):
    ramp = np.arange(65536, dtype=np.uint16).reshape(256, 256).T  # smooth down, a step of 256 across
    ramp = np.sort(ramp.ravel()).reshape(8, 8192)
    result = through(ramp, tmp_path, scale=2)
    assert result.dtype == np.uint16
    assert len(np.unique(result)) > 20_000
    i, j = np.mgrid[:300, :300]
    plane = (137 * i + 61 * j).astype(np.uint16)
    assert len(np.unique(through(plane, tmp_path, scale=2))) > 20_000


@pytest.mark.parametrize("model", ["fsrcnn", "bicubic"])
@pytest.mark.parametrize("ground", [0, 255])
def test_a_hard_transparent_edge_has_no_fringe(tmp_path, photo, model, ground):
    """What is seen on black and on white, beside the enlargement of what was seen there."""
    picture = np.dstack([photo[:200, :200], np.zeros((200, 200), np.uint8)])
    i, j = np.mgrid[:200, :200]
    picture[(i - 100) ** 2 + (j - 90) ** 2 < 75**2, 3] = 255
    picture[picture[..., 3] == 0, :3] = (0, 255, 0)  # hidden, and must stay so
    i, j = np.mgrid[:400, :400]
    edge = np.abs(np.hypot(i - 200.5, j - 180.5) - 150) < 4

    def seen(rgba):
        alpha = rgba[..., 3:] / 255
        return rgba[..., :3] * alpha + ground * (1 - alpha)

    def green(rgb):
        return (rgb[..., 1] - np.maximum(rgb[..., 0], rgb[..., 2]))[edge]

    def error(rgba):
        return np.sqrt(np.square(seen(rgba) - truth)[edge].mean())

    truth = upres.upscale(np.floor(seen(picture) + 0.5).astype(np.uint8), 2, model).astype(float)
    ours = through(picture, tmp_path, model=model, scale=2)
    naive = np.dstack([upres.upscale(picture[..., c], 2, model) for c in range(4)])
    assert (green(seen(ours)) - green(truth)).max() < 12
    assert (green(seen(naive)) - green(truth)).max() > 70
    # The network sharpens the edge of what is seen, bicubic interpolation that of alpha less so.
    assert error(ours) < (0.5 if model == "bicubic" else 1) * error(naive)


def test_pictures_that_cannot_be_written_are_named_before_any_work(tmp_path, photo):
    io.write(Picture(photo[:20, :20], pages=2), tmp_path / "pages.tif")
    with pytest.raises(PictureError, match="png holds one picture, not 2 pages"):
        enlarger(scale=2).file(tmp_path / "pages.tif", tmp_path / "a.png", format=PNG)
    assert not (tmp_path / "a.png").exists()


def test_a_stop_gives_up_the_picture_in_work(tmp_path, photo):
    io.write(Picture(photo), tmp_path / "in.tif")
    stopped = enlarger(scale=2)
    stopped.stopped.set()
    with pytest.raises(Interrupted, match="stopped"):
        stopped.file(tmp_path / "in.tif", tmp_path / "out.tif", format=TIFF)
    assert [path.name for path in tmp_path.iterdir()] == ["in.tif"]


def test_a_stop_while_the_last_rows_are_written_leaves_no_file_either(tmp_path, photo, monkeypatch):
    io.write(Picture(photo), tmp_path / "in.tif")
    stopped, write_rows = enlarger(scale=2), io.write_rows

    def stop_before_the_end(*args, written, **options):
        def stop(temporary):
            stopped.stopped.set()
            written(temporary)

        write_rows(*args, written=stop, **options)

    monkeypatch.setattr(io, "write_rows", stop_before_the_end)
    with pytest.raises(Interrupted, match="stopped"):
        stopped.file(tmp_path / "in.tif", tmp_path / "out.tif", format=TIFF)
    assert [path.name for path in tmp_path.iterdir()] == ["in.tif"]


def test_back_projection_raises_consistency(tmp_path, photo):
    io.write(Picture(photo[:128, :128]), tmp_path / "in.png")
    found = []
    for rounds in (0, 2):
        enlarger(scale=2, back_projection=rounds).file(tmp_path / "in.png", tmp_path / "out.png", format=PNG)
        found.append(fidelity.consistency(tmp_path / "in.png", tmp_path / "out.png"))
        # independent of `fidelity`: 8-bit files, MATLAB's imresize, PSNR by hand
        reduced = imresize(io.read(tmp_path / "out.png").pixels / 255.0, size=(128, 128))
        error = np.square(reduced.clip(0, 1) - photo[:128, :128] / 255.0).mean()
        assert found[-1] == pytest.approx(-10 * np.log10(error), abs=0.02)
        (tmp_path / "out.png").unlink()
    assert found[1] > found[0] + 2
    with pytest.raises(UsageError, match="back-projection is 21; it must lie between 0 and 20"):
        enlarger(scale=2, back_projection=21)


def test_only_enlargements_of_as_many_pages_are_verified(tmp_path, photo):
    io.write(Picture(photo), tmp_path / "in.png")
    io.write(Picture(photo[:50]), tmp_path / "out.png")
    assert fidelity.consistency(tmp_path / "in.png", tmp_path / "out.png") is None
    io.write(Picture(np.tile(photo[:50], (2, 1, 1)), pages=2), tmp_path / "two.tif")
    with pytest.raises(PictureError, match="has 2 pages or frames where its input has 1"):
        fidelity.consistency(tmp_path / "in.png", tmp_path / "two.tif")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux' account of memory")
@pytest.mark.parametrize(
    ("repeats", "arguments"),
    [
        # Of 24 megapixels from 6: the result alone, as floats, would take 288 MB.
        ((8, 15), ["-m", "bicubic", "-o", "out.jpg"]),
        # Nearly all of the network's work is for what the reduction takes back.
        ((4, 7), ["-m", "lapsrn", "-s", "1.05", "-o", "out.png", "--precision", "f32"]),
    ],
)
def test_memory_is_kept(tmp_path, repeats, arguments):
    pixels = np.tile(np.random.default_rng(0).integers(0, 256, (250, 200, 3), np.uint8), (*repeats, 1))
    io.write(Picture(pixels), tmp_path / "in.png", encoding=Encoding(effort=1))
    arguments = ["upscale", "in.png", "--memory", "500MB", *arguments]
    # Not `getrusage`, whose peak a process inherits from the one that started it.
    code = f"import sys, atexit, pathlib; sys.argv[1:] = {arguments}\n"
    code += "atexit.register(lambda: print(pathlib.Path('/proc/self/status').read_text(), file=sys.stderr))\n"
    done = subprocess.run(
        [sys.executable, "-c", code + "import upres.__main__"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    peak = next(line.split()[1] for line in done.stderr.splitlines() if line.startswith("VmHWM"))
    assert int(peak) * 1024 < 1.15 * 500e6


def test_an_encoder_that_holds_the_whole_result_counts(tmp_path):
    io.write(Picture(np.zeros((1000, 1500, 3), np.uint8)), tmp_path / "in.webp", encoding=Encoding(lossless=True))
    io.write(Picture(np.zeros((1000, 1500, 3), np.uint8)), tmp_path / "in.png")
    network = enlarger(model="bicubic", scale=2, memory=500_000_000)
    for name, target in [("in.png", "avif"), ("in.webp", "webp")]:
        with pytest.raises(TooLittleMemory, match=r"a result of 3000×2000 pixels takes about \d+ MB; 500 MB are"):
            network.file(tmp_path / name, tmp_path / f"out.{target}", format=formats.named(target))
    network.file(tmp_path / "in.png", tmp_path / "out.webp", format=formats.named("webp"))
    settings = replace(network.settings, encoding=Encoding(quality=90))
    lossy = Enlarger(settings, memory=500_000_000)
    lossy.file(tmp_path / "in.webp", tmp_path / "lossy.webp", format=formats.named("webp"))


def test_what_does_not_fit_the_memory_is_not_compared(tmp_path, photo):
    io.write(Picture(photo), tmp_path / "in.png")
    with pytest.raises(TooLittleMemory, match=r"in\.png: comparing it with its input takes 300 MB; 299 MB are allowed"):
        fidelity.consistency(tmp_path / "in.png", tmp_path / "in.png", memory=299e6)
    assert fidelity.consistency(tmp_path / "in.png", tmp_path / "in.png", memory=302e6) == math.inf
    io.write(Picture(photo), tmp_path / "a.jpg")
    cut = (tmp_path / "a.jpg").read_bytes()[:-2]  # which is decoded several times
    assert fidelity.consistency(cut, tmp_path / "a.jpg", memory=302e6) == math.inf


def test_free_memory_is_some_of_the_machines():
    assert 10_000_000 < free_memory() < 100e12
