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


@pytest.mark.parametrize("unknown", [(0.0, 0.0), (1.0, 1.0), (float("nan"), 1.0), (float("inf"), 4.0), (-1.0, 1.0)])
def test_an_impossible_resolution_is_stated_as_unknown(unknown: tuple[float, float]):
    exif = b"Exif\0\0II*\0\x08\0\0\0" + bytes(6)
    start = metadata.jpeg_start(exif, size=(4, 5), pixels_per_mm=unknown)
    assert start is not None
    assert start[13:18] == b"\0\0\1\0\1"
