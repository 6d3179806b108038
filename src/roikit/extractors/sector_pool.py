"""Sector pooling."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from .. import geometry
from ..boxes import Scale, constant
from ..sums.maps import Maps
from ..weights import Points
from .base import Boxes, RegionExtractor


class SectorPool(RegionExtractor):
    """Sector pooling (after Chen et al., MaskLab, CVPR 2018): the RoI cut by direction and distance from its centre.

    The RoI is stretched to the square [-1, 1]². Direction d of D lies between the angles 2πd/D and 2π(d+1)/D,
    counter-clockwise from the right as one sees the image: 8 directions are the triangles between the square's centre
    and its half sides. Ring q of Q holds what lies between q/Q and (q+1)/Q of the way from the centre to the border in
    its own direction, ``max(|x|, |y|)``. The RoI is sampled (bilinearly) at the centres of n×n equal cells; a bin
    is the mean of the samples that fall in it or, if none does, the sample nearest to its middle.

    Args:
        directions: D.
        rings: Q.
        points: n.
        expand: area factor of the RoI.

    ``output_size`` is (D, Q): the result is ``Tensor[R, C, D, Q]``.

    Example:
        >>> import torch, roikit
        >>> x = torch.arange(16.0).reshape(1, 1, 4, 4)
        >>> roikit.SectorPool(4, rings=1, points=2)(x, [torch.tensor([[0.0, 0.0, 4.0, 4.0]])])[0, 0, :, 0]
        tensor([ 4.5000,  2.5000, 10.5000, 12.5000])
    """

    paper = "Chen et al., MaskLab, 2018"
    differentiable_in_boxes = True

    def __init__(self, directions: int = 8, rings: int = 4, points: int = 14, expand: float = 1.0) -> None:
        for name, value in (("directions", directions), ("rings", rings), ("points", points)):
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a positive whole number, not {value!r}")
        super().__init__((directions, rings), expand)
        self.points = points
        bins = sector_bins(directions, rings, points)
        most = max(len(held) for held in bins)
        filled = [held + held[:1] * (most - len(held)) for held in bins]
        # Plain whole numbers: neither .half() nor an average of models moves the points.
        self._numerators = tuple(
            tuple(held) for held in filled
        )  # [K, P, 2], (y, x): a sample lies at numerator / points
        self._counts = tuple(len(held) for held in bins)

    def weights(self, features: Maps, boxes: Boxes, spatial_scale: Scale | Sequence[Scale] = 1.0) -> Points:
        rois, cells = self.locate(features, boxes, spatial_scale)
        y, height, x, width = geometry.corners(cells, 0.5)
        centre = torch.stack([y + height / 2, x + width / 2], 1)
        half = torch.stack([height / 2, width / 2], 1)
        unit = constant(self._numerators, cells.dtype, cells.device) / self.points
        points = centre[:, None, None] + unit * half[:, None, None]
        order = torch.arange(unit.shape[1], device=unit.device)
        counts = constant(self._counts, torch.int64, cells.device)[:, None]
        share = (order < counts).to(cells.dtype) / counts.to(cells.dtype)
        return Points(points, share.expand(cells.shape[0], -1, -1), rois, self.output_size)

    def settings(self) -> dict[str, object]:
        return {"points": self.points}


def sector_bins(directions: int, rings: int, points: int) -> list[list[tuple[int, int]]]:
    """The samples (y, x) of each bin, D·Q lists, as numerators over ``points`` of places in [-1, 1]²."""
    steps = range(1 - points, points, 2)
    samples = [(y, x) for y in steps for x in steps]
    bins: list[list[tuple[int, int]]] = [[] for _ in range(directions * rings)]
    for y, x in samples:
        # A sample on a cut belongs to the sector that begins there; rounding must not decide.
        direction = math.floor(math.atan2(-y, x) / (2 * math.pi) * directions + 1e-9) % directions
        ring = min(max(abs(y), abs(x)) * rings // points, rings - 1)
        bins[direction * rings + ring].append((y, x))
    for k, held in enumerate(bins):
        if not held:
            angle = 2 * math.pi * (k // rings + 0.5) / directions
            cos, sin = math.cos(angle), math.sin(angle)
            distance = (k % rings + 0.5) / rings * points / max(abs(cos), abs(sin))
            middle = (-sin * distance, cos * distance)
            distances = [round(math.dist(sample, middle), 9) for sample in samples]  # of equal ones the first
            held.append(samples[distances.index(min(distances))])
    return bins
