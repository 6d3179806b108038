"""Position-sensitive RoI pooling and RoI Align."""

from __future__ import annotations

from collections.abc import Sequence

from .. import geometry
from ..boxes import Scale
from ..geometry.position_sensitive import position_sensitive
from ..sums.maps import Maps, as_maps, cells_of
from ..weights import ShiftedBins
from .base import Boxes, RegionExtractor


class PSRoIPool(RegionExtractor):
    """Position-sensitive RoI pooling (Dai et al., R-FCN, NeurIPS 2016; LRF Eq. 6): every bin has maps of its own.

    Bin (i, j) of output channel c is the mean of input channel c·h·w + i·w + j over the cells of the rounded bin, so
    h·w maps make one output channel: ``Tensor[R, C / (h·w), h, w]``. ``roikit.detection.rfcn`` makes such maps.

    Args:
        output_size: the grid of bins.
        expand: area factor of the RoI.

    Example:
        >>> import torch, roikit
        >>> x = torch.arange(4.0).reshape(1, 4, 1, 1).expand(1, 4, 3, 3)  # channel k is k everywhere
        >>> roikit.PSRoIPool(2)(x, [torch.tensor([[0.0, 0.0, 2.0, 2.0]])])
        tensor([[[[0., 1.],
                  [2., 3.]]]])
    """

    paper = "Dai et al., R-FCN, 2016"

    @property
    def groups(self) -> int:
        return self.output_size[0] * self.output_size[1]

    def weights(self, features: Maps, boxes: Boxes, spatial_scale: Scale | Sequence[Scale] = 1.0) -> ShiftedBins:
        maps = as_maps(features)
        rois, cells = self.locate(features, boxes, spatial_scale)
        axes = geometry.rounded_bins(cells.detach(), self.output_size, cells_of([x.shape for x in maps], rois.level))
        channels = position_sensitive(maps[0].shape[1], self.output_size, maps[0].device)
        return ShiftedBins(*axes, rois, self.output_size, channels=channels, shared=True)


class PSRoIAlign(RegionExtractor):
    """Position-sensitive RoI Align (Li et al., Light-Head R-CNN, 2017): PS pooling with RoI Align's samples.

    Bin (i, j) of output channel c reads input channel c·h·w + i·w + j: ``Tensor[R, C / (h·w), h, w]``.

    Args:
        output_size: the grid of bins.
        sampling_ratio: samples per bin and axis; ≤ 0 takes ⌈bin size in cells⌉ of them.
        expand: area factor of the RoI.

    Example:
        >>> import torch, roikit
        >>> x = torch.arange(4.0).reshape(1, 4, 1, 1).expand(1, 4, 3, 3)  # channel k is k everywhere
        >>> roikit.PSRoIAlign(2)(x, [torch.tensor([[0.0, 0.0, 2.0, 2.0]])])
        tensor([[[[0., 1.],
                  [2., 3.]]]])
    """

    paper = "Li et al., Light-Head R-CNN, 2017"
    differentiable_in_boxes = True

    def __init__(self, output_size: int | Sequence[int] = 7, sampling_ratio: int = 2, expand: float = 1.0) -> None:
        super().__init__(output_size, expand)
        self.sampling_ratio = sampling_ratio

    @property
    def groups(self) -> int:
        return self.output_size[0] * self.output_size[1]

    def weights(self, features: Maps, boxes: Boxes, spatial_scale: Scale | Sequence[Scale] = 1.0) -> ShiftedBins:
        maps = as_maps(features)
        rois, cells = self.locate(features, boxes, spatial_scale)
        axes = geometry.bins(geometry.corners(cells, 0.5), self.output_size, "hat", self.sampling_ratio)
        channels = position_sensitive(maps[0].shape[1], self.output_size, maps[0].device)
        return ShiftedBins(*axes, rois, self.output_size, channels=channels, shared=True)

    def settings(self) -> dict[str, object]:
        return {"sampling_ratio": self.sampling_ratio}
