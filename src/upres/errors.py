"""Everything upres raises on purpose.

UpresError
├── UsageError (ValueError)          the call itself is wrong: a name, a scale, an option
│   ├── UnknownModelError            no such model; names the nearest
│   └── ScaleError                   the model exists, but not at this scale
├── PictureError                     a picture cannot be read
│   └── TooLittleMemory              its result would take more than is allowed
├── OutputError                      a result cannot be written
├── WeightsError                     a weights file is damaged or not one of ours
├── DataError                        a training set or a test set cannot be used
├── ToolError                        another upscaler, run as a command, failed
├── Diverged                         a training run's loss is no longer a number
├── Interrupted                      a run was asked to stop; the call can go on
└── MissingExtraError (ImportError)  an optional package is absent; names the command that installs it

Each message says what was given, what is allowed, and what to do next.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UpresError(Exception):
    """Base of every error that upres raises on purpose."""


class UsageError(UpresError, ValueError):
    """An argument is outside what is allowed."""


class UnknownModelError(UsageError):
    """A model name that is neither in the catalog nor a file."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        known = sorted(known)
        nearest = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(nearest)}?" if nearest else f"known: {', '.join(known)}."
        super().__init__(
            f"unknown model {name!r}; {hint} `upres models` lists them all; files end in .onnx or .safetensors."
        )


class ScaleError(UsageError):
    """A scale that a model does not have."""

    def __init__(self, model: str, scale: object, allowed: Iterable[int]) -> None:
        choices = ", ".join(str(s) for s in sorted(allowed))
        super().__init__(f"{model} has no scale {scale}; it has {choices}. Choose one of these.")


class PictureError(UpresError):
    """A picture that is missing, empty, damaged, or not a picture."""


class TooLittleMemory(PictureError):
    """A picture whose result would take more memory than is allowed."""


class OutputError(UpresError):
    """A result that cannot be written; nothing is left half-written."""


class WeightsError(UpresError):
    """A weights file that is damaged or lacks upres' metadata."""


class DataError(UpresError):
    """A training set, pack, test set or file of results that cannot be used."""


class ToolError(UpresError):
    """Another upscaler, run as a command, that failed or left no result."""


class Diverged(UpresError):
    """A training run whose loss is no longer finite."""


class Interrupted(UpresError):
    """A run that was asked to stop; training kept a checkpoint of its last step."""


class MissingExtraError(UpresError, ImportError):
    """A package is needed for this call and is not installed; without `extra`, one that the core brings."""

    def __init__(self, package: str, extra: str | None) -> None:
        upres = f"'upres[{extra}]'" if extra else "upres"
        super().__init__(f"this needs {package}, which is not installed; run: pip install {upres}", name=package)
