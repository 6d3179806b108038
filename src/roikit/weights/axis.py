"""One axis of R regions: geometry and a 1-D rule, which together say taps."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from .. import rules


@dataclasses.dataclass(frozen=True)
class Axis:
    """R regions on one axis of the map, cut into bins, with the 1-D rule that weighs cells.

    Args:
        lo: ``Tensor[R]``, where each region starts, in feature cells.
        size: ``Tensor[R]``, its length, in feature cells.
        bins: number of bins.
        rule: a name in ``roikit.rules.RULES``: "hat" (sampled bilinear), "integral", "cells", "cells_floor",
            "edge" (samples from the bin's edge), "adaptive" (as wide as the bin), "inside" ("integral" over what lies
            on the map).
        samples: samples per bin, for a rule that samples; ≤ 0 is adaptive.

    Example:
        >>> axis = Axis(torch.tensor([0.0]), torch.tensor([4.0]), bins=2, rule="cells")
        >>> axis.taps(4)[0]
        tensor([[0.5000, 0.5000, 0.0000, 0.0000],
                [0.0000, 0.0000, 0.5000, 0.5000]])
    """

    lo: Tensor
    size: Tensor
    bins: int
    rule: str
    samples: int = 0

    def __post_init__(self) -> None:
        if self.rule not in rules.RULES:
            raise ValueError(f"no rule is called {self.rule!r}: choose one of {', '.join(rules.RULES)}")
        if self.bins < 1:
            raise ValueError(f"an axis needs at least one bin, not {self.bins}")

    def taps(self, cells: int | Tensor, width: int | None = None) -> Tensor:
        """The weights of the cells: ``Tensor[R, bins, width]``, differentiable where the rule is.

        Args:
            cells: number of cells on the axis, an int or (levels differ) ``Tensor[R]``.
            width: columns of the result; the number of cells when it is one int.
        """
        return self.windowed_taps(cells, width)[0]

    def windowed_taps(self, cells: int | Tensor, width: int | None = None) -> tuple[Tensor, Tensor]:
        """Taps, and int32 ``Tensor[R, bins, 2]``: the half-open ranges of cells outside which they are constantly 0."""
        if width is None:
            width = int(cells.max()) if isinstance(cells, Tensor) else cells
        return rules.RULES[self.rule].taps(self.lo, self.size, self.bins, self.samples, cells, width)

    def window(self, cells: int | Tensor) -> Tensor:
        """The half-open range of cells of each bin, int32 ``Tensor[R, bins, 2]``: of a rule of whole cells."""
        return rules.RULES[self.rule].window(self.lo, self.size, self.bins, cells)

    @property
    def number(self) -> int:
        """Of the rule, among ``roikit.rules.RULES``."""
        return rules.NUMBERS[self.rule]

    def starts_and_sizes(self) -> Tensor:
        """``Tensor[R, 2]``."""
        return torch.stack([self.lo, self.size], 1)


def fused(rows: Axis, cols: Axis) -> bool:
    """Whether a kernel may evaluate the rules itself: no gradient to the axes is wanted."""
    return not torch.is_grad_enabled() or not any(
        t.requires_grad for axis in (rows, cols) for t in (axis.lo, axis.size)
    )
