"""What a picture carries, through a whole `read` and `write`, judged by libraries other than libvips."""

from __future__ import annotations

import base64
import io as bytes_io
import struct
import sys
import zlib

import numpy as np
import pillow_heif
import pytest
import pyvips
import tifffile
from PIL import Image, ImageCms, ImageOps

from upres.errors import PictureError
from upres.images import formats, io, metadata, reading
from upres.images.io import Picture

P3 = pyvips.Image.black(1, 1, bands=3).copy(interpretation="srgb").icc_export(output_profile="p3")
CMYK = pyvips.Image.black(1, 1, bands=3).copy(interpretation="srgb").icc_export(output_profile="cmyk")
P3_PROFILE, CMYK_PROFILE = (bytes(image.get("icc-profile-data")) for image in (P3, CMYK))
# 64×64 pixels of blue, made by libheif with x265.
HEIC = base64.b64decode(
    """
    AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAVZtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAA
    ACJpbG9jAAAAAERAAAEAAQAAAAABegABAAAAAAAAABoAAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAABAABodmMxAAAAAA5waXRt
    AAAAAAABAAAA1mlwcnAAAAC3aXBjbwAAAHhodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMA
    AAMAHroCQGEAAQArQgEBA3AAAAMAkAAAAwAAAwAeoCCBBZbqSSmubgIaDAgAAAMAyAAAAwAIQGIAAQAHRAHBcrAiQAAAABNjb2xy
    bmNseAABAA0ABoAAAAAUaXNwZQAAAAAAAABAAAAAQAAAABBwaXhpAAAAAAMICAgAAAAXaXBtYQAAAAAAAAABAAEEgQIDBAAAACJt
    ZGF0AAAAFigBrxmA93yFN//3tyEe8W7/NwV4tHA=
    """
)
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/></x:xmpmeta>'


def through(source, target):
    io.write(io.read(source, pages=True), target)
    return target


def exif(orientation=1):
    block = Image.Exif()
    block[0x010F] = "Maker of cameras"
    block[0x0112] = orientation
    block.get_ifd(0x8769)[0x9003] = "2024:05:06 07:08:09"
    block.get_ifd(0x8825)[1] = "N"
    return block


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".avif"])
def test_profile_exif_and_xmp_survive_in_every_format_that_has_them(tmp_path, photo, suffix):
    source = tmp_path / "in.png"
    info = Image.fromarray(photo)
    info.save(source, icc_profile=P3_PROFILE, exif=exif(), dpi=(300, 300))
    image = pyvips.Image.new_from_file(str(source)).copy()
    image.set_type(pyvips.GValue.blob_type, "xmp-data", XMP)
    image.pngsave(str(tmp_path / "with-xmp.png"))
    out = through(tmp_path / "with-xmp.png", tmp_path / f"out{suffix}")
    with Image.open(out) as result:
        assert result.info["icc_profile"] == P3_PROFILE
        result.load()
        read = result.getexif()
        assert read[0x010F].rstrip("\0") == "Maker of cameras"
        assert read.get_ifd(0x8769)[0x9003].rstrip("\0") == "2024:05:06 07:08:09"
        assert read.get_ifd(0x8825)[1].rstrip("\0") == "N"
        assert read.get(0x0112, 1) == 1
        if suffix in (".jpg", ".png", ".tif"):
            assert result.info["dpi"] == pytest.approx((300, 300), rel=0.01)
        assert result.info["xmp"] == XMP
    if suffix == ".png":  # as XMP's specification, part 3, 1.1.5 asks: one chunk, not compressed
        chunk = b"iTXtXML:com.adobe.xmp\0\0\0\0\0" + XMP
        assert out.read_bytes().count(chunk + zlib.crc32(chunk).to_bytes(4, "big")) == 1
        assert out.read_bytes().count(XMP) == 1
        assert through(out, tmp_path / "again.png").read_bytes().count(XMP) == 1


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".avif"])
def test_a_picture_that_says_nothing_is_given_nothing_to_say(tmp_path, photo, suffix):
    """No EXIF; and the resolution is unknown, or, where a file has to state one, the usual 72 dpi."""
    Image.fromarray(photo).save(tmp_path / "in.webp")
    with Image.open(through(tmp_path / "in.webp", tmp_path / f"out{suffix}")) as out:
        assert "exif" not in out.info
        assert out.info.get("dpi", (72, 72)) == pytest.approx((72, 72), rel=1e-3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_once(tmp_path, orientation):
    """Against Pillow's own turning; the thumbnail, which would show the old picture, is gone."""
    pixels = np.zeros((48, 32, 3), np.uint8)
    pixels[:16, :16] = (255, 0, 0)
    pixels[-16:, :16] = (0, 255, 0)
    Image.fromarray(pixels).save(tmp_path / "in.jpg", exif=exif(orientation), quality=100, subsampling=0)
    with Image.open(tmp_path / "in.jpg") as source:
        upright = np.asarray(ImageOps.exif_transpose(source))
    for suffix in (".jpg", ".png", ".webp", ".tif"):
        out = through(tmp_path / "in.jpg", tmp_path / f"out{orientation}{suffix}")
        with Image.open(out) as result:
            assert result.getexif().get(0x0112, 1) == 1
            shown = np.asarray(ImageOps.exif_transpose(result).convert("RGB"))
        assert shown.shape == upright.shape
        assert np.abs(shown.astype(int) - upright).mean() < 3


@pytest.mark.parametrize("stated", [b'<d tiff:Orientation="6"/>', b"<tiff:Orientation>6</tiff:Orientation>"])
def test_orientation_in_xmp_is_that_of_the_pixels(tmp_path, photo, stated):
    image = pyvips.Image.new_from_array(photo).copy()
    image.set_type(pyvips.GValue.blob_type, "xmp-data", XMP.replace(b"<rdf", stated + b"<rdf"))
    image.set_type(pyvips.GValue.gint_type, "orientation", 6)
    image.jpegsave(str(tmp_path / "in.jpg"))
    with Image.open(through(tmp_path / "in.jpg", tmp_path / "out.jpg")) as out:
        assert out.size == (300, 451)
        assert out.info["xmp"] == XMP.replace(b"<rdf", stated.replace(b"6", b"1") + b"<rdf")


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
def test_large_pictures_are_turned_too(tmp_path, orientation, suffix):
    """Larger than the rows that libvips keeps while it reads from the top."""
    pixels = np.kron(np.random.default_rng(0).integers(0, 256, (50, 40, 3), np.uint8), np.ones((64, 16, 1), np.uint8))
    path = tmp_path / f"in{suffix}"
    Image.fromarray(pixels).save(path, exif=exif(orientation), quality=100, subsampling=0)
    with Image.open(path) as source:
        expected = np.asarray(ImageOps.exif_transpose(source)).astype(int)
    admitted = []
    read = io.read(path, admit=lambda shape, pages, dtype: admitted.append(shape)).pixels
    assert admitted == [read.shape] == [expected.shape]
    assert np.abs(read - expected).mean() < 2


def test_thumbnails_are_dropped(tmp_path, photo):
    small = bytes_io.BytesIO()
    Image.fromarray(photo[:64, :64]).save(small, "JPEG")
    thumbnail = small.getvalue()
    # A whole EXIF block by hand: IFD0 with one entry, then IFD1 that points to the thumbnail.
    header = b"MM\0*" + struct.pack(">I", 8)
    ifd0 = struct.pack(">HHHI2H", 1, 0x0112, 3, 1, 1, 0) + struct.pack(">I", 26)
    ifd1 = struct.pack(">HHHII", 2, 0x0201, 4, 1, 56) + struct.pack(">HHII", 0x0202, 4, 1, len(thumbnail))
    block = b"Exif\0\0" + header + ifd0 + ifd1 + struct.pack(">I", 0) + thumbnail
    Image.fromarray(photo).save(tmp_path / "in.jpg", exif=block)
    assert pyvips.Image.new_from_file(str(tmp_path / "in.jpg")).get("jpeg-thumbnail-data") == thumbnail
    for suffix in (".jpg", ".png", ".webp"):
        out = through(tmp_path / "in.jpg", tmp_path / f"out{suffix}")
        assert thumbnail[20:200] not in out.read_bytes()


def test_iptc_survives(tmp_path, photo):
    caption = b"\x1c\x02\x78\x00\x07A cat !"
    resource = b"8BIM\x04\x04\0\0" + struct.pack(">I", len(caption)) + caption
    image = pyvips.Image.new_from_array(photo).copy()
    image.set_type(pyvips.GValue.blob_type, "iptc-data", b"Photoshop 3.0\0" + resource)
    image.jpegsave(str(tmp_path / "in.jpg"))
    assert b"A cat !" in through(tmp_path / "in.jpg", tmp_path / "out.jpg").read_bytes()
    assert io.lost(io.read(tmp_path / "in.jpg"), formats.named("png")) == ["IPTC"]


def camera_exif(order=None):
    """Numbers of all kinds, one of them long, one of no meaning but to its maker."""
    block = exif()
    block[0x8298] = "© A. Person".encode()
    block.endian = order or block.endian
    shot = block.get_ifd(0x8769)
    shot |= {0x829A: 0.004, 0x8827: 200, 0x9204: -1.5, 0x927C: bytes(range(256)) * 8, 0x9209: 16}
    block.get_ifd(0x8825).update({2: (47.0, 22.0, 12.34), 5: b"\0", 6: 431.25})
    return block


def said(path):
    """EXIF by Pillow: about the picture, the shot, the place."""
    with Image.open(path) as image:
        read = image.getexif()
        return dict(read), dict(read.get_ifd(0x8769)), dict(read.get_ifd(0x8825))


@pytest.mark.parametrize("order", ["<", ">"])
def test_exif_goes_into_tiff_through_tiff_and_out_of_it(tmp_path, photo, order):
    Image.fromarray(photo).save(tmp_path / "in.jpg", exif=camera_exif(order))
    picture, shot, place = said(tmp_path / "in.jpg")
    for source, target in (("in.jpg", "a.tif"), ("a.tif", "b.tif"), ("b.tif", "out.jpg")):
        through(tmp_path / source, tmp_path / target)
        now_picture, now_shot, now_place = said(tmp_path / target)
        assert {tag: now_picture[tag] for tag in (0x010F, 0x8298)} == {tag: picture[tag] for tag in (0x010F, 0x8298)}
        assert {tag: now_shot[tag] for tag in shot} == shot
        assert {tag: now_place[tag] for tag in place} == place
        assert now_shot.get(0xA002, photo.shape[1]) == photo.shape[1]
        np.testing.assert_allclose(io.read(tmp_path / target).pixels, io.read(tmp_path / source).pixels, atol=40)
    assert io.lost(io.read(tmp_path / "a.tif"), formats.named("gif")) == ["EXIF"]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_exif_in_jpeg_stays_as_it_was(tmp_path, photo, order, orientation):
    """Tags that libexif drops, and a maker's note that it would write anew, though it points into the block."""
    block = camera_exif(order)
    block[0x0112], block[0x013C], block[18246] = orientation, "computer", 4
    note = b"Nikon\0\2\x10\0\0II*\0\x08\0\0\0\1\0" + bytes(range(100))
    block.get_ifd(0x8769).update({0x927C: note, 0x9400: 21.5, 0xFDE8: "Owner", 0xA002: 451, 0xA003: 300})
    Image.fromarray(photo).save(tmp_path / "in.jpg", exif=block, dpi=(300, 300))
    before, after = (said(path) for path in (tmp_path / "in.jpg", through(tmp_path / "in.jpg", tmp_path / "out.jpg")))
    turned = orientation == 6
    before[0][0x0112] = 1
    before[1].update({0xA002: 300, 0xA003: 451} if turned else {})
    assert after == before
    content = (tmp_path / "out.jpg").read_bytes()
    assert content.count(b"Exif\0\0") == 1
    assert note in content
    with Image.open(tmp_path / "out.jpg") as out:
        assert out.info["dpi"] == (300, 300)
        assert out.size == ((300, 451) if turned else (451, 300))
        assert np.abs(np.asarray(out).astype(int) - io.read(tmp_path / "in.jpg").pixels).mean() < 3


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
def test_tags_of_tiff_files_of_any_form(tmp_path, photo, order, big):
    tags = [(271, 2, None, "Maker", True), (33432, 2, None, "A. Person", True), (18246, 3, 1, 4, True)]
    tifffile.imwrite(tmp_path / "in.tif", photo[:20], byteorder=order, bigtiff=big, extratags=tags, metadata=None)
    for source, suffix in (("in.tif", "tif"), ("out.tif", "jpg")):
        picture, _, _ = said(through(tmp_path / source, tmp_path / f"out.{suffix}"))
        assert (picture[271], picture[33432], picture[18246]) == ("Maker", "A. Person", 4)
    # written into a file of this form, of two pages
    pages = np.stack([photo[:20], photo[20:40]])
    tifffile.imwrite(tmp_path / "out.tif", pages, photometric="rgb", byteorder=order, bigtiff=big, metadata=None)
    block = camera_exif().tobytes()
    with (tmp_path / "out.tif").open("r+b") as file:
        metadata.embed_in_tiff(file, size=(20, 451), exif=block, iptc=None)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "out.tif"), pages)
    with tifffile.TiffFile(tmp_path / "out.tif") as out:
        first = out.pages[0].tags
        assert first["Make"].value == "Maker of cameras"
        assert first["ExifTag"].value["ExposureTime"] == 0.004
        assert first["ExifTag"].value["ExposureBiasValue"] == -1.5
        assert first["ExifTag"].value["PixelXDimension"] == 451
        assert first["GPSTag"].value["GPSLatitude"][:4] == (47, 1, 22, 1)
        assert "Make" not in out.pages[1].tags


def test_iptc_goes_into_tiff_and_out_of_it(tmp_path, photo):
    records = b"\x1c\x02\x78\x00\x07A cat !"
    tifffile.imwrite(tmp_path / "in.tif", photo, extratags=[(33723, 7, len(records), records, True)])
    assert io.lost(io.read(tmp_path / "in.tif"), formats.named("png")) == ["IPTC"]
    with Image.open(through(tmp_path / "in.tif", tmp_path / "a.jpg")) as out:
        assert out.info["photoshop"][0x0404] == records
    with tifffile.TiffFile(through(tmp_path / "a.jpg", tmp_path / "b.tif")) as out:
        assert out.pages[0].tags["IPTCNAA"].value == records
    assert records in through(tmp_path / "b.tif", tmp_path / "c.jpg").read_bytes()


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("turned", [False, True])
def test_iptc_that_a_tiff_file_calls_numbers(tmp_path, photo, order, turned):
    """Photoshop's way: 32-bit numbers whose bytes stand as in IPTC; some writers turn them into the file's order."""
    records = b"\x1c\x02\x78\x00\x09A cat !?.\0\0"
    other = {"<": ">", ">": "<"}[order]
    numbers = struct.unpack(f"{other if turned else order}4I", records)
    tag = (33723, 4, 4, numbers, True)
    tifffile.imwrite(tmp_path / "in.tif", photo, byteorder=order, extratags=[tag], photometric="rgb", metadata=None)
    with Image.open(through(tmp_path / "in.tif", tmp_path / "out.jpg")) as out:
        assert out.info["photoshop"][0x0404] == records


def test_a_long_exif_stays_in_tiff_and_is_named_where_it_does_not_fit(tmp_path, photo):
    tags = [(270, 2, None, "long " * 20_000, True), (271, 2, None, "Maker", True)]
    tifffile.imwrite(tmp_path / "in.tif", photo, extratags=tags, photometric="rgb", metadata=None)
    assert said(through(tmp_path / "in.tif", tmp_path / "out.tif"))[0][270] == "long " * 20_000
    for suffix in ("jpg", "png", "webp", "avif"):
        picture, _, _ = said(through(tmp_path / "in.tif", tmp_path / f"out.{suffix}"))
        assert picture[271] == "Maker"
        assert 270 not in picture
        assert io.lost(io.read(tmp_path / "in.tif"), formats.of_suffix(tmp_path / f"a.{suffix}")) == [
            "longest EXIF tags"
        ]
    assert not io.lost(io.read(tmp_path / "in.tif"), formats.named("tiff"))


@pytest.mark.parametrize("length", [65_500, 65_600, 200_000])
def test_a_long_iptc_stays_in_tiff_and_is_named_where_it_does_not_fit(tmp_path, photo, length):
    records = b"\x1c\x02\x78" + bytes(length)
    tifffile.imwrite(tmp_path / "in.tif", photo, extratags=[(33723, 7, len(records), records, True)])
    assert records in through(tmp_path / "in.tif", tmp_path / "out.tif").read_bytes()
    kept = records in through(tmp_path / "in.tif", tmp_path / "out.jpg").read_bytes()
    assert io.lost(io.read(tmp_path / "in.tif"), formats.named("jpeg")) == ([] if kept else ["IPTC"])
    assert kept == (length == 65_500)


def test_exif_in_jpeg_does_not_grow(tmp_path, photo):
    Image.fromarray(photo).save(tmp_path / "0.jpg", exif=camera_exif())
    lengths = {
        len(io.read(through(tmp_path / f"{i}.jpg", tmp_path / f"{i + 1}.jpg")).carried["exif-data"]) for i in range(3)
    }
    assert len(lengths) == 1


def test_a_reduced_picture_alone_in_its_file_is_a_picture(tmp_path, photo):
    tifffile.imwrite(tmp_path / "in.tif", photo, subfiletype=1, photometric="rgb")
    np.testing.assert_array_equal(io.read(tmp_path / "in.tif").pixels, photo)


def test_photos_of_phones_need_an_extra(monkeypatch):
    """The libvips that is installed with upres has no decoder of HEVC."""
    np.testing.assert_allclose(io.read(HEIC).pixels, np.full((64, 64, 3), (10, 100, 200)), atol=3)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(PictureError, match=r"^standard input: HEIC needs .* pip install 'upres\[heic\]'\.$"):
        io.read(HEIC)


def test_a_result_of_heic_is_png_and_of_avif_is_avif(tmp_path, photo):
    assert io.format_of(HEIC).name == "png"
    io.write(Picture(photo[:40, :40]), tmp_path / "a.avif")
    assert io.format_of(tmp_path / "a.avif").name == "avif"


def test_colours_multiplied_by_alpha_are_divided_again(tmp_path):
    pixels = np.zeros((64, 64, 4), np.uint8)
    pixels[..., :3], pixels[..., 3] = 40, 64
    file = pillow_heif.from_bytes("RGBa", (64, 64), pixels.tobytes())
    file.save(tmp_path / "in.heic", quality=-1, chroma=444)
    read = io.read(tmp_path / "in.heic").pixels.astype(int)
    np.testing.assert_allclose(read[20:40, 20:40], np.full((20, 20, 4), (159, 159, 159, 64)), atol=6)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "RGB;16"])
@pytest.mark.parametrize("pages", [1, 2])
def test_kinds_of_heic(tmp_path, photo, mode, pages):
    small = photo[40:140, 60:210]
    pixels = {
        "L": small[..., 1],
        "LA": small[..., 1:],
        "RGBA": np.dstack([small, small[..., 1]]),
        "RGB;16": small.astype(np.uint16) * 257,
    }
    wanted = np.concatenate([np.ascontiguousarray(pixels.get(mode, small))] * pages)
    file = pillow_heif.HeifFile()
    for _ in range(pages):
        file.add_frombytes(mode, (150, 100), wanted[:100].tobytes())
    file.save(tmp_path / "in.heic", quality=100, chroma=444)
    for source in (tmp_path / "in.heic", (tmp_path / "in.heic").read_bytes()):
        read = io.read(source, pages=True)
        assert read.pages == pages
        assert read.pixels.dtype == wanted.dtype
        channels = {"L": 0, "LA": [0, 3]}.get(mode, slice(None))
        found = read.pixels[..., channels]
        assert np.abs(found.astype(float) - wanted).mean() < (1.5 if wanted.dtype == np.uint8 else 1.5 * 257)


def test_a_photo_of_a_phone_keeps_what_it_says_and_is_turned_once(tmp_path, photo):
    file = pillow_heif.from_bytes("RGB", (451, 300), photo.tobytes())
    file.info["icc_profile"], file.info["icc_profile_type"] = P3_PROFILE, "prof"
    file.save(tmp_path / "in.heic", quality=95, xmp=XMP, exif=exif(6).tobytes())
    done = through(tmp_path / "in.heic", tmp_path / "out.jpg")
    picture, shot, place = said(done)
    assert picture[0x010F] == "Maker of cameras"
    assert shot[0x9003] == "2024:05:06 07:08:09"
    assert place[1] == "N"
    with Image.open(done) as image:
        assert image.info["icc_profile"] == P3_PROFILE
        assert XMP in image.info["xmp"]
        assert image.getexif().get(0x0112, 1) == 1
        assert np.abs(np.asarray(image).astype(int) - np.rot90(photo, -1)).mean() < 4


def test_what_is_only_the_first_of_many_is_refused(tmp_path, photo):
    """A camera's raw file begins with a small picture; an animated PNG looks like a plain one to libvips."""
    with tifffile.TiffWriter(tmp_path / "raw.nef") as tiff:
        tiff.write(photo[::8, ::8], subfiletype=1, subifds=1, photometric="rgb")
        tiff.write(photo, photometric="rgb")
    tifffile.imwrite(tmp_path / "raw.dng", photo, extratags=[(50706, 1, 4, b"\1\4\0\0", True)], photometric="rgb")
    for name in ("raw.nef", "raw.dng"):
        with pytest.raises(PictureError, match="a camera's raw file, or only a preview of what follows it; develop"):
            io.read(tmp_path / name, pages=True)
    frames = [Image.fromarray(np.roll(photo, 20 * i, axis=1)) for i in range(3)]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:], duration=50)
    with pytest.raises(PictureError, match="a PNG of 3 frames, of which libvips reads one; give it as WebP"):
        io.read((tmp_path / "a.png").read_bytes(), pages=True)


def test_a_gif_that_is_cut_short_is_refused(tmp_path, photo):
    frames = [Image.fromarray(np.roll(photo, 40 * i, axis=1)).quantize(64) for i in range(4)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=50, comment="four")
    content = (tmp_path / "a.gif").read_bytes()
    assert io.read(content, pages=True).pages == 4
    for cut in (0.5, 0.9):
        with pytest.raises(PictureError, match="damaged or cut short"):
            io.read(content[: int(len(content) * cut)], pages=True)
    with pytest.raises(PictureError, match="its end is missing"):
        io.read(content[:-1], pages=True)


def test_a_decoder_that_warns_is_quoted(photo):
    image = pyvips.Image.new_from_array(photo).jpegsave_buffer()
    assert io.read(image).warning is None
    damaged = bytearray(image)
    damaged[-3000:-2] = bytes(2998)
    found = io.read(bytes(damaged))
    assert found.pixels.shape == photo.shape
    assert found.warning is not None
    assert "Corrupt JPEG data" in found.warning


def test_a_compression_that_is_not_decoded_is_not_called_damage():
    assert "is encoded in a way that is not decoded" in reading._why_undecoded(
        "a", "ZSTD compression is not configured"
    )


def test_gif_has_the_colours_of_the_profile_that_it_cannot_hold(tmp_path):
    """Against Pillow's LittleCMS."""
    flat = np.full((16, 16, 3), (200, 60, 40), np.uint8)
    Image.fromarray(flat).save(tmp_path / "in.png", icc_profile=P3_PROFILE)
    profile = ImageCms.ImageCmsProfile(bytes_io.BytesIO(P3_PROFILE))
    expected = ImageCms.profileToProfile(Image.fromarray(flat), profile, ImageCms.createProfile("sRGB"))
    assert io.lost(io.read(tmp_path / "in.png"), formats.named("gif")) == []
    with Image.open(through(tmp_path / "in.png", tmp_path / "out.gif")) as out:
        found = np.asarray(out.convert("RGB")).astype(int)
    assert np.abs(found - np.asarray(expected)).max() <= 2
    assert np.abs(found - flat).max() > 10


def test_an_hdr_gain_map_is_named(tmp_path):
    """What Ultra HDR photos hold beside the picture that every viewer shows, which is enlarged as any other."""
    bright = pyvips.Image.gaussnoise(64, 64, sigma=0.2, mean=0.7).bandjoin([0.5, 0.5]).cast("float")
    bright.copy(interpretation="scrgb").uhdrsave(str(tmp_path / "in.jpg"))
    picture = io.read(tmp_path / "in.jpg")
    assert io.lost(picture, formats.named("jpeg")) == ["HDR gain map"]
    assert io.read(through(tmp_path / "in.jpg", tmp_path / "out.jpg")).pixels.shape == (64, 64, 3)


def as_lab(rgb, profile):
    """Colours as a person sees them, by LittleCMS through Pillow."""
    image = Image.fromarray(rgb)
    source = ImageCms.ImageCmsProfile(bytes_io.BytesIO(profile)) if profile else ImageCms.createProfile("sRGB")
    lab = ImageCms.profileToProfile(image, source, ImageCms.createProfile("LAB"), renderingIntent=1, outputMode="LAB")
    values = np.asarray(lab).astype(np.float64)
    values[..., 1:] = np.asarray(lab).view(np.int8)[..., 1:]
    return values * (100 / 255, 1, 1)


def test_display_p3_keeps_its_colours(tmp_path, photo):
    Image.fromarray(photo).save(tmp_path / "in.png", icc_profile=P3_PROFILE)
    with Image.open(through(tmp_path / "in.png", tmp_path / "out.png")) as out:
        np.testing.assert_array_equal(np.asarray(out), photo)
        np.testing.assert_array_equal(as_lab(np.asarray(out), out.info["icc_profile"]), as_lab(photo, P3_PROFILE))


def test_cmyk_keeps_its_colours(tmp_path, photo):
    """Within 2.5 ΔE of what LittleCMS makes of the file, where sRGB has the colour."""
    srgb = pyvips.Image.new_from_array(photo).copy(interpretation="srgb")
    srgb.icc_export(output_profile="cmyk").jpegsave(str(tmp_path / "in.jpg"), Q=100, subsample_mode="off")
    with Image.open(tmp_path / "in.jpg") as source:
        assert source.mode == "CMYK"
        profile = ImageCms.ImageCmsProfile(bytes_io.BytesIO(source.info["icc_profile"]))
        expected = ImageCms.profileToProfile(
            source, profile, ImageCms.createProfile("sRGB"), renderingIntent=1, outputMode="RGB"
        )
    picture = io.read(tmp_path / "in.jpg")
    assert "icc-profile-data" not in picture.carried  # it would be the wrong one from here on
    expected = np.asarray(expected)
    in_gamut = ((expected > 4) & (expected < 251)).all(-1)
    difference = np.linalg.norm(as_lab(picture.pixels, None) - as_lab(expected, None), axis=-1)[in_gamut]
    assert in_gamut.mean() > 0.5
    assert np.percentile(difference, 99) < 2.5


@pytest.mark.parametrize(("bits", "suffix"), [(10, ".avif"), (12, ".avif"), (10, ".heic")])
def test_white_of_ten_and_twelve_bits_is_white(tmp_path, bits, suffix):
    """Levels are shifted up to 16 bits by their decoders, which leaves white at 65,472 or 65,520."""
    levels = np.array([0, 1, 2 ** (bits - 1), 2**bits - 1])
    pixels = np.kron(levels.reshape(2, 2), np.ones((32, 32), int)).astype(np.uint16)[..., None].repeat(3, axis=2)
    shifted = pixels << (16 - bits)
    if suffix == ".heic":
        pillow_heif.from_bytes("RGB;16", (64, 64), shifted.tobytes()).save(tmp_path / "a.heic", quality=-1)
    else:
        image = pyvips.Image.new_from_array(shifted).copy(interpretation="rgb16")
        image.heifsave(str(tmp_path / "a.avif"), bitdepth=bits, lossless=True, compression="av1")
    found = io.read(tmp_path / f"a{suffix}").pixels
    np.testing.assert_array_equal(found, np.rint(pixels * (65_535 / (2**bits - 1))))


@pytest.mark.parametrize("suffix", [".webp", ".avif"])
def test_gray_with_a_gray_profile_in_a_format_without_gray(tmp_path, suffix):
    """The profile of one channel beside three would be refused, or worse, used."""
    ramp = np.tile(np.arange(256, dtype=np.uint8), (32, 1))
    linear = (
        pyvips.Image.new_from_array(ramp)
        .copy(interpretation="b-w")
        .icc_export(output_profile=str(_gray_profile(tmp_path)))
    )
    linear.pngsave(str(tmp_path / "in.png"))
    with Image.open(through(tmp_path / "in.png", tmp_path / f"out{suffix}")) as out:
        assert out.mode == "RGB"
        assert "icc_profile" not in out.info or out.info["icc_profile"][16:20] == b"RGB "
        assert np.abs(np.asarray(out)[16, :, 0].astype(int) - ramp[16]).max() <= 6


def _gray_profile(folder):
    """A monitor profile of one channel with gamma 2.2, as small as ICC.1 allows."""

    def s15(value):
        return struct.pack(">i", round(value * 65536))

    white = b"XYZ \0\0\0\0" + s15(0.9642) + s15(1) + s15(0.8249)
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(2.2 * 256)) + b"\0\0"
    text = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"gray\0" + bytes(4 + 4 + 2 + 1 + 67) + bytes(2)
    copyright_ = b"text\0\0\0\0none\0" + bytes(3)
    blocks = {b"wtpt": white, b"kTRC": curve, b"desc": text, b"cprt": copyright_}
    offset, table, data = 128 + 4 + 12 * len(blocks), b"", b""
    for name, block in blocks.items():
        block += bytes(-len(block) % 4)
        table += name + struct.pack(">II", offset + len(data), len(block))
        data += block
    size = offset + len(data)
    head = struct.pack(">I4sI4s4s4s", size, b"lcms", 0x02100000, b"mntr", b"GRAY", b"XYZ ") + bytes(12) + b"acsp"
    head += bytes(28) + s15(0.9642) + s15(1) + s15(0.8249)
    path = folder / "gray.icc"
    path.write_bytes(head.ljust(128, b"\0") + struct.pack(">I", len(blocks)) + table + data)
    return path


def test_every_frame_of_an_animation_and_its_timing(tmp_path, photo):
    frames = [Image.fromarray(photo[i * 20 : i * 20 + 60, :80]) for i in range(5)]
    durations = [100, 40, 250, 60, 120]
    for suffix in (".gif", ".webp"):
        source = tmp_path / f"in{suffix}"
        more = {"lossless": True} if suffix == ".webp" else {}
        frames[0].save(source, save_all=True, append_images=frames[1:], duration=durations, loop=2, **more)
        picture = io.read(source, pages=True)
        assert (picture.pages, picture.pixels.shape[:2]) == (5, (300, 80))
        with Image.open(through(source, tmp_path / f"out{suffix}")) as out:
            assert (out.n_frames, out.size, out.info["loop"]) == (5, (80, 60), 2)
            for number, duration in enumerate(durations):
                out.seek(number)
                shown = np.asarray(out.convert("RGB")).astype(int)
                if suffix == ".webp":
                    assert out.info["duration"] == pytest.approx(duration)
                assert np.abs(shown - np.asarray(frames[number])).mean() < 6
        delays = pyvips.Image.new_from_file(str(tmp_path / f"out{suffix}"), n=-1).get("delay")
        assert delays == durations


def test_every_page_of_a_tiff(tmp_path):
    pages = np.random.default_rng(0).integers(0, 65536, (3, 20, 30, 3), np.uint16)
    tifffile.imwrite(tmp_path / "in.tif", pages, photometric="rgb", tile=(16, 16), compression="zlib")
    out = through(tmp_path / "in.tif", tmp_path / "out.tif")
    np.testing.assert_array_equal(tifffile.imread(out), pages)


def test_pages_of_different_sizes_are_named(tmp_path):
    with tifffile.TiffWriter(tmp_path / "in.tif") as tiff:
        tiff.write(np.zeros((20, 30), np.uint8))
        tiff.write(np.zeros((10, 30), np.uint8))
    with pytest.raises(PictureError, match=r"its pages cannot be read together .* split it into one file a page"):
        io.read(tmp_path / "in.tif", pages=True)


@pytest.mark.parametrize("mode", ["1", "P", "L", "LA", "RGB", "RGBA", "I;16"])
def test_kinds_of_png(tmp_path, photo, mode):
    image = Image.fromarray(photo)
    if mode == "I;16":
        image = Image.fromarray(np.arange(60 * 80, dtype=np.uint16).reshape(60, 80) * 13)
    else:
        image = image.convert("RGBA").convert(mode) if mode == "LA" else image.convert(mode)
    image.save(tmp_path / "in.png")
    with Image.open(through(tmp_path / "in.png", tmp_path / "out.png")) as out:
        plain = {"1": "L", "P": "RGB"}.get(mode, mode)
        np.testing.assert_array_equal(np.asarray(out.convert(plain)), np.asarray(image.convert(plain)))


def test_sixteen_bit_transparency_and_floats_in_tiff(tmp_path):
    random = np.random.default_rng(0)
    deep = random.integers(0, 65536, (20, 30, 4), np.uint16)
    tifffile.imwrite(tmp_path / "deep.tif", deep, photometric="rgb", extrasamples=["unassalpha"])
    np.testing.assert_array_equal(tifffile.imread(through(tmp_path / "deep.tif", tmp_path / "deep-out.tif")), deep)
    floats = random.random((20, 30, 3), np.float32)
    tifffile.imwrite(tmp_path / "float.tif", floats, photometric="rgb")
    np.testing.assert_array_equal(tifffile.imread(through(tmp_path / "float.tif", tmp_path / "float-out.tif")), floats)


def test_lossless_formats_are_lossless(tmp_path, photo):
    for suffix, tolerance in ((".webp", 0), (".avif", 0)):
        path = tmp_path / f"a{suffix}"
        io.write(Picture(photo), path, encoding=io.Encoding(lossless=True))
        with Image.open(path) as out:
            assert np.abs(np.asarray(out.convert("RGB")).astype(int) - photo).max() <= tolerance


def test_a_wrong_ending_does_not_matter(tmp_path, photo):
    Image.fromarray(photo).save(tmp_path / "in.png")
    (tmp_path / "in.png").rename(tmp_path / "in.jpg")
    np.testing.assert_array_equal(io.read(tmp_path / "in.jpg").pixels, photo)
