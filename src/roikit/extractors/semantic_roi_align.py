"""Semantic RoI Align."""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt
from typing import Literal

import torch
from torch import Tensor

from .. import geometry, modes
from ..boxes import Scale
from ..geometry import dynamic_grid, pair
from ..geometry.dynamic_grid import Cells
from ..layers.area_embedding import AreaEmbedding, RelativePosition
from ..layers.semantic_masks import SemanticMasks
from ..sums.maps import Maps, as_maps
from ..weights import Composed, Separable, ShiftedBins
from .base import Boxes, RegionExtractor


class SemanticRoIAlign(RegionExtractor):
    """Semantic RoI Align (Yang et al., AAAI 2024): each part is a learned mask over the RoI, wherever its object lies.

    The Dynamic Feature Sampler cuts the RoI into h × w cells, h·w ≤ ``max_cells``, of which h/w is closest to the RoI's
    ratio (Eq. 5); a cell's feature F(p) is the exact mean of the features in it, of what lies on the map. A mask says
    how much each cell belongs to a semantic part: softmax over p of γ · φ([d, S_p, P_p]) (Eqs. 2-4), with a descriptor
    d of the RoI, semantic features S, and Area Embedding P (Eq. 6). A part is y_i = Σ_p mask_i(p) · F(p) (Eq. 1).

    The masks are ``weights(...).outer``, ``Tensor[R, N, max_cells]``: over the cells in raster order, then zeros. Sides
    of a RoI count as at least 1e-3 feature cells. Gradients to the boxes are those of the cells; the choice of the
    grid is piecewise constant in them.

    Args:
        channels: C, of the feature maps.
        masks: N. A square number gives a square grid of parts, any head for RoI Align takes it; another N × 1.
        max_cells: S (Table 5).
        semantic_channels: C_s; ``None``: as ``channels``.
        descriptor_channels: C_d.
        position_channels: C_p.
        gamma: γ, sharpens the masks (Table 3); 0 makes all of them the mean.
        descriptor: what d is a linear layer of: the "mean" or "max" of the cells, or "concat", all of them, for a fixed
            grid (Table 3); ``None``: without d (Table 2).
        semantic: whether S is there (Table 2).
        position: "area"; "position", the cell's centre (Eq. 4); ``None``: without P (Table 2).
        sampler: "dynamic", or one grid (h, w) for every RoI, which needs no ``max_cells`` (Table 5).
        expand: area factor of the RoI.

    Example:
        >>> import torch, roikit
        >>> pool = roikit.SemanticRoIAlign(8)
        >>> boxes = [torch.tensor([[16.0, 16.0, 96.0, 64.0]])]
        >>> pool(torch.rand(1, 8, 12, 16), boxes, 1 / 16).shape
        torch.Size([1, 8, 7, 7])
        >>> masks = pool.weights(torch.rand(1, 8, 12, 16), boxes, 1 / 16).outer
        >>> masks.shape, bool(torch.allclose(masks.sum(2), torch.ones(1, 49)))
        (torch.Size([1, 49, 64]), True)
    """

    paper = "Yang et al., Semantic-Aware Transformation-Invariant RoI Align, 2024"
    differentiable_in_boxes = True
    among: Tensor

    def __init__(
        self,
        channels: int,
        masks: int = 49,
        max_cells: int = 64,
        semantic_channels: int | None = None,
        descriptor_channels: int = 128,
        position_channels: int = 48,
        gamma: float = 50.0,
        descriptor: Literal["mean", "max", "concat"] | None = "mean",
        semantic: bool = True,
        position: Literal["area", "position"] | None = "area",
        sampler: Literal["dynamic"] | Sequence[int] = "dynamic",
        expand: float = 1.0,
    ) -> None:
        sizes = {"channels": channels, "masks": masks, "max_cells": max_cells}
        sizes |= {"descriptor_channels": descriptor_channels, "position_channels": position_channels}
        if semantic_channels is not None:
            sizes["semantic_channels"] = semantic_channels
        for name, size in sizes.items():
            if size < 1:
                raise ValueError(f"{name} must be at least 1, not {size}")
        if descriptor not in ("mean", "max", "concat", None):
            raise ValueError(f'descriptor must be "mean", "max", "concat" or None, not {descriptor!r}')
        if position not in ("area", "position", None):
            raise ValueError(f'position must be "area", "position" or None, not {position!r}')
        if descriptor is None and not semantic and position is None:
            raise ValueError("descriptor, semantic and position are all off: masks need one of them")
        if not 0 <= gamma < float("inf"):
            raise ValueError(f"gamma must be a number of at least 0, not {gamma!r}")
        if isinstance(sampler, str) and sampler != "dynamic":
            raise ValueError(f'sampler must be "dynamic" or a grid (h, w), not {sampler!r}')
        if descriptor == "concat" and sampler == "dynamic":
            raise ValueError('descriptor="concat" needs a fixed grid, sampler=(h, w): a RoI has ever another number of '
                             "cells with the dynamic one")  # fmt: skip
        side = isqrt(masks)
        super().__init__((side, side) if side * side == masks else (masks, 1), expand)
        self.channels, self.masks = channels, masks
        self.fixed = None if isinstance(sampler, str) else pair(sampler)
        self.max_cells = self.fixed[0] * self.fixed[1] if self.fixed else max_cells
        self.position = position
        self.register_buffer("among", dynamic_grid.grids(self.max_cells), persistent=False)
        embed: AreaEmbedding | RelativePosition | None = None
        if position is not None:
            longest = max(self.fixed) if self.fixed else max_cells
            embed = AreaEmbedding(longest) if position == "area" else RelativePosition()
        self.attention = SemanticMasks(
            channels,
            masks,
            semantic=(semantic_channels or channels) if semantic else 0,
            descriptor=descriptor_channels if descriptor else 0,
            reduce=descriptor or "mean",
            places=self.max_cells,
            position=embed,
            position_channels=position_channels,
            gamma=float(gamma),
        )

    def weights(self, features: Maps, boxes: Boxes, spatial_scale: Scale | Sequence[Scale] = 1.0) -> Composed:
        maps = as_maps(features)
        self.check_channels(maps)
        rois, cells = self.locate(features, boxes, spatial_scale)
        box = dynamic_grid.at_least(geometry.corners(cells, 0.5))
        grid = self.cells(box)
        inner: Separable | ShiftedBins
        if self.fixed:
            inner = Separable(*geometry.axes(box, self.fixed, "inside"), rois)
        else:
            inner = ShiftedBins(*dynamic_grid.axes(box, grid, "inside"), rois, (self.max_cells, 1))
        wide = [x.to(cells.dtype) for x in maps]  # half types are rounded once, at the end
        if not modes.transformed():  # as the layers read them: neither the maps nor the cells are turned twice
            wide = [x.contiguous(memory_format=torch.channels_last) for x in wide]
        sampled = inner.pool(wide)
        rows = sampled.flatten(2).transpose(1, 2).to(self.attention.first.weight.dtype)  # [R, S, C]
        return Composed(self.attention(rows, grid).to(cells.dtype), inner, self.output_size, sampled, features)

    def cells(self, box: geometry.Geometry) -> Cells:
        """Each RoI's grid, for RoIs in feature cells."""
        if self.fixed:
            height, width = (torch.full_like(box[0], side, dtype=torch.int64) for side in self.fixed)
        else:
            height, width = dynamic_grid.choose(box[1], box[3], self.among)
        return Cells.of(height, width, self.max_cells)

    def settings(self) -> dict[str, object]:
        layer = self.attention
        return {
            "channels": self.channels,
            "masks": self.masks,
            **({} if self.fixed else {"max_cells": self.max_cells}),
            "gamma": layer.gamma,
            "descriptor": layer.reduce if layer.descriptor is not None else None,
            "semantic": layer.semantic is not None,
            "position": self.position,
            "sampler": self.fixed or "dynamic",
        }
