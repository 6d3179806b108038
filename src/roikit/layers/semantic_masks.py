"""SRA's semantic attention: which cells of a RoI belong to each of its semantic parts."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from .. import modes
from ..geometry.dynamic_grid import Cells
from ..sums.exact import exact
from .area_embedding import AreaEmbedding, RelativePosition

BLOCK = 32  # RoIs a CPU works on at a time where no gradient is wanted: what lies between two layers stays in its cache


class SemanticMasks(nn.Module):
    """Masks over the cells of each RoI (SRA Eqs. 2-4): softmax over cells p of γ · φ([d, S_p, P_p]).

    d describes the RoI: a linear layer of its reduced features. S_p is a linear layer of the cell's features, P_p one
    of its position. φ is (Norm-ReLU-Linear)×2 with 256 channels between, shared by all masks but for its last rows.
    Norm is LayerNorm over d, S and P each on its own, so the first linear layer is a sum of three, and d's share in it
    is computed once for each RoI.

    Args:
        channels: of the features.
        masks: N.
        semantic: channels of S, or 0: without it.
        descriptor: channels of d, or 0: without it.
        reduce: what d reads: the "mean" or "max" of the cells, or all of them ("concat", for one fixed grid).
        places: S, cells of a grid at most.
        position: the embedding of a cell's place, ``None``: without it.
        position_channels: of P.
        gamma: γ.
        hidden: channels between.
    """

    def __init__(
        self,
        channels: int,
        masks: int,
        semantic: int,
        descriptor: int,
        reduce: str,
        places: int,
        position: AreaEmbedding | RelativePosition | None,
        position_channels: int,
        gamma: float,
        hidden: int = 256,
    ) -> None:
        super().__init__()
        self.gamma, self.reduce = gamma, reduce
        self.embed = position
        read = channels * places if reduce == "concat" else channels
        self.descriptor = nn.Linear(read, descriptor) if descriptor else None
        self.semantic = nn.Linear(channels, semantic) if semantic else None
        self.position = nn.Linear(position.channels, position_channels) if position is not None else None
        parts = (self.descriptor, self.semantic, self.position)
        self.norms = nn.ModuleList(nn.LayerNorm(part.out_features) for part in parts if part is not None)
        self.first = nn.Linear(sum(part.out_features for part in parts if part is not None), hidden)
        self.norm = nn.LayerNorm(hidden)
        # No bias: the softmax cancels it. A wider start would make masks of one cell each at γ = 50.
        self.last = nn.Linear(hidden, masks, bias=False)
        nn.init.normal_(self.last.weight, std=0.01)

    def forward(self, features: Tensor, cells: Cells) -> Tensor:
        """Masks ``Tensor[R, N, S]`` that sum to 1 over the cells, 0 at places without one.

        Args:
            features: ``Tensor[R, S, C]``, 0 at places without a cell, in the layers' dtype.
            cells: of each RoI's grid.
        """
        whole = features.device.type != "cpu" or torch.is_grad_enabled() or modes.compiling()
        if whole or modes.transformed() or features.shape[0] <= BLOCK:
            return _masks(features, cells, self)
        parts = zip(features.split(BLOCK), cells.split(BLOCK), strict=True)
        return torch.cat([_masks(some, theirs, self) for some, theirs in parts])

    def describe(self, features: Tensor, cells: Cells) -> Tensor:
        """What d is made of: ``Tensor[R, C]``, or ``Tensor[R, S·C]`` for "concat"."""
        if self.reduce == "concat":
            return features.flatten(1)
        if self.reduce == "max":
            return features.masked_fill(~cells.exists[..., None], -torch.inf).amax(1)
        return features.sum(1) / (cells.height * cells.width)[:, None].to(features.dtype)


@exact  # γ multiplies every rounding, so the layers run in their own precision also under autocast
def _masks(features: Tensor, cells: Cells, layer: SemanticMasks) -> Tensor:
    parts: list[Tensor] = []  # [R, 1 or S, channels]
    if layer.descriptor is not None:
        parts.append(layer.descriptor(layer.describe(features, cells))[:, None])
    if layer.semantic is not None:
        parts.append(layer.semantic(features))
    if layer.position is not None and layer.embed is not None:
        parts.append(layer.position(layer.embed(cells, features.dtype)))
    weights = layer.first.weight.split([part.shape[2] for part in parts], 1)
    found: Tensor = layer.first.bias
    for part, norm, weight in zip(parts, layer.norms, weights, strict=True):
        found = found + linear(norm(part).relu_(), weight)
    logits = layer.gamma * layer.last(layer.norm(found).relu_())  # [R, 1 or S, N]
    outside = ~cells.exists[..., None]
    return logits.expand(-1, cells.exists.shape[1], -1).masked_fill(outside, -torch.inf).softmax(1).transpose(1, 2)
