"""Nodes of a detector and how they respond to an image: what spatial support is the support of (DCNv2 section 2)."""

from __future__ import annotations

import dataclasses
from typing import Any, cast

import torch
from torch import Tensor, nn

from roikit.analysis.inputs import as_floats, box_of
from roikit.analysis.reading import backbone_input, feature_maps, resize_factor, resized_to
from roikit.detection.necks import Neck


@dataclasses.dataclass(frozen=True)
class BackboneNode:
    """The cell of the backbone's last map (C5 of a ResNet) that covers a point of the image.

    Args:
        x, y: the point, in image pixels.
    """

    x: float
    y: float

    def __str__(self) -> str:
        return f"backbone node at ({self.x:.0f}, {self.y:.0f})"


@dataclasses.dataclass(frozen=True)
class BoxNode:
    """What a box head's fully connected layers make of a box: of two, the paper's "2fc" node.

    Args:
        box: (x1, y1, x2, y2) in image pixels.
    """

    box: tuple[float, float, float, float]

    def __str__(self) -> str:
        x1, y1, x2, y2 = self.box
        return f"head's node of the box ({x1:.0f}, {y1:.0f}) to ({x2:.0f}, {y2:.0f})"


Node = BackboneNode | BoxNode


class Response:
    """A node's response, a vector, as a function of the image.

    The response of a `BackboneNode` are the channels of its cell; that of a `BoxNode` is what ``roi_heads.box_head``
    gives (of a cascade, its first stage's; of an R-FCN, its votes). Boxes stay where they are: no proposals are made.

    Args:
        model: a torchvision-like two-stage detector.
        image: ``Tensor[3, H, W]``, uint8 or floats in 0-1.
        node: whose response.

    Attributes:
        pixels: float ``Tensor[3, H, W]`` in 0-1, on the model's device.
        size: (height, width) of the image as the backbone sees it, without padding.
        factor: pixels of that image per pixel of the one given, (y, x).

    Raises:
        ValueError: an image or a box of a wrong form, a point beyond the image, a model without what the node needs.
    """

    def __init__(self, model: nn.Module, image: Tensor, node: Node) -> None:
        self.model, self.node = model, node
        self.pixels = as_floats(image, next(model.parameters()).device)
        height, width = self.pixels.shape[1:]
        self.size = resized_to((height, width), resize_factor(model, (height, width)))
        self.factor = self.size[0] / height, self.size[1] / width
        if isinstance(node, BackboneNode):
            if not (0 <= node.x < width and 0 <= node.y < height):
                raise ValueError(f"({node.x:g}, {node.y:g}) lies outside of the image of {width}×{height} pixels")
        else:
            box_of(torch.tensor(node.box))
            heads = getattr(model, "roi_heads", None)
            if not all(isinstance(getattr(heads, name, None), nn.Module) for name in ("box_roi_pool", "box_head")):
                raise ValueError(f"{type(model).__name__} has no roi_heads with box_roi_pool and box_head")

    def prepare(self, pixels: Tensor) -> Tensor:
        """The backbone's input ``Tensor[1, 3, h, w]`` of ``Tensor[3, H, W]``: normalised, resized, padded."""
        return backbone_input(self.model, pixels, self.size)

    def __call__(self, images: Tensor) -> Tensor:
        """``Tensor[B, D]``, the responses to inputs ``Tensor[B, 3, h, w]`` of the backbone."""
        if isinstance(self.node, BackboneNode):
            cells = last_map(self.model, images)
            (fy, fx), (height, width) = self.factor, cells.shape[-2:]
            v = int(self.node.y * fy * height / images.shape[2])
            u = int(self.node.x * fx * width / images.shape[3])
            return cells[:, :, min(v, height - 1), min(u, width - 1)]
        maps = feature_maps(self.model, images)
        count, heads = images.shape[0], cast(Any, self.model.roi_heads)
        pooled = heads.box_roi_pool(maps, [self.box[None]] * count, [self.size] * count)
        return heads.box_head(pooled).flatten(1)

    @property
    def box(self) -> Tensor:
        """Of a `BoxNode`, ``Tensor[4]`` in pixels of the image that the backbone sees."""
        assert isinstance(self.node, BoxNode)
        fy, fx = self.factor
        return self.pixels.new_tensor(self.node.box) * self.pixels.new_tensor([fx, fy, fx, fy])

    def stride(self, images: Tensor, cells: Tensor) -> tuple[float, float]:
        """Pixels of the image given per cell of a map of the backbone, (y, x)."""
        fy, fx = self.factor
        return images.shape[2] / cells.shape[-2] / fy, images.shape[3] / cells.shape[-1] / fx


def body_of(model: nn.Module) -> nn.Module:
    """The backbone without its neck."""
    neck = _neck_of(model)
    return getattr(neck, "body", neck)


def last_map(model: nn.Module, images: Tensor) -> Tensor:
    """The last map of the backbone, ``Tensor[B, C, H, W]``, before any neck."""
    neck = _neck_of(model)
    if isinstance(neck, Neck):
        return neck.maps(images)[-1]
    maps = body_of(model)(images)
    if isinstance(maps, Tensor):
        return maps
    return list(maps.values())[-1] if isinstance(maps, dict) else list(maps)[-1]


def _neck_of(model: nn.Module) -> Any:
    backbone = cast(Any, model.backbone)
    return getattr(backbone, "neck", backbone)  # an R-FCN puts its position-sensitive maps on top
