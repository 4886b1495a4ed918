import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from upres.images import formats, metadata
from upres.images import io as pictures
from upres.images.io import Picture


@pytest.mark.parametrize("name", [b"make", b"model"])
def test_a_tag_that_stands_beyond_every_file_is_left_out_alone(tmp_path: Path, name: bytes):
    far = struct.pack("<HHQQ", 270, 2, 20, 2**63 + 16)
    near = struct.pack("<HHQ", 271, 2, 6) + name.ljust(8, b"\0")
    path = tmp_path / "far.tif"
    path.write_bytes(b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 2) + far + near + bytes(8))
    with path.open("rb") as file:  # a real file refuses the offset in another way than bytes in memory
        exif = metadata.exif_of_tiff(file)
    assert exif is not None
    assert name in exif


def directory(*records: bytes) -> bytes:
    return struct.pack("<H", len(records)) + b"".join(records) + bytes(4)


def test_a_bad_directory_of_the_shot_leaves_that_of_the_place():
    latitude = struct.pack("<HHI4s", 1, 2, 2, b"N")
    pointers = [struct.pack("<HHII", number, 4, 1, at) for number, at in ((34665, 1_000_000), (34853, 38))]
    file = b"II*\0\x08\0\0\0" + directory(*pointers) + directory(latitude)
    assert file.index(directory(latitude)) == 38
    exif = metadata.exif_of_tiff(io.BytesIO(file))
    assert exif is not None
    assert latitude in exif


@pytest.mark.parametrize("order", "<>")
def test_a_comment_in_utf_16_follows_the_order_of_bytes(tmp_path: Path, order: str):
    comment = "Grüße".encode("utf-16-le" if order == "<" else "utf-16-be")
    shot = struct.pack(order + "HHHII", 1, 37510, 7, 8 + len(comment), 44) + bytes(4)
    pointer = struct.pack(order + "HHHII", 1, 34665, 4, 1, 26) + bytes(4)
    head = struct.pack(order + "2sHI", b"II" if order == "<" else b"MM", 42, 8)
    file = head + pointer + shot + b"UNICODE\0" + comment
    exif = metadata.exif_of_tiff(io.BytesIO(file))
    assert exif is not None
    assert exif[6:8] == b"II"
    assert b"UNICODE\0" + "Grüße".encode("utf-16-le") in exif
    path = tmp_path / "a.tif"
    Image.new("RGB", (4, 4)).save(path)
    with path.open("r+b") as tiff:
        metadata.embed_in_tiff(tiff, size=(4, 4), exif=b"Exif\0\0" + file, iptc=None)
    with Image.open(path) as image:
        assert image.getexif().get_ifd(0x8769)[37510] == b"UNICODE\0" + "Grüße".encode("utf-16-le")


def test_numbers_keep_their_values_whatever_the_order_of_bytes():
    """Against Pillow: shorts, longs, rationals and doubles of a big-endian file."""
    source = io.BytesIO()
    block = Image.Exif()
    block.endian = ">"
    block[271] = "cam"
    shot = block.get_ifd(0x8769)
    shot |= {33434: IFDRational(1, 250), 34855: (100, 200), 37380: IFDRational(-3, 2)}
    Image.new("RGB", (4, 4)).save(source, "JPEG", exif=block)
    assert b"MM\0*" in source.getvalue()
    tiff = io.BytesIO()
    Image.new("RGB", (4, 4)).save(tiff, "TIFF")
    with Image.open(source) as image:
        metadata.embed_in_tiff(tiff, size=(4, 4), exif=image.info["exif"], iptc=None)
    with Image.open(tiff) as image:
        found = image.getexif().get_ifd(0x8769)
        assert (found[33434], found[34855], found[37380]) == (IFDRational(1, 250), (100, 200), IFDRational(-3, 2))


def test_a_directory_of_every_number_can_be_embedded():
    """With more tags than a TIFF directory can have once its own are added."""
    records = b"".join(struct.pack("<HHI4s", number, 1, 1, b"x") for number in range(65_535))
    shot_at = 8 + 2 + 12 + 4
    pointer = directory(struct.pack("<HHII", 34665, 4, 1, shot_at))
    exif = b"Exif\0\0II*\0\x08\0\0\0" + pointer + struct.pack("<H", 65_535) + records + bytes(4)
    tiff = io.BytesIO()
    Image.new("RGB", (4, 4)).save(tiff, "TIFF")
    metadata.embed_in_tiff(tiff, size=(4, 4), exif=exif, iptc=None)
    with Image.open(tiff) as image:
        assert len(image.getexif().get_ifd(0x8769)) > 64_000


def test_a_thumbnail_that_claims_the_header_leaves_the_block_readable():
    camera = struct.pack("<HHI4s", 271, 2, 4, b"cam\0")
    thumbnail = [struct.pack("<HHII", 513, 4, 1, 0), struct.pack("<HHII", 514, 4, 1, 60)]
    following = 8 + 2 + 12 + 4
    exif = b"Exif\0\0II*\0\x08\0\0\0" + directory(camera)[:-4] + struct.pack("<I", following) + directory(*thumbnail)
    kept = metadata.without_thumbnail(exif)
    assert kept.startswith(b"Exif\0\0II*\0\x08\0\0\0" + directory(camera))


def test_iptc_without_records_is_none():
    assert metadata.iptc_records(b"Photoshop 3.0\x008BIM\x04\x04" + bytes(6)) is None


def test_a_long_block_of_which_nothing_can_be_read_is_dropped_and_named():
    picture = Picture(np.zeros((4, 4, 3), np.uint8), {"exif-data": b"Exif\0\0" + bytes(70_000)})
    assert pictures.lost(picture, formats.named("jpeg")) == ["EXIF"]
    assert metadata.shortened(picture.carried["exif-data"], 65_000) is None


def test_values_that_pass_the_end_of_the_file_are_not_read():
    class Counted(io.BytesIO):
        taken = 0

        def read(self, size=-1):
            content = super().read(size)
            self.taken += len(content)
            return content

    far = [struct.pack("<HHII", 315, 2, 1_000_000, 8)] * 1000
    file = Counted(b"II*\0\x08\0\0\0" + directory(*far) + bytes(500_000))
    assert metadata.exif_of_tiff(file) is None
    assert file.taken < 20_000


def test_numbers_of_64_bits_stay_out_of_an_exif_block():
    rating = struct.pack("<HHQQ", 18246, 16, 1, 4)
    make = struct.pack("<HHQ", 271, 2, 4) + b"cam\0".ljust(8, b"\0")
    file = b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 2) + make + rating + bytes(8)
    exif = metadata.exif_of_tiff(io.BytesIO(file))
    assert exif is not None
    assert struct.pack("<HHI", 271, 2, 4) + b"cam\0" in exif
    assert struct.pack("<H", 18246) not in exif


@pytest.mark.parametrize("unknown", [(0.0, 0.0), (1.0, 1.0), (float("nan"), 1.0), (float("inf"), 4.0), (-1.0, 1.0)])
def test_an_impossible_resolution_is_stated_as_unknown(unknown: tuple[float, float]):
    exif = b"Exif\0\0II*\0\x08\0\0\0" + bytes(6)
    start = metadata.jpeg_start(exif, size=(4, 5), pixels_per_mm=unknown)
    assert start is not None
    assert start[13:18] == b"\0\0\1\0\1"
