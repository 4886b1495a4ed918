from __future__ import annotations

import pytest
import torch

from upres.training import hardware
from upres.training.hardware import has_bf16


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CPU's instructions are looked at where there is no GPU")
@pytest.mark.parametrize(
    ("capabilities", "has"),
    [
        ({"architecture": "x86_64", "avx2": True, "avx512_f": True, "avx512_bf16": False, "amx_bf16": False}, False),
        ({"architecture": "x86_64", "avx2": True, "avx512_f": True, "avx512_bf16": True, "amx_bf16": False}, True),
        ({"architecture": "x86_64", "avx512_bf16": False, "amx_bf16": True}, True),
        ({"architecture": "aarch64", "neon": True, "bf16": True}, True),
        ({"architecture": "aarch64", "neon": True, "bf16": False}, False),
    ],
)
def test_bfloat16_pays_where_there_are_instructions_for_it(capabilities, has, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert has_bf16("cpu") == has


@pytest.mark.skipif(torch.cuda.is_available(), reason="as above")
@pytest.mark.parametrize(("features", "has"), [(["avx2"], False), (["avx2", "amx_bf16"], True), ([], True)])
def test_of_an_older_pytorch_linux_tells_if_anyone(features, has, monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    monkeypatch.setattr(hardware, "processor_features", lambda: frozenset(features))
    assert has_bf16("cpu") == has
    assert has_bf16("mps")
