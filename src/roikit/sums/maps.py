"""Feature maps as the operations take them: a list with one map per level, checked."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..boxes import of_level

Maps = Tensor | Sequence[Tensor]


def as_maps(features: Maps) -> list[Tensor]:
    """Features as a list of maps, one per level, checked.

    Raises:
        ValueError: a map that is not a floating-point ``Tensor[B, C, H, W]`` with cells, or maps that do not belong
            together.
    """
    maps = [features] if isinstance(features, Tensor) else list(features)
    if not maps:
        raise ValueError("features is an empty list: give at least one Tensor[B, C, H, W]")
    for i, x in enumerate(maps):
        name = "features" if isinstance(features, Tensor) else f"features[{i}]"
        if not isinstance(x, Tensor):
            raise ValueError(f"{name} must be a Tensor[B, C, H, W], not {type(x).__name__}")
        if x.ndim != 4:
            raise ValueError(f"{name} must be a Tensor[B, C, H, W], but its shape is {list(x.shape)}")
        if not x.dtype.is_floating_point:
            raise ValueError(f"{name} must be floating point, but it is {x.dtype}: convert it with .float()")
        if x.shape[2] == 0 or x.shape[3] == 0:
            raise ValueError(f"{name} has no cells: its shape is {list(x.shape)}")
        if x.shape[:2] != maps[0].shape[:2] or x.dtype != maps[0].dtype or x.device != maps[0].device:
            raise ValueError(
                f"{name} is {x.dtype} {list(x.shape)} on {x.device}, but features[0] is {maps[0].dtype} "
                f"{list(maps[0].shape)} on {maps[0].device}: levels share batch, channels, dtype and device"
            )
    return maps


def sum_dtype(dtype: torch.dtype) -> torch.dtype:
    """The type that sums of such features are made in: half types are widened to float32."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def geometry_dtype(features: Tensor) -> torch.dtype:
    """Boxes and geometry have the type of the sums: float32, for float64 features float64."""
    return sum_dtype(features.dtype)


def is_channels_last(x: Tensor) -> bool:
    """Whether a [B, C, H, W] map lies in memory channels-last, and not also channels-first."""
    return not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)


def laid(x: Tensor, last: bool) -> Tensor:
    """[R, C, …] with channels last in memory, or first: a compiled graph relies on the strides it was told."""
    return x.movedim(1, -1).contiguous().movedim(-1, 1) if last else x.contiguous()


def cells_of(shapes: Sequence[Sequence[int]], level: Tensor) -> tuple[Tensor, Tensor]:
    """The numbers of rows and of columns, the last two of its map's shape, for each RoI: int64 ``Tensor[R]`` each."""
    return of_level([shape[-2] for shape in shapes], level), of_level([shape[-1] for shape in shapes], level)


def own_side(sides: Sequence[int], level: Tensor, each: int = 1) -> int | Tensor:
    """The side of each RoI's own map, of one for each level: where all are one, that; else int64 ``Tensor[R]``, or
    ``Tensor[R · each]`` with each RoI's so often."""
    if len(sides) == 1:
        return sides[0]
    own = of_level(sides, level)
    return own if each == 1 else own.repeat_interleave(each)
