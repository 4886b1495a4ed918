"""The weights that come with upres, as frozen records. What is in a record is also in the file that it names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from upres.errors import ScaleError, UnknownModelError

FOLDER = Path(__file__).parent / "files"


@dataclass(frozen=True, kw_only=True)
class Record:
    """One network at one scale; several records share their files where the weights serve several scales.

    Attributes:
        name: as `upres.load` takes it.
        scale: factor that it enlarges by.
        parameters: count of trained numbers.
        halo: radius of the receptive field in low-resolution pixels.
        results: PSNR in dB and SSIM under the `paper` protocol by test set, in f32.
        enlarges_first: the ONNX file takes luma that bicubic interpolation has enlarged, and serves every scale.
        bf16_loss: what bfloat16 costs on Set5, in dB of PSNR.
        int8_loss: what eight bits cost.
        parity: largest difference between PyTorch and the ONNX file.
        sha256: checksums by file name, of the ONNX and of the safetensors file.
    """

    name: str
    scale: int
    parameters: int
    halo: int
    results: Mapping[str, tuple[float, float]]
    enlarges_first: bool
    bf16_loss: float
    int8_loss: float
    parity: float
    sha256: Mapping[str, str]

    @property
    def onnx(self) -> Path:
        """The file that inference runs."""
        return FOLDER / next(name for name in self.sha256 if name.endswith(".onnx"))

    @property
    def safetensors(self) -> Path:
        """The file that training starts from."""
        return FOLDER / next(name for name in self.sha256 if name.endswith(".safetensors"))


@lru_cache(maxsize=1)
def records() -> tuple[Record, ...]:
    """All that upres ships, in the order of names and scales."""
    entries = json.loads((FOLDER / "catalog.json").read_text(encoding="utf-8"))
    return tuple(
        Record(**entry | {"results": {name: tuple(values) for name, values in entry["results"].items()}})
        for entry in entries
    )


def scales(name: str) -> tuple[int, ...]:
    """The scales that a model has.

    Raises:
        UnknownModelError: no model has this name; the nearest names are in the message.
    """
    found = tuple(sorted(record.scale for record in records() if record.name == name))
    if not found:
        raise UnknownModelError(name, {record.name for record in records()} | {"bicubic"})
    return found


def find(name: str, scale: int) -> Record:
    """The record of a model at a scale.

    Raises:
        UnknownModelError: no model has this name; the nearest names are in the message.
        ScaleError: the model has no weights for this scale; those that it has are in the message.
    """
    if scale not in scales(name):
        raise ScaleError(name, scale, scales(name))
    return next(record for record in records() if (record.name, record.scale) == (name, scale))
