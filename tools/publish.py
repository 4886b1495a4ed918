"""Put trained weights into the catalog: score them, write the scores into both files, list them.

    python tools/publish.py runs/*/*.safetensors --test-sets ../shared/data/test [--sets set5 set14]
    python tools/publish.py --scores docs/results/red.json red
    python tools/publish.py runs/drcn/drcn.safetensors --scores docs/results/drcn.json --test-sets ../shared/data/test
    python tools/publish.py --test-sets ../shared/data/test --costs red

Scores are made by the exported file in float32 under the `paper` protocol; what bfloat16 and int8 cost is measured on
Set5, bfloat16 also on processors that lack it (`rounding.py`). A network that takes hours a set may be scored on fewer
of them; once `upres evaluate red --json` has scored all, the second command takes the scores from there, and the third
does so at once (`upres evaluate drcn=runs/drcn/drcn.onnx --json …`). The last only measures what bfloat16 and int8
cost.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from rounding import in_bf16

from upres.evaluation.report import evaluate
from upres.export import export
from upres.inference.engines import read_metadata
from upres.inference.loading import load
from upres.inference.runtime import has_bf16, has_int8
from upres.inference.upscaler import Bicubic, Upscaler
from upres.networks import Network
from upres.weights import catalog, store


def publish(weights: Path, test_sets: Path, sets: list[str], scores: Path | None) -> list[dict[str, Any]]:
    """Write both files of a network into the catalog's folder; return the entry of each scale that it serves."""
    network, metadata = store.load(weights)
    results: dict[int, dict[str, list[float]]] = {}
    if scores is not None:
        stored = stored_scores(metadata.model, scores)
        results = {scale: stored[scale] for scale in metadata.halos}
    target = catalog.FOLDER / weights.name
    onnx = write(network, metadata, target)
    for scale in metadata.halos if scores is None else ():
        results[scale] = {}
        for dataset in sets:
            score = evaluate(load(onnx, scale, precision="f32"), test_sets / dataset, scale, model=metadata.model)
            assert score.ssim is not None
            results[scale][dataset] = [round(score.psnr, 6), round(score.ssim, 8)]
    write(network, replace(metadata, results=results), target)
    about = read_metadata(onnx)
    return [
        {
            "name": metadata.model,
            "scale": scale,
            "parameters": metadata.parameters,
            "halo": halo,
            "results": results[scale],
            "enlarges_first": json.loads(about["enlarges_first"]),
            **costs(target, scale, test_sets, exact=results[scale]["set5"][0]),
            "parity": float(json.loads(about["parity"])),
            "sha256": checksums(target),
        }
        for scale, halo in metadata.halos.items()
    ]


def costs(weights: Path, scale: int, test_sets: Path, *, exact: float) -> dict[str, float]:
    """What each smaller precision loses in dB on Set5 against an `exact` PSNR.

    Where the processor has no bfloat16, its rounding is emulated, and int8, which then leaves some layers to float32,
    is taken to cost that much more.
    """
    onnx = weights.with_suffix(".onnx")

    def loss(upscaler: Upscaler | Bicubic) -> float:
        return exact - evaluate(upscaler, test_sets / "set5", scale, model=weights.stem, with_ssim=False).psnr

    bf16 = loss(load(onnx, scale, precision="bf16") if has_bf16() else in_bf16(weights, onnx, scale))
    int8 = loss(load(onnx, scale, precision="int8")) + (0 if has_bf16() else bf16)
    return {name: round(value, 3) + 0.0 for name, value in (("bf16_loss", bf16), ("int8_loss", int8))}  # no −0


def write(network: Network, metadata: store.Metadata, target: Path) -> Path:
    """Write weights and the ONNX file beside them; return the latter's path."""
    store.save(network, metadata, target)
    return export(target)


def checksums(weights: Path) -> dict[str, str]:
    """SHA-256 of both files of a network."""
    files = (weights.with_suffix(".onnx"), weights)
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def stored_scores(name: str, scores: Path) -> dict[int, dict[str, list[float]]]:
    """PSNR and SSIM of a network by scale and set, from what `upres evaluate --json` wrote."""
    results: dict[int, dict[str, list[float]]] = {}
    for evaluation in json.loads(scores.read_text())["evaluations"]:
        if (evaluation["model"], evaluation["protocol"], evaluation["precision"]) == (name, "paper", "f32"):
            score = [evaluation["psnr"], evaluation["ssim"]]
            results.setdefault(evaluation["scale"], {})[evaluation["dataset"]] = score
    return results


def restate(name: str, scores: Path, entries: list[dict[str, Any]]) -> None:
    """Write stored scores into the files and entries of a network that is in the catalog."""
    results = stored_scores(name, scores)
    for entry in entries:
        results[entry["scale"]] = entry["results"] | results.get(entry["scale"], {})
    for target in sorted({catalog.FOLDER / file for entry in entries for file in entry["sha256"] if ".safe" in file}):
        network, metadata = store.load(target)
        stated = {scale: results[scale] for scale in metadata.halos}
        if stated == metadata.results:
            continue
        onnx = write(network, replace(metadata, results=stated), target)
        parity = float(json.loads(read_metadata(onnx)["parity"]))
        for entry in entries:
            if target.name in entry["sha256"]:
                entry |= {"results": results[entry["scale"]], "parity": parity, "sha256": checksums(target)}


def main() -> None:
    """Publish the weights that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", nargs="+", help="files; with --scores or --costs, names in the catalog")
    parser.add_argument("--test-sets", type=Path, help="the folder of the sets")
    parser.add_argument("--scores", type=Path, help="what `upres evaluate --json` wrote")
    parser.add_argument("--sets", nargs="+", default=["set5", "set14", "bsd100"], help="which; set5 has to be there")
    parser.add_argument("--costs", action="store_true", help="only measure bf16 and int8, of names in the catalog")
    arguments = parser.parse_args()
    if arguments.test_sets is None and (arguments.costs or arguments.scores is None):
        parser.error("name the --test-sets")
    if "set5" not in arguments.sets:
        parser.error("--sets has to have set5, which the cost of bf16 and int8 is measured on")
    if arguments.test_sets and not has_int8():
        parser.error("this processor lacks int8, whose cost is to be measured")
    listing = catalog.FOLDER / "catalog.json"
    entries = {(e["name"], e["scale"]): e for e in json.loads(listing.read_text())} if listing.exists() else {}
    for weights in arguments.weights:
        present = [entry for (name, _), entry in entries.items() if name == weights]
        if not present and not Path(weights).is_file():
            parser.error(f"{weights}: neither a file nor a name in the catalog")
        if not present and arguments.test_sets is None:
            parser.error(f"{weights}: name the --test-sets, on which the costs of bf16 and int8 are measured")
        if arguments.scores and present:
            restate(weights, arguments.scores, present)
        elif arguments.costs:
            for entry in present:
                file = next(catalog.FOLDER / name for name in entry["sha256"] if name.endswith(".safetensors"))
                entry |= costs(file, entry["scale"], arguments.test_sets, exact=entry["results"]["set5"][0])
                print(entry["name"], entry["scale"], entry["bf16_loss"], entry["int8_loss"])
        else:
            for entry in publish(Path(weights), arguments.test_sets, arguments.sets, arguments.scores):
                entries[entry["name"], entry["scale"]] = entry
                cost = f"bf16 costs {entry['bf16_loss']} dB, int8 {entry['int8_loss']} dB"
                print(entry["name"], entry["scale"], entry["results"], cost)
        listing.write_text(json.dumps([entries[key] for key in sorted(entries)], indent=2) + "\n")


if __name__ == "__main__":
    main()
