"""Time and peak memory of `upres upscale` over the size of the result: JPEG to JPEG, ×2, in a process of its own.

    python benchmarks/sizes.py [--model espcn] [--memory 1GB] [--json benchmarks/results/sizes-DATE.json]

Each input is the example photo, mirrored until it has a quarter of the result's pixels. Seconds are those of the
fastest of three runs (one from 100 megapixels up), start-up included; processor seconds are of all threads, and say
more where other work shares the machine. Memory is the process's own peak (`VmHWM`), so this needs Linux.
`from_one_megapixel` is what a megapixel takes beyond the first.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from record import write_record

from upres.images import io
from upres.images.io import Picture
from upres.inference.runtime import core_count

EXAMPLE = Path(__file__).parents[1] / "examples" / "cat.jpg"
MEGAPIXELS = (1, 4, 16, 64, 100, 400)
ONCE_FROM = 100
CHILD = """
import atexit, resource, sys
from pathlib import Path

def report():
    lines = Path("/proc/self/status").read_text().splitlines()
    usage = resource.getrusage(resource.RUSAGE_SELF)
    peak = next(line.split()[1] for line in lines if line.startswith("VmHWM"))
    print(usage.ru_utime + usage.ru_stime, int(peak) * 1024, file=sys.stderr)

atexit.register(report)
import upres.__main__
"""


def make_input(path: Path, megapixels: float) -> None:
    photo = io.read(EXAMPLE).pixels
    height = round((megapixels * 1e6 * 2 / 3) ** 0.5)
    width = round(megapixels * 1e6 / height)
    rows, columns = (np.arange(side) % (2 * length) for side, length in zip((height, width), photo.shape, strict=False))
    rows, columns = (np.minimum(at, 2 * n - 1 - at) for at, n in ((rows, photo.shape[0]), (columns, photo.shape[1])))
    io.write(Picture(photo[rows][:, columns]), path)


def run(arguments: list[str]) -> tuple[float, float, int]:
    """Wall seconds, processor seconds and peak bytes."""
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", CHILD, *arguments], capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - started
    if done.returncode:
        raise SystemExit(done.stderr)
    processor, peak = done.stderr.split()[-2:]
    return seconds, float(processor), int(peak)


def measured(megapixels: float, model: str, memory: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "in.jpg"), Path(folder, "out.jpg")
        make_input(source, megapixels / 4)
        arguments = ["upscale", str(source), "-o", str(target), "-m", model, "--memory", memory, "--overwrite"]
        runs = [run(arguments) for _ in range(1 if megapixels >= ONCE_FROM else 3)]
    return {
        "megapixels": megapixels,
        "seconds": round(min(seconds for seconds, _, _ in runs), 2),
        "processor_seconds": round(min(processor for _, processor, _ in runs), 2),
        "peak_megabytes": round(max(peak for _, _, peak in runs) / 1e6),
    }


def from_one_megapixel(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows with the processor seconds that a megapixel takes beyond those of the first row."""
    first = rows[0]
    return [first] + [
        row
        | {
            "from_one_megapixel": round(
                (row["processor_seconds"] - first["processor_seconds"]) / (row["megapixels"] - first["megapixels"]), 4
            )
        }
        for row in rows[1:]
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="espcn")
    parser.add_argument("--memory", default="1GB")
    parser.add_argument("--json", type=Path, help="write the result to this file")
    parser.add_argument("--note", help="what else the reader should know, for the file")
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for megapixels in MEGAPIXELS:
        rows.append(measured(megapixels, arguments.model, arguments.memory))
        print(rows[-1], flush=True)
    rows = from_one_megapixel(rows)
    print("processor seconds a megapixel beyond the first:", [row["from_one_megapixel"] for row in rows[1:]])
    given = {"model": arguments.model, "memory": arguments.memory, "used_cores": core_count(), "note": arguments.note}
    write_record(arguments, {"benchmark": "sizes"} | given | {"rows": rows})


if __name__ == "__main__":
    main()
