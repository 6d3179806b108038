"""RoI Align followed by one self-attention layer."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ..boxes import Scale
from ..layers.self_attention import SelfAttention, over_cells
from ..sums.maps import Maps, as_maps
from ..weights import Composed, RegionWeights, Separable
from .base import Boxes
from .roi_align import RoIAlign


class SelfAttentionRoIAlign(RoIAlign):
    """RoI Align through a standard multi-head self-attention layer ("w/ SA" of Yang et al., AAAI 2024, Table 1).

    What the paper compares Semantic RoI Align with: attention among the cells that RoI Align has sampled, without a
    residual connection. Its sizes are not in the paper. ``weights`` are those of RoI Align.

    Args:
        channels: of the feature maps, a multiple of ``heads``.
        output_size: the grid of bins.
        heads: of the attention.
        sampling_ratio, expand: as ``RoIAlign``.

    Example:
        >>> import torch, roikit
        >>> pool = roikit.SelfAttentionRoIAlign(16)
        >>> pool(torch.rand(1, 16, 12, 16), [torch.tensor([[16.0, 16.0, 96.0, 64.0]])], 1 / 16).shape
        torch.Size([1, 16, 7, 7])
    """

    paper = "Yang et al., Semantic-Aware Transformation-Invariant RoI Align, 2024 (w/ SA)"

    def __init__(
        self,
        channels: int,
        output_size: int | Sequence[int] = 7,
        heads: int = 8,
        sampling_ratio: int = 2,
        expand: float = 1.0,
    ) -> None:
        super().__init__(output_size, sampling_ratio, expand=expand)
        self.channels = channels
        self.attention = SelfAttention(channels, heads)

    def weights(self, features: Maps, boxes: Boxes, spatial_scale: Scale | Sequence[Scale] = 1.0) -> Separable:
        self.check_channels(as_maps(features))
        return super().weights(features, boxes, spatial_scale)

    def after(self, pooled: Tensor, weights: RegionWeights) -> Tensor:
        return over_cells(pooled, self.attention)

    def shown(self, weights: RegionWeights, features: Tensor) -> Composed:
        """The attention among the bins, averaged over the heads: what the output reads, apart from the layers."""
        cells = weights.pool(features).flatten(2).transpose(1, 2)
        return Composed(self.attention.shares(cells).mean(1), weights, self.output_size)

    def settings(self) -> dict[str, object]:
        settings = {"channels": self.channels, "heads": self.attention.heads}
        return {**settings, "sampling_ratio": self.sampling_ratio}
