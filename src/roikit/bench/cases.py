"""What is timed: one operation on one map, by roikit and by its peer in torchvision."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
import torchvision
from torch import Tensor

from .. import ops

MAPS = {"50×84/16": (50, 84, 16, (32.0, 672.0)), "200×336/4": (200, 336, 4, (16.0, 128.0))}  # and √area of the RoIs
Pool = Callable[[Tensor, Tensor], Tensor]


@dataclasses.dataclass(frozen=True)
class Case:
    """An operation on a map: ``ours`` and ``peer`` take (features, boxes [R, 5]); a peer may not exist."""

    name: str
    map: str
    ours: Pool
    peer: Pool | None
    features: Tensor
    boxes: Tensor


def make_boxes(count: int, height: int, width: int, sides: tuple[float, float], generator: torch.Generator) -> Tensor:
    """Boxes in an image of (height, width) pixels: centres uniform, sides log-uniform; ``Tensor[count, 5]``."""
    low, high = (torch.tensor(s).log() for s in sides)
    centre = torch.rand(count, 2, generator=generator) * torch.tensor([width, height])
    half = torch.exp(low + (high - low) * torch.rand(count, 2, generator=generator)) / 2
    limit = torch.tensor([width, height], dtype=torch.float32)
    first, last = (centre - half).clamp(min=0), torch.minimum(centre + half, limit)
    return torch.cat([torch.zeros(count, 1), first, last], 1)


def cases(rois: int, channels: int, seed: int = 0) -> Iterator[Case]:
    """Every operation on every map, float32."""
    generator = torch.Generator().manual_seed(seed)
    for name, (height, width, stride, sides) in MAPS.items():
        features = torch.randn(1, channels, height, width, generator=generator)
        boxes = make_boxes(rois, height * stride, width * stride, sides, generator)
        scale = 1 / stride
        names = ("RoIAlign, 2 samples", "RoIAlign, adaptive")
        for label, samples in zip(names, (2, -1), strict=True):
            options: dict[str, Any] = {"output_size": 7, "spatial_scale": scale, "sampling_ratio": samples}
            ours, peer = partial(ops.roi_align, **options), partial(torchvision.ops.roi_align, **options)
            yield Case(label, name, ours, peer, features, boxes)
        options = {"output_size": 7, "spatial_scale": scale}
        ours, peer = partial(ops.roi_pool, **options), partial(torchvision.ops.roi_pool, **options)
        yield Case("RoIPool, max", name, ours, peer, features, boxes)
        yield Case("PrRoIPool", name, partial(ops.prroi_pool, **options), None, features, boxes)
