"""The networks by name. Each maps luma `(B, 1, h, w)` in [0, 1] to `(B, 1, s·h, s·w)`; see any one file."""

from __future__ import annotations

from torch import nn

from upres.networks.espcn import ESPCN
from upres.networks.fsrcnn import FSRCNN

NETWORKS: dict[str, type[nn.Module]] = {
    "espcn": ESPCN,
    "fsrcnn": FSRCNN,
}
