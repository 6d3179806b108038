"""A region's dense weights, ready to be laid over its image."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..boxes import Rois, assign_levels, scale_pair
from ..extractors import RegionExtractor
from ..multiscale import MultiScale
from ..weights import RegionWeights


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
    with torch.no_grad():
        weights, view = _read(model, image, box, head)
        return view(weights.whole() if whole else weights)


def region_terms_of(
    model: nn.Module, image: Tensor, box: Tensor, head: str = "box", *, whole: bool = False
) -> dict[str, RegionView]:
    """What a detector would read for one box by each term of its weights alone, by the term's name, and last, as "all",
    what it reads. Weights of one term give "all" alone.

    The arguments and errors are those of `region_weights_of`.
    """
    with torch.no_grad():
        weights, view = _read(model, image, box, head)
        terms = (weights.whole() if whole else weights).terms()
        return {name: view(term) for name, term in terms.items()}


def _read(
    model: nn.Module, image: Tensor, box: Tensor, head: str
) -> tuple[RegionWeights, Callable[[RegionWeights], RegionView]]:
    """The weights of one box, and what makes a view of them."""
    pool = getattr(getattr(model, "roi_heads", None), f"{head}_roi_pool", None)
    if not isinstance(pool, MultiScale):
        what = "has no" if pool is None else f"pools with {type(pool).__name__} as"
        raise ValueError(
            f"{type(model).__name__} {what} roi_heads.{head}_roi_pool: weights are shown of detectors that pool with "
            "roikit.MultiScale; roikit.replace_roi puts one in"
        )
    check_image(image)
    corners = box_of(box)
    device = next(model.parameters()).device
    floats = image.to(device).float() / 255 if image.dtype == torch.uint8 else image.to(device)
    training = model.training
    model.eval()
    try:
        return _weights(model, pool, floats, corners)
    finally:
        model.train(training)


def _weights(
    model: nn.Module, pool: MultiScale, image: Tensor, corners: tuple[float, float, float, float]
) -> tuple[RegionWeights, Callable[[RegionWeights], RegionView]]:
    images, _ = cast(Any, model.transform)([image])
    # torchvision rounds the sizes of the resized image, so that the two axes may differ a little
    fy, fx = (new / old for new, old in zip(images.image_sizes[0], image.shape[-2:], strict=True))
    features = cast(Any, model.backbone)(images.tensors)
    if isinstance(features, Tensor):
        features = {"0": features}
    maps = [features[name] for name in pool.featmap_names]
    box = torch.tensor([corners], device=image.device) * torch.tensor([fx, fy, fx, fy], device=image.device)
    level = assign_levels(box, pool.strides, pool.canonical_scale, pool.canonical_level)
    number = int(level)
    extractor, first = pool.extractor_at(number), torch.zeros_like(level)
    extras = {"image_sizes": list(images.image_sizes)} if "image_sizes" in extractor.extras else {}
    weights = extractor.weights(maps[number], Rois(box, first, first), pool.scales[number], **extras)
    y, x = scale_pair(pool.scales[number])
    stride = " × ".join(f"{1 / s:g}" for s in ((y, x) if x != y else (y,)))
    name = f"level {pool.featmap_names[number]!r}, " if len(maps) > 1 else ""

    def view(term: RegionWeights) -> RegionView:
        return RegionView(
            corners,
            term.dense(*maps[number].shape[-2:])[0],
            (1 / (y * fy), 1 / (x * fx)),
            pool.output_size,
            f"{_named(extractor)}, {name}stride {stride}",
        )

    return weights, view


def _named(extractor: RegionExtractor) -> str:
    """The extractor with its settings in one line: its ``repr`` lists layers below them."""
    return f"{type(extractor).__name__}({extractor.extra_repr()})"


def check_image(image: Tensor) -> None:
    """Raise a ``ValueError`` unless ``image`` is an RGB image as a tensor."""
    if not isinstance(image, Tensor) or image.ndim != 3 or image.shape[0] != 3 or 0 in image.shape:
        shape = list(image.shape) if isinstance(image, Tensor) else type(image).__name__
        raise ValueError(f"an image must be a Tensor[3, H, W], but this is {shape}")
    if image.dtype != torch.uint8 and not image.dtype.is_floating_point:
        raise ValueError(f"an image must be uint8 or floats in 0-1, but its dtype is {image.dtype}")


def box_of(box: Tensor) -> tuple[float, float, float, float]:
    """Four finite numbers of a box."""
    values = torch.as_tensor(box, dtype=torch.float32).flatten().tolist()
    if len(values) != 4 or not all(abs(v) < float("inf") for v in values):
        raise ValueError(f"a box must be four finite numbers (x1, y1, x2, y2) in image pixels, not {values}")
    return values[0], values[1], values[2], values[3]
