"""What the cells of a map weigh in each bin, on both axes: a rule evaluated where the sum is made, or explicit taps."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from .. import rules
from .maps import own_side


@dataclasses.dataclass(frozen=True)
class Axes:
    """Rows and columns. A unit is a RoI (``bins`` = (h, w) bins on each axis) or a bin of its own (``bins`` = (1, 1)).

    Args:
        rows, cols: [R, 2] or, with bins of their own, [R, K, 2] of (lo, size) in feature cells; or, with ``windows``,
            taps [R, bins, N].
        bins: into how many each start and size is cut on each axis.
        rules: of each axis, by their numbers.
        samples: per bin, of each axis, for rules that sample; ≤ 0 is adaptive.
        windows: int32 [R, bins, 2] for rows and for columns: taps count in [first, stop); None: a rule says taps.
    """

    rows: Tensor
    cols: Tensor
    bins: tuple[int, int] = (1, 1)
    rules: tuple[int, int] = (0, 0)
    samples: tuple[int, int] = (0, 0)
    windows: tuple[Tensor, Tensor] | None = None

    def taps(self, level: Tensor, sizes: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Taps [R, bins, N] of rows and of columns, for maps of ``sizes`` [(H, W), …]; 0 where they do not count."""
        if self.windows is not None:
            return windowed(self.rows, self.windows[0]), windowed(self.cols, self.windows[1])
        return self._by_rule(0, level, sizes), self._by_rule(1, level, sizes)

    def _by_rule(self, axis: int, level: Tensor, sizes: Sequence[Sequence[int]]) -> Tensor:
        rule, given = rules.RULES[rules.NAMES[self.rules[axis]]], (self.rows, self.cols)[axis]
        cells = [size[axis] for size in sizes]
        count = own_side(cells, level, given.shape[1] if given.ndim == 3 else 1)
        lo, size = given.reshape(-1, 2).unbind(1)
        taps = rule.taps(lo, size, self.bins[axis], self.samples[axis], count, max(cells))[0]
        return taps.reshape(*given.shape[:2], max(cells)) if given.ndim == 3 else taps

    def counted(self, axis: int, taps: Tensor) -> Tensor:
        return taps if self.windows is None else windowed(taps, self.windows[axis])


def windowed(taps: Tensor, window: Tensor) -> Tensor:
    """Taps with 0 outside their windows."""
    cell = torch.arange(taps.shape[-1], device=taps.device)
    inside = (cell >= window[..., :1]) & (cell < window[..., 1:])
    return torch.where(inside, taps, torch.zeros_like(taps))


def full_window(taps: Tensor) -> Tensor:
    """A window over all cells, for taps of which nothing is known."""
    first = torch.zeros((), dtype=torch.int32, device=taps.device)
    return torch.stack([first, first + taps.shape[-1]]).expand(*taps.shape[:2], 2)
