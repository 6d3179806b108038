"""The extractors and settings that the laws run over, and the scenes they run on.

Every extractor in ``roikit.extractors.EXTRACTORS`` is here without being named. A row in ``VARIANTS`` adds settings
(the defaults otherwise) and states, as data, where a law does not hold by design.
"""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

import pytest
import torch

from roikit.boxes import Rois
from roikit.extractors import (
    EXTRACTORS,
    DeformRoIPool,
    ModulatedDeformRoIPool,
    PrRoIPool,
    RegionExtractor,
    RoIAlign,
    RoIPool,
)


@dataclasses.dataclass(frozen=True)
class Variant:
    """An extractor with settings.

    Args:
        kind: the class.
        arguments: for its constructor, besides the output size.
        sums_to_one: law 2 holds for RoIs inside the map (False: masked, modulated).
    """

    kind: type[RegionExtractor]
    arguments: dict[str, Any] = dataclasses.field(default_factory=dict)
    sums_to_one: bool = True

    @property
    def learns(self) -> bool:
        """It has layers, made for a number of channels."""
        return "channels" in inspect.signature(self.kind).parameters

    def make(self, output_size=(3, 2), channels=None) -> RegionExtractor:
        arguments = {"output_size": output_size, **self.arguments}
        if self.learns:
            arguments["channels"] = channels or CHANNELS
        torch.manual_seed(0)
        return self.kind(**arguments).double()

    def __str__(self) -> str:
        return "-".join([self.kind.__name__, *(f"{key}={value}" for key, value in self.arguments.items())])


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
    Variant(DeformRoIPool),
    Variant(DeformRoIPool, {"sampling_ratio": 0, "expand": 2.0}),
    Variant(ModulatedDeformRoIPool, {"hidden": 16}, sums_to_one=False),
    Variant(ModulatedDeformRoIPool, {"hidden": 16, "pack": "separate"}, sums_to_one=False),
]

_SEEN = {variant.kind for variant in VARIANTS}
ALL = [*VARIANTS, *(Variant(kind) for kind in EXTRACTORS if kind not in _SEEN)]
SMOOTH = [variant for variant in ALL if variant.kind.differentiable_in_boxes]

every = pytest.mark.parametrize("variant", ALL, ids=str)
smooth = pytest.mark.parametrize("variant", SMOOTH, ids=str)
dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])

CHANNELS = 5
HEIGHT, WIDTH, SCALE = 13, 17, (0.5, 0.25)  # odd sizes; stride 2 down and 4 across


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
        [[0, 1.37, 0.71, 9.13, 8.93], [1, 3.11, 2.77, 13.91, 11.23], [1, -1.73, 4.57, 5.31, 15.17]],
        dtype=torch.float64,
    )


def as_rois(boxes: torch.Tensor, level: torch.Tensor | None = None) -> Rois:
    batch = boxes[:, 0].long()
    return Rois(boxes[:, 1:], batch, torch.zeros_like(batch) if level is None else level)
