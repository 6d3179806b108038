"""The extractors and settings that the laws run over, and the scenes they run on.

Every extractor in ``roikit.extractors.EXTRACTORS`` is here without being named. A row in ``VARIANTS`` adds settings
(the defaults otherwise) and states, as data, where a law does not hold by design.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch

from roikit.boxes import Rois
from roikit.extractors import (
    EXTRACTORS,
    AdaptiveRoIAlign,
    CenterPool,
    ConvMaskRoIAlign,
    DeformPSRoIPool,
    DeformRoIPool,
    GrammarPool,
    LearnedRegionFeatures,
    MaskedRoIPool,
    ModulatedDeformRoIPool,
    PartDeformRoIPool,
    PrRoIPool,
    PSRoIAlign,
    PSRoIPool,
    RegionExtractor,
    RoIAlign,
    RoIAttention,
    RoIPool,
    RoITransformer,
    RoIWarp,
    RotatedRoIAlign,
    SectorPool,
    SelfAttentionRoIAlign,
    SemanticRoIAlign,
    SpatialPyramidPool,
)

CHANNELS = 5  # of the output
GRID = (3, 2)
HEIGHT, WIDTH, SCALE = 13, 17, (0.5, 0.25)  # odd sizes; stride 2 down and 4 across


@dataclasses.dataclass(frozen=True)
class Variant:
    """An extractor with settings.

    Args:
        kind: the class.
        arguments: for its constructor, besides the output size and the channels.
        sums_to_one: law 2 holds for RoIs inside the map (False: masked, modulated, taps beyond the border dropped).
        unread: rows and columns at the map's end that the method never reads, in which a RoI can have no values.
        bounded: a value lies between the least and the largest of the features and 0 (False: with a penalty,
            or layers after the weighted sum).
        extras: the method's further arguments, made of the boxes ``Tensor[R, 4]`` and the output size.
        parameter_gradients: law 3 holds for parameters (False: a choice that has no derivative hangs on them).
        compiles: law 7 holds (False: the number of samples depends on the boxes' values, an error that says so).
        usual: it runs by default though it is not its method's first row here: it says its weights another way.
    """

    kind: type[RegionExtractor]
    arguments: dict[str, Any] = dataclasses.field(default_factory=dict)
    sums_to_one: bool = True
    unread: int = 0
    bounded: bool = True
    extras: Callable[[torch.Tensor, tuple[int, int]], dict[str, Any]] | None = None
    parameter_gradients: bool = True
    compiles: bool = True
    usual: bool = False

    def _takes(self, name: str) -> bool:
        return name in inspect.signature(self.kind).parameters

    @property
    def learns(self) -> bool:
        """It has layers, made for a number of channels."""
        return self._takes("channels")

    @property
    def smooth(self) -> bool:
        return self.make().differentiable_in_boxes

    def groups(self, grid=GRID) -> int:
        """How many maps make one channel of the output."""
        return self.arguments["group_size"] ** 2 if "group_size" in self.arguments else self.make(grid).groups

    def make(self, output_size=GRID, channels=CHANNELS, *, trained=True, given=True) -> Any:
        """The extractor in float64, for ``channels`` channels of the output.

        Args:
            trained: layers that start at zero have random weights, so that what they predict counts.
            given: it is always given its further arguments, if the variant has some.
        """
        arguments = dict(self.arguments)
        if self._takes("output_size"):
            arguments["output_size"] = output_size
        if self.learns:
            arguments["channels"] = channels * arguments.get("group_size", 1) ** 2
        torch.manual_seed(0)
        extractor = self.kind(**arguments).double()
        if trained:
            for parameter in extractor.parameters():
                torch.nn.init.normal_(parameter, std=0.3)
        return Given(extractor, self.extras) if self.extras and given else extractor

    def features(self, rng, dtype=torch.float64, channels=CHANNELS, grid=GRID, **sizes) -> torch.Tensor:
        """Random maps that give ``channels`` channels of output."""
        return features(rng, dtype, channels=channels * self.groups(grid), **sizes)

    def inside(self, rng) -> torch.Tensor:
        """RoIs wholly inside the part of the maps that the method reads."""
        return rois(rng, inside=True, height=HEIGHT - self.unread, width=WIDTH - self.unread)

    def __str__(self) -> str:
        settings = [f"{key}={value}" for key, value in self.arguments.items()]
        return "-".join([self.kind.__name__, *settings, *(["given"] if self.extras else [])])


class Given(torch.nn.Module):
    """An extractor that is always given its further arguments, made of the boxes."""

    def __init__(self, extractor: RegionExtractor, extras: Callable[..., dict[str, Any]]) -> None:
        super().__init__()
        self.extractor, self.extras = extractor, extras

    def _more(self, boxes: Any) -> dict[str, Any]:
        if isinstance(boxes, Rois):
            boxes = boxes.boxes
        elif isinstance(boxes, torch.Tensor):
            boxes = boxes[:, 1:]
        else:
            boxes = torch.cat(list(boxes))
        return self.extras(boxes, self.extractor.output_size)

    def forward(self, x: Any, boxes: Any, scale: Any = 1.0) -> torch.Tensor:
        return self.extractor(x, boxes, scale, **self._more(boxes))

    def weights(self, x: Any, boxes: Any, scale: Any = 1.0) -> Any:
        return self.extractor.weights(x, boxes, scale, **self._more(boxes))

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.extractor, name)


def some_masks(boxes: torch.Tensor, grid: tuple[int, int]) -> dict[str, Any]:
    """Factors between 0 and 1 that depend on the box alone."""
    part = torch.arange(grid[0] * grid[1], device=boxes.device).double()
    factors = torch.sin(boxes.double().sum(1)[:, None] + 2 * part).square()
    return {"masks": factors.reshape(-1, *grid)}


SMALL = {"embed_dim": 16, "geometry_dim": 8}
MASKS = {"masks": 6, "max_cells": 12, "descriptor_channels": 4, "position_channels": 3, "gamma": 5.0}


def turned_boxes(boxes: torch.Tensor, grid: tuple[int, int]) -> dict[str, Any]:
    """Rotated boxes inside the circles that the boxes hold, whose angles depend on the boxes."""
    x1, y1, x2, y2 = boxes.double().unbind(1)
    side = torch.minimum((x2 - x1).abs(), (y2 - y1).abs())
    angle = 0.05 * (x1 + 2 * y1 - x2) + 0.3
    return {"rotated_boxes": torch.stack([(x1 + x2) / 2, (y1 + y2) / 2, 0.8 * side, 0.55 * side, angle], 1)}


VARIANTS = [
    Variant(RoIPool),
    Variant(RoIPool, {"rounding": "floor"}),
    Variant(RoIPool, {"mode": "average"}),
    Variant(RoIPool, {"mode": "average", "rounding": "floor"}),
    Variant(RoIPool, {"mode": "average", "expand": 2.0}),
    Variant(RoIAlign),
    Variant(RoIAlign, {"sampling_ratio": 0}),
    Variant(RoIAlign, {"sampling_ratio": 3, "aligned": False}),
    Variant(RoIAlign, {"sampling_ratio": -1, "aligned": False, "expand": 2.0}),
    Variant(PrRoIPool),
    Variant(PrRoIPool, {"expand": 0.5}),
    Variant(AdaptiveRoIAlign, sums_to_one=False),
    Variant(RoIWarp),
    Variant(RoIWarp, {"rounding": True}),
    Variant(CenterPool),
    Variant(CenterPool, {"interpolation": "bilinear"}),
    Variant(SpatialPyramidPool, {"grids": (2, (1, 3), 1)}),
    Variant(SpatialPyramidPool, {"grids": (2, 1), "rule": "align"}),
    Variant(MaskedRoIPool, sums_to_one=False, extras=some_masks),
    Variant(MaskedRoIPool, {"rule": "warp"}, sums_to_one=False, extras=some_masks),
    Variant(DeformRoIPool),
    Variant(DeformRoIPool, {"sampling_ratio": 0, "expand": 2.0}),
    Variant(ModulatedDeformRoIPool, {"hidden": 16}, sums_to_one=False),
    Variant(ModulatedDeformRoIPool, {"hidden": 16, "pack": "separate"}, sums_to_one=False),
    Variant(ModulatedDeformRoIPool, {"hidden": 16, "part_size": 1}, sums_to_one=False),
    Variant(PartDeformRoIPool, {"reach": 1}, sums_to_one=False, bounded=False),
    Variant(PSRoIPool, unread=1),
    Variant(PSRoIAlign),
    Variant(PSRoIAlign, {"sampling_ratio": 0}),
    Variant(DeformPSRoIPool),
    Variant(RotatedRoIAlign),
    Variant(RotatedRoIAlign, {"sampling_ratio": 1, "expand": 0.5}),
    Variant(RotatedRoIAlign, extras=turned_boxes, usual=True),
    Variant(RotatedRoIAlign, {"sampling_ratio": 0}, compiles=False),
    Variant(RotatedRoIAlign, {"sampling_ratio": 0}, extras=turned_boxes, compiles=False),
    # Enlarged, the RoI may leave the map.
    Variant(RoITransformer, sums_to_one=False),
    Variant(RoITransformer, {"enlarge": (1.0, 1.0), "expand": 2.0}),
    Variant(SectorPool),
    Variant(SectorPool, {"directions": 6, "rings": 3, "points": 4}),  # some bins hold no sample
    Variant(LearnedRegionFeatures, SMALL),
    Variant(LearnedRegionFeatures, {**SMALL, "max_inside": None, "max_outside": None}),
    Variant(LearnedRegionFeatures, {**SMALL, "support": "2x", "max_inside": 4, "max_outside": 9}),
    Variant(LearnedRegionFeatures, {"support": "roi", "max_inside": None, "geometry": False}),
    Variant(LearnedRegionFeatures, {**SMALL, "start": "paper", "prior": "grid"}),
    Variant(DeformPSRoIPool, {"group_size": 2, "part_size": 2, "samples": 2, "classes": 5}),
    # The gradient of the default, straight through the best tree, is by design not that of its values.
    Variant(GrammarPool, {"straight_through": False}, parameter_gradients=False),
    Variant(GrammarPool, {"tree": "soft"}),
    Variant(SemanticRoIAlign, MASKS),
    Variant(SemanticRoIAlign, {**MASKS, "descriptor": "max", "position": "position", "expand": 2.0}),
    Variant(SemanticRoIAlign, {**MASKS, "descriptor": "concat", "semantic": False, "sampler": (3, 4), "masks": 4}),
    Variant(ConvMaskRoIAlign),
    # Their weights are RoI Align's; attention among the cells follows.
    Variant(RoIAttention, {"layers": 2, "heads": 5}, bounded=False),
    Variant(SelfAttentionRoIAlign, {"heads": 1}, bounded=False),
]

_SEEN = {variant.kind for variant in VARIANTS}
ALL = [*VARIANTS, *(Variant(kind) for kind in EXTRACTORS if kind not in _SEEN)]
_FIRST = {variant.kind: variant for variant in reversed(ALL)}


def usual(variant: Variant) -> bool:
    """Whether the laws run over it by default: the first row of its method, and what is marked so."""
    return variant.usual or variant is _FIRST[variant.kind]


def over(variants: list[Variant]):
    """Parametrise by extractors, those that are not usual under ``-m slow``."""
    rows = [pytest.param(v, id=str(v), marks=[] if usual(v) else pytest.mark.slow) for v in variants]
    return pytest.mark.parametrize("variant", rows)


SMOOTH = [variant for variant in ALL if variant.smooth]
COMPILED = [variant for variant in ALL if variant.compiles]
# For tests that take seconds: the usual ones, and those with adaptive samples, whose number is data.
FEW = [v for v in COMPILED if v.arguments.get("sampling_ratio", 1) <= 0 or usual(v)]

every = over(ALL)
compiles = over(COMPILED)
few = over(FEW)
smooth = over(SMOOTH)
# A worker each: a type is a compilation of every kernel, which the other worker would otherwise wait for.
dtypes = pytest.mark.parametrize(
    "dtype",
    [
        pytest.param(torch.float32, id="float32", marks=pytest.mark.xdist_group("float32")),
        pytest.param(torch.float64, id="float64", marks=pytest.mark.xdist_group("float64")),
    ],
)


def features(rng: torch.Generator, dtype=torch.float64, batch=2, channels=CHANNELS, height=HEIGHT, width=WIDTH):
    """Random maps with no two equal values, so that a maximum is unique."""
    count = batch * channels * height * width
    values = torch.randperm(count, generator=rng).double() / count - 0.5
    return values.reshape(batch, channels, height, width).to(dtype)


def rois(rng: torch.Generator, count=12, batch=2, inside=False, height=HEIGHT, width=WIDTH, scale=SCALE):
    """``Tensor[R, 5]`` in image pixels: anywhere about the map, or wholly between the centres of its border cells.

    They are exactly representable in float32, and float64 on the outside so that each test converts them.
    """
    size = torch.tensor([(width - 1) / scale[1], (height - 1) / scale[0]], dtype=torch.float64)
    ends = torch.rand(count, 2, 2, generator=rng, dtype=torch.float64)
    ends = ends * size if inside else (ends * 1.6 - 0.3) * size
    corners = torch.cat([ends.amin(1), ends.amax(1)], 1)
    index = torch.randint(batch, (count, 1), generator=rng)
    return torch.cat([index, corners], 1).float().double()


def away_from_kinks() -> torch.Tensor:
    """RoIs for finite differences on a 7×8 map at scale (½, ½): no bin edge or sample within 0.01 of a cell's centre, a
    border or a rounding step, for any variant, so that every method is smooth around them."""
    return torch.tensor(
        [[0, 1.37, 0.71, 9.13, 8.93], [1, 3.11, 2.77, 13.91, 11.51], [1, -1.73, 4.57, 5.47, 15.17]],
        dtype=torch.float64,
    )


def as_rois(boxes: torch.Tensor, level: torch.Tensor | None = None) -> Rois:
    batch = boxes[:, 0].long()
    return Rois(boxes[:, 1:], batch, torch.zeros_like(batch) if level is None else level)


def close(found, expected, atol=1e-13):
    """Equal but for the order of a sum: a method that becomes another one exactly differs in a last bit at most."""
    torch.testing.assert_close(found, expected, rtol=0, atol=atol)
