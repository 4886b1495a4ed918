"""Put trained weights into the catalog: score them, write the scores into both files, list them.

    python tools/publish.py --test-sets ../shared/data/test runs/*/*.safetensors

Scores are made by the exported file in float32 under the `paper` protocol; bfloat16's cost is measured on Set5.
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
from upres.inference.engines import Precision, read_metadata
from upres.inference.loading import load
from upres.weights import catalog, store

SETS = ("set5", "set14", "bsd100")


def publish(weights: Path, test_sets: Path) -> dict[str, Any]:
    """Write both files of one network at one scale into the catalog's folder; return its entry."""
    network, metadata = store.load(weights)
    name = f"{metadata.network}-x{metadata.scale}"
    target = catalog.FOLDER / f"{name}.safetensors"
    store.save(network, metadata, target)
    onnx = export(target)

    def score(dataset: str, precision: Precision) -> tuple[float, float | None]:
        upscaler = load(onnx, metadata.scale, precision=precision)
        with_ssim = precision == "f32"
        result = evaluate(upscaler, test_sets / dataset, metadata.scale, model=name, with_ssim=with_ssim)
        return result.psnr, result.ssim

    results: dict[str, list[float]] = {}
    for dataset in SETS:
        psnr, ssim = score(dataset, "f32")
        assert ssim is not None
        results[dataset] = [round(psnr, 3), round(ssim, 4)]
    bf16_loss = results["set5"][0] - score("set5", "bf16")[0]
    store.save(network, replace(metadata, halo=network.halo, results=results), target)
    export(target)
    return {
        "name": metadata.network,
        "scale": metadata.scale,
        "parameters": metadata.parameters,
        "halo": network.halo,
        "results": results,
        "bf16_loss": round(bf16_loss, 3),
        "parity": float(json.loads(read_metadata(onnx)["parity"])),
        "sha256": {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in (onnx, target)},
    }


def main() -> None:
    """Publish the weights that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path, nargs="+")
    parser.add_argument("--test-sets", type=Path, required=True)
    arguments = parser.parse_args()
    listing = catalog.FOLDER / "catalog.json"
    entries = {(e["name"], e["scale"]): e for e in json.loads(listing.read_text())} if listing.exists() else {}
    for weights in arguments.weights:
        entry = publish(weights, arguments.test_sets)
        entries[entry["name"], entry["scale"]] = entry
        print(entry["name"], entry["scale"], entry["results"], "bf16 costs", entry["bf16_loss"])
    ordered = [entries[key] for key in sorted(entries)]
    listing.write_text(json.dumps(ordered, indent=2) + "\n")


if __name__ == "__main__":
    main()
