"""The test sets as papers used them, known by their pixels, so that another copy is noticed before it is scored."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upres.evaluation import protocol, published

# Urban100 is known by its count, and by bicubic's score on it, alone.
COUNTS = {"set5": 5, "set14": 14, "bsd100": 100, "urban100": 100}
_OTHER_NAMES = {"b100": "bsd100"}
_TOLERANCE = 0.0101  # dB; bicubic comes out up to 0.009 below what papers print for Set14 ×3


def canonical(folder_name: str) -> str:
    """The set that a folder's name means, such as `set5` for `Set5`; the name in lower case where it means none."""
    name = folder_name.lower().replace("-", "").replace("_", "")
    name = _OTHER_NAMES.get(name, name)
    return name if name in COUNTS else folder_name.lower()


def digest(pixels: NDArray[Any]) -> str:
    """Of a picture's shape and pixels, whatever file it comes from."""
    shape = ",".join(map(str, pixels.shape))
    return hashlib.sha256(shape.encode() + np.ascontiguousarray(pixels).tobytes()).hexdigest()[:32]


@cache
def _known() -> dict[str, dict[str, tuple[int, int]]]:
    """By set, the size `(width, height)` of each picture by its digest."""
    text = resources.files("upres.evaluation").joinpath("testsets.csv").read_text(encoding="utf-8")
    known: dict[str, dict[str, tuple[int, int]]] = {}
    for row in csv.DictReader(text.splitlines()):
        known.setdefault(row["dataset"], {})[row["digest"]] = (int(row["width"]), int(row["height"]))
    return known


def differences(dataset: str, pictures: Mapping[str, NDArray[np.uint8]]) -> list[str]:
    """What sets a folder's pictures apart from those that papers used, in sentences; empty where nothing does.

    Args:
        dataset: canonical name; nothing is said of a set that is not in `COUNTS`.
        pictures: by name.
    """
    said: list[str] = []
    if dataset not in COUNTS:
        return said
    if len(pictures) != COUNTS[dataset]:
        said.append(f"{dataset} has {COUNTS[dataset]} pictures; here are {len(pictures)}.")
    known = _known().get(dataset)
    if known is None:
        return said
    sizes = set(known.values())
    others = {name: pixels for name, pixels in pictures.items() if digest(pixels) not in known}
    resized = [name for name, pixels in others.items() if (pixels.shape[1], pixels.shape[0]) not in sizes]
    if resized:
        said.append(f"{_listed(resized)}: no picture of {dataset} has this size.")
    changed = sorted(set(others) - set(resized))
    if changed:
        said.append(f"{_listed(changed)}: the size is one of {dataset}'s, the pixels are not those that papers used.")
    return said


def check(folder: Path) -> tuple[str, ...]:
    """`differences` of a folder's pictures; an unknown set's are not even read.

    Raises:
        DataError: no pictures there, or one that is not of 8 bits.
    """
    dataset = canonical(folder.resolve().name)
    files = protocol.picture_files(folder)
    if dataset not in COUNTS:
        return ()
    return tuple(differences(dataset, {file.name: protocol.read_picture(file) for file in files}))


def _listed(names: list[str]) -> str:
    shown = ", ".join(sorted(names)[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"


def bicubic_is_off(dataset: str, scale: int, psnr: float) -> str | None:
    """What is wrong with bicubic's mean PSNR under the `paper` protocol; None where it is right, or not published."""
    known = published.find("bicubic", dataset, scale)
    if known is None or abs(psnr - known.psnr) <= _TOLERANCE:
        return None
    return (
        f"bicubic ×{scale} on {dataset} gives {psnr:.2f} dB here and {known.psnr:.2f} in papers: "
        "these scores do not compare with theirs."
    )
