"""The sums with every 1-D rule, said from a box as it is: what the laws of sums and rules run over.

A rule in ``roikit.rules.RULES`` is here without being named, on axes that all bins of a row share (``Grid``) and on
an axis for each bin (``Bins``). Choosing a maximum and attention are said by the extractors that are nothing else.
"""

from __future__ import annotations

import pytest
import torch
from listing import ALL, GRID, SMALL, Variant, every

from roikit import geometry
from roikit.extractors import LearnedRegionFeatures, RegionExtractor, RoIPool
from roikit.rules import RULES
from roikit.sums.maps import as_maps
from roikit.weights import Channels, Points, Separable, ShiftedBins

WHOLE = {name for name, rule in RULES.items() if hasattr(rule, "window")}  # rules of whole cells: no gradient to boxes


class Grid(RegionExtractor):
    """``Separable`` axes with one rule; or, as ``taps``, the taps of such axes as if somebody had made them."""

    def __init__(self, output_size=GRID, rule="hat", samples=2, taps=False):
        super().__init__(output_size)
        self.rule, self.samples, self.explicit = rule, samples, taps
        self.differentiable_in_boxes = rule not in WHOLE

    def weights(self, features, boxes, spatial_scale=1.0):
        rois, cells = self.locate(features, boxes, spatial_scale)
        if self.rule in WHOLE:
            cells = geometry.whole(cells.detach())
        axes = geometry.axes(geometry.corners(cells), self.output_size, self.rule, self.samples)
        if self.explicit:
            sizes = [torch.tensor([x.shape[d] for x in as_maps(features)])[rois.level] for d in (2, 3)]
            most = [max(x.shape[d] for x in as_maps(features)) for d in (2, 3)]
            axes = [axis.taps(n, width) for axis, n, width in zip(axes, sizes, most, strict=True)]
        return Separable(*axes, rois)


class Bins(RegionExtractor):
    """``ShiftedBins`` with one rule: bins of a grid, each moved by some cells and, where it is asked, reading maps of
    its own."""

    def __init__(self, output_size=GRID, rule="hat", samples=2, own_maps=False):
        super().__init__(output_size)
        self.rule, self.samples, self.own_maps = rule, samples, own_maps
        self.differentiable_in_boxes = rule not in WHOLE

    @property
    def groups(self):
        return self.output_size[0] * self.output_size[1] if self.own_maps else 1

    def weights(self, features, boxes, spatial_scale=1.0):
        rois, cells = self.locate(features, boxes, spatial_scale)
        parts = self.output_size[0] * self.output_size[1]
        shift = torch.linspace(-0.71, 0.93, 2 * parts, dtype=cells.dtype, device=cells.device)
        if self.rule in WHOLE:
            cells, shift = geometry.whole(cells.detach()), shift.mul(2).round()
        shift = shift.reshape(1, 2, *self.output_size).expand(cells.shape[0], -1, -1, -1)
        axes = geometry.bins(geometry.corners(cells), self.output_size, self.rule, self.samples, shift)
        if self.rule in WHOLE:
            axes = [type(a)(a.lo.floor(), a.size, a.bins, a.rule, a.samples) for a in axes]
        channels = None
        if self.own_maps:
            count = self.out_channels(as_maps(features)[0].shape[1])
            channels = Channels(count, parts, torch.arange(parts, device=cells.device))
        return ShiftedBins(*axes, rois, self.output_size, channels=channels)


class Samples(RegionExtractor):
    """``Points``: three samples a bin, of different weights, on lines that lean."""

    differentiable_in_boxes = True

    def __init__(self, output_size=GRID):
        super().__init__(output_size)

    def weights(self, features, boxes, spatial_scale=1.0):
        rois, cells = self.locate(features, boxes, spatial_scale)
        h, w = self.output_size
        x1, y1, x2, y2 = (c[:, None, None, None] for c in (cells - 0.5).unbind(1))
        i, j, s = (torch.arange(n, device=cells.device).to(cells.dtype) + 0.5 for n in (h, w, 3))
        i, j, s = i[:, None, None], j[:, None], s / 3
        down, across = (i + 0.6 * s - 0.3) / h, (j + 0.2 * s * i - 0.3) / w
        y, x = torch.broadcast_tensors(y1 + down * (y2 - y1), x1 + across * (x2 - x1))
        at = torch.stack([y, x], -1)  # [R, h, w, 3, 2]
        at = at + 0 * cells.sum(1)[:, None, None, None, None]  # one coordinate that is not a number spoils the RoI
        weights = torch.tensor([0.5, 0.2, 0.3], dtype=cells.dtype, device=cells.device)
        return Points(at.flatten(1, 2), weights.expand(cells.shape[0], h * w, 3), rois, self.output_size)


GRIDS = [Variant(Grid, {"rule": rule}, sums_to_one=False) for rule in RULES]
BINS = [Variant(Bins, {"rule": rule}, sums_to_one=False) for rule in RULES]
SUMS = [
    *GRIDS,
    Variant(Grid, {"samples": 0}, sums_to_one=False),
    Variant(Grid, {"taps": True}, sums_to_one=False),
    *BINS,
    Variant(Bins, {"samples": 0, "own_maps": True}, sums_to_one=False),
    Variant(Samples, sums_to_one=False),
    Variant(RoIPool),
    Variant(LearnedRegionFeatures, SMALL),
    Variant(LearnedRegionFeatures, {**SMALL, "max_inside": None, "max_outside": None}),
]
# One of each sum, for what takes seconds.
ONE_OF_EACH = [next(v for v in SUMS if v.kind is kind) for kind in dict.fromkeys(v.kind for v in SUMS)]
SMOOTH_SUMS = [variant for variant in SUMS if variant.smooth]
every_sum = pytest.mark.parametrize("variant", SUMS, ids=str)
smooth_sums = pytest.mark.parametrize("variant", SMOOTH_SUMS, ids=str)
# Sums, and what extractors add to them: mixtures of bins, factors, layers.
sums_and_extractors = pytest.mark.parametrize(
    "variant", [*(pytest.param(v, id=f"sum {v}") for v in SUMS if v not in ALL), *every.args[1]]
)
