"""What is kept of each kind of file: `upres upscale` beside Pillow with OpenCV's `dnn_superres` networks.

python benchmarks/fidelity.py FSRCNN_x2.pb [--json benchmarks/results/fidelity-DATE.json]

The `.pb` file is one of OpenCV's own models. The other way is what its tutorial and most scripts do: open with Pillow,
convert to RGB, enlarge, save. Needs `opencv-contrib-python-headless` of version 4 besides upres' own `dev` extra.
"""

from __future__ import annotations

import argparse
import io as bytes_io
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pyvips
import tifffile
from PIL import Image, ImageCms, ImageOps
from PIL.PngImagePlugin import PngInfo
from record import write_record

from upres.images import io
from upres.images.io import Picture

PHOTO = io.read(Path(__file__).parent.parent / "examples" / "cat.jpg").pixels[:200, :260]
SRGB = ImageCms.createProfile("sRGB")


def with_opencv(network: cv2.dnn_superres.DnnSuperResImpl, source: Path, target: Path) -> None:
    bgr = np.asarray(Image.open(source).convert("RGB"))[..., ::-1]
    Image.fromarray(network.upsample(np.ascontiguousarray(bgr))[..., ::-1]).save(target)


def with_upres(source: Path, target: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "upres", "upscale", source, "-o", target], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise OSError(done.stderr.strip())


def seen(path: Path) -> np.ndarray:
    """8-bit sRGB, as a viewer with colour management shows a file."""
    with Image.open(path) as image:
        upright = ImageOps.exif_transpose(image)
        profile = image.info.get("icc_profile")
        if profile:
            source = ImageCms.ImageCmsProfile(bytes_io.BytesIO(profile))
            mode = "RGB" if upright.mode in ("RGB", "CMYK") else upright.mode
            upright = ImageCms.profileToProfile(upright, source, SRGB, renderingIntent=1, outputMode=mode)
        return np.asarray(upright.convert("RGB")).astype(float)


def colours_kept(source: Path, target: Path) -> str:
    """The mean difference of 10×10 blocks in sRGB, where rotation, profile and ink all show."""
    before, after = (
        np.asarray(Image.fromarray(seen(path).astype(np.uint8)).resize((26, 20), Image.Resampling.BOX)).astype(float)
        for path in (source, target)
    )
    difference = np.abs(before - after).mean()
    return f"kept ({difference:.1f}/255)" if difference < 2 else f"**wrong by {difference:.0f}/255**"


def tags_kept(source: Path, target: Path) -> str:
    before, after = (Image.open(path) for path in (source, target))
    for image in (before, after):
        image.load()
    kept = {
        "EXIF": after.getexif().get(0x010F, "").rstrip("\0") == before.getexif().get(0x010F),
        "XMP": after.info.get("xmp") == before.info.get("xmp"),
        "IPTC": b"A cat !" in target.read_bytes(),
        "DPI": abs(after.info.get("dpi", (0, 0))[0] - 300) < 1,
    }
    lost = [name for name, value in kept.items() if not value]
    return "kept" if not lost else f"**lost: {', '.join(lost)}**"


def texts_kept(source: Path, target: Path) -> str:
    with Image.open(source) as before, Image.open(target) as after:
        before.load()
        after.load()
        return "kept" if after.text == before.text else "**lost**"


def _p3_by_numbers() -> PngInfo:
    """A chunk that says Display P3 as ITU-T H.273 numbers it."""
    chunks = PngInfo()
    chunks.add(b"cICP", bytes([12, 13, 0, 1]))
    return chunks


def levels_kept(source: Path, target: Path) -> str:
    before, after = (
        tifffile.imread(path) if path.suffix == ".tif" else io.read(path).pixels for path in (source, target)
    )
    count = len(np.unique(after))
    return f"kept ({after.dtype}, {count:,} levels)" if count > len(np.unique(before)) / 2 else f"**{count:,} levels**"


def edges_kept(source: Path, target: Path) -> str:
    with Image.open(target) as image:
        if "A" not in image.getbands():
            return "**transparency lost**"
        rgba = np.asarray(image).astype(float)
    on_white = rgba[..., :3] * rgba[..., 3:] / 255 + 255 - rgba[..., 3:]
    green = (on_white[..., 1] - np.maximum(on_white[..., 0], on_white[..., 2])).max()
    return f"kept, fringe {green:.0f}/255" if green < 30 else f"**fringe of {green:.0f}/255**"


def pages_kept(source: Path, target: Path) -> str:
    with Image.open(source) as before, Image.open(target) as after:
        pages = getattr(after, "n_frames", 1)
        if pages != getattr(before, "n_frames", 1):
            return f"**{pages} of {before.n_frames}**"
    delays = [
        image.get("delay") if "delay" in image.get_fields() else None
        for image in (pyvips.Image.new_from_file(str(path), n=-1) for path in (source, target))
    ]
    return "kept" if delays[0] == delays[1] else "**timing lost**"


def make_files(folder: Path) -> list[tuple[str, Path, Callable[[Path, Path], str]]]:
    """(kind, file, what is checked)."""
    photo = Image.fromarray(PHOTO)
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>'
    turned = Image.Exif()
    turned[0x0112] = 6
    photo.save(folder / "turned.jpg", quality=95, exif=turned)
    photo.save(folder / "plain.jpg", quality=95, dpi=(300, 300), exif=exif)
    tagged = pyvips.Image.new_from_file(str(folder / "plain.jpg")).copy()
    caption = b"\x1c\x02\x78\x00\x07A cat !"
    tagged.set_type(pyvips.GValue.blob_type, "xmp-data", xmp)
    tagged.set_type(
        pyvips.GValue.blob_type,
        "iptc-data",
        b"Photoshop 3.0\x008BIM\x04\x04\0\0" + len(caption).to_bytes(4, "big") + caption,
    )
    tagged.jpegsave(str(folder / "tagged.jpg"), Q=95)
    srgb = pyvips.Image.new_from_array(PHOTO).copy(interpretation="srgb")
    srgb.icc_transform("p3", input_profile="srgb").pngsave(str(folder / "p3.png"))
    with Image.open(folder / "p3.png") as image:
        image.save(folder / "p3-of-numbers.png", icc_profile=None, pnginfo=_p3_by_numbers())
    texts = PngInfo()
    texts.add_text("Title", "a cat")
    texts.add_itxt("Comment", "ein Kätzchen 猫", lang="de")
    photo.save(folder / "texts.png", pnginfo=texts)
    srgb.icc_export(output_profile="cmyk").jpegsave(str(folder / "cmyk.jpg"), Q=95)
    ramp = np.linspace(0, 65535, 200 * 200).astype(np.uint16).reshape(200, 200)
    io.write(Picture(ramp), folder / "deep.png")
    tifffile.imwrite(folder / "deep.tif", np.dstack([ramp] * 3), photometric="rgb")
    tifffile.imwrite(folder / "float.tif", (ramp / 65535).astype(np.float32))
    photo.convert("L").point(lambda value: 255 * (value > 110), mode="1").save(folder / "bit.png")
    photo.quantize(64).save(folder / "palette.png")
    i, j = np.mgrid[:200, :260]
    disc = (i - 100) ** 2 + (j - 130) ** 2 < 80**2
    rgba = np.where(disc[..., None], np.dstack([PHOTO, np.full(disc.shape, 255, np.uint8)]), (0, 255, 0, 0))
    Image.fromarray(rgba.astype(np.uint8)).save(folder / "cut-out.png")
    frames = [Image.fromarray(np.roll(PHOTO, 9 * n, axis=1)) for n in range(4)]
    for name in ("animation.gif", "animation.webp"):
        frames[0].save(folder / name, save_all=True, append_images=frames[1:], duration=[50, 100, 150, 200], loop=0)
    frames[0].save(folder / "pages.tif", save_all=True, append_images=frames[1:])
    return [
        ("JPEG, turned by EXIF", folder / "turned.jpg", colours_kept),
        ("JPEG with EXIF, XMP, IPTC, 300 dpi", folder / "tagged.jpg", tags_kept),
        ("Display P3", folder / "p3.png", colours_kept),
        ("Display P3 by cICP", folder / "p3-of-numbers.png", lambda _, target: colours_kept(folder / "p3.png", target)),
        ("texts of a PNG", folder / "texts.png", texts_kept),
        ("CMYK", folder / "cmyk.jpg", colours_kept),
        ("palette", folder / "palette.png", colours_kept),
        ("1 bit", folder / "bit.png", colours_kept),
        ("16-bit gray PNG", folder / "deep.png", levels_kept),
        ("16-bit RGB TIFF", folder / "deep.tif", levels_kept),
        ("float TIFF", folder / "float.tif", levels_kept),
        ("cut-out on transparent green", folder / "cut-out.png", edges_kept),
        ("GIF animation", folder / "animation.gif", pages_kept),
        ("WebP animation", folder / "animation.webp", pages_kept),
        ("TIFF of four pages", folder / "pages.tif", pages_kept),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", type=Path, help="OpenCV's FSRCNN_x2.pb")
    parser.add_argument("--json", type=Path, help="write the result to this file")
    arguments = parser.parse_args()
    network = cv2.dnn_superres.DnnSuperResImpl.create()
    network.readModel(str(arguments.network))
    network.setModel("fsrcnn", 2)
    ways: dict[str, Callable[[Path, Path], None]] = {
        "upres": with_upres,
        "Pillow + OpenCV": lambda source, target: with_opencv(network, source, target),
    }
    rows: list[dict[str, str]] = []
    print("| kind of file | " + " | ".join(ways) + " |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for kind, source, check in make_files(folder):
            row = {"kind": kind}
            for way, enlarge in ways.items():
                target = folder / f"{way[0]}-{source.name}"
                try:
                    enlarge(source, target)
                    row[way] = check(source, target)
                except (OSError, ValueError, cv2.error) as error:
                    row[way] = f"**refused: {error}**"
            rows.append(row)
            print("| " + " | ".join(row.values()) + " |", flush=True)
    write_record(arguments, {"benchmark": "fidelity", "kept": rows})


if __name__ == "__main__":
    main()
