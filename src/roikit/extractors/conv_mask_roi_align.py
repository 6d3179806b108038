"""RoI Align resampled by masks that a convolution makes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .. import geometry
from ..boxes import Scale
from ..sums.exact import exact
from ..sums.maps import Maps, as_maps
from ..weights import Composed, Separable
from .base import Boxes, RegionExtractor


class ConvMaskRoIAlign(RegionExtractor):
    """RoI Align whose bins are mixed by masks from a convolution ("w/ Conv." of Yang et al., AAAI 2024, Table 1).

    What the paper compares Semantic RoI Align with. A convolution as large as the h × w grid, without padding (so a
    linear layer of all features), gives N = h·w masks over its cells; each part is the mean of the cells under the
    softmax of its mask. The masks are ``weights(...).outer``, ``Tensor[R, N, h·w]``. 30.1M parameters at 256 channels.

    Args:
        channels: of the feature maps.
        output_size: the grid of bins, and of parts.
        sampling_ratio, expand: as ``RoIAlign``.

    Example:
        >>> import torch, roikit
        >>> pool = roikit.ConvMaskRoIAlign(8)
        >>> pool(torch.rand(1, 8, 12, 16), [torch.tensor([[16.0, 16.0, 96.0, 64.0]])], 1 / 16).shape
        torch.Size([1, 8, 7, 7])
    """

    paper = "Yang et al., Semantic-Aware Transformation-Invariant RoI Align, 2024 (w/ Conv.)"
    differentiable_in_boxes = True

    def __init__(
        self, channels: int, output_size: int | Sequence[int] = 7, sampling_ratio: int = 2, expand: float = 1.0
    ) -> None:
        super().__init__(output_size, expand)
        if channels < 1:
            raise ValueError(f"channels is the number of channels of the feature maps, not {channels}")
        self.channels, self.sampling_ratio = channels, sampling_ratio
        cells = self.output_size[0] * self.output_size[1]
        self.masks = nn.Linear(channels * cells, cells * cells)

    def weights(self, features: Maps, boxes: Boxes, spatial_scale: Scale | Sequence[Scale] = 1.0) -> Composed:
        maps = as_maps(features)
        self.check_channels(maps)
        rois, cells = self.locate(features, boxes, spatial_scale)
        axes = geometry.axes(geometry.corners(cells, 0.5), self.output_size, "hat", self.sampling_ratio)
        inner = Separable(*axes, rois)
        sampled = inner.pool([x.to(cells.dtype) for x in maps])  # half types are rounded once, at the end
        return Composed(_masks(sampled, self.masks).to(cells.dtype), inner, self.output_size, sampled, features)

    def settings(self) -> dict[str, object]:
        return {"channels": self.channels, "sampling_ratio": self.sampling_ratio}


@exact
def _masks(sampled: Tensor, layer: nn.Linear) -> Tensor:
    """``Tensor[R, N, h·w]`` from ``Tensor[R, C, h, w]``; they sum to 1 over the cells."""
    cells = sampled.shape[2] * sampled.shape[3]
    return torch.softmax(layer(sampled.to(layer.weight.dtype).flatten(1)).unflatten(1, (cells, cells)), 2)
