"""Put trained weights into the catalog: score them, write the scores into both files, list them.

    python tools/publish.py --test-sets ../shared/data/test runs/*/*.safetensors [--sets set5 set14]

Scores are made by the exported file in float32 under the `paper` protocol; what bfloat16 and int8 cost is measured on
Set5. A network that takes hours a set may be scored on fewer of them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from upres.evaluation.report import evaluate
from upres.export import export
from upres.inference.engines import read_metadata
from upres.inference.loading import load
from upres.inference.runtime import Precision, has_bf16, has_int8
from upres.weights import catalog, store


def publish(weights: Path, test_sets: Path, sets: list[str]) -> list[dict[str, Any]]:
    """Write both files of a network into the catalog's folder; return the entry of each scale that it serves."""
    network, metadata = store.load(weights)
    target = catalog.FOLDER / weights.name
    store.save(network, metadata, target)
    onnx = export(target)

    def score(scale: int, dataset: str, precision: Precision) -> tuple[float, float | None]:
        upscaler = load(onnx, scale, precision=precision)
        with_ssim = precision == "f32"
        result = evaluate(upscaler, test_sets / dataset, scale, model=metadata.network, with_ssim=with_ssim)
        return result.psnr, result.ssim

    results: dict[int, dict[str, list[float]]] = {}
    for scale in metadata.halos:
        results[scale] = {}
        for dataset in sets:
            psnr, ssim = score(scale, dataset, "f32")
            assert ssim is not None
            results[scale][dataset] = [round(psnr, 4), round(ssim, 4)]

    def loss(scale: int, precision: Precision) -> float:
        return round(results[scale]["set5"][0] - score(scale, "set5", precision)[0], 3)

    losses = {scale: {f"{p}_loss": loss(scale, p) for p in ("bf16", "int8")} for scale in metadata.halos}
    store.save(network, replace(metadata, results=results), target)
    export(target)
    about = read_metadata(onnx)
    return [
        {
            "name": metadata.network,
            "scale": scale,
            "parameters": metadata.parameters,
            "halo": halo,
            "results": results[scale],
            "enlarges_first": json.loads(about["enlarges_first"]),
            **losses[scale],
            "parity": float(json.loads(about["parity"])),
            "sha256": {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in (onnx, target)},
        }
        for scale, halo in metadata.halos.items()
    ]


def main() -> None:
    """Publish the weights that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path, nargs="+")
    parser.add_argument("--test-sets", type=Path, required=True, help="the folder of the sets")
    parser.add_argument("--sets", nargs="+", default=["set5", "set14", "bsd100"], help="which; set5 has to be there")
    arguments = parser.parse_args()
    if "set5" not in arguments.sets:
        parser.error("--sets has to have set5, which the cost of bf16 and int8 is measured on")
    if not (has_bf16() and has_int8()):
        parser.error("this processor lacks bf16 or int8, whose cost is to be measured")
    listing = catalog.FOLDER / "catalog.json"
    entries = {(e["name"], e["scale"]): e for e in json.loads(listing.read_text())} if listing.exists() else {}
    for weights in arguments.weights:
        for entry in publish(weights, arguments.test_sets, arguments.sets):
            entries[entry["name"], entry["scale"]] = entry
            cost = f"bf16 costs {entry['bf16_loss']} dB, int8 {entry['int8_loss']} dB"
            print(entry["name"], entry["scale"], entry["results"], cost)
    ordered = [entries[key] for key in sorted(entries)]
    listing.write_text(json.dumps(ordered, indent=2) + "\n")


if __name__ == "__main__":
    main()
