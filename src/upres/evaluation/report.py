"""A test set's scores as one value, and as the JSON that is kept of it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import upres
from upres.evaluation import protocol
from upres.evaluation.protocol import Enlarger, ProtocolName, Score
from upres.files import whole_file


@dataclass(frozen=True)
class Evaluation:
    """The scores of a model on a test set, with the protocol that made them.

    Attributes:
        model: as it was asked for.
        precision: of the arithmetic, where the model has a choice.
        dataset: name of the folder.
        scale: factor.
        protocol: one of `upres.evaluation.protocol.PROTOCOLS`.
        images: one score a picture.
    """

    model: str
    precision: str | None
    dataset: str
    scale: int
    protocol: ProtocolName
    images: tuple[Score, ...]

    @property
    def psnr(self) -> float:
        """Mean over the pictures, in dB."""
        return sum(score.psnr for score in self.images) / len(self.images)

    @property
    def ssim(self) -> float | None:
        """Mean over the pictures, or None where it was not computed."""
        values = [score.ssim for score in self.images if score.ssim is not None]
        return sum(values) / len(values) if values else None

    def to_json(self) -> str:
        """As kept in files; an infinite PSNR (equal pictures) becomes null."""

        def finite(value: float | None) -> float | None:
            return value if value is not None and math.isfinite(value) else None

        record: dict[str, Any] = {
            "upres": upres.__version__,
            "model": self.model,
            "precision": self.precision,
            "dataset": self.dataset,
            "scale": self.scale,
            "protocol": self.protocol,
            "psnr": finite(self.psnr),
            "ssim": finite(self.ssim),
            "images": [{"image": s.image, "psnr": finite(s.psnr), "ssim": finite(s.ssim)} for s in self.images],
        }
        return json.dumps(record, indent=2, allow_nan=False) + "\n"

    def write_json(self, path: Path) -> None:
        """Write `to_json` to a file.

        Raises:
            OutputError: the file cannot be written.
        """
        with whole_file(path) as temporary:
            temporary.write_text(self.to_json(), encoding="utf-8")


def evaluate(
    enlarger: Enlarger,
    folder: Path,
    scale: int,
    protocol_name: ProtocolName = "paper",
    *,
    model: str,
    with_ssim: bool = True,
    watch: Callable[[Score], None] = lambda score: None,
) -> Evaluation:
    """Score a model on every picture of a folder.

    Args:
        enlarger: what is scored; `upres.load` makes one.
        folder: the test set.
        scale: whole factor.
        protocol_name: one of `upres.evaluation.protocol.PROTOCOLS`.
        model: the name that the result carries.
        with_ssim: also compute SSIM.
        watch: called with each picture's score.

    Raises:
        DataError: no pictures there, or one that is not of 8 bits.
        UsageError: a picture too small for the scale, or a model that gives another size.
    """
    scores: list[Score] = []
    for image, picture in protocol.pictures(folder):
        scores.append(protocol.score(enlarger, picture, scale, protocol_name, image=image, with_ssim=with_ssim))
        watch(scores[-1])
    precision = getattr(enlarger, "precision", None)
    if precision is not None and protocol_name == "lapsrn":
        precision = "f32"  # its pictures are floats, which never run in bf16
    return Evaluation(model, precision, folder.resolve().name, scale, protocol_name, tuple(scores))
