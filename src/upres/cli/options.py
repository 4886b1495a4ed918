"""Choices that several commands share."""

from __future__ import annotations

from typing import Literal

Engine = Literal["openvino", "onnxruntime", "torch"]
Precision = Literal["auto", "f32", "bf16"]
