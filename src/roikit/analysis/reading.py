"""A detector taken apart: an image's feature maps, a box's features there, and the weights that made them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..boxes import Rois, assign_levels, scale_pair
from ..extractors import RegionExtractor
from ..multiscale import MultiScale
from ..weights import RegionWeights
from .inputs import as_floats


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
    """The weights of one box on one level: of which extractor, and what they read.

    Args:
        weights: of the one RoI.
        extractor: what said them.
        features: the level's map, ``Tensor[1, C, H, W]``.
        stride: image pixels per feature cell, (y, x), in pixels of the image given.
        level: what the detector calls the level.
    """

    weights: RegionWeights
    extractor: RegionExtractor
    features: Tensor
    stride: tuple[float, float]
    level: str

    @property
    def cells(self) -> tuple[int, int]:
        """(height, width) of the level's map."""
        return self.features.shape[2], self.features.shape[3]

    def dense(self) -> Tensor:
        """``Tensor[K, H, W]``, the mean over the channels where they differ; float32 on the CPU."""
        return self.weights.dense(*self.cells)[0].float().mean(0).cpu()


@contextmanager
def evaluating(model: nn.Module, gradients: bool = False) -> Iterator[None]:
    """In evaluation mode, with gradients or without; put back at the end."""
    training = model.training
    model.eval()
    try:
        with torch.set_grad_enabled(gradients):
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


def resized_to(size: tuple[int, int], factor: tuple[float, float]) -> tuple[int, int]:
    """(height, width) of an image enlarged by about (y, x)."""
    return max(1, round(size[0] * factor[0])), max(1, round(size[1] * factor[1]))


def backbone_input(model: nn.Module, pixels: Tensor, size: tuple[int, int]) -> Tensor:
    """``Tensor[1, 3, h, w]``: floats ``Tensor[3, H, W]`` as the detector prepares them, normalised, resized, padded."""
    transform = cast(Any, model.transform)
    normal = transform.normalize(pixels)[None]
    resized = torch.nn.functional.interpolate(normal, size=size, mode="bilinear", align_corners=False)[0]
    return transform.batch_images([resized], size_divisible=transform.size_divisible)


def feature_maps(model: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """The maps that RoIs are read from, by name."""
    maps = cast(Any, model.backbone)(images)
    return {"0": maps} if isinstance(maps, Tensor) else dict(maps)


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
    floats = as_floats(image, next(model.parameters()).device)
    height, width = floats.shape[1:]
    size = resized_to((height, width), factor or resize_factor(model, (height, width)))
    with evaluating(model):
        maps = feature_maps(model, backbone_input(model, floats, size))
    return ImageMaps(maps, size, (size[0] / height, size[1] / width))


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


def pooling_of(model: nn.Module, head: str = "box") -> MultiScale:
    """The pooling of a detector's head, whose weights can be seen.

    Raises:
        ValueError: it has none, or another one than ``roikit.MultiScale``.
    """
    pool = getattr(getattr(model, "roi_heads", None), f"{head}_roi_pool", None)
    if not isinstance(pool, MultiScale):
        what = f"has no roi_heads.{head}_roi_pool" if pool is None else "does not pool its boxes with roikit.MultiScale"
        raise ValueError(
            f"{type(model).__name__} {what}: weights are seen of detectors that pool with roikit.MultiScale; "
            "roikit.replace_roi puts one in"
        )
    return pool


def own_level(pool: MultiScale, maps: ImageMaps, box: Tensor) -> int:
    """The level that suits a box ``Tensor[4]``, in pixels of the image given."""
    return int(assign_levels(_resized(maps, box[None]), pool.strides, pool.canonical_scale, pool.canonical_level))


def weights_at(pool: MultiScale, maps: ImageMaps, box: Tensor, level: int) -> BoxWeights:
    """The weights that the extractor of a level says of one box ``Tensor[4]``, in pixels of the image given."""
    resized = _resized(maps, box[None])
    first = torch.zeros(1, dtype=torch.int64, device=resized.device)
    extractor, name = pool.extractor_at(level), pool.featmap_names[level]
    extras = {"image_sizes": [maps.size]} if "image_sizes" in extractor.extras else {}
    weights = extractor.weights(maps.maps[name], Rois(resized, first, first), pool.scales[level], **extras)
    y, x = scale_pair(pool.scales[level])
    stride = 1 / (y * maps.factor[0]), 1 / (x * maps.factor[1])
    return BoxWeights(weights, extractor, maps.maps[name], stride, name)


def region_weights(model: nn.Module, maps: ImageMaps, box: Tensor) -> BoxWeights:
    """The weights of one box ``Tensor[4]``, on the level that suits it, as far as the extractor can show what its
    output reads (``RegionExtractor.shown``).

    Raises:
        ValueError: a detector that does not pool with a ``roikit.MultiScale``.
    """
    pool = pooling_of(model)
    with evaluating(model):
        found = weights_at(pool, maps, box, own_level(pool, maps, box))
        return dataclasses.replace(found, weights=found.extractor.shown(found.weights, found.features))


def _resized(maps: ImageMaps, boxes: Tensor) -> Tensor:
    """Boxes in pixels of the image that the backbone saw."""
    fy, fx = maps.factor
    device = next(iter(maps.maps.values())).device
    return boxes.float().to(device) * torch.tensor([fx, fy, fx, fy], device=device)
