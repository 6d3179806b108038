"""What every kind of weights can do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from torch import Tensor

from ..sums.maps import Maps


class RegionWeights(ABC):
    """w_k(b, p) of y_k(b) = Σ_p w_k(b, p) x(p) (LRF Eq. 2), for R regions of K = h·w parts."""

    @abstractmethod
    def pool(self, features: Maps) -> Tensor:
        """The weighted sums: ``Tensor[R, C, h, w]`` from ``Tensor[B, C, H, W]``, or from one map per level."""

    @abstractmethod
    def dense(self, height: int, width: int) -> Tensor:
        """The weights written out: ``Tensor[R, G, K, height, width]``, G = 1 or, where channels differ, C."""

    def terms(self) -> Mapping[str, RegionWeights]:
        """The weights that each of their terms makes alone, by its name, and last, as "all", these weights.

        Most kinds have one term: ``{"all": self}``.
        """
        return {"all": self}

    def whole(self) -> RegionWeights:
        """The same weights on every cell that they are defined on, where only some of them are read (sampled).

        Most kinds read all of theirs: these weights themselves.
        """
        return self
