"""Deformable position-sensitive RoI pooling."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from ..boxes import Rois, Scale
from ..geometry.position_sensitive import PartGrid, deform_ps_bins, inclusive
from ..layers.init import starts_at_zero
from ..sums.maps import Maps, as_maps
from ..weights import ShiftedBins
from .base import Boxes, RegionExtractor


class DeformPSRoIPool(RegionExtractor):
    """Deformable position-sensitive RoI pooling (Dai et al., Deformable ConvNets, ICCV 2017, section 2.2).

    The conventions are the original operator's: the box is rounded to whole pixels, its last one included, and shifted
    by -½ cell; samples start at the bin's edge; those outside the map do not count. Offsets, on a P×P grid of parts,
    come from the RoI's own features, pooled without offsets, through one fully connected layer that starts at zero;
    they are ``weights(...).offset``, ``Tensor[R, 2·classes, P, P]``, **x first**, in units of the RoI's size.

    Args:
        channels: of the feature maps.
        output_size: the grid of bins.
        group_size: G. 1: all bins read all channels, as in a Faster R-CNN; ``output_size``: R-FCN's position-sensitive
            maps, ``channels`` = G² × the output's.
        part_size: P; ``None`` is the height of ``output_size``.
        samples: per bin and axis.
        trans_std: factor on the offsets.
        classes: how many equal groups of output channels have offsets of their own.
        expand: area factor of the RoI.

    Example:
        >>> import torch, roikit
        >>> x = torch.arange(16.0).reshape(1, 1, 4, 4)
        >>> roikit.DeformPSRoIPool(1, output_size=1)(x, [torch.tensor([[1.0, 1.0, 2.0, 2.0]])]).shape
        torch.Size([1, 1, 1, 1])
    """

    paper = "Dai et al., Deformable ConvNets, 2017"

    def __init__(
        self,
        channels: int,
        output_size: int | Sequence[int] = 7,
        group_size: int = 1,
        part_size: int | None = None,
        samples: int = 4,
        trans_std: float = 0.1,
        classes: int = 1,
        expand: float = 1.0,
    ) -> None:
        super().__init__(output_size, expand)
        self.group_size = group_size
        self.part_size = self.output_size[0] if part_size is None else part_size
        self.samples = samples
        self.trans_std = trans_std
        self.classes = classes
        for name in ("group_size", "part_size", "samples", "classes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be positive, not {getattr(self, name)}")
        self.channels = channels
        out = self.out_channels(channels)
        if channels < 1 or out % classes:
            raise ValueError(f"{channels} channels make {out} output channels, which are not {classes} equal classes")
        inputs = out * self.output_size[0] * self.output_size[1]
        self.offset = starts_at_zero(nn.Linear(inputs, 2 * classes * self.part_size**2))

    @property
    def groups(self) -> int:
        return self.group_size**2

    def weights(self, features: Maps, boxes: Boxes, spatial_scale: Scale | Sequence[Scale] = 1.0) -> ShiftedBins:
        maps = as_maps(features)
        self.check_channels(maps)
        rois, cells = self.locate(features, boxes, spatial_scale, pixels=inclusive)

        def bins(offset: Tensor | None, classes: int) -> ShiftedBins:
            grid = PartGrid(self.output_size, self.group_size, self.part_size, classes)
            return moved_parts(rois, cells, grid, self.channels, self.samples, self.trans_std, offset)

        regular = bins(None, 1).pool(features).flatten(1)
        offset = self.offset(regular.to(self.offset.weight.dtype)).to(cells.dtype)
        return bins(offset.unflatten(1, (2 * self.classes, self.part_size, self.part_size)), self.classes)

    def settings(self) -> dict[str, object]:
        names = ("channels", "group_size", "part_size", "samples", "trans_std", "classes")
        return {name: getattr(self, name) for name in names}


def moved_parts(
    rois: Rois,
    cells: Tensor,
    grid: PartGrid,
    channels: int,
    samples: int,
    trans_std: float,
    offset: Tensor | None,
) -> ShiftedBins:
    """The bins of whole-pixel boxes ``Tensor[R, 4]`` in cells, moved by trans_std · offset · the RoI's size.

    Args:
        channels: of the maps.
        offset: ``Tensor[R, 2·classes, P, P]``, **x first**; ``None`` is 0.
    """
    axes = deform_ps_bins(cells, grid, samples, offset, trans_std)
    read = grid.channels(channels, cells.device)
    return ShiftedBins(*axes, rois, grid.bins, channels=read, groups=grid.classes, offset=offset, shared=offset is None)
