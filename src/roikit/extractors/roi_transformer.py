"""RoI Transformer."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .. import geometry, modes
from ..boxes import Scale, check_shape, constant, raise_first
from ..geometry import rotated
from ..layers.init import starts_at_zero
from ..sums.maps import Maps, as_maps
from ..weights import Points, Separable
from .base import Boxes, RegionExtractor
from .rotated_roi_align import rotated_points

LONGEST = math.log(1000 / 16)  # a side grows at most by this factor, whatever is predicted (as in Faster R-CNN's coder)


class RoITransformer(RegionExtractor):
    """RoI Transformer (Ding et al., CVPR 2019): a rotated box is predicted from each upright RoI, then aligned.

    One fully connected layer on the RoI's RoI Align features predicts five numbers (dx, dy, dw, dh, dθ), each times its
    std; the rotated box is

        cx + dx·w,   cy + dy·h,   w·exp(dw),   h·exp(dh),   θ = 2π·dθ

    It is enlarged (by 1.2 in width and 1.4 in height, for context) and pooled as ``RotatedRoIAlign`` does. The layer
    starts at zero: untrained it is RoI Align (``aligned=True``) of the enlarged RoI. It learns from the task's loss
    and, where there are oriented boxes, from ``loss``.

    Args:
        channels: of the feature maps.
        output_size: the grid of bins.
        sampling_ratio: samples per bin and axis, at least 1.
        enlarge: factors of the width and height before pooling.
        stds: of the five numbers.
        expand: area factor of the upright RoI.

    ``weights(...).rotated`` is ``Tensor[R, 5]``, the predicted boxes (cx, cy, w, h, θ) in image pixels and radians,
    before they are enlarged (those of ``RotatedRoIAlign`` are after ``expand``), and ``weights(...).deltas`` the five
    numbers they came from.

    Example:
        >>> import torch, roikit
        >>> x, boxes = torch.rand(1, 4, 16, 16), [torch.tensor([[4.0, 4.0, 12.0, 10.0]])]
        >>> pool = roikit.RoITransformer(4, output_size=3)
        >>> pool.weights(x, boxes).rotated.tolist()
        [[8.0, 7.0, 8.0, 6.0, 0.0]]
    """

    paper = "Ding et al., RoI Transformer, 2019"
    differentiable_in_boxes = True

    def __init__(
        self,
        channels: int,
        output_size: int | Sequence[int] = 7,
        sampling_ratio: int = 2,
        enlarge: tuple[float, float] = (1.2, 1.4),
        stds: Sequence[float] = (0.1, 0.1, 0.2, 0.2, 0.1),
        expand: float = 1.0,
    ) -> None:
        super().__init__(output_size, expand)
        if channels < 1:
            raise ValueError(f"channels is the number of channels of the feature maps, not {channels}")
        if sampling_ratio < 1:
            raise ValueError(f"sampling_ratio is the number of samples per bin and axis, not {sampling_ratio}")
        if not isinstance(enlarge, Sequence) or len(enlarge) != 2 or not all(0 < f < float("inf") for f in enlarge):
            raise ValueError(f"enlarge must be two positive factors, of the width and the height, not {enlarge!r}")
        if not isinstance(stds, Sequence) or len(stds) != 5 or not all(0 < std < float("inf") for std in stds):
            raise ValueError(f"stds must be five positive numbers, of dx, dy, dw, dh and dθ, not {stds!r}")
        self.channels = channels
        self.sampling_ratio = sampling_ratio
        self.enlarge = (float(enlarge[0]), float(enlarge[1]))
        self.stds = tuple(float(std) for std in stds)
        self.predict = starts_at_zero(nn.Linear(channels * self.output_size[0] * self.output_size[1], 5))

    def weights(self, features: Maps, boxes: Boxes, spatial_scale: Scale | Sequence[Scale] = 1.0) -> Points:
        rois, cells = self.locate(features, boxes, spatial_scale)
        self.check_channels(as_maps(features))
        axes = geometry.axes(geometry.corners(cells, 0.5), self.output_size, "hat", self.sampling_ratio)
        flat = Separable(*axes, rois).pool(features).flatten(1)
        deltas = self.predict(flat.to(self.predict.weight.dtype)).to(cells.dtype)
        found = self.decode(rois.boxes, deltas)
        pooled = rotated.enlarge(found, *self.enlarge)
        points = rotated_points(features, rois, pooled, spatial_scale, self.output_size, self.sampling_ratio)
        return dataclasses.replace(points, rotated=found, deltas=deltas)

    def decode(self, boxes: Tensor, deltas: Tensor) -> Tensor:
        """Rotated boxes ``Tensor[R, 5]`` from upright ones ``Tensor[R, 4]`` and the five predicted numbers."""
        cx, cy, w, h, _ = rotated.of_boxes(boxes).unbind(1)
        dx, dy, dw, dh, turn = (deltas * constant(self.stds, deltas.dtype, deltas.device)).unbind(1)
        grown = [side * delta.clamp(max=LONGEST).exp() for side, delta in ((w, dw), (h, dh))]
        return torch.stack([cx + dx * w, cy + dy * h, *grown, turn * (2 * math.pi)], 1)

    def encode(self, boxes: Tensor, oriented: Tensor) -> Tensor:
        """The five numbers ``Tensor[R, 5]`` that make upright boxes ``Tensor[R, 4]`` into oriented ones.

        The inverse of ``decode``: θ is taken modulo 2π into [-π, π), so that a small turn either way is a small number.

        Args:
            boxes: (x1, y1, x2, y2) in image pixels, with an area.
            oriented: ``Tensor[R, 5]``, (cx, cy, w, h, θ) in image pixels and radians, with an area.

        Raises:
            ValueError: wrong shapes, or a box without area, by number.
        """
        check_shape(boxes, 4, "boxes")
        check_shape(oriented, 5, "oriented", f"rows {rotated.ROW}")
        if boxes.shape[0] != oriented.shape[0]:
            raise ValueError(f"{oriented.shape[0]} oriented boxes for {boxes.shape[0]} boxes: one for each, in order")
        cx, cy, w, h, _ = rotated.of_boxes(boxes).unbind(1)
        for name, table, sides in (("box", boxes, (w, h)), ("oriented box", oriented, oriented[:, 2:4].unbind(1))):
            empty = ~((sides[0] > 0) & (sides[1] > 0))
            if modes.readable(table) and bool(empty.any()):
                raise_first(empty, table, f"is an {name} without area: leave it out".replace("an box", "a box"))
        x, y, width, height, angle = oriented.to(boxes.dtype).unbind(1)
        turn = torch.remainder(angle + math.pi, 2 * math.pi) - math.pi
        numbers = [(x - cx) / w, (y - cy) / h, (width / w).log(), (height / h).log(), turn / (2 * math.pi)]
        return torch.stack(numbers, 1) / constant(self.stds, boxes.dtype, boxes.device)

    def loss(self, weights: Points, oriented: Tensor, positive: Tensor | None = None) -> Tensor:
        """The smooth L1 distance between the predicted numbers and those of oriented boxes, added up over the five.

        Args:
            weights: what ``weights`` returned for these RoIs.
            oriented: ``Tensor[R, 5]``, the oriented box that each RoI should become; rows of others are not read.
            positive: bool ``Tensor[R]``, which RoIs have one; ``None``: all.

        Returns:
            The mean over the positive RoIs; 0, with a gradient of 0, where there is none.
        """
        deltas = getattr(weights, "deltas", None)
        if deltas is None:
            raise ValueError("these weights hold no predicted boxes: pass what RoITransformer.weights returned")
        boxes = weights.rois.boxes.detach()
        if positive is not None:
            if positive.dtype != torch.bool or positive.shape != boxes.shape[:1]:
                raise ValueError(
                    f"positive must be a bool Tensor[{boxes.shape[0]}], one for each RoI, but it is {positive.dtype} "
                    f"{list(positive.shape)}"
                )
            boxes, deltas, oriented = boxes[positive], deltas[positive], oriented[positive]
        target = self.encode(boxes, oriented).to(deltas.dtype)
        return nn.functional.smooth_l1_loss(deltas, target, reduction="sum") / max(boxes.shape[0], 1)

    def settings(self) -> dict[str, object]:
        return {
            "channels": self.channels,
            "sampling_ratio": self.sampling_ratio,
            "enlarge": self.enlarge,
            "stds": self.stds,
        }
