"""Choices that several commands share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, get_args

from upres.errors import UsageError

Engine = Literal["openvino", "onnxruntime", "torch"]
Precision = Literal["auto", "f32", "bf16", "int8"]
ProtocolName = Literal["paper", "selfexsr", "lapsrn", "rgb"]
PROTOCOLS: tuple[ProtocolName, ...] = get_args(ProtocolName)


def given_models(values: Iterable[str]) -> list[str]:
    """Models from options that may each name several with commas between; a command (`cmd:…`) keeps its commas."""
    names: list[str] = []
    for value in values:
        names += [value] if "cmd:" in value else [name.strip() for name in value.split(",")]
    return list(dict.fromkeys(name for name in names if name))


def given_scales(value: str) -> list[int]:
    """Whole factors from `2` or `2,3,4`.

    Raises:
        UsageError: anything else.
    """
    try:
        scales = [int(part) for part in value.split(",")]
    except ValueError:
        scales = []
    if not scales or min(scales) < 1:
        raise UsageError(f"--scale is {value!r}; give a whole number from 1 up, or several as in 2,3,4.")
    return list(dict.fromkeys(scales))


def given_protocols(value: str) -> list[ProtocolName]:
    """Protocols from `paper` or `paper,rgb`.

    Raises:
        UsageError: one that there is not.
    """
    unknown = set(value.split(",")) - set(PROTOCOLS)
    if unknown:
        raise UsageError(f"no protocol {', '.join(sorted(map(repr, unknown)))}; there are {', '.join(PROTOCOLS)}.")
    return [name for name in PROTOCOLS if name in value.split(",")]


def printable(text: str) -> str:
    """A line with what a file's name may hold besides text written as escapes, so that no terminal obeys it."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
