"""Grammar pooling: the parts are the rectangles of the best parse tree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from .. import geometry
from ..boxes import Scale
from ..layers.and_or_grid import mixing, shapes, terminals
from ..sums.exact import exact
from ..sums.maps import Maps, as_maps
from ..weights import Composed, Separable
from .base import Boxes, RegionExtractor


class GrammarPool(RegionExtractor):
    """Grammar pooling (Wu et al., Towards Interpretable R-CNN by Unfolding Latent Structures, 2017).

    The RoI Align features of a grid are parsed with an And-Or graph: a rectangle of cells is a part of its own (a
    terminal) or is cut in two, whichever scores best. Each cell of the output is the mean of the terminal it lies in,
    so every RoI has h·w parts, in groups of equal ones.

    A terminal's score is a 1×1 convolution of its mean feature, one for each shape of rectangle; a cut's score is the
    mean of its two parts' best scores.

    Args:
        channels: of the feature maps.
        output_size: the grid.
        tree: "best", the best tree alone; "soft", all trees, an Or-node being a softmax over its children.
        temperature: of that softmax.
        straight_through: with "best", the scores learn as if the tree were soft (the best tree itself has no gradient
            in them). ``False``: exact gradients, none to the scores.
        sampling_ratio: of RoI Align.
        expand: area factor of the RoI.

    The number of rectangles grows with (h·w)²; 7×7 has 784.

    Example:
        >>> import torch, roikit
        >>> pool = roikit.GrammarPool(1, output_size=2)
        >>> with torch.no_grad():
        ...     _ = pool.score.weight.zero_(), pool.score.bias.copy_(torch.tensor([0.0, 0, 0, 1]))  # the whole grid
        >>> x = torch.arange(16.0).reshape(1, 1, 4, 4)
        >>> pool(x, [torch.tensor([[0.0, 0.0, 4.0, 4.0]])]).flatten().tolist()
        [7.5, 7.5, 7.5, 7.5]
    """

    paper = "Wu et al., Towards Interpretable R-CNN, 2017"
    differentiable_in_boxes = True

    def __init__(
        self,
        channels: int,
        output_size: int | Sequence[int] = 7,
        tree: Literal["best", "soft"] = "best",
        temperature: float = 1.0,
        straight_through: bool = True,
        sampling_ratio: int = 2,
        expand: float = 1.0,
    ) -> None:
        super().__init__(output_size, expand)
        if tree not in ("best", "soft"):
            raise ValueError(f'tree must be "best" or "soft", not {tree!r}')
        if not 0 < temperature < float("inf"):
            raise ValueError(f"temperature must be positive, not {temperature!r}")
        if channels < 1:
            raise ValueError(f"channels is the number of channels of the feature maps, not {channels}")
        self.channels = channels
        self.tree = tree
        self.temperature = temperature
        self.straight_through = straight_through
        self.sampling_ratio = sampling_ratio
        self.score = nn.Linear(channels, len(shapes(self.output_size)))
        nn.init.normal_(self.score.weight, std=0.01)
        nn.init.zeros_(self.score.bias)

    def weights(self, features: Maps, boxes: Boxes, spatial_scale: Scale | Sequence[Scale] = 1.0) -> Composed:
        maps = as_maps(features)
        self.check_channels(maps)
        rois, cells = self.locate(features, boxes, spatial_scale)
        axes = geometry.axes(geometry.corners(cells, 0.5), self.output_size, "hat", self.sampling_ratio)
        inner = Separable(*axes, rois)
        sampled = inner.pool([x.to(cells.dtype) for x in maps])  # half types are rounded once, at the end
        return Composed(_parse(sampled, self).to(cells.dtype), inner, self.output_size, sampled, features)

    def settings(self) -> dict[str, object]:
        names = ("channels", "tree", "temperature", "straight_through", "sampling_ratio")
        return {name: getattr(self, name) for name in names}


@exact
def _parse(sampled: Tensor, pool: GrammarPool) -> Tensor:
    """Each cell's mixture of cells, ``Tensor[R, K, K]``."""
    cells, grid = sampled.to(pool.score.weight.dtype).movedim(1, -1), pool.output_size  # [R, h, w, C]
    scores = pool.score(cells).movedim(-1, 1)
    if pool.tree == "soft":
        return mixing(terminals(scores, grid, pool.temperature), grid)
    best = mixing(terminals(scores.detach(), grid, None), grid)
    if not (pool.straight_through and torch.is_grad_enabled() and scores.requires_grad):
        return best
    soft = mixing(terminals(scores, grid, pool.temperature), grid)
    return best + (soft - soft.detach())
