"""Weights made of other weights: parts that are mixtures of already sampled bins, and several grids side by side."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from ..sums.exact import exact
from ..sums.maps import Maps, as_maps, geometry_dtype
from .base import RegionWeights
from .reuse import still_holds, versions


@dataclasses.dataclass(frozen=True)
class Composed(RegionWeights):
    """Each part is a mixture of the bins of a grid that is sampled first: w = outer @ inner.

    Args:
        outer: ``Tensor[R, N, K]``, how much each of K sampled bins counts in each of N parts.
        inner: the weights of the K bins.
        grid: (h, w) of the parts, N = h·w.
        sampled, source: the bins ``Tensor[R, C, …]`` (K in all, no half type) that choosing ``outer`` has already
            sampled, and the features they were sampled from: of ``source``, ``pool`` does not sample them again.
    """

    outer: Tensor
    inner: RegionWeights
    grid: tuple[int, int]
    sampled: Tensor | None = None
    source: Maps | None = None
    versions: tuple[int, ...] | None = dataclasses.field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        object.__setattr__(self, "versions", versions(self.source))

    def pool(self, features: Maps) -> Tensor:
        maps = as_maps(features)
        if self.sampled is not None and still_holds(self.sampled, features, self.source, self.versions):
            sampled = self.sampled
        else:
            sampled = self.inner.pool([x.to(geometry_dtype(x)) for x in maps])  # half types are rounded once, below
        return self._mix(self.outer.to(sampled.dtype), sampled.flatten(2)).to(maps[0].dtype).unflatten(2, self.grid)

    @staticmethod
    @exact
    def _mix(outer: Tensor, sampled: Tensor) -> Tensor:
        return torch.einsum("rnk,rck->rcn", outer, sampled)

    def dense(self, height: int, width: int) -> Tensor:
        inner = self.inner.dense(height, width)
        return torch.einsum("rnk,rgkvu->rgnvu", self.outer.to(inner.dtype), inner)


@dataclasses.dataclass(frozen=True)
class Stacked(RegionWeights):
    """The parts of several weights, one after the other, as a column: ``Tensor[R, C, K, 1]`` (spatial pyramids)."""

    levels: tuple[RegionWeights, ...]

    def pool(self, features: Maps) -> Tensor:
        return torch.cat([level.pool(features).flatten(2) for level in self.levels], 2).unsqueeze(3)

    def dense(self, height: int, width: int) -> Tensor:
        found = [level.dense(height, width) for level in self.levels]
        groups = max(d.shape[1] for d in found)
        return torch.cat([d.expand(-1, groups, -1, -1, -1) for d in found], 2)
