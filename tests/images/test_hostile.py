"""Damaged, mislabelled and malicious files: an error with a reason, or a picture of the right size; never a crash."""

from __future__ import annotations

import json
import os
import random
import struct
import subprocess
import sys
import threading
import zlib
from io import BytesIO

import numpy as np
import pillow_heif
import pytest
import pyvips
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from upres.errors import PictureError
from upres.images import io, metadata
from upres.images.io import Picture

FUZZED = int(os.environ.get("UPRES_FUZZED", "600"))
EXAMPLES = int(os.environ.get("UPRES_EXAMPLES", "100"))
SECONDS, BYTES = 10, 1_500_000_000

FUZZ = """
import json, resource, sys, time
from pathlib import Path
import numpy as np
from upres.errors import PictureError
from upres.images import formats
from upres.inference.enlarging import Enlarger, Settings
from upres.inference.sizes import Wanted
from upres.images.formats import Encoding
from upres.images import io

def own_peak():
    try:  # the usage that the system counts starts from the parent's
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    except FileNotFoundError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

folder, first, count, limit = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
resource.setrlimit(resource.RLIMIT_AS, (limit * 4, limit * 4))  # address space, of which threads reserve much
seeds = sorted(folder.glob("seed.*"))
enlargers = [
    Enlarger(Settings(model=model, wanted=Wanted(scale=2), encoding=Encoding()), memory=limit)
    for model in ("bicubic", "bicubic", "espcn")
]
for number in range(first, first + count):
    random = np.random.default_rng(number)
    seed = seeds[number % len(seeds)]
    content = bytearray(seed.read_bytes())
    for _ in range(random.integers(1, 9)):
        at = int(random.integers(len(content)) if random.random() < 0.5 else random.integers(min(64, len(content))))
        match random.integers(5):
            case 0: content[at] ^= 1 << random.integers(8)
            case 1: content[at] = random.integers(256)
            case 2: content[at : at + 4] = random.bytes(4)
            case 3: del content[at : at + int(random.integers(1, 40))]
            case 4: content[at:at] = random.bytes(int(random.integers(1, 40)))
        if not content:
            content = bytearray(b"x")
    if random.random() < 0.2:
        content = content[: random.integers(1, len(content) + 1)]
    started, result = time.perf_counter(), "refused"
    print(json.dumps({"number": number, "seed": seed.name, "begins": True}), flush=True)
    enlarger = enlargers[number % 3]
    target = folder / f"out-{first}.tif"
    try:
        done = enlarger.file(bytes(content), target, format=formats.named("tiff"), max_pixels=4_000_000)
        picture = io.read(target, pages=True, max_pixels=10**9)
        height, width = picture.pixels.shape[0] // picture.pages, picture.pixels.shape[1]
        right = (height, width, picture.pages) == (2 * done.input_size[0], 2 * done.input_size[1], done.pages)
        result = "enlarged" if right else "wrong"
    except PictureError:
        pass
    peak = own_peak()
    seconds = time.perf_counter() - started
    record = {"number": number, "model": enlarger.settings.model, "result": result, "seconds": seconds, "peak": peak}
    print(json.dumps(record))
"""


@pytest.fixture(scope="module")
def seeds(tmp_path_factory, photo):
    """A small file of each kind."""
    folder = tmp_path_factory.mktemp("seeds")
    small = photo[100:148, 100:164]
    for suffix in ("png", "jpg", "webp", "tif", "avif", "gif"):
        io.write(Picture(small), folder / f"seed.{suffix}")
    rgba = np.dstack([small, small[..., 0]])
    io.write(Picture(rgba.astype(np.uint16) * 257), folder / "seed.deep.png")
    io.write(Picture(rgba), folder / "seed.alpha.webp")
    io.write(Picture(small, {"delay": [50, 60], "loop": 0}, pages=2), folder / "seed.frames.gif")
    io.write(Picture(small, {"delay": [50, 60], "loop": 0}, pages=2), folder / "seed.frames.webp")
    io.write(Picture(small, pages=2), folder / "seed.pages.tif")
    io.write(Picture(small.astype(np.float32) / 255), folder / "seed.float.tif")
    image = pyvips.Image.new_from_array(small).copy(interpretation="srgb")
    image.icc_export(output_profile="cmyk").jpegsave(str(folder / "seed.cmyk.jpg"))
    image.tiffsave(str(folder / "seed.tiled.tif"), tile=True, tile_width=16, tile_height=16, compression="jpeg")
    image.pngsave(str(folder / "seed.palette.png"), palette=True)
    image.pngsave(str(folder / "seed.interlaced.png"), interlace=True)
    image.jpegsave(str(folder / "seed.progressive.jpg"), interlace=True)
    pillow_heif.from_bytes("RGB", (64, 48), np.ascontiguousarray(small).tobytes()).save(folder / "seed.heic")
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    exif.get_ifd(0x8769)[0x829A] = 0.004
    exif.get_ifd(0x8825)[2] = (47.0, 22.0, 12.34)
    Image.fromarray(small).save(folder / "seed.exif.jpg", exif=exif)
    io.write(io.read(folder / "seed.exif.jpg"), folder / "seed.exif.tif")
    _write_seeds_that_say_much(folder, small)
    return folder


def _write_seeds_that_say_much(folder, small):
    """Texts, colours by numbers, metadata in several segments, several pictures, pages that differ."""
    picture, xmp = Image.fromarray(small), b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>'
    texts = PngInfo()
    texts.add_text("Title", "plain")
    texts.add_text("Comment", "packed " * 9, zip=True)
    texts.add_itxt("Author", "日本", lang="ja", zip=True)
    texts.add(b"cICP", bytes([12, 13, 0, 1]))
    texts.add(b"gAMA", struct.pack(">I", 60_000))
    texts.add(b"cHRM", struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000))
    picture.save(folder / "seed.texts.png", pnginfo=texts)
    picture.save(folder / "seed.several.jpg", format="MPO", save_all=True, append_images=[picture.rotate(180)])
    segments = (
        (0xFE, b"a comment"),
        (0xE1, b"http://ns.adobe.com/xap/1.0/\0" + xmp),
        (0xE1, b"http://ns.adobe.com/xmp/extension/\0" + b"A" * 32 + struct.pack(">II", 5, 0) + b"EEEEE"),
        (0xED, b"Photoshop 3.0\x008BIM\x04\x25\0\0" + struct.pack(">I", 16) + bytes(16)),
        (0xED, b"Photoshop 3.0\x008BIM\x04\x04\0\0" + struct.pack(">I", 12) + b"\x1c\x02\x78\x00\x07A cat !"),
    )
    content = (folder / "seed.jpg").read_bytes()
    said = b"".join(bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body for marker, body in segments)
    (folder / "seed.segments.jpg").write_bytes(content[:2] + said + content[2:])
    options = {"color_primaries": 12, "transfer_characteristics": 13, "matrix_coefficients": 1, "full_range_flag": 1}
    heic = pillow_heif.from_bytes("RGB", (64, 48), np.ascontiguousarray(small).tobytes())
    heic.save(folder / "seed.colours.heic", **options)
    with tifffile.TiffWriter(folder / "seed.said.tif") as tiff:
        for number in (1, 2):
            tags = [(700, 1, len(xmp), xmp, True), (270, 2, None, f"page {number}", True)]
            tiff.write(small, photometric="rgb", metadata=None, extratags=tags)


def test_mutated_files_of_every_format(seeds):
    """`UPRES_FUZZED` sets how many; each is mutated from its number, so that a failure can be repeated."""
    arguments = [sys.executable, "-c", FUZZ, str(seeds), "0", str(FUZZED), str(BYTES)]
    environment = os.environ | {"VIPS_WARNING": "0"}
    results: list[dict] = []
    last: dict = {}
    with subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    ) as process:
        watch = threading.Timer(60, process.kill)
        watch.start()
        for line in process.stdout or ():
            last = json.loads(line)
            watch.cancel()
            watch = threading.Timer(SECONDS + 5, process.kill)
            watch.start()
            results += [last] if "result" in last else []
        watch.cancel()
    assert process.returncode == 0, f"died at {last}"
    assert len(results) == FUZZED
    kinds = {kind: sum(r["result"] == kind for r in results) for kind in ("refused", "enlarged", "wrong")}
    slowest, peak = max(r["seconds"] for r in results), max(r["peak"] for r in results)
    by_network = sum((r["model"], r["result"]) == ("espcn", "enlarged") for r in results)
    print(f"\n{FUZZED} files: {kinds}, {by_network} of them by a network")
    print(f"slowest {slowest:.2f} s, peak {peak / 1e6:.0f} MB")
    assert kinds["wrong"] == 0
    assert kinds["refused"] > FUZZED / 20
    assert kinds["enlarged"] > FUZZED / 20
    assert by_network > FUZZED / 60
    assert slowest < SECONDS
    assert peak < BYTES


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([b"II*\0", b"MM\0*", b"II+\0\x08\0\0\0", b"MM\0+\0\x08\0\0"]))
def test_tags_that_make_no_sense(seed, start):
    """Directories of random records that point anywhere, to themselves too, are read and written without a failure."""
    numbers = random.Random(seed)
    content = bytearray(numbers.randbytes(600))
    content[: len(start)] = start
    order = "<" if start[:1] == b"I" else ">"
    is_big = b"+" in start
    struct.pack_into(f"{order}{'Q' if is_big else 'I'}", content, 8 if is_big else 4, 16)
    struct.pack_into(f"{order}{'Q' if is_big else 'H'}", content, 16, numbers.choice([0, 5, 20, 65_535]))
    for i in range(20):
        at = (24 + 20 * i) if is_big else (18 + 12 * i)
        tag, kind = numbers.choice([271, 306, 34665, 34853, 40962, 33432, 254]), numbers.randrange(20)
        struct.pack_into(f"{order}HH", content, at, tag, kind)
        struct.pack_into(
            f"{order}{'QQ' if is_big else 'II'}",
            content,
            at + 4,
            *(numbers.choice([1, 4, 16, 999, 2**31]) for _ in "ab"),
        )
    file = BytesIO(content)
    assert metadata.is_raw(file) in (False, True)
    block = metadata.exif_of_tiff(file)
    assert block is None or len(block) <= 65_527
    whole = BytesIO()
    Image.new("L", (5, 4), 77).save(whole, "TIFF")
    metadata.embed_in_tiff(whole, size=(4, 5), exif=b"Exif\0\0" + content, iptc=bytes(content))
    assert np.asarray(Image.open(whole)).mean() == 77
    mark = b"Exif\0\0"
    assert len(metadata.without_thumbnail(mark + content)) == len(mark + content)
    start = metadata.jpeg_start(mark + content, size=(4, 5), pixels_per_mm=(0.0, 1e9))
    assert start is None or len(start) == 24 + len(mark + content)
    metadata.iptc_records(b"Photoshop 3.0\0" + b"8BIM\4\4" + content[:30])
    metadata.iptc_records(b"Photoshop 3.0\0" + b"8BIM\4\4")


def png(width, height, data=b""):
    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def test_a_header_that_promises_ten_gigapixels_is_refused_unread():
    with pytest.raises(PictureError, match=r"has 100000×100000 pixels, 10,000 megapixels; the limit is 250"):
        io.read(png(100_000, 100_000, bytes(1000)))


def test_frames_count_against_the_limit(tmp_path, photo):
    io.write(Picture(photo[:100, :100], pages=4), tmp_path / "a.gif")
    with pytest.raises(PictureError, match=r"has 100×25 pixels on 4 pages, 0.01 megapixels; the limit is 0.009 "):
        io.read(tmp_path / "a.gif", pages=True, max_pixels=9_000)
    assert io.read(tmp_path / "a.gif", pages=True, max_pixels=10_000).pages == 4


@pytest.mark.parametrize(
    "content",
    [
        b'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="9" height="9">'
        b'<image xlink:href="file:///etc/passwd" width="9" height="9"/></svg>',
        b'<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
        b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><text>&x;</text></svg>',
        b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF",
        b"PK\x03\x04" + bytes(26) + b"a.png" + png(4, 4, bytes(4 * 13)),
        b"1,2,3\n4,5,6\n",
        b"\x08\xf2\xa6\xb6" + bytes(60),  # libvips' own format
        b"GIF89a",
        bytes(1000),
    ],
    ids=["svg", "svg-entity", "pdf", "zip", "csv", "vips", "gif-header", "zeros"],
)
@pytest.mark.parametrize("name", ["a.svg", "a.png"])
def test_what_is_no_picture_is_refused_whatever_its_name(tmp_path, content, name):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(PictureError, match="not a picture that upres can read"):
        io.read(path)


def test_names_mean_nothing_to_libvips(tmp_path, photo):
    """`[…]` would be options, and bytes that are not UTF-8 are a name like any other."""
    for name in (b"a.png[page=9]", b"[1].png", b"\xff\xfe.png"):
        path = os.fsdecode(os.fsencode(tmp_path) + b"/" + name)
        with open(path, "wb") as file:  # noqa: PTH123
            file.write(png(4, 3, bytes(3 * 13)))
        assert io.read(path).pixels.shape == (3, 4, 3)


def test_pipes_and_devices_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    for path in (tmp_path / "pipe.png", "/dev/zero"):
        with pytest.raises(PictureError, match="not an ordinary file; give a picture file, or - for standard input"):
            io.read(path)
