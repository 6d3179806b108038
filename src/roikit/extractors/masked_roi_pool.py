"""Masked RoI pooling."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from .. import modes
from ..boxes import Scale
from ..sums.maps import Maps, as_maps
from ..weights import Separable
from .base import Boxes, RegionExtractor
from .roi_pool import RoIPool
from .roi_warp import RoIWarp


class MaskedRoIPool(RegionExtractor):
    """Masked RoI pooling (Dai et al., Multi-task Network Cascades, CVPR 2016): bins outside a mask are 0.

    The weights of a bin are those of the rule times its mask: they do not sum to 1 where the mask is not 1.

    Args:
        output_size: the grid of bins, and of the masks.
        rule: "average" (RoI Pooling's mean) or "warp" (RoI Warping, with a gradient to the box, as in the paper).
        expand: area factor of the RoI.

    ``forward`` and ``weights`` take ``masks=``: ``Tensor[R, h, w]``, or a list of ``Tensor[N_i, h, w]``, one per image;
    bool or factors, differentiable. Without it every bin counts.

    Example:
        >>> import torch, roikit
        >>> x = torch.arange(16.0).reshape(1, 1, 4, 4)
        >>> left = torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])
        >>> roikit.MaskedRoIPool(2)(x, [torch.tensor([[0.0, 0.0, 3.0, 3.0]])], masks=left)
        tensor([[[[ 2.5000,  0.0000],
                  [10.5000,  0.0000]]]])
    """

    paper = "Dai et al., Multi-task Network Cascades, 2016"
    extras = ("masks",)

    def __init__(
        self,
        output_size: int | Sequence[int] = 7,
        rule: Literal["average", "warp"] = "average",
        expand: float = 1.0,
    ) -> None:
        super().__init__(output_size, expand)
        if rule not in ("average", "warp"):
            raise ValueError(f'rule must be "average" or "warp", not {rule!r}')
        self.rule = rule
        self.whole: RoIPool | RoIWarp = (
            RoIPool(output_size, "average", expand=expand) if rule == "average" else RoIWarp(output_size, expand=expand)
        )
        self.differentiable_in_boxes = rule == "warp"

    def weights(
        self,
        features: Maps,
        boxes: Boxes,
        spatial_scale: Scale | Sequence[Scale] = 1.0,
        masks: Tensor | Sequence[Tensor] | None = None,
    ) -> Separable:
        weights = self.whole.weights(features, boxes, spatial_scale)
        assert isinstance(weights, Separable)
        if masks is None:
            return weights
        if not isinstance(masks, Tensor):
            masks = self._by_image(masks, weights.rois.batch, as_maps(features)[0].shape[0])
        self._check(masks, "masks", weights.rois.batch.shape[0])
        device = weights.rois.boxes.device
        if masks.device != device:
            raise ValueError(f"masks are on {masks.device} but the features are on {device}: move one of them")
        return dataclasses.replace(weights, amplitude=masks.to(weights.rois.boxes.dtype))

    def _check(self, masks: object, name: str, count: int | None) -> None:
        if not isinstance(masks, Tensor):
            given = type(masks).__name__
        elif masks.shape != (masks.shape[0] if count is None else count, *self.output_size):
            given = f"{list(masks.shape)}"
        elif masks.dtype.is_complex:
            given = f"{masks.dtype}"
        else:
            return  # before any text is made: a number of RoIs that is a symbol would become a constant in it
        shape = f"Tensor[{'N' if count is None else count}, {self.output_size[0]}, {self.output_size[1]}]"
        raise ValueError(f"{name} must be a {shape}, a mask for each RoI, bool or real factors, but it is {given}")

    def _by_image(self, masks: Sequence[Tensor], batch: Tensor, images: int) -> Tensor:
        """One tensor from one for each image, whose RoIs must lie in that order."""
        if not isinstance(masks, Sequence) or len(masks) != images:
            given = f"a list of {len(masks)}" if isinstance(masks, Sequence) else type(masks).__name__
            raise ValueError(
                f"masks must be one tensor, or a list with one for each of the {images} images, not {given}"
            )
        for i, one in enumerate(masks):
            self._check(one, f"masks[{i}]", None)
        if not images:
            return torch.zeros(0, *self.output_size, device=batch.device)
        owner = torch.cat([torch.full((m.shape[0],), i, device=batch.device) for i, m in enumerate(masks)])
        if modes.readable(batch) and not torch.equal(owner, batch):
            raise ValueError(
                f"masks has {[m.shape[0] for m in masks]} for the images, but the images of the RoIs are "
                f"{batch.tolist()[:20]}: give as many for each image as it has boxes, in their order, or one tensor"
            )
        return torch.cat(list(masks))

    def settings(self) -> dict[str, object]:
        return {"rule": self.rule}
