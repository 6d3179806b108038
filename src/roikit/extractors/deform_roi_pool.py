"""Deformable RoI pooling, first and second version."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from .. import geometry
from ..boxes import Rois, Scale
from ..geometry import pair
from ..layers.init import starts_at_zero
from ..sums.maps import Maps, as_maps
from ..weights import Separable, ShiftedBins
from .base import Boxes, RegionExtractor

Pool = TypeVar("Pool", bound="DeformRoIPool")


class DeformRoIPool(RegionExtractor):
    """Deformable RoI pooling (Dai et al., Deformable ConvNets, ICCV 2017; LRF Eq. 5): RoI Align whose bins move.

    Bin (i, j) moves by γ · (RoI height · δy, RoI width · δx); the normalised offsets δ come from the RoI's own RoI
    Align features through one fully connected layer that starts at zero: untrained it is ``RoIAlign(aligned=True)``.
    The offsets are ``weights(...).offset``, ``Tensor[R, 2, h, w]`` (y, x), for a penalty on them.

    Args:
        channels: of the feature maps.
        output_size: the grid of bins.
        sampling_ratio: samples per bin and axis; ≤ 0 takes ⌈bin size in cells⌉ of them.
        gamma: γ.
        expand: area factor of the RoI.
        part_size: the grid of parts that move, each of h / part height × w / part width bins; ``None``: every bin by
            itself.

    Example:
        >>> import torch, roikit
        >>> x = torch.arange(16.0).reshape(1, 1, 4, 4)
        >>> boxes = [torch.tensor([[0.0, 0.0, 4.0, 4.0]])]
        >>> pool = roikit.DeformRoIPool(1, output_size=2)
        >>> torch.equal(pool(x, boxes), roikit.RoIAlign(2)(x, boxes))
        True
    """

    paper = "Dai et al., Deformable ConvNets, 2017"
    differentiable_in_boxes = True

    def __init__(
        self,
        channels: int,
        output_size: int | Sequence[int] = 7,
        sampling_ratio: int = 2,
        gamma: float = 0.1,
        expand: float = 1.0,
        part_size: int | Sequence[int] | None = None,
    ) -> None:
        super().__init__(output_size, expand)
        if channels < 1:
            raise ValueError(f"channels is the number of channels of the feature maps, not {channels}")
        self.part_size = self.output_size if part_size is None else pair(part_size)
        if any(part < 1 or bins % part for bins, part in zip(self.output_size, self.part_size, strict=True)):
            raise ValueError(
                f"part_size {self.part_size} must divide output_size {self.output_size}: a part is as many whole bins "
                "as every other"
            )
        self.channels = channels
        self.sampling_ratio = sampling_ratio
        self.gamma = gamma
        self.make_layers(channels * self.parts)

    @property
    def parts(self) -> int:
        return self.part_size[0] * self.part_size[1]

    def at(self: Pool, output_size: int | Sequence[int]) -> Pool:
        """An extractor with the same layers, not copies, for another grid, whose bins move with the part they lie in.

        A mask head's 14 × 14 bins so follow the box head's 7 × 7 (Deformable ConvNets v2 counts one set of layers).

        Args:
            output_size: a multiple of ``part_size``.

        Example:
            >>> import roikit
            >>> pool = roikit.DeformRoIPool(8)
            >>> finer = pool.at(14)
            >>> finer.output_size, finer.part_size, finer.offset is pool.offset
            ((14, 14), (7, 7), True)
        """
        with torch.device("meta"):  # its own layers are not kept: neither memory nor random numbers are spent on them
            own: dict[str, Any] = {**self.settings(), "expand": self.expand, "part_size": self.part_size}
            other = type(self)(output_size=output_size, **own)
        for name, layer in self.named_children():
            setattr(other, name, layer)
        return other.train(self.training)

    def make_layers(self, inputs: int) -> None:
        self.offset: nn.Module = starts_at_zero(nn.Linear(inputs, 2 * self.parts))

    def predict(self, flat: Tensor) -> tuple[Tensor, Tensor | None]:
        """Offsets ``Tensor[R, 2·K]`` (all y, then all x) and factors ``Tensor[R, K]``, from ``Tensor[R, C·K]``."""
        return self.offset(flat), None

    def weights(self, features: Maps, boxes: Boxes, spatial_scale: Scale | Sequence[Scale] = 1.0) -> ShiftedBins:
        rois, cells = self.locate(features, boxes, spatial_scale)
        box = geometry.corners(cells, 0.5)
        offset, amplitude = self.predict(self._regular(box, rois, features))
        offset = self._of_bins(offset.to(cells.dtype).unflatten(1, (2, *self.part_size)))
        if amplitude is not None:
            amplitude = self._of_bins(amplitude.unflatten(1, (1, *self.part_size))).flatten(1)
        return moved_bins(rois, cells, self.output_size, self.sampling_ratio, self.gamma, offset, amplitude)

    def _regular(self, box: geometry.Geometry, rois: Rois, features: Maps) -> Tensor:
        """The RoIs' RoI Align features, flat, in the layers' own precision."""
        self.check_channels(as_maps(features))
        axes = geometry.axes(box, self.part_size, "hat", self.sampling_ratio)
        return Separable(*axes, rois).pool(features).flatten(1).to(next(self.parameters()).dtype)

    def _of_bins(self, of_parts: Tensor) -> Tensor:
        """``Tensor[R, N, h, w]``, bins, from one of parts."""
        if self.part_size == self.output_size:
            return of_parts
        down, across = (bins // part for bins, part in zip(self.output_size, self.part_size, strict=True))
        wide = of_parts[:, :, :, None, :, None].expand(-1, -1, -1, down, -1, across)
        return wide.flatten(4, 5).flatten(2, 3)

    def settings(self) -> dict[str, object]:
        parts = {} if self.part_size == self.output_size else {"part_size": self.part_size}
        return {"channels": self.channels, "sampling_ratio": self.sampling_ratio, "gamma": self.gamma, **parts}


def moved_bins(
    rois: Rois,
    cells: Tensor,
    grid: tuple[int, int],
    sampling_ratio: int,
    gamma: float,
    offset: Tensor | None,
    amplitude: Tensor | None,
) -> ShiftedBins:
    """RoI Align's bins of boxes ``Tensor[R, 4]`` in cells, each moved by γ · (RoI height · δy, RoI width · δx).

    Args:
        offset: δ, ``Tensor[R, 2, h, w]``, (y, x); ``None`` is 0.
        amplitude: ``Tensor[R, h·w]``, a factor on each bin; ``None`` is 1.
    """
    box = geometry.corners(cells, 0.5)
    shift = None
    if offset is not None:
        sides = torch.stack([box[1], box[3]], 1)[..., None, None]
        shift = gamma * sides * offset.to(sides.dtype)
    rows, cols = geometry.bins(box, grid, "hat", sampling_ratio, shift)
    return ShiftedBins(rows, cols, rois, grid, amplitude, offset=offset, shared=offset is None)


class ModulatedDeformRoIPool(DeformRoIPool):
    """Modulated deformable RoI pooling (Zhu et al., Deformable ConvNets v2, CVPR 2019, Eq. 2): bins move, and fade.

    Offsets as in ``DeformRoIPool``; each bin is also multiplied by a sigmoid Δm, ½ at the start. Both come from the
    RoI's RoI Align features through fully connected layers of which the last start at zero. (The paper starts all of
    them at zero; a hidden layer of zeros would have no gradient.)

    Args:
        channels, output_size, sampling_ratio, gamma, expand, part_size: as ``DeformRoIPool``.
        pack: "shared": hidden - 3K, as in the paper; "separate": hidden - hidden - 2K for the offsets and hidden - K
            for the factors, as in the comparison of the SRA paper.
        hidden: width of the hidden layers.

    Example:
        >>> import torch, roikit
        >>> x = torch.arange(16.0).reshape(1, 1, 4, 4)
        >>> boxes = [torch.tensor([[0.0, 0.0, 4.0, 4.0]])]
        >>> pool = roikit.ModulatedDeformRoIPool(1, output_size=2, hidden=8)
        >>> torch.equal(pool(x, boxes), roikit.RoIAlign(2)(x, boxes) / 2)
        True
    """

    paper = "Zhu et al., Deformable ConvNets v2, 2019"

    def __init__(
        self,
        channels: int,
        output_size: int | Sequence[int] = 7,
        pack: Literal["shared", "separate"] = "shared",
        hidden: int = 1024,
        sampling_ratio: int = 2,
        gamma: float = 0.1,
        expand: float = 1.0,
        part_size: int | Sequence[int] | None = None,
    ) -> None:
        if pack not in ("shared", "separate"):
            raise ValueError(f'pack must be "shared" or "separate", not {pack!r}')
        if hidden < 1:
            raise ValueError(f"hidden is the width of the hidden layers, not {hidden}")
        self._pack, self._hidden = pack, hidden
        super().__init__(channels, output_size, sampling_ratio, gamma, expand, part_size)

    def make_layers(self, inputs: int) -> None:
        k, hidden = self.parts, self._hidden
        if self._pack == "shared":
            self.both = nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), starts_at_zero(nn.Linear(hidden, 3 * k)))
            return
        deep = [nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU()]
        self.offset = nn.Sequential(*deep, starts_at_zero(nn.Linear(hidden, 2 * k)))
        self.factor = nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), starts_at_zero(nn.Linear(hidden, k)))

    def predict(self, flat: Tensor) -> tuple[Tensor, Tensor | None]:
        if self._pack == "shared":
            offset, factor = self.both(flat).split([2 * self.parts, self.parts], 1)
        else:
            offset, factor = self.offset(flat), self.factor(flat)
        return offset, factor.sigmoid()

    def settings(self) -> dict[str, object]:
        return {**super().settings(), "pack": self._pack, "hidden": self._hidden}
