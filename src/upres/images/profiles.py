"""Colours that a file states by numbers instead of an ICC profile, as a profile.

Sources: ITU-T H.273 for the numbers of AVIF, HEIC and PNG's `cICP`; ICC.1:2010 for profiles.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from upres.errors import PictureError

Chromaticities = tuple[float, float, float, float, float, float, float, float]

_D65, _C = (0.3127, 0.3290), (0.310, 0.316)
_SRGB: Chromaticities = (*_D65, 0.640, 0.330, 0.300, 0.600, 0.150, 0.060)
_UNSPECIFIED = 2
_PRIMARIES: dict[int, Chromaticities] = {
    1: _SRGB,
    _UNSPECIFIED: _SRGB,
    4: (*_C, 0.67, 0.33, 0.21, 0.71, 0.14, 0.08),
    5: (*_D65, 0.64, 0.33, 0.29, 0.60, 0.15, 0.06),
    6: (*_D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    7: (*_D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    8: (*_C, 0.681, 0.319, 0.243, 0.692, 0.145, 0.049),
    9: (*_D65, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    11: (0.314, 0.351, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    12: (*_D65, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    22: (*_D65, 0.630, 0.340, 0.295, 0.605, 0.155, 0.077),
}
# Exponents; None for sRGB's curve, which those of video are shown with on a computer's screen.
_CURVES: dict[int, float | None] = {
    **dict.fromkeys((1, _UNSPECIFIED, 6, 7, 11, 12, 13, 14, 15)),
    4: 2.2,
    5: 2.8,
    8: 1.0,
}
_CURVES_BEYOND = {9: "logarithmic", 10: "logarithmic", 16: "HDR (PQ)", 17: "those of digital cinema", 18: "HDR (HLG)"}
_XYZ_PRIMARIES = 10
_LEAST_GAMMA_CHANGE = 0.05  # what libpng takes for significant
_LEAST_PRIMARY_CHANGE = 0.002  # chromaticities are often written with three digits
_D50 = (0.9642, 1.0, 0.8249)
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


@dataclass(frozen=True)
class Colours:
    """What a picture's numbers mean, where its file has no ICC profile.

    Attributes:
        chromaticities: x and y of white, red, green and blue.
        gamma: the exponent from a number to light; None for sRGB's curve.
        beyond: what they are, where that is more than these profiles tell, as with HDR.
        come_first: whether they hold even beside an ICC profile.
    """

    chromaticities: Chromaticities = field(default=_SRGB)
    gamma: float | None = None
    beyond: str | None = None
    come_first: bool = False

    @classmethod
    def of_video(cls, primaries: int, transfer: int, *, come_first: bool = False) -> Colours:
        """From the numbers of H.273; those that it reserves are taken for sRGB's."""
        beyond = "XYZ" if primaries == _XYZ_PRIMARIES else _CURVES_BEYOND.get(transfer)
        return cls(_PRIMARIES.get(primaries, _SRGB), _CURVES.get(transfer), beyond, come_first)

    @property
    def are_srgb(self) -> bool:
        """Whether they are those of sRGB, as closely as anybody could see."""
        nearly = np.allclose(self.chromaticities, _SRGB, rtol=0, atol=_LEAST_PRIMARY_CHANGE)
        return nearly and self.gamma is None and self.beyond is None

    def profile(self, name: str, *, gray: bool) -> bytes | None:
        """An ICC profile of them; None for sRGB, or where the file's numbers cannot be meant.

        Args:
            name: of the file.
            gray: for pictures of one channel, whose primaries do not matter.

        Raises:
            PictureError: the numbers are others than those of a screen, as with HDR; the result would look wrong.
        """
        if self.beyond is not None:
            raise PictureError(
                f"{name}: its numbers are {self.beyond}, without a colour profile; convert it to sRGB or Display P3 "
                "first."
            )
        if self.are_srgb or (gray and self.gamma is None):
            return None
        try:
            return _gray_profile(self) if gray else _rgb_profile(self)
        except (np.linalg.LinAlgError, ZeroDivisionError, struct.error, OverflowError, ValueError):
            return None


def of_png(gamma: int | None, chromaticities: tuple[int, ...] | None) -> Colours:
    """From PNG's `gAMA` and `cHRM`: hundred-thousandths.

    With the primaries of sRGB or Display P3, a gamma within 5 % of 1 / 2.2 is taken for sRGB's curve, which it stands
    for there in nearly all files.
    """
    points = _SRGB
    if chromaticities is not None:
        wx, wy, rx, ry, gx, gy, bx, by = (number / 100_000 for number in chromaticities)
        points = (wx, wy, rx, ry, gx, gy, bx, by)
    exponent = None if not gamma else 100_000 / gamma
    has_srgb_curve = any(
        np.allclose(points, known, rtol=0, atol=_LEAST_PRIMARY_CHANGE) for known in (_SRGB, _PRIMARIES[12])
    )
    if has_srgb_curve and exponent is not None and abs(exponent / 2.2 - 1) < _LEAST_GAMMA_CHANGE:
        exponent = None
    return Colours(points, exponent)


def fits(profile: bytes, *, bands: int) -> bool:
    """Whether an ICC profile is one, of gray for pictures of one or two bands, of RGB for those of three or four."""
    space = b"GRAY" if bands < 3 else b"RGB "
    return len(profile) > 128 and profile[36:40] == b"acsp" and profile[16:20] == space


def _xyz(x: float, y: float) -> NDArray[np.float64]:
    """A chromaticity at luminance 1."""
    return np.array([x / y, 1, (1 - x - y) / y])


def _rgb_profile(colours: Colours) -> bytes:
    wx, wy, rx, ry, gx, gy, bx, by = colours.chromaticities
    adapted = _adaptation(_xyz(wx, wy))
    primaries = np.stack([_xyz(rx, ry), _xyz(gx, gy), _xyz(bx, by)], axis=1)
    to_xyz = adapted @ (primaries * np.linalg.solve(primaries, _xyz(wx, wy)))
    curve = _curve(colours.gamma)
    tags = {f"{channel}XYZ": _numbers("XYZ ", to_xyz[:, i]) for i, channel in enumerate("rgb")}
    return _packed("RGB ", adapted, tags | {f"{channel}TRC": curve for channel in "rgb"})


def _gray_profile(colours: Colours) -> bytes:
    return _packed("GRAY", _adaptation(_xyz(*_D65)), {"kTRC": _curve(colours.gamma)})


def _adaptation(white: NDArray[np.float64]) -> NDArray[np.float64]:
    """From XYZ under this white to XYZ under D50, which profiles have; Bradford's, as ICC.1 recommends (annex E)."""
    gains = (_BRADFORD @ _D50) / (_BRADFORD @ white)
    return np.linalg.inv(_BRADFORD) @ np.diag(gains) @ _BRADFORD


def _curve(gamma: float | None) -> bytes:
    """Parametric (10.16): a power, or IEC 61966-2-1's of sRGB."""
    if gamma is not None:
        return _numbers("para", [gamma], head=bytes(4))
    return _numbers("para", [2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045], head=b"\0\3\0\0")


def _numbers(kind: str, values: NDArray[np.float64] | list[float], *, head: bytes = b"") -> bytes:
    fixed = [round(float(value) * 65_536) for value in values]
    return kind.encode() + bytes(4) + head + struct.pack(f">{len(fixed)}i", *fixed)


def _text(text: str) -> bytes:
    content = text.encode("utf-16-be")
    return b"mluc" + struct.pack(">IIIHHII", 0, 1, 12, 0x656E, 0x5553, len(content), 28) + content


def _packed(space: str, adapted: NDArray[np.float64], tags: dict[str, bytes]) -> bytes:
    """A display's profile, version 4."""
    tags = {
        "desc": _text("as stated by the picture"),
        "cprt": _text("none"),
        "wtpt": _numbers("XYZ ", list(_D50)),
        "chad": _numbers("sf32", adapted.ravel()),
        **tags,
    }
    begins = 128 + 4 + 12 * len(tags)
    table, blocks = struct.pack(">I", len(tags)), b""
    for name, block in tags.items():
        table += name.encode() + struct.pack(">II", begins + len(blocks), len(block))
        blocks += block + bytes(-len(block) % 4)
    white = _numbers("", list(_D50))[4:]
    kinds = (b"mntr", space.encode(), b"XYZ ")
    header = struct.pack(">I4xI4s4s4s12x4s", begins + len(blocks), 0x04200000, *kinds, b"acsp")
    header = (header + bytes(28) + white).ljust(128, b"\0")
    return header + table + blocks
