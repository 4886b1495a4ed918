"""The papers' numbers: PSNR in dB and SSIM on Set5, Set14 and BSD100, each with the table that it stands in."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib import resources


@dataclass(frozen=True)
class Published:
    """One cell of a paper's table; `ssim` is None where the paper gives none."""

    psnr: float
    ssim: float | None
    source: str


@cache
def _table() -> dict[tuple[str, str, int], Published]:
    text = resources.files("upres.evaluation").joinpath("published.csv").read_text(encoding="utf-8")
    return {
        (row["network"], row["dataset"], int(row["scale"])): Published(
            float(row["psnr_db"]), float(row["ssim"]) if row["ssim"] else None, row["source"]
        )
        for row in csv.DictReader(text.splitlines())
    }


def find(network: str, dataset: str, scale: int) -> Published | None:
    """What a paper reports: `network` may be `bicubic`; `dataset` is set5, set14 or bsd100. None where nothing is."""
    return _table().get((network, dataset, scale))
