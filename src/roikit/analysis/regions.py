"""A region's dense weights, ready to be laid over its image."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor, nn

from ..boxes import scale_pair
from ..extractors import RegionExtractor
from .inputs import box_of
from .reading import evaluating, own_level, pooling_of, read_maps, weights_at


@dataclasses.dataclass(frozen=True)
class RegionView:
    """One region and the cells its features come from.

    Args:
        box: (x1, y1, x2, y2) in image pixels.
        weights: ``Tensor[G, K, H, W]``, the weight of every cell of the map in every part; G = 1, or the channels where
            they differ (a selection). Parts are in raster order.
        stride: image pixels per feature cell, (y, x): cell (v, u) covers the pixels [v·y, (v+1)·y) × [u·x, (u+1)·x).
        grid: the parts, (h, w).
        title: which extractor, which level.

    ``mean`` over the channels is what pictures show: for max pooling, the share of the channels that chose a cell.
    """

    box: tuple[float, float, float, float]
    weights: Tensor
    stride: tuple[float, float]
    grid: tuple[int, int]
    title: str = ""

    def __post_init__(self) -> None:
        if self.weights.ndim != 4 or self.weights.shape[1] != self.grid[0] * self.grid[1]:
            parts = self.grid[0] * self.grid[1]
            raise ValueError(
                f"weights must be a Tensor[G, K, H, W] with the K = {parts} parts of a {self.grid[0]}×{self.grid[1]} "
                f"grid, but the shape is {list(self.weights.shape)}: take dense(H, W)[r] of one RoI"
            )

    @property
    def mean(self) -> Tensor:
        """The weights averaged over the channels: float32 ``Tensor[K, H, W]`` on the CPU."""
        return self.weights.detach().float().mean(0).cpu()

    @property
    def maximum(self) -> Tensor:
        """The largest weight of each cell over the parts, ``Tensor[H, W]``: what the region looks at."""
        return self.mean.amax(0)


def view_region(
    extractor: RegionExtractor,
    features: Tensor,
    box: Tensor,
    stride: float | tuple[float, float],
    title: str = "",
    **extras: Any,
) -> RegionView:
    """What ``extractor`` reads of a feature map for one box.

    Args:
        features: ``Tensor[1, C, H, W]``.
        box: ``Tensor[4]``, (x1, y1, x2, y2) in image pixels.
        stride: image pixels per feature cell, a number or (y, x).
        title: said above the picture; the extractor with its settings where empty.
        extras: the further arguments of a method that has some, for the one box (``extractor.extras``).

    Example:
        >>> import roikit
        >>> view = view_region(roikit.RoIAlign(2), torch.rand(1, 3, 8, 8), torch.tensor([4.0, 4.0, 28.0, 20.0]), 4)
        >>> view.weights.shape
        torch.Size([1, 4, 8, 8])
    """
    y, x = stride if isinstance(stride, (tuple, list)) else (stride, stride)
    corners = box_of(box)
    boxes = [torch.tensor([corners], device=features.device)]
    with torch.no_grad():
        dense = extractor.weights(features, boxes, (1 / y, 1 / x), **extras).dense(*features.shape[-2:])
    return RegionView(corners, dense[0], (float(y), float(x)), extractor.output_size, title or _named(extractor))


def region_weights_of(
    model: nn.Module, image: Tensor, box: Tensor, head: str = "box", *, whole: bool = False
) -> RegionView:
    """What a detector reads for one box of an image: on the level it assigns the box to, with that level's features.

    Where the detector reads all levels (``aggregate`` "concat" or "sum"), the one that suits the box is shown.

    Args:
        model: a torchvision-like two-stage detector whose ``roi_heads.box_roi_pool`` is a ``roikit.MultiScale``
            (``roikit.detection`` makes such, ``roikit.replace_roi`` too). It is run in evaluation mode and put back.
        image: ``Tensor[3, H, W]``, uint8 or floats in 0-1.
        box: ``Tensor[4]``, (x1, y1, x2, y2) in pixels of ``image``.
        head: "box", "mask" or "keypoint".
        whole: where only some cells are read (sampled), the weights on all of them (`RegionWeights.whole`).

    Returns:
        A `RegionView` in pixels of ``image``: the detector's own resizing is undone.

    Raises:
        ValueError: a model without such pooling, an image or box of a wrong form.
    """
    return region_terms_of(model, image, box, head, whole=whole)["all"]


def region_terms_of(
    model: nn.Module, image: Tensor, box: Tensor, head: str = "box", *, whole: bool = False
) -> dict[str, RegionView]:
    """What a detector would read for one box by each term of its weights alone, by the term's name, and last, as "all",
    what it reads. Weights of one term give "all" alone.

    The arguments and errors are those of `region_weights_of`.
    """
    pool, corners = pooling_of(model, head), box_of(box)
    maps = read_maps(model, image)
    place = torch.tensor(corners)
    with evaluating(model):
        found = weights_at(pool, maps, place, own_level(pool, maps, place))
        y, x = (1 / s for s in scale_pair(pool.scales[pool.featmap_names.index(found.level)]))
        stride = " × ".join(f"{s:g}" for s in ((y, x) if x != y else (y,)))
        name = f"level {found.level!r}, " if len(pool.featmap_names) > 1 else ""
        title = f"{_named(found.extractor)}, {name}stride {stride}"
        terms = (found.weights.whole() if whole else found.weights).terms()
        return {
            term: RegionView(corners, weights.dense(*found.cells)[0], found.stride, pool.output_size, title)
            for term, weights in terms.items()
        }


def _named(extractor: RegionExtractor) -> str:
    """The extractor with its settings in one line: its ``repr`` lists layers below them."""
    return f"{type(extractor).__name__}({extractor.extra_repr()})"
