"""What rounds of back-projection do to PSNR against the truth, and to PSNR of the reduced result against its input.

python benchmarks/back_projection.py SETS [--model fsrcnn] [--json benchmarks/results/back-projection-DATE.json]

`SETS` is a folder with `set5` and `set14`. Protocol `paper`; the reduced result is compared in luma, not rounded.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from record import write_record

import upres
from upres.evaluation import metrics, protocol
from upres.images import colour
from upres.images.resize import imresize

ROUNDS = (0, 1, 2, 4, 8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", type=Path)
    parser.add_argument("--model", default="fsrcnn")
    parser.add_argument("--json", type=Path, help="write the result to this file")
    arguments = parser.parse_args()
    rows: list[dict[str, object]] = []
    print("| set | scale | rounds | PSNR | reduced again |\n|---|---|---:|---:|---:|")
    for name in ("set5", "set14"):
        pictures = [pixels for _, pixels in protocol.pictures(arguments.sets / name)]
        for scale in (2, 3, 4):
            plain = upres.load(arguments.model, scale, precision="f32")
            for rounds in ROUNDS:
                enlarger = plain.consistent(rounds)
                psnr = np.mean([protocol.score(enlarger, picture, scale, with_ssim=False).psnr for picture in pictures])
                consistency = np.mean([_consistency(enlarger, picture, scale) for picture in pictures])
                rows.append({"set": name, "scale": scale, "rounds": rounds, "psnr": psnr, "consistency": consistency})
                print(f"| {name} | ×{scale} | {rounds} | {psnr:.3f} | {consistency:.2f} |", flush=True)
    write_record(arguments, {"benchmark": "back-projection", "model": arguments.model, "rows": rows})


def _consistency(enlarger: protocol.Enlarger, picture: np.ndarray, scale: int) -> float:
    luma = colour.to_uint8(colour.luma(picture))
    height, width = (side - side % scale for side in luma.shape)
    low = imresize(luma[:height, :width] / 255, 1 / scale)
    reduced = imresize(np.clip(enlarger.luma(low), 0, 1).astype(np.float64), size=low.shape)
    return metrics.psnr(reduced * 255, low * 255)


if __name__ == "__main__":
    main()
