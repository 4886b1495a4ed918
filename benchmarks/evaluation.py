"""Time a full evaluation of the shipped networks, and how busy it keeps the cores.

    python benchmarks/evaluation.py SETS [--models espcn,fsrcnn] [--scales 2,3,4] [--only set5] [--json FILE]
        [--precision bf16] [--scores FILE]

`SETS` is a folder with `set5`, `set14` and `bsd100`. One process runs `upres evaluate MODELS --verify` over all of
them, with its measurement of speed, in float32, as all published scores are made, unless another precision is asked
for. Busy share: processor time of that process and of those that it starts, over wall-clock time times the cores that
it may use; whatever else the machine does lowers it.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from record import write_record

import upres
from upres.evaluation import report
from upres.inference.runtime import core_count

SETS = ("set5", "set14", "bsd100")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", type=Path)
    parser.add_argument("--models", default=",".join(dict.fromkeys(record.name for record in upres.models())))
    parser.add_argument("--scales", default="2,3,4")
    parser.add_argument("--only", default=",".join(SETS), help="some of the sets")
    parser.add_argument("--precision", default="f32", help="of the networks' arithmetic (%(default)s)")
    parser.add_argument("--json", type=Path, help="write the result to this file")
    parser.add_argument("--scores", type=Path, help="keep the scores, as `upres evaluate --json` writes them")
    arguments = parser.parse_args()
    folders = [arguments.sets / name for name in arguments.only.split(",")]
    result = timed(arguments.models, arguments.scales, folders, arguments.precision, arguments.scores)
    print("| evaluations | pictures | wall, s | processor, s | cores | busy |\n|---:|---:|---:|---:|---:|---:|")
    print(
        f"| {result['evaluations']} | {result['pictures']:,} | {result['wall_seconds']:.1f} |"
        f" {result['processor_seconds']:.1f} | {result['usable_cores']} | {result['busy_share']:.0%} |"
    )
    about = {"benchmark": "evaluation", "models": arguments.models.split(","), "sets": [f.name for f in folders]}
    write_record(arguments, about | {"scales": arguments.scales, "precision": arguments.precision} | result)


def timed(
    models: str, scales: str, folders: Sequence[Path], precision: str = "f32", kept: Path | None = None
) -> dict[str, Any]:
    """Run the command once; an evaluation is one model on one set at one scale.

    Raises:
        subprocess.CalledProcessError: the command failed; what it said is on stderr.
    """
    with tempfile.TemporaryDirectory() as folder:
        scores = kept or Path(folder, "scores.json")
        data = [part for path in folders for part in ("--data", str(path))]
        command = [sys.executable, "-m", "upres", "evaluate", models, "-s", scales, *data, "--precision", precision]
        started, used = time.perf_counter(), processor_seconds()
        subprocess.run([*command, "--verify", "--json", str(scores)], check=True, stdout=subprocess.DEVNULL)
        wall, used = time.perf_counter() - started, processor_seconds() - used
        _, evaluations = report.read_json(scores)
    return {
        "evaluations": len(evaluations),
        "pictures": sum(len(e.images) for e in evaluations),
        "wall_seconds": wall,
        "processor_seconds": used,
        "usable_cores": core_count(),
        "busy_share": used / (wall * core_count()),
    }


def processor_seconds() -> float:
    """Of all processes that this one has started and waited for, and of theirs."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
