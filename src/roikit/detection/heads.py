"""torchvision's RPN and box heads, with the few changes that these detectors need.

Half precision is for features. In bfloat16 a coordinate near 1000 px moves in steps of 4 px, and torchvision computes
anchors and boxes in the type of whatever it was given; so anchors, box deltas, scores and mask logits are float32 here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.models.detection.mask_rcnn import MaskRCNNPredictor
from torchvision.models.detection.rpn import RPNHead


def full(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


class FullAnchorGenerator(AnchorGenerator):
    """Anchors in float32 when the feature maps are in half precision."""

    def set_cell_anchors(self, dtype: torch.dtype, device: torch.device) -> None:
        super().set_cell_anchors(torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype, device)


class FullRPNHead(RPNHead):
    """torchvision's RPN head; objectness and box deltas leave it in float32."""

    def forward(self, x: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        objectness, deltas = super().forward(x)
        return [full(level) for level in objectness], [full(level) for level in deltas]


class FullBoxPredictor(FastRCNNPredictor):
    """torchvision's box predictor; scores and box deltas leave it in float32."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        scores, deltas = super().forward(x)
        return full(scores), full(deltas)


class FullMaskPredictor(MaskRCNNPredictor):
    """torchvision's mask predictor; logits leave it in float32."""

    def forward(self, x: Tensor) -> Tensor:
        return full(super().forward(x))


class SelectMaps:
    """A forward pre-hook for torchvision's RPN, which reads every map it is given: give it only the named ones."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)

    def __call__(self, module: torch.nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        images, features, *rest = args
        return (images, {name: features[name] for name in self.names}, *rest)


def anchor_generator(
    strides: Sequence[int], sizes: Sequence[Any] | None, aspect_ratios: Sequence[float]
) -> AnchorGenerator:
    """Anchors for RPN maps of these strides.

    Args:
        strides: image pixels per cell of each map.
        sizes: the side of the square anchor in image pixels: one number or one tuple of numbers per map; for a single
            map also a flat list of its sizes. Default: 8 strides for each of several maps (32 … 512 for strides
            4 … 64); 2, 4, 8, 16 and 32 strides for a single one.
        aspect_ratios: height / width.

    Raises:
        ValueError: not one entry per map, maps with different numbers of anchors, or a size that is not positive.
    """
    if sizes is None:
        sizes = [8 * s for s in strides] if len(strides) > 1 else [[k * strides[0] for k in (2, 4, 8, 16, 32)]]
    elif len(strides) == 1 and all(not isinstance(size, (list, tuple)) for size in sizes):
        sizes = [sizes]
    per_map = tuple(tuple(size) if isinstance(size, (list, tuple)) else (size,) for size in sizes)
    if len(per_map) != len(strides):
        raise ValueError(
            f"anchor_sizes has {len(per_map)} entries, but the RPN reads {len(strides)} maps (strides {list(strides)})"
        )
    if len({len(size) for size in per_map}) > 1:
        raise ValueError(f"anchor_sizes must give every map the same number of sizes (one RPN head for all): {per_map}")
    ratios = tuple(aspect_ratios)
    if not all(size > 0 for level in per_map for size in level) or not all(ratio > 0 for ratio in ratios):
        raise ValueError(f"anchor_sizes and aspect_ratios must be positive: {per_map}, {ratios}")
    return FullAnchorGenerator(per_map, (ratios,) * len(per_map))
