"""Print the README's results table: the catalog's scores beside the papers'.

python tools/results_table.py
"""

from __future__ import annotations

from upres.evaluation import published
from upres.weights import catalog

SETS = {"set5": "Set5", "set14": "Set14", "bsd100": "BSD100"}


def table() -> str:
    """Markdown; a cell is our PSNR / SSIM, and beside it the paper's."""
    lines = [f"| | parameters | {' | '.join(f'{name} | paper' for name in SETS.values())} |"]
    lines.append("|---|---:|" + "---|---|" * len(SETS))
    for record in catalog.records():
        cells: list[str] = []
        for dataset in SETS:
            psnr, ssim = record.results[dataset]
            theirs = published.find(record.name, dataset, record.scale)
            cells += [_cell(psnr, ssim), _cell(theirs.psnr, theirs.ssim) if theirs else "–"]
        lines.append(f"| {record.name} ×{record.scale} | {record.parameters:,} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(psnr: float, ssim: float | None) -> str:
    return f"{psnr:.2f}" if ssim is None else f"{psnr:.2f} / {ssim:.4f}"


if __name__ == "__main__":
    print(table())
