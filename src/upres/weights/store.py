"""Weights in safetensors files that say what they are: network, arguments, recipe, data, commit, results.

Nothing is guessed from tensor shapes. The same metadata goes into the ONNX file that `upres.export` makes.
Convolutions whose weights half precision holds exactly are stored so.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from upres.errors import MissingExtraError, ScaleError, WeightsError
from upres.files import whole_file
from upres.networks import NETWORKS, Network

FORMAT = "upres-weights-2"


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """What a weights file says about itself.

    Attributes:
        network: name in `upres.networks.NETWORKS`.
        arguments: the constructor's arguments, `scale` among them.
        scale: factor that the network enlarges by, and that validation was at.
        halos: by each scale that the weights serve, the radius of the receptive field in low-resolution pixels; None
            for the whole picture.
        parameters: count of trained numbers.
        recipe: the recipe's fields.
        steps: optimizer steps taken, those of the weights it started from not counted.
        init: which weights it started from, and how many of their tensors fitted; None for none.
        data: digest of the training pack.
        seed: seed of the run.
        commit: commit of upres that trained it; `+` marks uncommitted changes.
        results: mean PSNR in dB and SSIM under the `paper` protocol by scale and test set,
            `{2: {"set5": [psnr, ssim]}}`.
    """

    network: str
    arguments: dict[str, Any]
    scale: int
    halos: dict[int, int | None]
    parameters: int
    recipe: dict[str, Any]
    steps: int
    seed: int
    data: str
    commit: str
    init: str | None = None
    results: dict[int, dict[str, list[float]]] = field(default_factory=dict[int, dict[str, list[float]]])

    @property
    def model(self) -> str:
        """The network's name, and its variant's."""
        variant = self.recipe.get("variant")
        return f"{self.network}-{variant}" if variant else self.network

    def to_strings(self) -> dict[str, str]:
        """As safetensors and ONNX keep metadata: JSON values under plain keys."""
        return {"format": FORMAT} | {key: json.dumps(value) for key, value in asdict(self).items()}

    @classmethod
    def from_strings(cls, strings: dict[str, str], *, source: object) -> Self:
        """The inverse of `to_strings`.

        Raises:
            WeightsError: the strings are not upres' metadata; `source` is named.
        """
        if strings.get("format") != FORMAT:
            raise WeightsError(f"{source}: no upres metadata in it; give a file that `upres train` wrote.")
        try:
            values = {f.name: json.loads(strings[f.name]) for f in fields(cls)}
            for by_scale in ("halos", "results"):
                values[by_scale] = {int(scale): value for scale, value in values[by_scale].items()}
            return cls(**values)
        except (KeyError, ValueError, AttributeError) as error:
            raise WeightsError(f"{source}: its metadata is damaged ({error}); get the file again.") from error


def save(network: nn.Module, metadata: Metadata, path: str | os.PathLike[str]) -> None:
    """Write weights and metadata, whole or not at all."""
    try:
        from safetensors.torch import save as serialize
    except ImportError as error:
        raise MissingExtraError("safetensors", "train") from error
    state = network.state_dict()
    tensors = {
        name: _compact(state[name].detach().cpu()).contiguous()
        for name, first in _first_names(state).items()
        if name == first
    }
    content = serialize(tensors, metadata=metadata.to_strings())
    with whole_file(path) as temporary:
        temporary.write_bytes(content)


def _compact(tensor: Tensor) -> Tensor:
    """A convolution's weights in float16, where that loses nothing."""
    half = tensor.half()
    return half if tensor.ndim == 4 and torch.equal(half.to(tensor.dtype), tensor) else tensor


def _first_names(state: Mapping[str, Tensor]) -> dict[str, str]:
    """For each name of a state, the first that stands for the same tensor: shared layers are stored once."""
    first: dict[tuple[int, torch.Size], str] = {}
    return {name: first.setdefault((t.data_ptr(), t.shape), name) for name, t in state.items()}


def load(path: str | os.PathLike[str], scale: int | None = None) -> tuple[Network, Metadata]:
    """Build the network that a weights file describes, in evaluation mode.

    Args:
        path: the file.
        scale: one of those that the weights serve; the metadata's if not given.

    Raises:
        ScaleError: the weights do not serve this scale.
        WeightsError: no such file, not a safetensors file, or not one of ours.
    """
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise MissingExtraError("safetensors", "train") from error
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"{path}: no such weights file; check the path.")
    try:
        opened: Any = safe_open(path, framework="pt")
        with opened as file:
            strings: dict[str, str] = file.metadata() or {}
            names: list[str] = list(file.keys())
            tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in names}
    except SafetensorError as error:
        raise WeightsError(f"{path}: not a whole safetensors file ({error}); get it again.") from error
    metadata = Metadata.from_strings(strings, source=path)
    if metadata.network not in NETWORKS:
        raise WeightsError(f"{path}: is for {metadata.network!r}; this upres knows {', '.join(NETWORKS)}.")
    scale = metadata.scale if scale is None else scale
    if scale not in metadata.halos:
        raise ScaleError(str(path), scale, metadata.halos)
    try:
        arguments: dict[str, Any] = metadata.arguments | {"scale": scale}
        network: Network = NETWORKS[metadata.network](**arguments)
        network.load_state_dict({name: tensors[first] for name, first in _first_names(network.state_dict()).items()})
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        raise WeightsError(f"{path}: its tensors do not fit its metadata; get the file again.") from error
    return network.eval(), metadata
