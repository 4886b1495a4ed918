from __future__ import annotations

import numpy as np
import pytest

from upres.data import pack
from upres.errors import DataError, OutputError
from upres.images import io
from upres.images.io import Picture


@pytest.fixture
def folder(tmp_path, photo):
    folder = tmp_path / "pictures"
    (folder / "deep" / "er").mkdir(parents=True)
    io.write(Picture(photo, {}), folder / "a.png")
    io.write(Picture(photo[:100, :120].astype(np.uint16) * 257, {}), folder / "deep" / "b.png")
    io.write(Picture(photo[50:150, :120, 0], {}), folder / "deep" / "er" / "c.tif")
    io.write(Picture(photo[100:200, 100:300], {}), folder / "transparent.png")
    return folder


def test_any_format_and_depth_in_folders_in_folders(folder, photo):
    packed, skipped = pack.read_folder(folder)
    assert skipped == []
    assert packed.names == ("a.png", "deep/b.png", "deep/er/c.tif", "transparent.png")
    assert all(plane.dtype == np.uint8 for plane in packed.planes)
    np.testing.assert_array_equal(packed.planes[1], packed.planes[0][:100, :120])  # 16 bits give the same luma
    np.testing.assert_array_equal(packed.planes[2], photo[50:150, :120, 0])


def test_what_cannot_be_used_is_listed_with_the_reason(folder, photo):
    (folder / "broken.jpg").write_bytes((folder / "a.png").read_bytes()[:500])
    (folder / "notes.txt").write_text("not a picture")
    (folder / ".hidden.png").write_text("ignored")
    io.write(Picture(photo[:30, :200], {}), folder / "tiny.png")
    io.write(Picture(photo, {}), folder / "twice.png")
    packed, skipped = pack.read_folder(folder)
    assert len(packed.planes) == 4
    reasons = {s.path.name: s.reason for s in skipped}
    assert set(reasons) == {"broken.jpg", "notes.txt", "tiny.png", "twice.png"}
    assert reasons["twice.png"] == "the same picture as a.png"
    assert "smaller than 48" in reasons["tiny.png"]


def test_a_pack_file_comes_back_whole(folder, tmp_path):
    packed, _ = pack.read_folder(folder)
    pack.write_pack(packed, tmp_path / "p.pack")
    back, skipped = pack.open_data(tmp_path / "p.pack")
    assert skipped == []
    assert (back.names, back.digest) == (packed.names, packed.digest)
    for ours, theirs in zip(packed.planes, back.planes, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert pack.open_data(folder)[0].digest == packed.digest


def test_split_depends_on_pixels_alone(folder):
    packed, _ = pack.read_folder(folder)
    training, held_out = packed.split(1)
    assert len(training.planes) == 3
    turned_round = pack.Pack(packed.names[::-1], packed.planes[::-1], packed.digest)
    assert turned_round.split(1)[1].names == held_out.names
    assert set(training.names) | set(held_out.names) == set(packed.names)
    with pytest.raises(DataError, match="4 pictures with 4 held out leaves none"):
        packed.split(4)


def test_unusable_places_are_named(tmp_path):
    with pytest.raises(DataError, match="no such folder or pack"):
        pack.open_data(tmp_path / "no")
    with pytest.raises(DataError, match="none of the 0 files"):
        pack.read_folder(tmp_path)
    (tmp_path / "bad.pack").write_bytes(b"nothing of the kind")
    with pytest.raises(DataError, match="the pack is damaged"):
        pack.open_data(tmp_path / "bad.pack")
    with pytest.raises(OutputError, match="could not be written"):
        pack.write_pack(pack.Pack(("a",), (np.zeros((4, 4), np.uint8),), ""), tmp_path / "no" / "p.pack")
