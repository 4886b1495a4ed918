"""Time `imresize` against PyTorch's antialiased bicubic, interleaved in one run, on the same picture and cores.

python benchmarks/resize.py [--json benchmarks/results/resize-DATE.json]
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from record import record_arguments, write_record

from upres.images.resize import imresize

CASES = [
    ((1080, 1920), 1 / 2),
    ((1080, 1920), 1 / 3),
    ((1080, 1920), 1 / 4),
    ((540, 960), 2),
    ((540, 960), 3),
    ((1080, 1920), 4),
]


def milliseconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - started)


def compare(height: int, width: int, scale: float) -> dict[str, object]:
    picture = np.random.default_rng(0).random((height, width), np.float32)
    tensor = torch.from_numpy(picture)[None, None]
    size = imresize(picture, scale).shape

    def upres_() -> object:
        return imresize(picture, scale)

    def torch_() -> object:
        return torch.nn.functional.interpolate(tensor, size=size, mode="bicubic", antialias=True)

    pairs = [(milliseconds(upres_), milliseconds(torch_)) for _ in range(21)]
    ours, theirs = (statistics.median(times) for times in zip(*pairs, strict=True))
    named = {"picture": f"{width}×{height}", "scale": scale}
    return named | {"upres_ms": ours, "torch_ms": theirs, "ratio": ours / theirs}


def main() -> None:
    arguments = record_arguments(__doc__)
    rows: list[dict[str, object]] = []
    for (height, width), scale in CASES:
        rows.append(compare(height, width, scale))
        print(
            "{picture} ×{scale:.3g}: upres {upres_ms:.1f} ms, torch {torch_ms:.1f} ms, {ratio:.2f}".format(**rows[-1])
        )
    write_record(arguments, {"benchmark": "resize", "float32, two-dimensional": rows})


if __name__ == "__main__":
    main()
