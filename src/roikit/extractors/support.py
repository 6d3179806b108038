"""Which cells a region looks at: its support, sampled or not (LRF sections 3.1 and 4.1)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from ..boxes import Rois, of_level
from ..sums.attention import Samples
from ..sums.maps import cells_of

Support = Literal["image", "roi", "2x"]
SUPPORTS = ("image", "roi", "2x")
Range = tuple[Tensor, Tensor, Tensor, Tensor]  # rows from, to; columns from, to: int64 Tensor[R] each


@dataclasses.dataclass(frozen=True)
class ValidCells:
    """The cells of each RoI's map that belong to its image: rows 0 … height - 1 and columns 0 … width - 1.

    Args:
        height, width: int64 ``Tensor[R]``, at least 1.
        whole: all cells of the maps do.
    """

    height: Tensor
    width: Tensor
    whole: bool

    def choose(
        self, cells: Tensor, support: Support, max_inside: int | None, max_outside: int | None
    ) -> tuple[Range | None, Samples | None]:
        """(rows and columns that may be looked at, or ``None`` for all; samples of them, or ``None`` for all).

        Args:
            cells: ``Tensor[R, 4]``, boxes in feature cells.
            support, max_inside, max_outside: as ``LearnedRegionFeatures`` takes them.
        """
        everything = max_inside is None and max_outside is None
        if support == "image" and everything:
            return (None if self.whole else self._all()), None
        zero = torch.zeros_like(self.height)
        if everything or support == "roi":
            box = self.inside(_twice(cells) if support == "2x" else cells)
            steps = self._steps(cells, max_inside)
            return None, Samples(torch.stack([*box, *steps, zero], 1))
        box = self.inside(cells)
        out = torch.ones_like(zero) if max_outside is None else self._step_outside(max_outside)
        samples = Samples(torch.stack([*box, *self._steps(cells, max_inside), out], 1))
        if support == "image":
            return (None if self.whole else self._all()), samples
        around = self.inside(_twice(cells))
        # The cell that a RoI without any takes may lie outside of twice its area.
        low, high = torch.minimum, torch.maximum
        return tuple(f(a, b) for f, a, b in zip((low, high, low, high), around, box, strict=True)), samples  # type: ignore[return-value]  # four

    def inside(self, cells: Tensor) -> Range:
        """The cells whose centre lies in a box; where there are none, the one nearest to its centre."""
        x1, y1, x2, y2 = cells.detach().unbind(1)
        (v0, v1), (u0, u1) = self._covered(y1, y2, self.height), self._covered(x1, x2, self.width)
        none = (v1 <= v0) | (u1 <= u0)
        v, u = (
            _whole((y1 + (y2 - y1) / 2).floor(), self.height - 1),
            _whole((x1 + (x2 - x1) / 2).floor(), self.width - 1),
        )
        pick = torch.where
        return pick(none, v, v0), pick(none, v + 1, v1), pick(none, u, u0), pick(none, u + 1, u1)

    @staticmethod
    def _covered(start: Tensor, end: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
        return _whole((start - 0.5).ceil(), count), _whole((end - 0.5).ceil(), count)

    def _all(self) -> Range:
        zero = torch.zeros_like(self.height)
        return zero, self.height, zero, self.width

    def _steps(self, cells: Tensor, most: int | None) -> tuple[Tensor, Tensor]:
        """Eq. 10: every how many rows and columns inside the RoI."""
        if most is None:
            one = torch.ones_like(self.height)
            return one, one
        x1, y1, x2, y2 = cells.detach().unbind(1)
        # A step larger than the map means the same as one of its size.
        step_v, step_u = (
            _whole((length / most**0.5).ceil(), count).clamp(min=1)
            for length, count in ((y2 - y1, self.height), (x2 - x1, self.width))
        )
        return step_v, step_u

    def _step_outside(self, most: int) -> Tensor:
        """Eq. 11: every how many rows and columns outside of it, ⌈√(HW / most)⌉, in whole numbers."""
        area = self.height * self.width
        step = torch.sqrt(area.to(torch.float64) / most).ceil().to(torch.int64)
        step = torch.where((step - 1) ** 2 * most >= area, step - 1, step)  # should the root have been rounded up
        return step.clamp(min=1)


def valid_cells(
    maps: Sequence[Tensor],
    rois: Rois,
    scales: Sequence[tuple[float, float]],
    image_sizes: Sequence[tuple[int, int]] | None,
) -> ValidCells:
    """The cells of each RoI's own map whose centre lies in its image.

    Args:
        maps: one per level.
        scales: (y, x) of each level, cells per image pixel.
        image_sizes: (height, width) of each image in image pixels; ``None``: nothing is padding.

    Raises:
        ValueError: not one size for each image, or a size that is not positive.
    """
    height, width = cells_of([x.shape for x in maps], rois.level)
    if image_sizes is None:
        return ValidCells(height, width, True)
    if len(image_sizes) != maps[0].shape[0]:
        raise ValueError(
            f"image_sizes must have the (height, width) of each of {maps[0].shape[0]} images, but it has "
            f"{len(image_sizes)}"
        )
    for i, size in enumerate(image_sizes):
        if len(size) != 2 or not all(side > 0 for side in size):
            raise ValueError(f"image_sizes[{i}] must be a positive (height, width) in image pixels, not {size!r}")
    # Cell u belongs to the image when (u + ½) / scale < width.
    rows, cols = (
        (
            of_level([size[axis] for size in image_sizes] or [0], rois.batch, torch.float64)
            * of_level([pair[axis] for pair in scales], rois.level, torch.float64)
            - 0.5
        ).ceil()
        for axis in (0, 1)
    )
    return ValidCells(_whole(rows, height).clamp(min=1), _whole(cols, width).clamp(min=1), False)


def _twice(cells: Tensor) -> Tensor:
    """Boxes of twice the area about the same centres."""
    centre, half = (cells[:, :2] + cells[:, 2:]) / 2, (cells[:, 2:] - cells[:, :2]) * 2**0.5 / 2
    return torch.cat([centre - half, centre + half], 1)


def _whole(value: Tensor, most: Tensor) -> Tensor:
    """A whole number as int64, in 0 … most: also an infinite one, or one that is no number (which gives 0)."""
    limited = torch.minimum(value.nan_to_num(0.0).clamp(min=0), most.to(value.dtype))
    return limited.to(torch.int64)
