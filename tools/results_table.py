"""Print the README's results table: the catalog's scores beside the papers'.

python tools/results_table.py ../shared/reference/published.csv
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from upres.weights import catalog

SETS = {"set5": "Set5", "set14": "Set14", "bsd100": "BSD100"}


def table(published: dict[tuple[str, str, int], tuple[str, str]]) -> str:
    """Markdown; a cell is our PSNR / SSIM over the paper's."""
    lines = [f"| | parameters | {' | '.join(f'{name} | paper' for name in SETS.values())} |"]
    lines.append("|---|---:|" + "---|---|" * len(SETS))
    for record in catalog.records():
        cells: list[str] = []
        for dataset in SETS:
            psnr, ssim = record.results[dataset]
            theirs = published.get((record.name, dataset, record.scale))
            cells += [f"{psnr:.2f} / {ssim:.4f}", _cell(*theirs) if theirs else "–"]
        lines.append(f"| {record.name} ×{record.scale} | {record.parameters:,} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(psnr: str, ssim: str) -> str:
    return f"{float(psnr):.2f}" + (f" / {float(ssim):.4f}" if ssim else "")


def main() -> None:
    """Read the papers' numbers from the file that the command line names."""
    with Path(sys.argv[1]).open() as file:
        rows = list(csv.DictReader(file))
    print(table({(r["network"], r["dataset"], int(r["scale"])): (r["psnr_db"], r["ssim"]) for r in rows}))


if __name__ == "__main__":
    main()
