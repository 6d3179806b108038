"""Weights that are a softmax over the cells of a map."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

from ..boxes import Rois
from ..sums.attention import Samples, attention_pool, reference
from ..sums.maps import Maps, as_maps
from .base import RegionWeights


@dataclasses.dataclass(frozen=True)
class Attention(RegionWeights):
    """w_k(p) = softmax over p = (v, u) of rows_k(v) + cols_k(u) + bias_k(p): learned region features (LRF Eq. 7).

    Args:
        rows, cols: ``Tensor[R, K, H]`` and ``Tensor[R, K, W]``, logits of the rows and columns of each RoI's own map;
            with several levels as wide as the largest one. -∞ leaves a row or column out: supports that are boxes, the
            padding of an image, what a smaller map does not have.
        rois: which image and level each region is read from.
        grid: (h, w) of the parts, K = h·w.
        bias: a map of logits that all regions of an image share, ``Tensor[B, K, H, W]``, one per level where there are
            several; ``None`` is 0.
        samples: the cells that each region reads; ``None``: all of its map.

    R × K × H × W weights are never stored by ``pool``, forward or backward; ``dense`` stores them.

    Example:
        >>> import torch, roikit
        >>> rois = roikit.Rois.of([torch.zeros(1, 4)], batch_size=1)
        >>> inside = torch.tensor([[[-torch.inf, 0.0, 0.0]]])
        >>> weights = Attention(inside, torch.zeros(1, 1, 2), rois, grid=(1, 1))
        >>> weights.dense(3, 2)[0, 0, 0]
        tensor([[0.0000, 0.0000],
                [0.2500, 0.2500],
                [0.2500, 0.2500]])
    """

    rows: Tensor
    cols: Tensor
    rois: Rois
    grid: tuple[int, int]
    bias: Tensor | Sequence[Tensor] | None = None
    samples: Samples | None = None

    def pool(self, features: Maps) -> Tensor:
        out = attention_pool(as_maps(features), self.rois, self.rows, self.cols, self._biases(), self.samples)
        return out.unflatten(2, self.grid)

    def dense(self, height: int, width: int) -> Tensor:
        """``Tensor[R, 1, K, height, width]``; a region's own map is cut to this size, or 0 is put beyond it."""
        bias = None
        for at, level in enumerate(self._biases()):
            mine = self._fitted(level, self.rows.shape[2], self.cols.shape[2], -torch.inf)[self.rois.batch]
            here = (self.rois.level == at)[:, None, None, None]
            bias = torch.where(here, mine, torch.zeros_like(mine) if bias is None else bias)
        return self._fitted(reference.weights(self.rows, self.cols, bias, self.samples), height, width, 0.0).unsqueeze(
            1
        )

    def terms(self) -> dict[str, Attention]:
        """The softmax of "geometry" (rows and columns), of "appearance" (the bias), and of both ("all"), on the same
        cells (LRF Figure 2b). Without a bias, or with rows and columns that are 0, "all" is alone.

        Example:
            >>> import torch, roikit
            >>> rois = roikit.Rois.of([torch.zeros(1, 4)], batch_size=1)
            >>> rows, cols, bias = torch.tensor([[[0.0, 9.0]]]), torch.zeros(1, 1, 2), torch.zeros(1, 1, 2, 2)
            >>> terms = Attention(rows, cols, rois, (1, 1), bias).terms()
            >>> [name for name in terms], terms["appearance"].dense(2, 2)[0, 0, 0, 0]
            (['geometry', 'appearance', 'all'], tensor([0.2500, 0.2500]))
        """
        placed = any(bool(((x != 0) & (x != -torch.inf)).any()) for x in (self.rows, self.cols))
        if self.bias is None or not placed:
            return {"all": self}
        rows, cols = (torch.where(x == -torch.inf, x, 0.0) for x in (self.rows, self.cols))
        return {
            "geometry": dataclasses.replace(self, bias=None),
            "appearance": dataclasses.replace(self, rows=rows, cols=cols),
            "all": self,
        }

    def whole(self) -> Attention:
        """The softmax over the whole support, of which ``samples`` are a part."""
        return self if self.samples is None else dataclasses.replace(self, samples=self.samples.all())

    def _biases(self) -> list[Tensor]:
        return [] if self.bias is None else [self.bias] if isinstance(self.bias, Tensor) else list(self.bias)

    @staticmethod
    def _fitted(x: Tensor, height: int, width: int, beyond: float) -> Tensor:
        """[..., H, W] cut, or filled up, to [..., height, width]."""
        x = x[..., :height, :width]
        return pad(x, (0, width - x.shape[-1], 0, height - x.shape[-2]), value=beyond)
