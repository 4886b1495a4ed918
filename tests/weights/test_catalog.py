from __future__ import annotations

import hashlib
import json

import numpy as np
import onnx
import pytest
import torch

import upres
from upres.errors import ScaleError, UnknownModelError
from upres.evaluation.report import evaluate
from upres.inference.engines import has_bf16
from upres.networks import enlarges_first
from upres.weights import catalog, store

RECORDS = [pytest.param(record, id=f"{record.name}-x{record.scale}") for record in upres.models()]
# What the first release promises on Set5, in dB.
LEAST = {
    ("espcn", 2): 36.65,
    ("espcn", 3): 32.7,
    ("espcn", 4): 30.4,
    ("fsrcnn", 2): 36.85,
    ("fsrcnn", 3): 32.9,
    ("fsrcnn", 4): 30.5,
}


def test_catalog_holds_what_was_promised_and_nothing_lies_around():
    assert {(record.name, record.scale) for record in upres.models()} >= set(LEAST)
    named = {name for record in upres.models() for name in record.sha256}
    assert {path.name for path in catalog.FOLDER.iterdir()} == named | {"catalog.json"}


F32_BY_DEFAULT = {("lapsrn", 2)}  # whose bf16 costs 0.011 dB on Set5


@pytest.mark.parametrize("record", RECORDS)
def test_files_are_what_the_record_says(record):
    for path in (record.onnx, record.safetensors):
        assert hashlib.sha256(path.read_bytes()).hexdigest() == record.sha256[path.name]
    network, metadata = store.load(record.safetensors, record.scale)
    assert metadata.network == record.name
    assert metadata.parameters == sum(p.numel() for p in network.parameters()) == record.parameters
    assert metadata.halos[record.scale] == network.halo == record.halo
    assert {name: tuple(values) for name, values in metadata.results[record.scale].items()} == record.results
    assert metadata.steps > 1000
    assert metadata.data
    assert len(metadata.commit) == 40  # a commit, with nothing uncommitted
    assert metadata.recipe["steps"] == metadata.steps
    properties = {p.key: p.value for p in onnx.load(record.onnx).metadata_props}
    assert float(properties.pop("parity")) == record.parity
    assert json.loads(properties.pop("enlarges_first")) == enlarges_first(network) == record.enlarges_first
    assert store.Metadata.from_strings(properties, source=record.onnx) == metadata


@pytest.mark.parametrize("record", RECORDS)
def test_weights_are_exact_in_bfloat16(record):
    network, _ = store.load(record.safetensors)
    for parameter in network.parameters():
        if parameter.ndim == 4:
            assert torch.equal(parameter, parameter.bfloat16().float())


@pytest.mark.parametrize("record", RECORDS)
def test_pytorch_onnxruntime_and_openvino_agree(record, photo):
    y = (photo[..., 1] / 255).astype(np.float32)
    network, _ = store.load(record.safetensors, record.scale)
    with torch.inference_mode():
        expected = network(torch.from_numpy(y)[None, None])[0, 0].numpy()
    for engine in ("onnxruntime", "openvino"):
        upscaler = upres.load(record.name, record.scale, engine=engine, precision="f32")
        np.testing.assert_allclose(upscaler.luma(y), expected, atol=1e-5)


@pytest.mark.parametrize("record", RECORDS)
def test_set5_scores_are_what_the_record_says(record, shared):
    upscaler = upres.load(record.name, record.scale, precision="f32")
    result = evaluate(upscaler, shared / "data" / "test" / "set5", record.scale, model=record.name)
    psnr, ssim = record.results["set5"]
    assert result.psnr == pytest.approx(psnr, abs=0.002)
    assert result.ssim == pytest.approx(ssim, abs=0.0002)
    assert result.psnr >= LEAST.get((record.name, record.scale), 0)


@pytest.mark.parametrize("record", RECORDS)
def test_bf16_costs_at_most_a_hundredth_of_a_decibel_or_is_no_default(record):
    if (record.name, record.scale) in F32_BY_DEFAULT:
        assert upres.load(record.name, record.scale).precision == "f32"
    else:
        assert record.bf16_loss <= 0.01


@pytest.mark.parametrize("record", RECORDS)
def test_automatic_precision_costs_at_most_a_hundredth_of_a_decibel(record, shared):
    folder = shared / "data" / "test" / "set5"
    auto = upres.load(record.name, record.scale)
    result = evaluate(auto, folder, record.scale, model=record.name, with_ssim=False)
    assert record.results["set5"][0] - result.psnr <= 0.0105
    if has_bf16():
        bf16 = upres.load(record.name, record.scale, precision="bf16")
        result = evaluate(bf16, folder, record.scale, model=record.name, with_ssim=False)
        assert record.results["set5"][0] - result.psnr == pytest.approx(record.bf16_loss, abs=0.003)


def test_find_names_what_there_is():
    with pytest.raises(UnknownModelError, match=r"unknown model 'fsrcn'; did you mean fsrcnn"):
        catalog.find("fsrcn", 2)
    with pytest.raises(UnknownModelError, match=r"known: bicubic"):
        catalog.find("zzzzzz", 2)
    with pytest.raises(ScaleError, match=r"fsrcnn has no scale 7; it has 2"):
        catalog.find("fsrcnn", 7)
