"""What size a result has, and by which steps a model that knows only some scales gets there."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from upres.errors import UsageError

_LARGEST = 1e9  # of any number that states a size: beyond all that a file can hold


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The size that is asked for, in one of five ways; all keep the proportions.

    Attributes:
        scale: factor of both sides.
        width: pixels across.
        height: pixels down.
        fit: (width, height) that the result just fits into.
        megapixels: width times height, in millions.

    Raises:
        UsageError: none or several of them, or one that is not a finite number above 0.
    """

    scale: float | None = None
    width: int | None = None
    height: int | None = None
    fit: tuple[int, int] | None = None
    megapixels: float | None = None

    def __post_init__(self) -> None:
        given = [name for name in self.__dataclass_fields__ if getattr(self, name) is not None]
        if len(given) != 1:
            raise UsageError(
                f"the size is given by {' and '.join(given) or 'nothing'}; "
                "give one of scale, width, height, fit and megapixels."
            )
        numbers = self.fit or (getattr(self, given[0]),)
        if not all(0 < number <= _LARGEST for number in numbers):
            shown = "×".join(f"{number:g}" if abs(number) <= _LARGEST else str(number)[:20] for number in numbers)
            raise UsageError(f"{given[0]} is {shown}; it must be a finite number above 0, and below a billion.")

    def of(self, size: tuple[int, int]) -> tuple[int, int]:
        """Height and width of the result for a picture of `size` (height, width): rounded, at least 1."""
        height, width = size
        if self.width is not None:
            return _scaled(height, self.width / width), self.width
        if self.height is not None:
            return self.height, _scaled(width, self.height / height)
        if self.fit is not None:
            factor = min(self.fit[0] / width, self.fit[1] / height)
        elif self.megapixels is not None:
            factor = math.sqrt(self.megapixels * 1e6 / (height * width))
        else:
            assert self.scale is not None
            factor = self.scale
        return _scaled(height, factor), _scaled(width, factor)

    def label(self) -> str:
        """A short form for file names: `x2`, `w1920`, `h1080`, `1920x1080`, `24mp`."""
        if self.fit is not None:
            return f"{self.fit[0]}x{self.fit[1]}"
        prefix, number, suffix = next(
            form
            for form in (
                ("x", self.scale, ""),
                ("w", self.width, ""),
                ("h", self.height, ""),
                ("", self.megapixels, "mp"),
            )
            if form[1] is not None
        )
        return f"{prefix}{number:g}{suffix}"


def _scaled(side: int, factor: float) -> int:
    return max(1, math.floor(side * factor + 0.5))


def parse_fit(text: str) -> tuple[int, int]:
    """`1920x1080` → (1920, 1080).

    Raises:
        UsageError: the text is of another form.
    """
    match = re.fullmatch(r"(\d+)[xX×](\d+)", text)
    if match is None:
        raise UsageError(f"fit is {text!r}; give width and height as in 1920x1080.")
    return int(match[1]), int(match[2])


def steps(size: tuple[int, int], wanted: tuple[int, int], scales: Iterable[int]) -> tuple[int, ...]:
    """The scales to enlarge by in turn so that the product just reaches the wanted size; none for a reduction.

    Of the products that do, the smallest is taken, then the fewest steps. The smallest scale comes first, when there
    are the fewest pixels. A pixel may be lacking, or 1 % of a small picture's side: the wanted size was rounded.
    """
    reaches = max(math.ceil((target - min(1, side / 100)) / side) for side, target in zip(size, wanted, strict=True))
    if wanted[0] <= size[0] and wanted[1] <= size[1]:
        return ()
    usable = sorted(scale for scale in set(scales) if scale > 1)
    if not usable:
        return ()
    return min(_chains(max(reaches, 2), usable), key=lambda chain: (math.prod(chain), len(chain)))


def _chains(factor: int, scales: list[int]) -> Iterator[tuple[int, ...]]:
    """Ascending chains of scales whose product is at least `factor` while it is less without the last."""
    for scale in scales:
        if scale >= factor:
            yield (scale,)
        else:
            for rest in _chains(math.ceil(factor / scale), [other for other in scales if other >= scale]):
                yield (scale, *rest)
