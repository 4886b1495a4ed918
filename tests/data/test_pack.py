from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
import safetensors.numpy

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
    assert set(reasons) == {"broken.jpg", "notes.txt", ".hidden.png", "tiny.png", "twice.png"}
    assert reasons[".hidden.png"] == "a hidden file"
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


def test_packing_a_folder_picture_by_picture_gives_the_same_file(folder, photo, tmp_path):
    (folder / "broken.jpg").write_bytes((folder / "a.png").read_bytes()[:500])
    io.write(Picture(photo[:30, :200], {}), folder / "tiny.png")
    io.write(Picture(photo, {}), folder / "twice.png")
    io.write(Picture(photo[20:], {}), folder / "a.tif")  # a.png is another
    io.write(Picture(photo[40:], {}), folder / "deep.png")
    io.write(Picture(photo[60:], {}), folder / 'été "1".png')
    one, two = tmp_path / "one.pack", tmp_path / "two.pack"
    in_memory, skipped = pack.read_folder(folder)
    pack.write_pack(in_memory, one)
    mapped, skipped_too = pack.pack_folder(folder, two)
    assert one.read_bytes() == two.read_bytes()
    assert skipped == skipped_too
    assert {s.path.name for s in skipped} == {"broken.jpg", "tiny.png", "twice.png"}
    assert set(mapped.names) == set(in_memory.names) > {"a.png", "a.tif", "deep.png", 'été "1".png'}
    assert mapped.digest == in_memory.digest
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one.pack", "pictures", "two.pack"]


def test_a_pack_file_is_what_safetensors_would_write(folder, photo, tmp_path):
    io.write(Picture(photo[40:], {}), folder / "deep.png")  # sorts before deep/b.png as text, behind it as a path
    packed, _ = pack.pack_folder(folder, tmp_path / "p.pack")
    planes = dict(zip(packed.names, packed.planes, strict=True))
    metadata = {"format": "upres-pack-1", "digest": packed.digest}
    ours, theirs = (tmp_path / "p.pack").read_bytes(), safetensors.numpy.save(planes, metadata)
    assert len(ours) == len(theirs)
    assert ours[:8] == theirs[:8]
    data = 8 + int.from_bytes(ours[:8], "little")
    entries, their_entries = (list(json.loads(content[8:data]).items()) for content in (ours, theirs))
    assert entries == their_entries
    assert ours[data:] == theirs[data:]


def test_planes_in_parts_of_others_are_written_as_they_look(tmp_path, photo):
    plane = photo[10:90:2, ::-3, 1]
    pack.write_pack(pack.Pack(("a",), (plane,), ""), tmp_path / "p.pack")
    np.testing.assert_array_equal(pack.read_pack(tmp_path / "p.pack").planes[0], plane)


def test_a_pack_is_opened_without_being_read(tmp_path):
    """One of 64 GiB, almost all of it a hole."""
    side, size = 2**16, 2**32
    places = ((i * size, i * size + size) for i in range(16))
    header = {f"{i:x}": {"dtype": "U8", "shape": (side, side), "data_offsets": p} for i, p in enumerate(places)}
    header["__metadata__"] = {"format": "upres-pack-1", "digest": "cat"}
    text = json.dumps(header).encode()
    with (tmp_path / "p.pack").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.seek(16 * size - 1, 1)
        file.write(b"\x07")
    opened = pack.read_pack(tmp_path / "p.pack")
    assert len(opened.planes) == 16
    assert opened.planes[15][-1, -2:].tolist() == [0, 7]
    with pytest.raises(ValueError, match="read-only"):
        opened.planes[0][0, 0] = 1


def test_packing_holds_one_picture_at_a_time(tmp_path, peak_memory):
    folder = tmp_path / "pictures"
    folder.mkdir()
    random = np.random.default_rng(0)
    for i in range(200):
        io.write(Picture(random.integers(0, 256, (100, 120), np.uint8), {}), folder / f"{i}.tif")
    pack.pack_folder(folder, tmp_path / "warm.pack")  # what is imported and cached on first use is not of interest
    in_memory = peak_memory(lambda: pack.read_folder(folder))
    picture_by_picture = peak_memory(lambda: pack.pack_folder(folder, tmp_path / "p.pack"))
    assert in_memory > 200 * 100 * 120
    assert picture_by_picture < 200 * 100 * 120 / 2


def test_an_earlier_pack_in_the_folder_is_replaced_and_not_read(folder):
    first, _ = pack.pack_folder(folder, folder / "p.pack")
    again, skipped = pack.pack_folder(folder, folder / "deep" / ".." / "p.pack")
    assert skipped == []
    assert (again.names, again.digest) == (first.names, first.digest)


def test_links_in_a_circle_come_to_an_end(folder, tmp_path):
    straight, _ = pack.pack_folder(folder, tmp_path / "straight.pack")
    (folder / "deep" / "round").symlink_to(folder, target_is_directory=True)
    (folder / "itself.png").symlink_to("itself.png")
    (folder / "nowhere.png").symlink_to("no.png")
    with_links, skipped = pack.pack_folder(folder, tmp_path / "links.pack")
    assert [(s.path, s.reason) for s in skipped] == [(folder / "deep" / "round", "a link to a folder")]
    assert with_links.names == straight.names


def test_what_is_hidden_is_no_training_picture(folder, tmp_path):
    plain, _ = pack.read_folder(folder)
    hidden = folder / "deep" / ".thumbs"
    hidden.mkdir()
    for copy in (hidden / "t.png", folder / ".secret.png", folder / ".DS_Store"):
        copy.write_bytes((folder / "a.png").read_bytes())
    read, skipped = pack.read_folder(folder)
    assert read.names == plain.names
    assert [(s.path, s.reason) for s in skipped] == [
        (folder / ".secret.png", "a hidden file"),
        (hidden, "a hidden folder"),
    ]


def test_a_file_that_vanishes_is_skipped(folder):
    found = pack._pictures(folder, pack._files_below(folder)[0])
    assert next(found).name == "a.png"
    (folder / "deep" / "b.png").unlink()
    skipped = next(found)
    assert skipped.path == folder / "deep" / "b.png"
    assert skipped.reason.startswith("no such file")
    assert [picture.name for picture in found] == ["deep/er/c.tif", "transparent.png"]


def test_a_full_disk_leaves_nothing_behind(folder, tmp_path, file_size_limit):
    (tmp_path / "p.pack").write_bytes(b"as it was")
    planes = sum(plane.size for plane in pack.read_folder(folder)[0].planes)
    for most in (planes // 2, planes):  # too little for the planes; enough for them, but not for the header too
        with file_size_limit(most), pytest.raises(OutputError, match=r"p\.pack: could not be written"):
            pack.pack_folder(folder, tmp_path / "p.pack")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["p.pack", "pictures"]
    assert (tmp_path / "p.pack").read_bytes() == b"as it was"


def test_split_depends_on_pixels_alone(folder):
    packed, _ = pack.read_folder(folder)
    training, held_out = packed.split(1)
    assert len(training.planes) == 3
    turned_round = pack.Pack(packed.names[::-1], packed.planes[::-1], packed.digest)
    assert turned_round.split(1)[1].names == held_out.names
    assert set(training.names) | set(held_out.names) == set(packed.names)
    with pytest.raises(DataError, match="4 pictures with 4 held out leaves none"):
        packed.split(4)


def test_split_holds_out_the_least_hashes(photo):
    planes = (photo[..., 0], photo[..., 1], np.ascontiguousarray(photo[..., 2]), photo[::2, ::-1, 0].T)
    packed = pack.Pack(tuple("abcd"), planes, "")
    hashes = {name: hashlib.sha256(plane.tobytes()).digest() for name, plane in zip("abcd", planes, strict=True)}
    by_hash = sorted(hashes, key=lambda name: hashes[name])
    training, held_out = packed.split(2)
    assert held_out.names == tuple(sorted(by_hash[:2]))
    assert training.names == tuple(sorted(by_hash[2:]))


def test_split_copies_no_plane(peak_memory):
    planes = tuple(np.full((500, 600), i, np.uint8) for i in range(8))
    packed = pack.Pack(tuple("abcdefgh"), planes, "")
    assert peak_memory(lambda: packed.split(3)) < 500 * 600 / 2


def test_unusable_places_are_named(tmp_path):
    with pytest.raises(DataError, match="no such folder or pack"):
        pack.open_data(tmp_path / "no")
    with pytest.raises(DataError, match="none of the 0 files"):
        pack.read_folder(tmp_path)
    (tmp_path / "bad.pack").write_bytes(b"nothing of the kind")
    with pytest.raises(DataError, match="the pack is damaged"):
        pack.open_data(tmp_path / "bad.pack")
    with pytest.raises(DataError, match="no such folder or pack"):
        pack.pack_folder(tmp_path / "no", tmp_path / "p.pack")
    with pytest.raises(DataError, match="none of the 1 files"):
        pack.pack_folder(tmp_path, tmp_path / "p.pack")
    assert not (tmp_path / "p.pack").exists()
    with pytest.raises(OutputError, match="cannot be made a folder"):
        pack.pack_folder(tmp_path, tmp_path / "bad.pack" / "p.pack")
    with pytest.raises(OutputError, match="could not be written"):
        pack.write_pack(pack.Pack(("a",), (np.zeros((4, 4), np.uint8),), ""), tmp_path / "no" / "p.pack")


def test_damaged_and_foreign_packs_are_named(folder, tmp_path):
    path = tmp_path / "p.pack"
    pack.pack_folder(folder, path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match="the pack is damaged"):
        pack.read_pack(path)
    safetensors.numpy.save_file({"a": np.zeros((4, 4), np.uint8)}, path)
    with pytest.raises(DataError, match="not a pack that upres made"):
        pack.read_pack(path)
    metadata = {"format": "upres-pack-1", "digest": ""}
    for tensor in (np.zeros((4, 4), np.float32), np.zeros((4, 4, 3), np.uint8)):
        safetensors.numpy.save_file({"a": tensor}, path, metadata)
        with pytest.raises(DataError, match="a is not a plane of bytes"):
            pack.read_pack(path)
