"""Maps and boxes that regions are pooled from: one map, or a pyramid, of an image of 800 × 1333 pixels."""

from __future__ import annotations

import dataclasses
import functools

import torch
from torch import Tensor

PARTS = 7  # bins along each side of a region


@dataclasses.dataclass(frozen=True)
class Pyramid:
    """The feature maps of an image.

    Args:
        image: (height, width) of what the boxes lie in, in pixels.
        strides: pixels per cell, of each map.
        sides: the smallest and largest √area of a box, in pixels.
    """

    image: tuple[int, int]
    strides: tuple[int, ...]
    sides: tuple[float, float]

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """(height, width) of each map; images are padded to a multiple of 32 pixels, as detectors do."""
        height, width = (-(-side // 32) * 32 for side in self.image)
        return [(-(-height // stride), -(-width // stride)) for stride in self.strides]

    @property
    def label(self) -> str:
        if len(self.strides) > 1:
            return f"FPN, {self.image[0]}×{self.image[1]}"
        ((height, width),) = self.sizes
        return f"{height}×{width}/{self.strides[0]}"


PYRAMIDS = {
    "coarse": Pyramid((800, 1344), (16,), (32.0, 672.0)),
    "fine": Pyramid((800, 1344), (4,), (16.0, 128.0)),
    "fpn": Pyramid((800, 1333), (4, 8, 16, 32), (16.0, 800.0)),
}
SMALL = {  # for tests and the gate
    "coarse": Pyramid((192, 320), (16,), (16.0, 160.0)),
    "fine": Pyramid((96, 160), (4,), (8.0, 64.0)),
    "fpn": Pyramid((160, 246), (4, 8, 16, 32), (16.0, 160.0)),
}


@dataclasses.dataclass(frozen=True)
class Scene:
    """What a pooling reads, ready in memory.

    Args:
        maps: ``Tensor[B, C, H_l, W_l]`` for each level.
        strides: pixels per cell, of each map.
        image: (height, width) in pixels.
        boxes: ``Tensor[R, 5]`` with rows (image, x1, y1, x2, y2), float32 (float64 for float64 maps).
        offset: ``Tensor[R, 2, 7, 7]``, by how much deformable bins move, in shares of the region.
    """

    maps: list[Tensor]
    strides: tuple[int, ...]
    image: tuple[int, int]
    boxes: Tensor
    offset: Tensor

    @property
    def scale(self) -> float:
        return 1 / self.strides[0]

    @property
    def names(self) -> list[str]:
        return [str(stride) for stride in self.strides]

    @property
    def images(self) -> list[tuple[int, int]]:
        return [self.image] * self.maps[0].shape[0]

    @functools.cached_property
    def per_image(self) -> list[Tensor]:
        """The boxes as one ``Tensor[N_i, 4]`` for each image."""
        return [self.boxes[self.boxes[:, 0] == i, 1:].contiguous() for i in range(self.maps[0].shape[0])]


def make_boxes(
    count: int, height: int, width: int, sides: tuple[float, float], generator: torch.Generator, batch: int = 1
) -> Tensor:
    """Boxes in images of (height, width) pixels: centres uniform, sides log-uniform; ``Tensor[count, 5]``."""
    low, high = (torch.tensor(s).log() for s in sides)
    centre = torch.rand(count, 2, generator=generator) * torch.tensor([width, height])
    half = torch.exp(low + (high - low) * torch.rand(count, 2, generator=generator)) / 2
    limit = torch.tensor([width, height], dtype=torch.float32)
    first, last = (centre - half).clamp(min=0), torch.minimum(centre + half, limit)
    index = torch.zeros(count, 1)
    if batch > 1:
        index = torch.randint(batch, (count, 1), generator=generator).float()
    return torch.cat([index, first, last], 1)


def make_scene(
    pyramid: Pyramid, rois: int, channels: int, batch: int, dtype: torch.dtype, device: str, seed: int
) -> Scene:
    """Standard normal maps and random boxes.

    Boxes of float16 maps are rounded to float16: torchvision takes them in the maps' type, and all contenders shall
    pool the same regions.
    """
    generator = torch.Generator().manual_seed(seed)
    maps = [torch.randn(batch, channels, h, w, generator=generator).to(device, dtype) for h, w in pyramid.sizes]
    boxes = make_boxes(rois, *pyramid.image, pyramid.sides, generator, batch)
    if dtype == torch.float16:
        boxes = boxes.half().float()
    geometry = torch.float64 if dtype == torch.float64 else torch.float32
    offset = torch.randn(rois, 2, PARTS, PARTS, generator=generator) / 2
    given = (t.to(device, geometry) for t in (boxes, offset))
    return Scene(maps, pyramid.strides, pyramid.image, *given)
