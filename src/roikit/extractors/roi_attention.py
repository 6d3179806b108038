"""RoI Align followed by several self-attention layers."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from ..boxes import Scale
from ..layers.init import zero
from ..layers.self_attention import SelfAttention, over_cells
from ..sums.maps import Maps, as_maps
from ..weights import RegionWeights, Separable
from .base import Boxes
from .roi_align import RoIAlign


class RoIAttention(RoIAlign):
    """RoIAttn (Liang and Song, ICIP 2022): RoI Align features refined by self-attention layers with residuals.

    Each layer adds multi-head self-attention over the RoI's cells, of their LayerNorm. What is added starts at zero:
    untrained it is ``RoIAlign``. ``weights`` are those of RoI Align.

    Args:
        channels: of the feature maps, a multiple of ``heads``.
        output_size: the grid of bins.
        layers: number of self-attention layers.
        heads: of each.
        sampling_ratio, expand: as ``RoIAlign``.

    Example:
        >>> import torch, roikit
        >>> x, boxes = torch.rand(1, 16, 12, 16), [torch.tensor([[16.0, 16.0, 96.0, 64.0]])]
        >>> torch.equal(roikit.RoIAttention(16)(x, boxes, 1 / 16), roikit.RoIAlign()(x, boxes, 1 / 16))
        True
    """

    paper = "Liang and Song, Excavating RoI Attention for Underwater Object Detection, 2022"

    def __init__(
        self,
        channels: int,
        output_size: int | Sequence[int] = 7,
        layers: int = 3,
        heads: int = 8,
        sampling_ratio: int = 2,
        expand: float = 1.0,
    ) -> None:
        super().__init__(output_size, sampling_ratio, expand=expand)
        if layers < 1:
            raise ValueError(f"layers must be at least 1, not {layers}")
        self.channels, self.heads = channels, heads
        self.layers = nn.Sequential(*(_Residual(channels, heads) for _ in range(layers)))

    def weights(self, features: Maps, boxes: Boxes, spatial_scale: Scale | Sequence[Scale] = 1.0) -> Separable:
        self.check_channels(as_maps(features))
        return super().weights(features, boxes, spatial_scale)

    def after(self, pooled: Tensor, weights: RegionWeights) -> Tensor:
        return over_cells(pooled, self.layers)

    def settings(self) -> dict[str, object]:
        settings = {"channels": self.channels, "layers": len(self.layers), "heads": self.heads}
        return {**settings, "sampling_ratio": self.sampling_ratio}


class _Residual(nn.Module):
    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.attention = SelfAttention(channels, heads)
        zero(self.attention.write)

    def forward(self, cells: Tensor) -> Tensor:
        return cells + self.attention(self.norm(cells))
