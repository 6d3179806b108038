"""A detector taken apart: an image's feature maps, a box's features there, and the weights that made them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..boxes import Rois, assign_levels, scale_pair
from ..extractors import RegionExtractor, SelfAttentionRoIAlign
from ..multiscale import MultiScale
from ..weights import Composed, RegionWeights
from .regions import RegionView, check_image


@dataclasses.dataclass(frozen=True)
class ImageMaps:
    """What a detector's backbone makes of one image.

    Args:
        maps: ``Tensor[1, C, H_l, W_l]`` by name.
        size: (height, width) of the image as the backbone saw it, without padding.
        factor: pixels of that image per pixel of the one given, (y, x).
    """

    maps: dict[str, Tensor]
    size: tuple[int, int]
    factor: tuple[float, float]


@dataclasses.dataclass(frozen=True)
class BoxWeights:
    """The weights of one box: of which extractor, on the level that suits the box.

    Args:
        weights: of the one RoI.
        extractor: what said them.
        cells: (height, width) of the level's map.
        stride: image pixels per feature cell, (y, x), in pixels of the image given.
    """

    weights: RegionWeights
    extractor: RegionExtractor
    cells: tuple[int, int]
    stride: tuple[float, float]

    def dense(self) -> Tensor:
        """``Tensor[K, H, W]``, the mean over the channels where they differ; float32 on the CPU."""
        return self.weights.dense(*self.cells)[0].float().mean(0).cpu()


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """In evaluation mode and without gradients; put back at the end."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(training)


def resize_factor(model: nn.Module, size: tuple[int, int]) -> tuple[float, float]:
    """How much a detector enlarges an image of (height, width): (y, x).

    torchvision rounds the size of the result, so that the two may differ a little.
    """
    with evaluating(model), torch.device("meta"):
        resized, _ = cast(Any, model.transform).resize(torch.empty(3, *size))
    return resized.shape[1] / size[0], resized.shape[2] / size[1]


def read_maps(model: nn.Module, image: Tensor, factor: tuple[float, float] | None = None) -> ImageMaps:
    """Feature maps of an image, through the detector's own resizing, normalisation, padding and backbone.

    Args:
        model: a torchvision-like two-stage detector, see `region_features`.
        image: ``Tensor[3, H, W]``, uint8 or floats in 0-1.
        factor: enlarge by this, (y, x), in place of what the detector would choose: a turned image on a larger canvas
            is to show its objects as large as before.

    Raises:
        ValueError: an image of a wrong form.
    """
    check_image(image)
    device = next(model.parameters()).device
    floats = image.to(device).float() / 255 if image.dtype == torch.uint8 else image.to(device)
    height, width = floats.shape[1:]
    fy, fx = factor or resize_factor(model, (height, width))
    size = max(1, round(height * fy)), max(1, round(width * fx))
    transform = cast(Any, model.transform)
    with evaluating(model):
        resized = torch.nn.functional.interpolate(
            transform.normalize(floats)[None], size=size, mode="bilinear", align_corners=False
        )[0]
        maps = cast(Any, model.backbone)(transform.batch_images([resized], size_divisible=transform.size_divisible))
    found = {"0": maps} if isinstance(maps, Tensor) else dict(maps)
    return ImageMaps(found, size, (size[0] / height, size[1] / width))


def region_features(model: nn.Module, maps: ImageMaps, boxes: Tensor) -> Tensor:
    """What a detector's box head is given: ``Tensor[N, C, h, w]`` of ``boxes`` ``Tensor[N, 4]``, on the CPU.

    Args:
        model: a two-stage detector whose ``roi_heads.box_roi_pool`` takes (maps, boxes, sizes) as torchvision's does:
            any extractor in a ``roikit.MultiScale``, or torchvision's own.
        maps: from `read_maps`.
        boxes: (x1, y1, x2, y2) in pixels of the image given there.

    Raises:
        ValueError: a model without such pooling.

    Example:
        >>> model = __import__("torchvision").models.detection.fasterrcnn_mobilenet_v3_large_320_fpn(
        ...     weights=None, weights_backbone=None)
        >>> maps = read_maps(model, torch.rand(3, 60, 80))
        >>> region_features(model, maps, torch.tensor([[10.0, 10.0, 50.0, 40.0]])).shape
        torch.Size([1, 256, 7, 7])
    """
    pool = getattr(getattr(model, "roi_heads", None), "box_roi_pool", None)
    if not isinstance(pool, nn.Module):
        raise ValueError(f"{type(model).__name__} has no roi_heads.box_roi_pool: it is no two-stage detector")
    with evaluating(model):
        return pool(maps.maps, [_resized(maps, boxes)], [maps.size]).cpu()


def region_weights(model: nn.Module, maps: ImageMaps, box: Tensor) -> BoxWeights:
    """The weights of one box ``Tensor[4]``, on the level that suits it.

    Of ``SelfAttentionRoIAlign`` these are its attention, averaged over the heads, among the bins: what its output
    reads, apart from the linear layers. Other methods that do more than a weighted sum are shown before it.

    Raises:
        ValueError: a detector that does not pool with a ``roikit.MultiScale``.
    """
    pool = getattr(getattr(model, "roi_heads", None), "box_roi_pool", None)
    if not isinstance(pool, MultiScale):
        raise ValueError(
            f"{type(model).__name__} does not pool its boxes with roikit.MultiScale, whose weights can be seen; "
            "roikit.replace_roi puts one in"
        )
    resized = _resized(maps, box[None])
    level = assign_levels(resized, pool.strides, pool.canonical_scale, pool.canonical_level)
    number, first = int(level), torch.zeros_like(level)
    extractor, features = pool.extractor_at(number), maps.maps[pool.featmap_names[number]]
    extras = {"image_sizes": [maps.size]} if "image_sizes" in extractor.extras else {}
    with evaluating(model):
        weights = extractor.weights(features, Rois(resized, first, first), pool.scales[number], **extras)
        if isinstance(extractor, SelfAttentionRoIAlign):
            cells = weights.pool(features).flatten(2).transpose(1, 2)
            weights = Composed(extractor.attention.shares(cells).mean(1), weights, extractor.output_size)
    y, x = scale_pair(pool.scales[number])
    height, width = features.shape[-2:]
    stride = 1 / (y * maps.factor[0]), 1 / (x * maps.factor[1])
    return BoxWeights(weights, extractor, (height, width), stride)


def view_of(model: nn.Module, maps: ImageMaps, box: Tensor) -> RegionView:
    """The same as `region_weights`, written out, ready to be drawn."""
    found = region_weights(model, maps, box)
    x1, y1, x2, y2 = (float(v) for v in box)
    dense = found.dense()[None]
    return RegionView((x1, y1, x2, y2), dense, found.stride, found.extractor.output_size, repr(found.extractor))


def _resized(maps: ImageMaps, boxes: Tensor) -> Tensor:
    """Boxes in pixels of the image that the backbone saw."""
    fy, fx = maps.factor
    device = next(iter(maps.maps.values())).device
    return boxes.float().to(device) * torch.tensor([fx, fy, fx, fy], device=device)
