"""One cell per part and channel, chosen by the features themselves: max pooling."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from ..boxes import Rois
from ..ops.maps import Maps, as_maps
from ..ops.max_pool import gather
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

    def pool(self, features: Maps) -> Tensor:
        if self.pooled is not None and still_holds(self.pooled, features, self.source, self.versions):
            return self.pooled
        maps = as_maps(features)
        if maps[0].shape[1] != self.index.shape[1]:
            raise ValueError(
                f"the selection was made over {self.index.shape[1]} channels and the features have {maps[0].shape[1]}"
            )
        return gather(maps, self.index, self.rois.batch, self.rois.level)

    def dense(self, height: int, width: int) -> Tensor:
        """One-hot weights ``Tensor[R, C, K, height, width]`` in float32, for a map of the size it was selected on."""
        index = self.index.flatten(2).to(torch.int64)
        flat = torch.zeros(*index.shape, height * width, device=index.device)
        flat.scatter_(-1, index.clamp(min=0).unsqueeze(-1), (index >= 0).to(flat.dtype).unsqueeze(-1))
        return flat.unflatten(-1, (height, width))
