"""What libvips misses in a file or mistakes: kept, or named, or refused; judged by other libraries."""

from __future__ import annotations

import io as bytes_io
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
import pyvips
import tifffile
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from upres.errors import PictureError
from upres.images import boxes, formats, io, profiles, segments, vips
from upres.images.profiles import Colours

SRGB = pyvips.Image.black(1, 1, bands=3).copy(interpretation="srgb").icc_export(output_profile="srgb")
P3 = pyvips.Image.black(1, 1, bands=3).copy(interpretation="srgb").icc_export(output_profile="p3")
SRGB_PROFILE, P3_PROFILE = (bytes(image.get("icc-profile-data")) for image in (SRGB, P3))
# CSS Color Module Level 4, section 18: from linear Display P3 to linear sRGB.
P3_POINTS = (68_000, 32_000, 26_500, 69_000, 15_000, 6_000)
P3_TO_SRGB = np.array([[1.2249, -0.2247, 0], [-0.0420, 1.0419, 0], [-0.0197, -0.0786, 1.0979]])


def through(source, target):
    io.write(io.read(source, pages=True), target)
    return target


def lost(source, format):
    return io.lost(io.read(source, pages=True), formats.named(format))


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_with(picture, *chunks, behind_pixels=(), **options):
    """A PNG with chunks behind its header, and behind its pixels."""
    file = bytes_io.BytesIO()
    Image.fromarray(picture).save(file, "PNG", **options)
    content = file.getvalue()
    return content[:33] + b"".join(chunks) + content[33:-12] + b"".join(behind_pixels) + content[-12:]


def to_light(values):
    """sRGB's curve, IEC 61966-2-1: [0, 1] to linear."""
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def from_light(light):
    light = np.clip(light, 0, 1)
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def shown(path):
    """In sRGB, as LittleCMS makes it of the file's profile."""
    with Image.open(path) as image:
        profile = ImageCms.ImageCmsProfile(bytes_io.BytesIO(image.info["icc_profile"]))
        return np.asarray(ImageCms.profileToProfile(image.convert("RGB"), profile, ImageCms.createProfile("sRGB")))


def assert_shown_as(path, expected):
    """Where sRGB has the colour, and above the darkest, which 8 bits of another curve cannot tell apart."""
    expected = expected * 255
    is_in = ((expected > 16) & (expected < 250)).all(-1)
    assert is_in.sum() > 1000
    assert np.percentile(np.abs(shown(path).astype(int) - expected)[is_in], 99.9) <= 2


def test_png_colours_by_numbers_are_kept(tmp_path, photo):
    """`cICP` for Display P3, `gAMA` for linear light and 1.8, `cHRM` for P3."""
    values = photo / 255
    as_p3 = from_light(to_light(values) @ P3_TO_SRGB.T)
    points = struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000)
    cases = (
        ([chunk(b"cICP", bytes([12, 13, 0, 1]))], as_p3),
        ([chunk(b"gAMA", struct.pack(">I", 100_000))], from_light(values)),
        ([chunk(b"gAMA", struct.pack(">I", 55_556))], from_light(values**1.8)),
        ([chunk(b"cHRM", points), chunk(b"gAMA", struct.pack(">I", 45_455))], as_p3),
    )
    for number, (chunks, expected) in enumerate(cases):
        content = png_with(photo, *chunks)
        assert_shown_as(through(content, tmp_path / f"{number}.png"), expected)
        assert io.lost(io.read(content), formats.named("jpeg")) == []
    gray = png_with(photo[..., 1], chunk(b"gAMA", struct.pack(">I", 100_000)))
    through(gray, tmp_path / "gray.png")
    grays = pyvips.Image.new_from_file(str(tmp_path / "gray.png")).icc_transform("srgb", depth=16)
    off = np.abs(grays.numpy()[..., 0] / 65_535 - from_light(values[..., 1]))
    assert off[photo[..., 1] > 16].max() < 0.004


@pytest.mark.parametrize(
    "chunks",
    [
        [chunk(b"cICP", bytes([1, 13, 0, 1]))],
        [chunk(b"sRGB", b"\0"), chunk(b"gAMA", struct.pack(">I", 100_000))],
        [chunk(b"cICP", bytes([1, 13, 0, 1])), chunk(b"gAMA", struct.pack(">I", 100_000))],
        [chunk(b"gAMA", struct.pack(">I", 45_455))],
        [chunk(b"gAMA", struct.pack(">I", 0)), chunk(b"cHRM", bytes(32))],
        [chunk(b"gAMA", struct.pack(">I", 1)), chunk(b"cHRM", b"\xff" * 32)],
        [chunk(b"gAMA", struct.pack(">I", 100_000))[:-1] + b"?"],  # libpng passes over what its checksum denies
    ],
)
def test_what_says_srgb_or_nothing_gets_no_profile(photo, chunks):
    assert "icc-profile-data" not in io.read(png_with(photo, *chunks)).carried


def test_a_profile_comes_before_numbers(tmp_path, photo):
    linear = chunk(b"gAMA", struct.pack(">I", 100_000))
    content = png_with(photo, linear, icc_profile=P3_PROFILE)
    assert io.read(content).carried["icc-profile-data"] == P3_PROFILE
    assert "icc-profile-data" not in io.read(png_with(photo, behind_pixels=[linear])).carried


def test_cicp_comes_before_a_profile_if_a_profile_can_tell_it(photo):
    """PNG, third edition, table 1; HDR stays what its profile says, as nearly as that can."""

    def profile(*numbers, **options):
        return io.read(png_with(photo, chunk(b"cICP", bytes(numbers)), **options)).carried.get("icc-profile-data")

    p3 = profile(12, 13, 0, 1)
    assert profile(12, 13, 0, 1, icc_profile=SRGB_PROFILE) == p3 != SRGB_PROFILE
    assert profile(1, 13, 0, 1, icc_profile=P3_PROFILE) is None
    assert profile(9, 16, 0, 1, icc_profile=P3_PROFILE) == P3_PROFILE
    for numbers, says in (((1, 13, 0, 0), "narrow range"), ((10, 17, 0, 1), "XYZ"), ((9, 9, 0, 1), "logarithmic")):
        with pytest.raises(PictureError, match=f"its numbers are .*{says}, without a colour profile"):
            profile(*numbers)


@pytest.mark.parametrize(("transfer", "name"), [(16, "PQ"), (18, "HLG")])
def test_hdr_without_a_profile_is_refused(photo, transfer, name):
    with pytest.raises(PictureError, match=rf"its numbers are HDR \({name}\), without a colour profile; convert it"):
        io.look(png_with(photo, chunk(b"cICP", bytes([9, transfer, 0, 1]))))
    file = bytes_io.BytesIO()
    pillow_heif.from_bytes("RGB", (64, 64), photo[:64, :64].tobytes()).save(
        file, color_primaries=9, transfer_characteristics=transfer, matrix_coefficients=9, full_range_flag=1
    )
    with pytest.raises(PictureError, match=name):
        io.read(file.getvalue())


def test_colours_of_heic_by_numbers_are_kept(tmp_path, photo):
    picture = pillow_heif.from_bytes("RGB", (451, 300), photo.tobytes())
    options = {"matrix_coefficients": 1, "full_range_flag": 1, "quality": -1, "chroma": 444}
    picture.save(tmp_path / "in.heic", color_primaries=12, transfer_characteristics=13, **options)
    read = io.read(tmp_path / "in.heic").pixels / 255
    assert_shown_as(through(tmp_path / "in.heic", tmp_path / "out.png"), from_light(to_light(read) @ P3_TO_SRGB.T))
    picture.save(tmp_path / "srgb.heic", color_primaries=1, transfer_characteristics=13, **options)
    assert "icc-profile-data" not in io.read(tmp_path / "srgb.heic").carried


def box(kind, content):
    return struct.pack(">I", len(content) + 8) + kind + content


def heif_with(*properties, more_ipma=b""):
    """Boxes of a file whose item 1 has these properties, of which pictures are not looked at."""
    numbers = bytes(0x80 | number for number in range(1, len(properties) + 1))
    ipma = box(b"ipma", bytes(4) + struct.pack(">IHB", 1, 1, len(numbers)) + numbers)
    iprp = box(b"iprp", box(b"ipco", b"".join(properties)) + ipma + more_ipma)
    meta = bytes(4) + box(b"pitm", bytes(4) + struct.pack(">H", 1)) + iprp
    return bytes_io.BytesIO(box(b"ftyp", b"avifmif1") + box(b"meta", meta))


def test_boxes_of_heif():
    """What stands beside the picture is named; a property may be claimed in several boxes; damage harms none."""
    nclx = box(b"colr", b"nclx" + struct.pack(">HHHB", 12, 13, 1, 0x80))
    gain_map = box(b"auxC", bytes(4) + b"urn:com.apple.photo:2020:aux:hdrgainmap\0")
    alpha = box(b"auxC", bytes(4) + b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0")
    depth = box(b"auxC", bytes(4) + b"urn:mpeg:hevc:2015:auxid:2\0")
    other = box(b"ipma", b"\1" + bytes(3) + struct.pack(">IIB", 1, 2, 1) + b"\x81")
    found = boxes.heif_parts(heif_with(nclx, gain_map, alpha, depth, more_ipma=other))
    assert found.colours == Colours.of_video(12, 13)
    assert found.unkept == ("HDR gain map", "depth map")
    assert boxes.heif_parts(heif_with(alpha)) == boxes.HeifParts(None, ())
    content = heif_with(nclx).getvalue()
    for cut in range(len(content)):
        boxes.heif_parts(bytes_io.BytesIO(content[:cut]))
    far = box(b"ftyp", b"avifmif1") + struct.pack(">I4sQ", 1, b"free", 2**63 - 1) + content
    assert boxes.heif_parts(bytes_io.BytesIO(far)) == boxes.HeifParts(None, ())


def test_profiles_of_video_colours_are_those_that_others_made(photo):
    """Display P3's and sRGB's as they come with libvips, by LittleCMS."""

    def in_lab(profile):
        source = ImageCms.ImageCmsProfile(bytes_io.BytesIO(profile))
        lab = ImageCms.profileToProfile(
            Image.fromarray(photo), source, ImageCms.createProfile("LAB"), renderingIntent=1, outputMode="LAB"
        )
        values = np.asarray(lab).astype(int)
        return np.stack([values[..., 0], *(((values[..., i] + 128) % 256) for i in (1, 2))], axis=-1)

    made = Colours.of_video(12, 13).profile("a.png", gray=False)
    assert made is not None
    assert np.abs(in_lab(made) - in_lab(P3_PROFILE)).max() <= 2


def test_texts_of_png_stay_as_they_are(tmp_path, photo):
    """Latin-1, UTF-8 with its language, compressed, more than libvips keeps, and behind the pixels."""
    texts = PngInfo()
    texts.add_text("Title", "Grüße")
    texts.add_text("parameters", "Steps: 20, 日本", zip=True)
    texts.add_itxt("Comment", "Grüße 日本", lang="de", tkey="Kommentar")
    texts.add_text("Long", "x" * 10_000, zip=True)
    for i in range(80):
        texts.add_text(f"Number {i}", str(i))
    texts.add_text("Last", "behind the pixels", zip=False)
    Image.fromarray(photo).save(tmp_path / "in.png", pnginfo=texts)
    content = (tmp_path / "in.png").read_bytes()
    (tmp_path / "in.png").write_bytes(content[:-12] + chunk(b"tEXt", b"Late\0behind the pixels") + content[-12:])
    with (
        Image.open(tmp_path / "in.png") as source,
        Image.open(through(tmp_path / "in.png", tmp_path / "out.png")) as out,
    ):
        source.load()
        out.load()
        assert out.text == source.text
        assert out.text["Comment"].lang == "de"
        assert out.text["Late"] == "behind the pixels"
        assert len(out.text) == 86
        np.testing.assert_array_equal(np.asarray(out), photo)
    assert lost(tmp_path / "out.png", "png") == []
    assert lost(tmp_path / "out.png", "webp") == ["PNG texts"]


def test_what_stands_behind_the_pixels_of_a_png(tmp_path, photo):
    """XMP, packed, and EXIF are kept, whose orientation readers pass over there; `acTL` counts only before them."""
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "Maker", 6
    xmp = b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(MAIN)
    late = [chunk(b"iTXt", xmp), chunk(b"eXIf", exif.tobytes()[6:]), chunk(b"acTL", struct.pack(">II", 3, 0))]
    content = png_with(photo, behind_pixels=late)
    for suffix in ("png", "jpg", "webp"):
        with Image.open(through(content, tmp_path / f"out.{suffix}")) as out:
            assert out.size == (451, 300)
            assert out.getexif()[0x010F].rstrip("\0") == "Maker"
            assert out.getexif().get(0x0112, 1) == 1
            assert out.info["xmp"] == MAIN


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="measures memory as Linux states it")
def test_texts_that_fill_the_memory_are_refused(tmp_path):
    """A file of 0.7 MB that unpacks to 750 MB."""
    bomb = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes([65]) * 7_500_000, 9))
    (tmp_path / "bomb.png").write_bytes(png_with(np.zeros((64, 64, 3), np.uint8), *[bomb] * 100))
    call = (
        "import sys; from pathlib import Path; from upres.errors import PictureError; from upres.images import io\n"
        "try: io.look(sys.argv[1])\n"
        "except PictureError as error: print(error)\n"
        "print(next(line for line in Path('/proc/self/status').read_text().splitlines() if 'VmHWM' in line))"
    )
    path = str(tmp_path / "bomb.png")
    done = subprocess.run([sys.executable, "-c", call, path], capture_output=True, text=True, check=True)
    message, peak = done.stdout.splitlines()
    assert "its texts take more than 16 MB unpacked; write the picture anew without them." in message
    assert int(peak.split()[1]) < 200_000


def jpeg_with(picture, *segments):
    """A JPEG with segments (marker, content) behind its start."""
    file = bytes_io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=95)
    written = b"".join(bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body for marker, body in segments)
    return b"\xff\xd8" + written + file.getvalue()[2:]


MAIN = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><d tiff:Orientation="6"/></x:xmpmeta>'


@pytest.mark.parametrize("first", ["main", "extension"])
def test_extended_xmp_is_named_and_does_not_stand_for_the_packet(tmp_path, photo, first):
    main = (0xE1, b"http://ns.adobe.com/xap/1.0/\0" + MAIN)
    more = b'<d tiff:Orientation="6" xmpNote:HasExtendedXMP="' + b"A" * 32 + b'"/>'
    main = (0xE1, main[1].replace(b'<d tiff:Orientation="6"/>', more))
    extension = (0xE1, b"http://ns.adobe.com/xmp/extension/\0" + b"A" * 32 + struct.pack(">II", 5, 0) + b"EEEEE")
    content = jpeg_with(photo, *((main, extension) if first == "main" else (extension, main)))
    assert lost(content, "jpeg") == ["extended XMP"]
    with Image.open(through(content, tmp_path / "out.jpg")) as out:
        assert out.info["xmp"] == MAIN  # its orientation too, since nothing was turned


def test_photoshop_blocks_in_several_segments(tmp_path, photo):
    caption = b"\x1c\x02\x78\x00\x07A cat !"
    outline = b"8BIM\x07\xd0\0\0" + struct.pack(">I", 60_000) + bytes(60_000)
    digest = b"8BIM\x04\x25\0\0" + struct.pack(">I", 16) + bytes(16)
    iptc = b"8BIM\x04\x04\0\0" + struct.pack(">I", len(caption)) + caption
    parts = [(0xED, b"Photoshop 3.0\0" + part) for part in (digest, iptc)]
    for name in ("out.jpg", "out.tif"):
        assert caption in through(jpeg_with(photo, *parts), tmp_path / name).read_bytes()
    assert lost(jpeg_with(photo, *parts), "jpeg") == []
    long = [(0xED, b"Photoshop 3.0\0" + part) for part in (outline, outline, iptc)]
    assert caption in through(jpeg_with(photo, *long), tmp_path / "long.jpg").read_bytes()
    assert lost(jpeg_with(photo, *long), "jpeg") == ["Photoshop's blocks"]


def test_paths_of_photoshop_are_named_and_its_thumbnail_is_dropped(tmp_path, photo):
    def resource(number, content):
        return b"8BIM" + struct.pack(">HHI", number, 0, len(content)) + content

    plain, outline = resource(0x03ED, bytes(16)), resource(0x07D0, bytes(26))
    thumbnail = resource(0x040C, bytes(28) + b"an old picture.."[:16])
    only_plain = jpeg_with(photo, (0xED, b"Photoshop 3.0\0" + plain))
    assert [lost(only_plain, format) for format in ("jpeg", "png", "tiff")] == [[], [], []]
    content = jpeg_with(photo, (0xED, b"Photoshop 3.0\0" + thumbnail + outline))
    assert [lost(content, format) for format in ("jpeg", "png", "tiff")] == [[], ["clipping paths"], ["clipping paths"]]
    written = through(content, tmp_path / "out.jpg").read_bytes()
    assert outline in written
    assert b"an old picture" not in written
    cut = jpeg_with(photo, (0xED, b"Photoshop 3.0\0" + (plain + outline)[:-9]))
    assert (plain + outline)[:-9] in through(cut, tmp_path / "cut.jpg").read_bytes()


def test_the_video_of_a_motion_photo_is_named_and_no_longer_claimed(tmp_path, photo):
    xmp = b'<x:xmpmeta><d GCamera:MotionPhoto="1" GCamera:MotionPhotoVersion="1"/></x:xmpmeta>'
    content = jpeg_with(photo, (0xE1, b"http://ns.adobe.com/xap/1.0/\0" + xmp)) + b"an mp4"
    assert lost(content, "jpeg") == ["video"]
    with Image.open(through(content, tmp_path / "out.jpg")) as out:
        assert out.info["xmp"] == xmp.replace(b'MotionPhoto="1"', b'MotionPhoto="0"')


def test_comments_are_named(tmp_path, photo):
    assert lost(jpeg_with(photo, (0xFE, b"made by hand")), "jpeg") == ["comment"]
    Image.fromarray(photo).quantize(16).save(tmp_path / "a.gif", comment="made by hand")
    assert lost(tmp_path / "a.gif", "gif") == ["comment"]
    Image.fromarray(photo).quantize(16).save(tmp_path / "b.gif")
    assert [lost(tmp_path / "b.gif", format) for format in ("gif", "png", "tiff")] == [[], [], []]
    extension = b"\x21\xff\x0bXMP DataXMP" + MAIN + b"\1" + bytes(range(255, -1, -1)) + b"\0"
    gif = (tmp_path / "b.gif").read_bytes()
    assert lost(gif[:-1] + extension + gif[-1:], "gif") == ["XMP"]
    assert lost(jpeg_with(photo), "jpeg") == []


def test_further_pictures_of_a_jpeg_are_named(tmp_path, photo):
    image = Image.fromarray(photo)
    image.save(tmp_path / "a.mpo", save_all=True, append_images=[image.rotate(90), image.rotate(180)])
    assert lost(tmp_path / "a.mpo", "jpeg") == ["further pictures"]
    index = (tmp_path / "a.mpo").read_bytes()
    begins = index.index(b"MPF\0") + 4
    record = index.index(struct.pack("<HHI", 0xB002, 7, 48), begins)
    entries = begins + int.from_bytes(index[record + 8 : record + 12], "little")
    previews = bytearray(index)
    for number in (1, 2):
        previews[entries + 16 * number : entries + 16 * number + 4] = struct.pack("<I", 0x010002)
    assert lost(bytes(previews), "jpeg") == []


def test_exif_of_rare_tags_alone_is_kept(tmp_path, photo):
    """HostComputer and Rating, which libexif does not know."""
    exif = Image.Exif()
    exif[316], exif[18246] = "computer", 4
    Image.fromarray(photo).save(tmp_path / "in.jpg", exif=exif)
    with Image.open(through(tmp_path / "in.jpg", tmp_path / "out.jpg")) as out:
        assert dict(out.getexif()) == {316: "computer", 18246: 4}


def test_exif_that_is_long_by_its_thumbnail_alone(tmp_path, photo):
    thumbnail = b"\xff\xd8" + b"\x55" * 60_000 + b"\xff\xd9"
    make = b"A maker of cameras\0\0"
    header = b"MM\0*" + struct.pack(">I", 8)
    ifd0 = struct.pack(">HHHII", 1, 0x010F, 2, len(make), 56) + struct.pack(">I", 26)
    ifd1 = struct.pack(">HHHII", 2, 0x0201, 4, 1, 76) + struct.pack(">HHII", 0x0202, 4, 1, len(thumbnail))
    block = b"Exif\0\0" + header + ifd0 + ifd1 + struct.pack(">I", 0) + make + thumbnail
    Image.fromarray(photo).save(tmp_path / "in.jpg", exif=block)
    assert len(io.read(tmp_path / "in.jpg").carried["exif-data"]) < 200
    for suffix in ("png", "jpg"):
        with Image.open(through(tmp_path / "in.jpg", tmp_path / f"out.{suffix}")) as out:
            assert out.getexif()[0x010F].startswith("A maker of cameras")
    assert lost(tmp_path / "in.jpg", "png") == []


def test_a_description_in_latin_1_stays_as_it_is(tmp_path, photo):
    tag = (270, 2, 13, b"Caf\xe9 de nuit\0", True)
    tifffile.imwrite(tmp_path / "in.tif", photo, extratags=[tag], photometric="rgb", metadata=None)
    with Image.open(through(tmp_path / "in.tif", tmp_path / "out.tif")) as out:
        assert out.tag_v2[270] == "Café de nuit"


@pytest.mark.parametrize("profiles", [(None, P3_PROFILE), (P3_PROFILE, None), (P3_PROFILE, SRGB_PROFILE)])
def test_pages_of_different_profiles_are_refused(tmp_path, photo, profiles):
    def write(name, *profiles):
        with tifffile.TiffWriter(tmp_path / name) as tiff:
            for profile in profiles:
                tiff.write(photo, photometric="rgb", metadata=None, iccprofile=profile)
        return tmp_path / name

    with pytest.raises(PictureError, match="its pages differ in their colour profiles; split it into one file a pa"):
        io.look(write("mixed.tif", *profiles))
    same = through(write("same.tif", P3_PROFILE, P3_PROFILE), tmp_path / "out.tif")
    with tifffile.TiffFile(same) as out:
        assert [bytes(page.tags[34675].value) for page in out.pages] == [P3_PROFILE] * 2
    assert lost(same, "tiff") == []


def test_what_pages_say_is_that_of_the_first_and_the_rest_is_named(tmp_path, photo):
    with tifffile.TiffWriter(tmp_path / "in.tif") as tiff:
        for number in (b"1", b"2"):
            xmp = MAIN.replace(b"6", number)
            tiff.write(photo, photometric="rgb", metadata=None, extratags=[(700, 1, len(xmp), xmp, True)])
    assert lost(tmp_path / "in.tif", "tiff") == ["tags of later pages"]
    assert io.read(tmp_path / "in.tif", pages=True).carried["xmp-data"] == MAIN.replace(b"6", b"1")


def test_a_shape_that_no_longer_holds_is_left_out(tmp_path, photo):
    tifffile.imwrite(tmp_path / "in.tif", photo, photometric="rgb")
    assert b'{"shape": [' in (tmp_path / "in.tif").read_bytes()
    assert b'{"shape": [' not in through(tmp_path / "in.tif", tmp_path / "out.tif").read_bytes()


def test_names_of_documents_are_kept_and_layers_named(tmp_path, photo):
    tags = [(269, 2, None, "Letters", True), (285, 2, None, "page 7", True), (37724, 7, 4, b"8BIM", True)]
    tifffile.imwrite(tmp_path / "in.tif", photo, photometric="rgb", metadata=None, extratags=tags)
    assert lost(tmp_path / "in.tif", "tiff") == ["layers"]
    with Image.open(through(tmp_path / "in.tif", tmp_path / "out.tif")) as out:
        assert (out.tag_v2[269], out.tag_v2[285]) == ("Letters", "page 7")


def test_cmyk_without_a_profile_leaves_none(tmp_path, photo):
    Image.fromarray(photo).convert("CMYK").save(tmp_path / "in.jpg")
    assert "icc-profile-data" not in io.read(tmp_path / "in.jpg").carried


def test_floats_that_count_from_white_are_refused(tmp_path):
    values = np.linspace(0, 1, 64 * 64, dtype=np.float32).reshape(64, 64)
    tifffile.imwrite(tmp_path / "in.tif", values, photometric="miniswhite")
    with pytest.raises(PictureError, match="floats of which 0 is white; turn them over"):
        io.read(tmp_path / "in.tif")
    tifffile.imwrite(tmp_path / "whole.tif", (values * 255).astype(np.uint8), photometric="miniswhite")
    assert io.read(tmp_path / "whole.tif").pixels[0, 0] == 255


def test_damaged_jpeg_data_in_a_tiff_is_warned_of(tmp_path, photo):
    image = pyvips.Image.new_from_array(photo)
    image.tiffsave(str(tmp_path / "a.tif"), compression="jpeg", Q=95)
    assert io.read(tmp_path / "a.tif").warning is None
    content = bytearray((tmp_path / "a.tif").read_bytes())
    content[5000:5040] = bytes(40)
    (tmp_path / "a.tif").write_bytes(content)
    read = io.read(tmp_path / "a.tif")
    assert read.warning is not None
    assert "damaged" in read.warning or "orrupt" in read.warning
    assert read.pixels.shape == photo.shape


def test_a_jpeg_that_lacks_its_end_marker_alone_is_whole(tmp_path, photo):
    io.write(io.Picture(photo), tmp_path / "a.jpg")
    content = (tmp_path / "a.jpg").read_bytes()
    whole = io.read(tmp_path / "a.jpg")
    for end in (-2, -1):
        (tmp_path / "cut.jpg").write_bytes(content[:end])
        for file in (tmp_path / "cut.jpg", content[:end]):
            read = io.read(file)
            np.testing.assert_array_equal(read.pixels, whole.pixels)
            assert read.warning == "it lacks its end marker"
    for end in (-12, -200, len(content) // 2):
        (tmp_path / "cut.jpg").write_bytes(content[:end])
        with pytest.raises(PictureError, match=r"cut\.jpg: the picture is damaged or cut short"):
            io.read(tmp_path / "cut.jpg")


def test_only_a_jpeg_of_one_scan_that_nothing_follows_is_taken_for_cut_in_it(photo):
    def content(**options):
        stream = bytes_io.BytesIO()
        Image.fromarray(photo).save(stream, "JPEG", **options)
        return stream.getvalue()

    plain, progressive = content(), content(progressive=True)
    scan = plain.index(b"\xff\xda")
    frame = plain.index(b"\xff\xc0")
    without_scan_parts = plain[:scan] + b"\xff\xda\x00\x02" + bytes(20)
    without_frame_parts = plain[:frame] + b"\xff\xc0\x00\x02" + plain[scan:-2]
    for file, is_cut in [
        (plain, False),
        (plain[:-1], True),
        (plain[:-2], True),
        (plain[:-2] + b"\xff\xd9\0\0", False),
        (plain[:scan], False),
        (progressive[:-2], False),
        (without_scan_parts, False),
        (without_frame_parts, False),
    ]:
        assert segments.is_cut_in_its_scan(bytes_io.BytesIO(file)) is is_cut


def jpeg(picture, **options):
    stream = bytes_io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", **options)
    return stream.getvalue()


def test_a_jpeg_cut_before_a_restart_is_cut_short(photo):
    content = jpeg(photo, quality=90, restart_marker_rows=1)
    restarts = [at for at in range(len(content) - 1) if content[at] == 0xFF and 0xD0 <= content[at + 1] <= 0xD7]
    assert len(restarts) > 10
    for at in (restarts[0], restarts[5], restarts[5] + 1, restarts[-1]):
        with pytest.raises(PictureError, match="damaged or cut short"):
            io.read(content[:at])
    with pytest.raises(PictureError, match="damaged or cut short"):
        io.read(content[: len(content) // 2] + b"\xff" * 1000)
    for missing in (1, 2):
        read = io.read(content[:-missing])
        assert read.warning == "it lacks its end marker"
        np.testing.assert_array_equal(read.pixels, io.read(content).pixels)


def test_damage_is_named_beside_the_end_marker_that_lacks(photo):
    content = bytearray(jpeg(photo, quality=90, restart_marker_rows=1))
    middle = len(content) // 2
    content[middle : middle + 300] = bytes(300)
    damage = io.read(bytes(content)).warning
    assert damage is not None
    assert "orrupt" in damage
    assert io.read(bytes(content[:-2])).warning == f"it lacks its end marker; {damage}"


@pytest.mark.parametrize("tile", [(64, 64), None])
@pytest.mark.parametrize("compression", ["zlib", None])
def test_a_tiff_that_is_cut_short_is_refused(tmp_path, photo, tile, compression):
    tifffile.imwrite(tmp_path / "a.tif", photo, tile=tile, compression=compression, photometric="rgb")
    content = (tmp_path / "a.tif").read_bytes()
    np.testing.assert_array_equal(io.read(content).pixels, photo)
    for share in (0.1, 0.5, 0.95):
        with pytest.raises(PictureError, match="damaged or cut short"):
            io.read(content[: int(len(content) * share)])


@pytest.mark.parametrize("tile", [(64, 64), None])
def test_a_tiff_whose_tags_are_warned_of_is_read(tmp_path, photo, tile):
    """libtiff warns of a text without the zero that ends it; all pixels are there."""
    tifffile.imwrite(tmp_path / "a.tif", photo, photometric="rgb", tile=tile, rowsperstrip=16, software="somebody")
    content = bytearray((tmp_path / "a.tif").read_bytes())
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        count = file.pages[0].tags[305].offset + 4
    assert int.from_bytes(content[count : count + 4], "little") == len("somebody") + 1
    content[count : count + 4] = len("somebody").to_bytes(4, "little")
    read = io.read(bytes(content))
    np.testing.assert_array_equal(read.pixels, photo)
    assert tile or read.warning is not None  # libvips does not look at it before tiles
    with pytest.raises(PictureError, match=r"damaged or cut short \(its last rows are missing\)"):
        io.read(bytes(content[: len(content) // 2]))


def test_damaged_data_in_a_tiff_is_refused(tmp_path, photo):
    tifffile.imwrite(tmp_path / "a.tif", photo, photometric="rgb", rowsperstrip=16, compression="zlib")
    content = bytearray((tmp_path / "a.tif").read_bytes())
    content[len(content) // 2 : len(content) // 2 + 40] = bytes(40)
    with pytest.raises(PictureError, match="damaged or cut short"):
        io.read(bytes(content))


def test_text_in_exif_gets_the_end_that_it_lacks(tmp_path, photo):
    entry = struct.pack("<HHII", 315, 2, 10, 26)
    exif = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 1) + entry + bytes(4) + b"Jane Smith"
    Image.fromarray(photo[:20, :30]).save(tmp_path / "a.jpg", exif=exif)
    io.write(io.read(tmp_path / "a.jpg"), tmp_path / "b.tif")
    assert io.read(tmp_path / "b.tif").warning is None
    with tifffile.TiffFile(tmp_path / "b.tif") as file:
        assert file.pages[0].tags[315].value == "Jane Smith"


def test_a_tiff_that_ends_with_its_directorys_records_is_whole(tmp_path, photo):
    image = pyvips.Image.new_from_array(photo)
    image.tiffsave(str(tmp_path / "a.tif"))
    content = (tmp_path / "a.tif").read_bytes()
    first = int.from_bytes(content[4:8], "little")
    behind = first + 2 + 12 * int.from_bytes(content[first : first + 2], "little")
    moved = content + content[first:behind]  # the directory once more, at the end
    moved = moved[:4] + len(content).to_bytes(4, "little") + moved[8:]
    np.testing.assert_array_equal(io.read(moved).pixels, photo)


def test_pages_that_lack_are_missed(tmp_path, photo):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for _ in range(3):
            file.write(photo[:64, :64], photometric="rgb", contiguous=False, metadata=None)
    content = (tmp_path / "a.tif").read_bytes()
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        third = file.pages[2].offset
    assert io.read(content, pages=True).pages == 3
    with pytest.raises(PictureError, match=r"damaged or cut short \(its last pages are missing\)"):
        io.read(content[: third + 6], pages=True)


def test_ycbcr_in_a_tiff_is_refused_unless_libvips_converts_it(tmp_path, photo):
    image = Image.fromarray(photo).convert("YCbCr")
    for compression in (None, "tiff_lzw"):
        image.save(tmp_path / "a.tif", compression=compression)
        with pytest.raises(PictureError, match="its colours are YCbCr, and not in JPEG's code; write it anew as RGB"):
            io.read(tmp_path / "a.tif")
    pyvips.Image.new_from_array(photo).tiffsave(str(tmp_path / "b.tif"), compression="jpeg", Q=95)
    assert np.abs(io.read(tmp_path / "b.tif").pixels.astype(int) - photo).mean() < 3


@pytest.mark.parametrize("suffix", ["avif", "jpg"])
def test_xmp_of_a_picture_that_its_decoder_turned_says_so(tmp_path, photo, suffix):
    exif = Image.Exif()
    exif[274] = 6
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    source, result = tmp_path / f"a.{suffix}", tmp_path / f"b.{suffix}"
    Image.fromarray(photo[:40, :60]).save(source, exif=exif, xmp=xmp)
    with Image.open(through(source, result)) as kept:
        assert kept.size == (40, 60)
        assert b'tiff:Orientation="1"' in kept.info["xmp"]


def test_an_empty_xmp_packet_is_none(tmp_path, photo):
    mark = b"http://ns.adobe.com/xap/1.0/\0"
    (tmp_path / "a.jpg").write_bytes(jpeg_with(photo[:20, :20], (0xE1, mark)))
    read = io.read(tmp_path / "a.jpg")
    assert "xmp-data" not in read.carried
    assert io.lost(read, formats.named("gif")) == []
    io.write(read, tmp_path / "b.webp")


@pytest.mark.parametrize("frames", [1, 2])
def test_webp_without_loss_stays_so(tmp_path, photo, frames):
    picture = np.ascontiguousarray(photo[:40, :60])
    images = [Image.fromarray(np.roll(picture, i, axis=1)) for i in range(frames)]
    for lossless in (True, False):
        images[0].save(tmp_path / "a.webp", save_all=True, append_images=images[1:], lossless=lossless)
        read = io.read(tmp_path / "a.webp", pages=True)
        assert read.is_lossless is lossless
        io.write(read, tmp_path / "b.webp", overwrite=True)
        assert np.array_equal(io.read(tmp_path / "b.webp", pages=True).pixels, read.pixels) is lossless
    io.write(read, tmp_path / "c.webp", encoding=formats.Encoding(quality=80))
    assert not io.read(tmp_path / "c.webp", pages=True).is_lossless


def test_a_star_rating_that_is_lost_is_named(tmp_path, photo):
    exif = Image.Exif()
    exif[18246] = 4
    Image.fromarray(photo[:20, :30]).save(tmp_path / "a.jpg", exif=exif)
    for format, losses in [("jpeg", []), ("tiff", []), ("png", ["star rating"]), ("gif", ["EXIF"])]:
        assert lost(tmp_path / "a.jpg", format) == losses


def test_an_impossible_resolution_is_none(tmp_path, photo):
    io.write(io.Picture(photo, pixels_per_mm=(4_294_967.295, 4_294_967.295)), tmp_path / "a.png")
    assert io.read(tmp_path / "a.png").pixels_per_mm == pytest.approx((72 / 25.4, 72 / 25.4), abs=0.01)


def test_bits_that_avif_has_no_place_for_are_named():
    avif = formats.named("avif")
    deep = np.random.default_rng(0).integers(0, 65_536, (20, 30, 3)).astype(np.uint16)
    twelve = np.rint((deep >> 4) * (65_535 / 4095)).astype(np.uint16)
    assert io.lost(io.Picture(deep), avif) == ["bits beyond 12"]
    assert io.lost(io.Picture(twelve), avif) == []
    assert io.lost(io.Picture(deep), formats.named("png")) == []
    assert io.lost(io.Picture(np.zeros((2, 2), np.float32)), avif) == ["floats"]


@pytest.mark.parametrize("suffix", ["png", "jpg"])
@pytest.mark.parametrize(
    ("profile", "channels", "is_kept"),
    [
        (SRGB_PROFILE, 3, True),
        (SRGB_PROFILE, 1, False),
        (SRGB_PROFILE[:16] + b"Lab " + SRGB_PROFILE[20:], 3, False),
        (b"rubbish" * 40, 3, False),
    ],
)
def test_a_profile_that_does_not_fit_the_pixels_is_named(tmp_path, photo, suffix, profile, channels, is_kept):
    pixels = photo if channels == 3 else photo[..., 1]
    source, result = tmp_path / f"a.{suffix}", tmp_path / f"b.{suffix}"
    Image.fromarray(pixels[:20, :30]).save(source, icc_profile=profile)
    assert list(io.read(source).unkept) == ([] if is_kept else ["ICC profile, which does not fit its pixels"])
    with Image.open(through(source, result)) as kept:
        assert kept.info.get("icc_profile") == (profile if is_kept else None)


def test_gamma_beside_the_primaries_of_adobe_rgb_is_meant_as_it_stands():
    d65 = (31_270, 32_900)
    adobe = profiles.of_png(45_455, (*d65, 64_000, 33_000, 21_000, 71_000, 15_000, 6_000))
    assert adobe.gamma == pytest.approx(2.2, abs=1e-4)
    for primaries in (None, (*d65, 64_000, 33_000, 30_000, 60_000, 15_000, 6_000), (*d65, *P3_POINTS)):
        assert profiles.of_png(45_455, primaries).gamma is None


@pytest.mark.parametrize("source", ["a.webp", "a.tif"])
def test_exif_in_an_animation_states_the_size_of_a_frame(tmp_path, photo, source):
    frames = [Image.fromarray(photo[y : y + 60, :80]) for y in (0, 60, 120)]
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    exif.get_ifd(0x8769).update({0x9003: "2024:01:01 00:00:00", 0xA002: 80, 0xA003: 60})
    frames[0].save(tmp_path / source, save_all=True, append_images=frames[1:], exif=exif.tobytes())
    with Image.open(through(tmp_path / source, tmp_path / "b.webp")) as result:
        kept = result.getexif()
    assert kept[0x010F].rstrip("\0") == "a camera"
    shot = kept.get_ifd(0x8769)
    assert (shot[0xA002], shot[0xA003]) == (80, 60)


def test_an_animated_avif_is_called_one(tmp_path):
    (tmp_path / "a.avif").write_bytes(struct.pack(">I4s4sI8s", 32, b"ftyp", b"avis", 0, b"avifavis") + bytes(40))
    with pytest.raises(PictureError, match=r"a\.avif: not a picture that upres can read \(an animated AVIF\)"):
        io.read(tmp_path / "a.avif")


def test_a_reason_that_is_but_a_number_is_given_with_the_line_before():
    assert vips.reason(ValueError("one\nbitstream not supported\n(2.100)\n")) == "bitstream not supported (2.100)"
    assert vips.reason(ValueError("one\ntwo\n")) == "two"
