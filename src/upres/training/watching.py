"""What a run tells while it goes: reports, `metrics.csv`, TensorBoard scalars, and samples of a validation picture."""

from __future__ import annotations

import csv
import logging
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upres.errors import OutputError, UsageError
from upres.files import whole_file

log = logging.getLogger(__name__)

METRICS = "metrics.csv"
SAMPLES = "samples"
_SAMPLE_SIDE = 120


@dataclass(frozen=True)
class Report:
    """What a watcher is told: the step just done, mean loss since the last report, and the pace.

    Attributes:
        step: steps done so far, out of `steps`.
        loss: mean since the last report.
        learning_rate: of the step just done.
        patches_per_second: pace since the last report, validation not counted.
        psnr: mean in dB on the validation pictures, on the steps that validate.
    """

    step: int
    steps: int
    loss: float
    learning_rate: float
    patches_per_second: float
    psnr: float | None


class Journal:
    """Reports as rows of `metrics.csv` and, where TensorBoard is installed, as its scalars.

    Args:
        out: the run's folder.
        after: the step that the run goes on from; later rows, of steps that are done again, are dropped.

    Raises:
        OutputError: from `write`: the disk is full, or the folder is gone.
    """

    def __init__(self, out: Path, *, after: int) -> None:
        self._out, self._after = out, after

    def __enter__(self) -> Journal:
        path = self._out / METRICS
        kept = [row for row in read(self._out) if int(row["step"]) <= self._after]
        columns = list(Report.__annotations__)
        with whole_file(path) as temporary, temporary.open("w", newline="") as file:
            rows = csv.DictWriter(file, columns)
            rows.writeheader()
            rows.writerows(kept)
        try:
            self._file = path.open("a", newline="")
            self._csv = csv.DictWriter(self._file, columns)
            self._board = self._tensorboard()
        except OSError as error:
            raise self._refused(error) from error
        return self

    def _tensorboard(self) -> Any:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            log.info("tensorboard is not installed; there is metrics.csv alone")
            return None
        return SummaryWriter(self._out, purge_step=self._after + 1)

    def write(self, report: Report) -> None:
        """Add a report."""
        values = asdict(report)
        try:
            self._csv.writerow(values)
            self._file.flush()
            for name in ("loss", "learning_rate", "patches_per_second", "psnr"):
                if self._board is not None and values[name] is not None:
                    self._board.add_scalar(name, values[name], report.step)
        except OSError as error:
            raise self._refused(error) from error

    def _refused(self, error: OSError) -> OutputError:
        reason = error.strerror or str(error)
        return OutputError(f"{self._out / METRICS}: could not be written ({reason}); free space, then --resume.")

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        try:
            self._file.close()
            if self._board is not None:
                self._board.close()
        except OSError as error:
            if kind is None:
                raise self._refused(error) from error


def read(out: Path) -> list[dict[str, str]]:
    """The rows of a run's `metrics.csv`; none if there is no such file. A row cut off by a kill is left out.

    Raises:
        UsageError: the file is no run's.
    """
    path = out / METRICS
    if not path.is_file():
        return []
    with path.open(newline="", errors="replace") as file:
        rows = csv.DictReader(file)
        if "step" not in (rows.fieldnames or ("step",)):
            raise UsageError(f"{path}: is another program's; choose another folder with --out.")
        return [row for row in rows if None not in row.values()]


def telling_crop(bicubic: NDArray[np.uint8]) -> tuple[slice, slice]:
    """The square of an enlarged picture with the strongest edges, where networks differ: `(rows, columns)`."""
    side = min(_SAMPLE_SIDE, *bicubic.shape)
    rows, columns = np.gradient(bicubic.astype(np.float64))
    sums = np.pad((rows**2 + columns**2).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    windows = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    top, left = np.unravel_index(int(windows.argmax()), windows.shape)
    return slice(int(top), int(top) + side), slice(int(left), int(left) + side)


def remove_samples(out: Path) -> None:
    """Remove what an earlier run in the same folder kept."""
    shutil.rmtree(out / SAMPLES, ignore_errors=True)


def save_samples(out: Path, samples: Mapping[str, NDArray[np.uint8]]) -> None:
    """Keep crops, gray `(h, w)`, for the contact sheet that is drawn at the end.

    Raises:
        OutputError: they cannot be written.
    """
    folder = out / SAMPLES
    try:
        folder.mkdir(exist_ok=True)
        for name, sample in samples.items():
            with whole_file(folder / f"{name}.npy") as temporary:
                np.save(temporary, sample)
    except OSError as error:
        raise OutputError(f"{folder}: could not be written ({error.strerror}); free space, then --resume.") from error
