"""Measure the way from file to file: a cold process against OpenCV's shortest script, and a folder of photos.

    python benchmarks/files.py --peers DIR [--photos 200] [--networks vdsr red] [--json FILE]

cold     One JPEG of a megapixel becomes twice as large, as PNG and as JPEG, in a process that has just been started:
         `upres upscale` against the script below, which does the same with OpenCV's `dnn_superres` and its own model of
         the same name from `--peers`. Wall time and peak memory of the process, by `wait4`; medians of interleaved
         rounds.
warm     The same picture in one process that has everything loaded: from file to file, and the network alone on luma of
         the same size. The rest is decoding, colour, encoding and copies.
folder   So many photos of a third of a megapixel, JPEG to JPEG, in one call of `upres upscale`; megapixels a second
         against those of the network alone. Network, decoder and encoder share the cores: how much of their time the
         call used, and how much of it decoding and encoding alone take.

The photo is the example picture, enlarged by bicubic interpolation and, for the folder, cut out at different places.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from record import write_record

import upres
from upres.images import io
from upres.images.resize import imresize
from upres.inference.runtime import core_count

EXAMPLE = Path(__file__).parents[1] / "examples" / "cat.jpg"
MEGAPIXEL = (864, 1160)
PHOTO = (480, 700)
OPENCV = """
import sys, cv2
name, model, source, target = sys.argv[1:]
network = cv2.dnn_superres.DnnSuperResImpl_create()
network.readModel(model)
network.setModel(name, 2)
cv2.imwrite(target, network.upsample(cv2.imread(source)))
"""
PEERS = {"fsrcnn": "FSRCNN", "espcn": "ESPCN"}


def run(command: list[str]) -> tuple[float, float, float]:
    """Wall seconds, peak megabytes and processor seconds of a process that succeeds."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command}: exit code {process.returncode}")
    peak = usage.ru_maxrss if sys.platform == "darwin" else usage.ru_maxrss * 1024
    return time.perf_counter() - started, peak / 1e6, usage.ru_utime + usage.ru_stime


def cold(source: Path, folder: Path, peers: Path | None, rounds: int) -> list[dict[str, Any]]:
    commands: dict[tuple[str, str, str], list[str]] = {}
    for name in PEERS:
        for suffix in (".png", ".jpg"):
            target = str(folder / f"upres{suffix}")
            options = ["--model", name, "--overwrite"]
            commands["upres", name, suffix] = [
                sys.executable, "-m", "upres", "upscale", str(source), "-o", target, *options,
            ]  # fmt: skip
            if peers is not None:
                model = str(peers / f"{PEERS[name]}_x2.pb")
                commands["opencv", name, suffix] = [
                    sys.executable, "-c", OPENCV, name, model, str(source), str(folder / f"opencv{suffix}"),
                ]  # fmt: skip
    measured: dict[tuple[str, str, str], list[tuple[float, float, float]]] = {key: [] for key in commands}
    for _ in range(rounds):
        for key, command in commands.items():
            measured[key].append(run(command))
    return [
        {
            "engine": engine,
            "network": name,
            "output": suffix,
            "seconds": statistics.median(seconds for seconds, _, _ in values),
            "peak_megabytes": statistics.median(megabytes for _, megabytes, _ in values),
        }
        for (engine, name, suffix), values in measured.items()
    ]


def median_seconds(*works: Callable[[], Any], rounds: int) -> list[float]:
    """Of each work, in rounds that interleave them, after one that is not counted."""
    times: list[list[float]] = [[] for _ in works]
    for number in range(rounds + 1):
        for work, measured in zip(works, times, strict=True):
            started = time.perf_counter()
            work()
            if number:
                measured.append(time.perf_counter() - started)
    return [statistics.median(measured) for measured in times]


def warm(names: list[str], source: Path, folder: Path, rounds: int) -> list[dict[str, Any]]:
    pixels = io.read(source).pixels
    y = np.ascontiguousarray(pixels[..., 1], dtype=np.float32) / np.float32(255)
    results: list[dict[str, Any]] = []
    for name in names:
        upscaler = upres.load(name, 2)
        target = folder / "warm.jpg"

        def whole(upscaler: Any = upscaler, target: Path = target) -> None:
            read = io.read(source)
            io.write(read.with_pixels(upscaler(read.pixels)), target, overwrite=True)

        total, picture, network = median_seconds(
            whole,
            lambda upscaler=upscaler: upscaler(pixels),
            lambda upscaler=upscaler: upscaler.luma(y),
            rounds=rounds,
        )
        results.append(
            {
                "network": name,
                "seconds": total,
                "picture_seconds": picture,
                "network_seconds": network,
                "outside": 1 - network / total,
            }
        )
    return results


def folder_of_photos(large: Any, folder: Path, photos: int) -> dict[str, Any]:
    """A folder of photos that differ, through the command line."""
    source, target = folder / "photos", folder / "large"
    source.mkdir()
    example = io.read(EXAMPLE)
    random = np.random.default_rng(0)
    for number in range(photos):
        top, left = (int(random.integers(0, large.shape[i] - PHOTO[i])) for i in (0, 1))
        cut = np.ascontiguousarray(large[top : top + PHOTO[0], left : left + PHOTO[1]])
        io.write(example.with_pixels(cut), source / f"{number:03}.jpg")
    seconds, megabytes, processor_seconds = run(
        [sys.executable, "-m", "upres", "upscale", str(source), "-o", str(target)]
    )
    made = len(list(target.glob("*.jpg")))
    if made != photos:
        raise SystemExit(f"{made} of {photos} photos were made")
    upscaler = upres.load(scale=2)
    y = random.random(PHOTO, np.float32)
    photo, enlarged = source / "000.jpg", io.read(target / "000.jpg")
    network, decoding, encoding = median_seconds(
        lambda: upscaler.luma(y),
        lambda: io.read(photo),
        lambda: io.write(enlarged, folder / "again.jpg", overwrite=True),
        rounds=9,
    )
    megapixels = PHOTO[0] * PHOTO[1] * 4 / 1e6
    return {
        "photos": photos,
        "seconds": seconds,
        "peak_megabytes": megabytes,
        "megapixels_per_second": photos * megapixels / seconds,
        "network_megapixels_per_second": megapixels / network,
        "share_of_the_network": photos * network / seconds,
        "share_of_the_cores_used": processor_seconds / (seconds * core_count()),
        "share_of_the_cores_for_decoding_and_encoding": photos * (decoding + encoding) / (seconds * core_count()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, help="the folder of OpenCV's models, FSRCNN_x2.pb and so on")
    parser.add_argument("--networks", nargs="+", default=["espcn", "fsrcnn", "srcnn"], help="for the warm calls")
    parser.add_argument("--photos", type=int, default=200, help="in the folder")
    parser.add_argument("--rounds", type=int, default=5, help="of each measurement")
    parser.add_argument("--json", type=Path, help="write the result to this file")
    arguments = parser.parse_args()
    if arguments.peers is not None and not importlib.util.find_spec("cv2"):
        parser.error("--peers needs OpenCV with dnn_superres: pip install 'opencv-contrib-python-headless<5'")
    example = io.read(EXAMPLE)
    large = imresize(example.pixels, size=MEGAPIXEL)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = folder / "photo.jpg"
        io.write(example.with_pixels(large), source)
        result = {
            "threads": core_count(),
            "rounds": arguments.rounds,
            "cold": cold(source, folder, arguments.peers, arguments.rounds),
            "warm": warm(arguments.networks, source, folder, arguments.rounds),
            "folder": folder_of_photos(large, folder, arguments.photos),
        }
    for entry in result["cold"]:
        what = f"cold {entry['engine']:7} {entry['network']:7} {entry['output']}"
        print(f"{what}: {entry['seconds']:.2f} s, {entry['peak_megabytes']:.0f} MB")
    for entry in result["warm"]:
        total, picture, network = (entry[f"{part}seconds"] * 1e3 for part in ("", "picture_", "network_"))
        what = f"warm {entry['network']:7}: {total:.0f} ms, picture {picture:.0f}, network {network:.0f}"
        print(f"{what}, outside {entry['outside']:.0%}")
    print("folder:", {key: round(value, 3) for key, value in result["folder"].items()})
    write_record(arguments, result)


if __name__ == "__main__":
    main()
