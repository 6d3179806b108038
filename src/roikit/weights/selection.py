"""One cell per part and channel, chosen by the features themselves: max pooling."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from .. import modes
from ..boxes import Rois
from ..sums.maps import Maps, as_maps, own_side
from ..sums.maximum import NUMBERS, chosen_pool, max_pool
from .axis import Axis
from .base import RegionWeights
from .reuse import still_holds, versions


@dataclasses.dataclass(frozen=True)
class Selection(RegionWeights):
    """w is one-hot per channel: y_k[c] = x(p*_kc)[c], p* the cell that won.

    Args:
        index: int32 ``Tensor[R, C, h, w]``, the cell v·W + u of the RoI's own map; -1 gives 0.
        rois: which image and level each region is read from.
        pooled, source: what choosing found on the way: the values, and the features they were chosen from.

    ``pool`` gathers at the chosen cells, from whichever features it is given; of ``source`` it has the result already.
    Its derivative scatters to the chosen cells.
    """

    index: Tensor
    rois: Rois
    pooled: Tensor | None = None
    source: Maps | None = None
    versions: tuple[int, ...] | None = dataclasses.field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        object.__setattr__(self, "versions", versions(self.source))

    @classmethod
    def of_largest(cls, features: Maps, rois: Rois, rows: Axis, cols: Axis) -> Selection:
        """Of each channel the largest feature in each bin; an empty bin gives 0.

        Args:
            features: ``Tensor[B, C, H, W]``, or one map per level.
            rois: which image and level each region is read from.
            rows, cols: axes with a rule of whole cells; their windows are what the maximum is taken over.
        """
        maps = as_maps(features)
        row_window, col_window = (
            axis.window(own_side([x.shape[dim] for x in maps], rois.level)) for axis, dim in ((rows, 2), (cols, 3))
        )
        if not modes.readable(rois.boxes):  # a window that starts at -1 marks a box that is not a number
            row_window = torch.where(torch.isnan(rows.lo)[:, None, None], -1, row_window)
        values, index = max_pool(maps, rois.batch, rois.level, row_window, col_window)
        return cls(index, rois, values, features)

    def pool(self, features: Maps) -> Tensor:
        if self.pooled is not None and still_holds(self.pooled, features, self.source, self.versions):
            return self.pooled
        maps = as_maps(features)
        if maps[0].shape[1] != self.index.shape[1]:
            raise ValueError(
                f"the selection was made over {self.index.shape[1]} channels and the features have {maps[0].shape[1]}"
            )
        return chosen_pool(maps, (), (self.rois.batch, self.rois.level, self.index), NUMBERS)

    def dense(self, height: int, width: int) -> Tensor:
        """One-hot weights ``Tensor[R, C, K, height, width]`` in float32, for a map of the size it was selected on."""
        index = self.index.flatten(2).to(torch.int64)
        flat = torch.zeros(*index.shape, height * width, device=index.device)
        flat.scatter_(-1, index.clamp(min=0).unsqueeze(-1), (index >= 0).to(flat.dtype).unsqueeze(-1))
        return flat.unflatten(-1, (height, width))
