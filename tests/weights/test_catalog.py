from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, fields, replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from rounding import in_bf16

import upres
from upres.errors import ScaleError, UnknownModelError
from upres.evaluation.protocol import score
from upres.evaluation.report import evaluate
from upres.evaluation.tables import cell
from upres.images import io
from upres.inference.runtime import has_bf16, has_int8
from upres.networks import enlarges_first
from upres.recipes import RECIPES, SMALL_RECIPES
from upres.training.recipe import Recipe
from upres.weights import catalog, store

REPOSITORY = Path(__file__).parents[2]
RECORDS = [pytest.param(record, id=f"{record.name}-x{record.scale}") for record in upres.models()]
RUN = [
    pytest.param(*p.values, id=p.id, marks=[pytest.mark.slow] * (p.values[0].name == "drcn" and p.values[0].scale > 2))
    for p in RECORDS
]
# What the first release promises on Set5, in dB.
LEAST = {
    ("espcn", 2): 36.65,
    ("espcn", 3): 33.12,
    ("espcn", 4): 30.7,
    ("fsrcnn", 2): 37.00,
    ("fsrcnn", 3): 33.16,
    ("fsrcnn", 4): 30.72,
    ("lapsrn", 2): 37.52,
}


def test_catalog_holds_what_was_promised_and_nothing_lies_around():
    assert {(record.name, record.scale) for record in upres.models()} >= set(LEAST)
    named = {name for record in upres.models() for name in record.sha256}
    assert {path.name for path in catalog.FOLDER.iterdir()} == named | {"catalog.json"}


@pytest.mark.parametrize("record", RECORDS)
def test_files_are_what_the_record_says(record):
    for path in (record.onnx, record.safetensors):
        assert hashlib.sha256(path.read_bytes()).hexdigest() == record.sha256[path.name]
    network, metadata = store.load(record.safetensors, record.scale)
    assert metadata.model == record.name
    assert metadata.parameters == sum(p.numel() for p in network.parameters()) == record.parameters
    assert metadata.halos[record.scale] == network.halo == record.halo
    assert {name: tuple(values) for name, values in metadata.results[record.scale].items()} == record.results
    assert metadata.steps > 1000 or metadata.init
    assert metadata.data
    assert len(metadata.commit) == 40  # a commit, with nothing uncommitted
    assert metadata.recipe["steps"] == metadata.steps
    properties = {p.key: p.value for p in onnx.load(record.onnx).metadata_props}
    assert float(properties.pop("parity")) == record.parity
    assert json.loads(properties.pop("enlarges_first")) == enlarges_first(network) == record.enlarges_first
    assert store.Metadata.from_strings(properties, source=record.onnx) == metadata


@pytest.mark.parametrize("record", RECORDS)
def test_the_recipe_made_the_weights(record):
    network, metadata = store.load(record.safetensors)
    made = metadata.recipe
    recipe = (RECIPES | SMALL_RECIPES)[record.name].with_steps(made["steps"]).with_batch(made["batch"])
    recipe = replace(recipe, **{name: made[name] for name in ("scale", "learning_rate", "precision")})
    if metadata.init:
        recipe = recipe.starting_from(network)
    newer = {field.name: field.default for field in fields(Recipe) if field.name not in made}
    assert newer | made == json.loads(json.dumps(asdict(recipe)))


@pytest.mark.parametrize("record", RECORDS)
def test_weights_are_exact_in_bfloat16(record):
    network, _ = store.load(record.safetensors)
    for parameter in network.parameters():
        if parameter.ndim == 4:
            assert torch.equal(parameter, parameter.bfloat16().float())


@pytest.mark.parametrize("record", RUN)
def test_pytorch_onnxruntime_and_openvino_agree(record, photo):
    y = (photo[60:92, 100:140, 1] / 255).astype(np.float32)
    network, _ = store.load(record.safetensors, record.scale)
    with torch.inference_mode():
        expected = network(torch.from_numpy(y)[None, None])[0, 0].numpy()
    for engine in ("onnxruntime", "openvino"):
        upscaler = upres.load(record.name, record.scale, engine=engine, precision="f32")
        np.testing.assert_allclose(upscaler.luma(y), expected, atol=1e-5)


def stored_scores(record):
    """What the table is made from, by set."""
    return {
        e["dataset"]: e
        for path in sorted((REPOSITORY / "docs" / "results").glob("*.json"))
        for e in json.loads(path.read_text())["evaluations"]
        if (e["model"], e["scale"], e["protocol"]) == (record.name, record.scale, "paper")
    }


@pytest.mark.parametrize("record", RECORDS)
def test_the_records_scores_are_those_of_the_table(record):
    stored = stored_scores(record)
    assert record.results.keys() == stored.keys()
    for dataset, stated in record.results.items():
        of_table = stored[dataset]["psnr"], stored[dataset]["ssim"]
        assert stated == pytest.approx(of_table, rel=0, abs=5e-5)
        assert cell(*stated) == cell(*of_table)


@pytest.mark.parametrize("record", RUN)
def test_one_pictures_scores_are_the_stored_ones(record, shared):
    stored = stored_scores(record)["set5"]
    position = stored["images"]["image"].index("img_003")
    truth = io.read(shared / "data" / "test" / "set5" / "img_003.png").pixels
    scores = {
        precision: score(upres.load(record.name, record.scale, precision=precision), truth, record.scale, "paper")
        for precision in ("f32", "auto", *["int8"] * has_int8())
    }
    assert scores["f32"].psnr == pytest.approx(stored["images"]["psnr"][position], abs=0.002)
    assert scores["f32"].ssim == pytest.approx(stored["images"]["ssim"][position], abs=0.0002)
    assert scores["auto"].psnr == pytest.approx(scores["f32"].psnr, abs=0.03)
    if has_int8():
        assert scores["int8"].psnr == pytest.approx(scores["f32"].psnr, abs=0.5)
    assert stored["psnr"] >= LEAST.get((record.name, record.scale), 0)


@pytest.mark.parametrize("record", RECORDS)
def test_bf16_costs_at_most_a_hundredth_of_a_decibel(record):
    assert record.bf16_loss <= 0.01


SMALL_OR_SLOW = [
    pytest.param(record, id=f"{record.name}-x{record.scale}", marks=[pytest.mark.slow] * (record.parameters > 100_000))
    for record in upres.models()
]


@pytest.mark.parametrize("record", SMALL_OR_SLOW)
def test_each_precision_costs_what_the_record_says(record, shared):
    def psnr(precision):
        upscaler = upres.load(record.name, record.scale, precision=precision)
        folder = shared / "data" / "test" / "set5"
        return evaluate(upscaler, folder, record.scale, model=record.name, with_ssim=False).psnr

    exact = record.results["set5"][0]
    assert psnr("f32") == pytest.approx(exact, abs=0.002)
    assert exact - psnr("auto") <= 0.0105
    if has_bf16():
        assert exact - psnr("bf16") == pytest.approx(record.bf16_loss, abs=0.003)
    if has_int8():
        in_floats = 0 if has_bf16() else record.bf16_loss  # of what stays in floats
        assert exact - psnr("int8") == pytest.approx(record.int8_loss - in_floats, abs=0.02)


@pytest.mark.parametrize("record", SMALL_OR_SLOW)
def test_emulated_bf16_costs_what_the_record_says(record, shared):
    network = in_bf16(record.safetensors, record.onnx, record.scale)
    score = evaluate(network, shared / "data" / "test" / "set5", record.scale, model=record.name, with_ssim=False)
    assert record.results["set5"][0] - score.psnr == pytest.approx(record.bf16_loss, abs=0.003)


@pytest.mark.slow
@pytest.mark.parametrize("record", RECORDS)
def test_every_file_scores_what_it_says(record, shared):
    upscaler = upres.load(record.name, record.scale, precision="f32")
    for dataset, (psnr, ssim) in record.results.items():
        result = evaluate(upscaler, shared / "data" / "test" / dataset, record.scale, model=record.name)
        assert (result.psnr, result.ssim) == (pytest.approx(psnr, abs=0.002), pytest.approx(ssim, abs=0.0002))


def test_find_names_what_there_is():
    with pytest.raises(UnknownModelError, match=r"unknown model 'fsrcn'; did you mean fsrcnn"):
        catalog.find("fsrcn", 2)
    with pytest.raises(UnknownModelError, match=r"known: bicubic"):
        catalog.find("zzzzzz", 2)
    with pytest.raises(ScaleError, match=r"fsrcnn has no scale 7; it has 2"):
        catalog.find("fsrcnn", 7)
