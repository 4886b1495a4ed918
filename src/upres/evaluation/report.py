"""A test set's scores as one value, and as the JSON that is kept of it."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upres.errors import DataError, MissingExtraError
from upres.evaluation import protocol, provenance
from upres.evaluation.others import Command, FinishedFolder
from upres.evaluation.protocol import Enlarger, ProtocolName, Score
from upres.evaluation.provenance import Provenance
from upres.files import whole_file
from upres.inference.runtime import core_count
from upres.inference.upscaler import Reduced, Upscaler

FORMAT = "upres-scores-1"
_MOST_AT_ONCE = 16  # pictures, for the sake of memory
_SPEED_RUNS, _SPEED_SECONDS = 20, 2.0


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
        parameters: how many the model has, where that is known.
        megapixels_per_second: of output, on the set's largest picture, where it was measured.
        warnings: why these scores do not compare with those of papers, in sentences.
    """

    model: str
    precision: str | None
    dataset: str
    scale: int
    protocol: ProtocolName
    images: tuple[Score, ...]
    parameters: int | None = None
    megapixels_per_second: float | None = None
    warnings: tuple[str, ...] = ()

    @property
    def psnr(self) -> float:
        """Mean over the pictures, in dB."""
        return fmean(score.psnr for score in self.images)

    @property
    def ssim(self) -> float | None:
        """Mean over the pictures, or None where it was not computed."""
        return _mean([score.ssim for score in self.images])

    @property
    def consistency(self) -> float | None:
        """Mean over the pictures, in dB, or None where it was not computed."""
        return _mean([score.consistency for score in self.images])

    def to_dataframe(self) -> Any:
        """A pandas DataFrame: one row a picture, with the model, set, scale and protocol in each.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        try:
            pandas = import_module("pandas")
        except ImportError as error:
            raise MissingExtraError("pandas", "dataframe") from error
        about = {"model": self.model, "dataset": self.dataset, "scale": self.scale, "protocol": self.protocol}
        return pandas.DataFrame([about | asdict(score) for score in self.images])


def _mean(values: Sequence[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return fmean(there) if there else None


def to_json(evaluations: Iterable[Evaluation], made: Provenance | None = None) -> str:
    """As kept in files: where the numbers come from, then each evaluation; an infinite PSNR (equal pictures) is null.

    Args:
        evaluations: made here, unless `made` says otherwise.
        made: where, and by what.
    """

    def rounded(value: float | None, digits: int) -> float | None:
        return round(value, digits) if value is not None and math.isfinite(value) else None

    def record(e: Evaluation) -> dict[str, Any]:
        images: dict[str, list[Any]] = {
            "image": [s.image for s in e.images],
            "psnr": [rounded(s.psnr, 6) for s in e.images],
            "ssim": [rounded(s.ssim, 8) for s in e.images],
        }
        if e.images[0].consistency is not None:
            images["consistency"] = [rounded(s.consistency, 3) for s in e.images]
        warnings = {"warnings": list(e.warnings)} if e.warnings else {}
        return {
            "model": e.model,
            "scale": e.scale,
            "dataset": e.dataset,
            "protocol": e.protocol,
            "precision": e.precision,
            "parameters": e.parameters,
            "megapixels_per_second": rounded(e.megapixels_per_second, 3),
            "psnr": rounded(e.psnr, 6),
            "ssim": rounded(e.ssim, 8),
            "consistency": rounded(e.consistency, 3),
            **warnings,
            "images": images,
        }

    head: dict[str, Any] = {"format": FORMAT} | asdict(made or provenance.here())
    lines = ",\n    ".join(json.dumps(record(e), allow_nan=False) for e in evaluations)  # one line an evaluation
    return json.dumps(head, indent=2).removesuffix("\n}") + f',\n  "evaluations": [\n    {lines}\n  ]\n}}\n'


def write_json(evaluations: Iterable[Evaluation], path: Path, made: Provenance | None = None) -> None:
    """Write `to_json` to a file.

    Raises:
        OutputError: the file cannot be written.
    """
    write_text(to_json(evaluations, made), path)


def write_text(text: str, path: Path) -> None:
    """Write a text file, whole or not at all.

    Raises:
        OutputError: the file cannot be written.
    """
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_json(path: Path) -> tuple[Provenance, list[Evaluation]]:
    """The inverse of `write_json`.

    Raises:
        DataError: the file is missing or not one that `upres evaluate --json` wrote.
    """
    try:
        fields: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as JSON ({error}); give a file of `upres evaluate --json`.") from error
    if not isinstance(fields, dict) or fields.get("format") != FORMAT:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise DataError(f"{path}: not {FORMAT}; give a file of `upres evaluate --json`.")
    try:
        made = Provenance(**{name: fields[name] for name in Provenance.__annotations__})
        return made, [_evaluation(e) for e in fields["evaluations"]]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"{path}: says that it is {FORMAT}, but lacks what that holds ({error}); give a file of "
            "`upres evaluate --json`."
        ) from error


def _evaluation(record: dict[str, Any]) -> Evaluation:
    def decibels(value: float | None) -> float:
        return math.inf if value is None else float(value)

    images: dict[str, list[Any]] = record["images"]
    agreements = map(decibels, images["consistency"]) if "consistency" in images else [None] * len(images["image"])
    psnrs, ssims = map(decibels, images["psnr"]), (None if value is None else float(value) for value in images["ssim"])
    scores = tuple(Score(*values) for values in zip(images["image"], psnrs, ssims, agreements, strict=True))
    if not scores:
        raise ValueError("an evaluation of no picture")
    kept = ("model", "precision", "dataset", "scale", "protocol", "parameters", "megapixels_per_second")
    warnings = tuple(str(warning) for warning in record.get("warnings", ()))
    return Evaluation(images=scores, warnings=warnings, **{name: record[name] for name in kept})


def evaluate(
    enlarger: Enlarger,
    folder: Path,
    scale: int,
    protocol_name: ProtocolName = "paper",
    *,
    model: str,
    with_ssim: bool = True,
    with_consistency: bool = False,
    with_speed: bool = False,
    parameters: int | None = None,
    warnings: Sequence[str] = (),
    watch: Callable[[Score], None] = lambda score: None,
) -> Evaluation:
    """Score a model on every picture of a folder, one picture a core at a time.

    A command runs once a picture, one after the other: it may take all cores, and minutes.

    Args:
        enlarger: what is scored; `upres.load` makes one.
        folder: the test set.
        scale: whole factor.
        protocol_name: one of `upres.evaluation.protocol.PROTOCOLS`.
        model: the name that the result carries.
        with_ssim: also compute SSIM.
        with_consistency: also compare each result, reduced again, with what it was made from.
        with_speed: then also time the model alone, on the largest picture.
        parameters: that the result carries.
        warnings: that the result carries.
        watch: called with each picture's score, in the order of names.

    Raises:
        DataError: no pictures there, or one that is not of 8 bits.
        UsageError: a picture too small for the scale, or a model that gives another size.
    """
    files = protocol.picture_files(folder)
    workers = 1 if isinstance(enlarger, Command) else min(core_count(), _MOST_AT_ONCE)
    alone = enlarger
    if isinstance(enlarger, Upscaler | Reduced) and len(files) >= workers:
        alone = enlarger.unsplit()

    samples: dict[Path, int] = {}

    def score(file: Path) -> Score:
        picture = protocol.read_picture(file)
        samples[file] = picture.size
        return protocol.score(
            alone.of(file.stem, picture) if isinstance(alone, FinishedFolder) else alone,
            picture,
            scale,
            protocol_name,
            image=file.stem,
            with_ssim=with_ssim,
            with_consistency=with_consistency,
        )

    scores: list[Score] = []
    pool = ThreadPoolExecutor(workers)
    try:
        for result in pool.map(score, files):
            scores.append(result)
            watch(result)
    finally:
        pool.shutdown(cancel_futures=True)
    speed = None
    if with_speed and isinstance(enlarger, Command):
        speed = enlarger.megapixels_per_second
    elif with_speed and not isinstance(enlarger, FinishedFolder):
        largest = protocol.read_picture(max(files, key=samples.__getitem__))
        speed = megapixels_per_second(enlarger, largest, scale, protocol_name)
    precision = getattr(enlarger, "precision", None)
    if precision is not None and protocol_name == "lapsrn":
        precision = "f32"  # its pictures are floats, which never run in bf16
    dataset = folder.resolve().name
    return Evaluation(
        model, precision, dataset, scale, protocol_name, tuple(scores), parameters, speed, tuple(warnings)
    )


def megapixels_per_second(
    enlarger: Enlarger, picture: NDArray[np.uint8], scale: int, protocol_name: ProtocolName
) -> float:
    """Output megapixels a second on one picture, from the fastest of up to 20 runs in about two seconds.

    The fastest: whatever else the machine does can only slow a run. A first run, which prepares, does not count.
    Under `paper` the network alone runs, on luma; under the other protocols, the way from picture to picture.
    """
    low = protocol.reduced(picture, scale, protocol_name)
    run = enlarger.luma if protocol_name == "paper" else enlarger
    size = run(low).shape
    times: list[float] = []
    while len(times) < _SPEED_RUNS and (not times or sum(times) < _SPEED_SECONDS):
        started = time.perf_counter()
        run(low)
        times.append(time.perf_counter() - started)
    return size[0] * size[1] / 1e6 / min(times)
