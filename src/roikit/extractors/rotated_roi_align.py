"""RoI Align of rotated boxes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ..boxes import Rois, Scale
from ..geometry import rotated
from ..geometry.rotated_adaptive import in_groups, put_back
from ..sums.maps import Maps, as_maps, cells_of
from ..weights import Points
from .base import Boxes, RegionExtractor, each_scale


class RotatedRoIAlign(RegionExtractor):
    """Rotated RoI Align (Ding et al., RoI Transformer, CVPR 2019): the mean of bilinear samples in the bins of a turned
    box.

    A rotated box is (cx, cy, w, h, θ): centre and sides in image pixels, θ in radians, counter-clockwise as one sees
    the image. The sample (u, v) of its own frame lies at (cx + u·cosθ + v·sinθ, cy + v·cosθ - u·sinθ) in the image;
    the first row of bins runs along the side that is the upper one at θ = 0. θ = 0 is ``RoIAlign(aligned=True)``.

    Args:
        output_size: the grid of bins, h along the box's height and w along its width.
        sampling_ratio: samples per bin and axis; ≤ 0 takes ⌈bin size in cells⌉ of them, as many as each RoI needs on
            each axis (not where the graph is compiled or exported: their number depends on the boxes).
        expand: area factor of the RoI; both sides grow by its root.

    ``forward`` and ``weights`` take ``rotated_boxes=``: ``Tensor[R, 6]`` with rows (batch index, cx, cy, w, h, θ), or a
    list of ``Tensor[N_i, 5]``, one per image; ``boxes`` may then be ``None``. With ``boxes`` it may be
    ``Tensor[R, 5]``, and boxes say only each RoI's image and, as ``Rois``, its level. Without it the boxes are upright.
    The result is differentiable in all five numbers of a box.

    ``weights(...).rotated`` is ``Tensor[R, 5]``, the boxes that are pooled, in image pixels: after ``expand``. Weights
    hold as many points for every RoI as the largest needs, and refuse more than memory holds; ``forward`` with adaptive
    sampling pools large RoIs apart from small ones, and refuses a RoI that is too large on its own.

    Example:
        >>> import torch, roikit
        >>> x = 2 * torch.arange(16.0).reshape(1, 1, 4, 4)
        >>> box = torch.tensor([[2.0, 2.0, 4.0, 4.0, torch.pi / 2]])
        >>> roikit.RotatedRoIAlign(2, sampling_ratio=1)(x, None, rotated_boxes=[box]).round()
        tensor([[[[21.,  5.],
                  [25.,  9.]]]])
    """

    paper = "Ding et al., RoI Transformer, 2019"
    differentiable_in_boxes = True
    extras = ("rotated_boxes",)

    def __init__(self, output_size: int | Sequence[int] = 7, sampling_ratio: int = 2, expand: float = 1.0) -> None:
        super().__init__(output_size, expand)
        self.sampling_ratio = sampling_ratio

    def weights(
        self,
        features: Maps,
        boxes: Boxes | None,
        spatial_scale: Scale | Sequence[Scale] = 1.0,
        rotated_boxes: Tensor | Sequence[Tensor] | None = None,
    ) -> Points:
        rois, turned = self._read(features, boxes, spatial_scale, rotated_boxes)
        return rotated_points(features, rois, turned, spatial_scale, self.output_size, self.sampling_ratio)

    def forward(
        self,
        features: Maps,
        boxes: Boxes | None,
        spatial_scale: Scale | Sequence[Scale] = 1.0,
        **extras: Any,
    ) -> Tensor:
        if self.sampling_ratio > 0 or set(extras) - set(self.extras):  # which the base refuses
            return super().forward(features, boxes, spatial_scale, **extras)  # type: ignore[arg-type]  # None is refused
        rois, turned = self._read(features, boxes, spatial_scale, **extras)
        return pool_rotated(features, rois, turned, spatial_scale, self.output_size, self.sampling_ratio)

    def _read(
        self,
        features: Maps,
        boxes: Boxes | None,
        spatial_scale: Scale | Sequence[Scale],
        rotated_boxes: Tensor | Sequence[Tensor] | None = None,
    ) -> tuple[Rois, Tensor]:
        """The RoIs, and the rotated boxes ``Tensor[R, 5]`` that are pooled."""
        turned = None
        if rotated_boxes is None and isinstance(boxes, Tensor) and boxes.ndim == 2 and boxes.shape[1] == 6:
            raise ValueError(
                f"boxes are upright, a Tensor[R, 5], but the shape is {list(boxes.shape)}: rotated boxes, with rows "
                "(batch index, cx, cy, w, h, θ), go into rotated_boxes="
            )
        if rotated_boxes is not None:
            maps = as_maps(features)
            boxes, turned = rotated.read(rotated_boxes, boxes, maps[0].shape[0], len(maps))
        rois, _ = self.locate(features, boxes, spatial_scale)  # type: ignore[arg-type]  # which refuses None
        if turned is None:
            turned = rotated.of_boxes(rois.boxes)
        else:
            if turned.device != rois.boxes.device:
                raise ValueError(
                    f"rotated_boxes are on {turned.device} but the features are on {rois.boxes.device}: move them"
                )
            turned = rotated.enlarge(turned.to(rois.boxes.dtype), self.expand**0.5, self.expand**0.5)
        return rois, turned

    def settings(self) -> dict[str, object]:
        return {"sampling_ratio": self.sampling_ratio}


def rotated_points(
    features: Maps,
    rois: Rois,
    turned: Tensor,
    spatial_scale: Scale | Sequence[Scale],
    grid: tuple[int, int],
    sampling_ratio: int,
    shift: float = 0.5,
) -> Points:
    """The sample points of rotated boxes ``Tensor[R, 5]`` in image pixels, of RoIs that ``locate`` has checked.

    Args:
        shift: of the box, in cells, towards the first: ½ is RoI Align's pixel model.
    """
    each = rotated.scales_of(each_scale(features, spatial_scale), rois.level, turned)
    cells = cells_of([x.shape for x in as_maps(features)], rois.level)
    points, weights = rotated.points(turned, each, cells, grid, sampling_ratio, shift)
    return Points(points, weights, rois, grid, rotated=turned)


def pool_rotated(
    features: Maps,
    rois: Rois,
    turned: Tensor,
    spatial_scale: Scale | Sequence[Scale],
    grid: tuple[int, int],
    sampling_ratio: int,
    shift: float = 0.5,
) -> Tensor:
    """``rotated_points`` pooled, adaptive samples in groups of RoIs that memory holds together."""
    scales = rotated.scales_of(each_scale(features, spatial_scale), rois.level, turned)
    cells = cells_of([x.shape for x in as_maps(features)], rois.level)
    groups = in_groups(turned, scales, cells, grid, sampling_ratio, shift)

    def pooled(some: Rois, boxes: Tensor) -> Tensor:
        return rotated_points(features, some, boxes, spatial_scale, grid, sampling_ratio, shift).pool(features)

    if not groups:
        return pooled(rois, turned)
    return put_back([pooled(Rois(rois.boxes[i], rois.batch[i], rois.level[i]), turned[i]) for i in groups], groups)
