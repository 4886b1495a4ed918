import io
import struct
from pathlib import Path

import pytest

from upres.images import metadata


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
