from __future__ import annotations

import numpy as np
import pytest
import pyvips

from upres.errors import OutputError, PictureError, UsageError
from upres.images import io
from upres.images.io import Picture


@pytest.fixture
def jpeg(tmp_path, photo):
    path = tmp_path / "photo.jpg"
    io.write(Picture(photo, {}), path)
    return path


def test_every_format_and_depth_comes_back(tmp_path):
    random = np.random.default_rng(0)
    for suffix in (".png", ".tif"):
        for dtype in (np.uint8, np.uint16):
            for shape in ((20, 30), (20, 30, 2), (20, 30, 3), (20, 30, 4)):
                pixels = random.integers(0, np.iinfo(dtype).max, shape, dtype)
                path = tmp_path / f"{dtype.__name__}-{len(shape)}-{shape[-1]}{suffix}"
                io.write(Picture(pixels, {}), path)
                back = io.read(path).pixels
                assert back.dtype == dtype
                np.testing.assert_array_equal(back, pixels)


def test_float_tiff_comes_back(tmp_path):
    pixels = np.random.default_rng(0).random((20, 30, 3), np.float32)
    io.write(Picture(pixels, {}), tmp_path / "a.tif")
    np.testing.assert_array_equal(io.read(tmp_path / "a.tif").pixels, pixels)


def test_profile_exif_and_resolution_are_kept_and_orientation_is_applied_once(tmp_path):
    image = pyvips.Image.black(40, 20, bands=3).copy(interpretation="srgb", xres=11.8, yres=11.8).copy()
    image.set_type(pyvips.GValue.gint_type, "orientation", 6)
    image.set_type(pyvips.GValue.gstr_type, "exif-ifd0-Artist", "A. Person (A. Person, ASCII, 10 components, 10 bytes)")
    image = image.icc_export(output_profile="p3")
    image.jpegsave(str(tmp_path / "in.jpg"))
    picture = io.read(tmp_path / "in.jpg")
    assert picture.pixels.shape == (40, 20, 3)  # orientation 6 turns it upright
    io.write(picture, tmp_path / "out.jpg")
    out = pyvips.Image.new_from_file(str(tmp_path / "out.jpg"))
    source = pyvips.Image.new_from_file(str(tmp_path / "in.jpg"))
    assert (out.width, out.height) == (20, 40)
    assert out.get("icc-profile-data") == source.get("icc-profile-data")
    assert "A. Person" in out.get("exif-ifd0-Artist")
    assert "orientation" not in out.get_fields() or out.get("orientation") == 1
    assert out.xres == pytest.approx(11.8, rel=0.01)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".avif"])
def test_a_file_that_changed_is_read_anew(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    for value in (50, 200):
        io.write(Picture(np.full((32, 32, 3), value, np.uint8), {}), path, overwrite=True)
        assert abs(int(io.read(path).pixels[16, 16, 0]) - value) <= 3


def test_deep_cmyk_stays_deep(tmp_path):
    pyvips.Image.black(16, 16, bands=4).copy(interpretation="cmyk").cast("ushort").tiffsave(str(tmp_path / "a.tif"))
    assert io.read(tmp_path / "a.tif").pixels.dtype == np.uint16


def test_cmyk_becomes_rgb(tmp_path):
    cmyk = pyvips.Image.black(16, 16, bands=4).copy(interpretation="cmyk")
    cmyk.jpegsave(str(tmp_path / "cmyk.jpg"))
    pixels = io.read(tmp_path / "cmyk.jpg").pixels
    assert pixels.shape == (16, 16, 3)
    assert pixels.min() > 230  # no ink is white


def test_palette_and_one_bit_pictures_are_expanded(tmp_path):
    gray = pyvips.Image.new_from_array(np.tile(np.array([[0, 255]], np.uint8), (8, 8)))
    gray.pngsave(str(tmp_path / "bit.png"), bitdepth=1)
    assert set(np.unique(io.read(tmp_path / "bit.png").pixels)) == {0, 255}
    pyvips.Image.black(9, 9, bands=3).copy(interpretation="srgb").pngsave(str(tmp_path / "palette.png"), palette=True)
    assert io.read(tmp_path / "palette.png").pixels.dtype == np.uint8


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (b"BM\x36\x00\x0c\x00\x00\x00\x00\x00", "BMP"),
        (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "JPEG 2000"),
        (b"\xff\x0a\xfa\x1f", "JPEG XL"),
        (b"just text that goes on", "its content is of no known format"),
    ],
)
def test_formats_that_are_not_read_are_named(tmp_path, start, kind):
    (tmp_path / "a.jpg").write_bytes(start + bytes(100))
    with pytest.raises(PictureError, match=rf"not a picture that upres can read \({kind}\)"):
        io.read(tmp_path / "a.jpg")


def test_bad_files_are_named_with_the_reason(tmp_path, jpeg):
    with pytest.raises(PictureError, match="no such file"):
        io.read(tmp_path / "missing.jpg")
    with pytest.raises(PictureError, match="a folder"):
        io.read(tmp_path)
    (tmp_path / "empty.png").touch()
    with pytest.raises(PictureError, match="is empty"):
        io.read(tmp_path / "empty.png")
    (tmp_path / "text.png").write_text("not a picture")
    with pytest.raises(PictureError, match="not a picture that upres can read"):
        io.read(tmp_path / "text.png")


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".avif"])
def test_a_truncated_file_is_an_error_not_a_gray_bar(tmp_path, photo, suffix):
    whole = tmp_path / f"whole{suffix}"
    io.write(Picture(photo, {}), whole)
    content = whole.read_bytes()
    for share in (0.02, 0.5, 0.9):
        cut = tmp_path / f"cut{suffix}"
        cut.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(PictureError, match="cut"):
            io.read(cut)


def test_refuses_outputs_that_cannot_be(tmp_path, jpeg, photo):
    picture = Picture(photo, {})
    with pytest.raises(OutputError, match="exists already; give --overwrite"):
        io.write(picture, jpeg)
    with pytest.raises(UsageError, match=r"ending in '\.xyz'; use one of \.png"):
        io.write(picture, tmp_path / "a.xyz")
    with pytest.raises(UsageError, match="a file without an ending; use one of"):
        io.write(picture, tmp_path / "a")
    with pytest.raises(OutputError, match="does not exist; create it"):
        io.write(picture, tmp_path / "no" / "a.png")
    with pytest.raises(UsageError, match="no transparency"):
        io.write(Picture(np.zeros((4, 4, 4), np.uint8), {}), tmp_path / "a.jpg")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["photo.jpg"]


def test_refuses_a_folder_that_is_not_writable(tmp_path, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: False)  # a real one would not stop root
    with pytest.raises(OutputError, match="is not writable; give -o"):
        io.check_output(tmp_path / "a.png", overwrite=False)


def test_deep_pictures_are_rounded_for_formats_of_eight_bits(tmp_path):
    io.write(Picture(np.full((8, 8), 0.5, np.float32), {}), tmp_path / "half.png")
    assert io.read(tmp_path / "half.png").pixels[0, 0] == 32768
    io.write(Picture(np.full((8, 8, 3), 257 * 77, np.uint16), {}), tmp_path / "deep.jpg")
    assert io.read(tmp_path / "deep.jpg").pixels[4, 4, 0] == 77
