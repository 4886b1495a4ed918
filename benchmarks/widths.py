"""Time a pixel of the networks by the width of the picture: in one piece, and in the pieces that upres takes.

    python benchmarks/widths.py [--networks lapsrn vdsr] [--widths 240 256 293] [--json FILE]

Luma of 200 rows is enlarged ×2 in the precision chosen as by default, the one piece on one core, the pieces on all.
Everything runs once a round, interleaved; the fastest of the rounds counts, since others' work only adds. AMX
convolutions are slow for some widths; `upres.inference.engines` knows for which.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from record import write_record

import upres

HEIGHT = 200
WIDTHS = (120, 128, 131, 144, 240, 256, 272, 293, 320, 413)


def seconds(work: Callable[[], Any]) -> float:
    work()  # prepares for the shape
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=["espcn", "fsrcnn", "lapsrn", "vdsr"], help="which")
    parser.add_argument("--widths", nargs="+", type=int, default=WIDTHS, help="of the luma")
    parser.add_argument("--rounds", type=int, default=4, help="how often everything runs")
    parser.add_argument("--json", type=Path, help="write the result to this file")
    arguments = parser.parse_args()
    random = np.random.default_rng(0)
    pictures = {width: random.random((HEIGHT, width), np.float32) for width in arguments.widths}
    rows: list[dict[str, Any]] = []
    for name in arguments.networks:
        upscaler = upres.load(name, 2)

        def in_one_piece(y: NDArray[np.float32], upscaler: Any = upscaler) -> Any:
            return upscaler.residual(y, upscaler.precision)

        ways = {"one_piece": in_one_piece, "pieces": upscaler.luma}
        fastest = {(way, width): float("inf") for way in ways for width in pictures}
        for _ in range(arguments.rounds):
            for (way, width), before in fastest.items():
                took = seconds(lambda way=way, width=width, ways=ways: ways[way](pictures[width]))
                fastest[way, width] = min(before, took)
        for width, y in pictures.items():
            nanoseconds = {way: round(fastest[way, width] / y.size * 1e9, 1) for way in ways}
            rows.append({"network": name, "width": width} | nanoseconds)
            print(f"{name:7} {width:4}: {nanoseconds['one_piece']:8.1f} ns a pixel, cut {nanoseconds['pieces']:8.1f}")
    write_record(arguments, {"height": HEIGHT, "nanoseconds_a_pixel": rows})


if __name__ == "__main__":
    main()
