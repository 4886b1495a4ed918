"""The networks by name. Each maps luma `(B, 1, h, w)` in [0, 1] to `(B, 1, s·h, s·w)`; see any one file.

All have `outputs(y)`, every supervised prediction with `forward(y)` last; `halo`, how far in low-resolution pixels an
output looks (None: everywhere); and `start_as_interpolation()`.
"""

from __future__ import annotations

from upres.networks.drcn import DRCN
from upres.networks.drrn import DRRN
from upres.networks.espcn import ESPCN
from upres.networks.fsrcnn import FSRCNN
from upres.networks.lapsrn import LapSRN
from upres.networks.layers import BicubicEnlarge
from upres.networks.red import RED
from upres.networks.srcnn import SRCNN
from upres.networks.vdsr import VDSR

# Those that work on the bicubic-enlarged picture: their weights do not depend on the scale.
PRE_ENLARGED = ("srcnn", "vdsr", "drcn", "red", "drrn")

# Those with `recursions` that share weights, of which `grow(n)` runs the first n.
GROWS = ("drcn", "drrn")

# Those of GROWS whose `outputs` are the recursions' predictions and then their weighted sum.
SUPERVISES_RECURSIONS = ("drcn",)

# The layers that one scale's weights cannot lend to another's.
SCALE_LAYERS: dict[str, str] = {"espcn": "conv3.", "fsrcnn": "up."}

Recursive = DRCN | DRRN
Network = SRCNN | FSRCNN | ESPCN | VDSR | DRCN | RED | DRRN | LapSRN

NETWORKS: dict[str, type[Network]] = {
    "srcnn": SRCNN,
    "fsrcnn": FSRCNN,
    "espcn": ESPCN,
    "vdsr": VDSR,
    "drcn": DRCN,
    "red": RED,
    "drrn": DRRN,
    "lapsrn": LapSRN,
}


def enlarges_first(network: Network) -> bool:
    """Whether a network begins with bicubic enlargement, so that its weights serve every scale."""
    return isinstance(network, SRCNN | VDSR | DRCN | RED | DRRN) and isinstance(network.enlarge, BicubicEnlarge)
