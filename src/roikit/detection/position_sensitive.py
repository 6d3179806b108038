"""R-FCN's head: position-sensitive maps of scores and boxes, and the vote of a region's parts."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from .heads import full
from .necks import Neck


class PositionSensitiveNeck(nn.Module):
    """A neck, and from each of its RoI maps the position-sensitive ones by 1×1 convolutions, shared by the levels.

    The maps of scores come first, then those of boxes: output channel c of a position-sensitive extractor reads maps
    c·G² … (c+1)·G² - 1. A rectifier stands before the convolutions, as after the 1024-d layer of R-FCN.

    Args:
        neck: what it is added to; the RPN reads that one's maps.
        scores, boxes: how many of these maps.
    """

    def __init__(self, neck: Neck, scores: int, boxes: int) -> None:
        super().__init__()
        self.neck = neck
        self.scores = nn.Conv2d(neck.out_channels, scores, 1)
        self.boxes = nn.Conv2d(neck.out_channels, boxes, 1)
        for layer in (self.scores, self.boxes):
            nn.init.normal_(layer.weight, std=0.01)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
        self.out_channels = scores + boxes
        self.rpn_channels, self.rpn_maps = neck.rpn_channels, neck.rpn_maps
        self.roi_maps = tuple(f"{name}_ps" for name in neck.roi_maps)
        self.strides = neck.strides | {f"{name}_ps": neck.strides[name] for name in neck.roi_maps}

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        maps = self.neck(images)
        for name, own in zip(self.neck.roi_maps, self.roi_maps, strict=True):
            x = maps[name].relu()
            maps[own] = torch.cat([self.scores(x), self.boxes(x)], 1)
        return maps


class Vote(nn.Module):
    """The mean over a region's parts, ``Tensor[R, C, h, w]`` to ``Tensor[R, C]`` (R-FCN section 2)."""

    def forward(self, x: Tensor) -> Tensor:
        return full(x).mean((2, 3))


class SplitVotes(nn.Module):
    """Votes to class scores ``Tensor[R, num_classes]`` and box deltas ``Tensor[R, 4 * num_classes]`` in float32.

    torchvision's RoI heads expect a box for every class: boxes that are the same for all are repeated.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        scores, deltas = x[:, : self.num_classes], x[:, self.num_classes :]
        return scores, deltas.repeat(1, self.num_classes) if deltas.shape[1] == 4 else deltas
