"""A detector whose features are known: means of pixels, no layers; and a data set of pictures held in memory."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import torch
from torch import nn
from torchvision.models.detection.transform import GeneralizedRCNNTransform

import roikit

STRIDE = 4


class SmallDetector(nn.Module):
    """Maps are means over 4 × 4 pixels of the image, which is not resized where its sides are 64."""

    def __init__(self, extractor, size: int = 64, normalised: bool = False) -> None:
        super().__init__()
        mean, std = ([0.4] * 3, [0.2] * 3) if normalised else ([0.0] * 3, [1.0] * 3)
        self.transform = GeneralizedRCNNTransform(size, 4 * size, mean, std, size_divisible=STRIDE)
        self.backbone = nn.AvgPool2d(STRIDE)
        self.roi_heads = nn.Module()
        self.roi_heads.box_roi_pool = roikit.MultiScale(extractor, ["0"], [STRIDE])
        self.register_parameter("somewhere", nn.Parameter(torch.zeros(1)))  # says the device


class Pictures:
    """As `roikit.data.DetectionDataset`, as far as analyses look."""

    def __init__(self, images, boxes, masks=None) -> None:
        self.images, self.boxes, self.masks = images, boxes, masks
        self.records = [SimpleNamespace(boxes=b.numpy(), iscrowd=np.zeros(len(b), np.int64)) for b in boxes]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index):
        target = {"boxes": self.boxes[index]}
        if self.masks is not None:
            target["masks"] = self.masks[index]
        return self.images[index], target


def pictures(rng: torch.Generator, count: int = 3, side: int = 64, objects: int = 2) -> Pictures:
    """Noise, with boxes on whole cells, inside the image."""
    images = [torch.rand(3, side, side, generator=rng) for _ in range(count)]
    boxes = []
    for _ in range(count):
        size = torch.randint(2, side // 16 + 1, (objects, 2), generator=rng)
        corner = torch.randint(
            0, side // 8 - side // 16 + 1, (objects, 2), generator=rng
        )  # in the image, the largest too
        boxes.append(torch.cat([corner, corner + size], 1).float() * 8)
    return Pictures(images, boxes)
