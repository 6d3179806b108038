"""Where an extractor meets a detector: checks, and the module that pools RoIs from a neck's maps."""

from __future__ import annotations

import inspect
from typing import Any

from torch import nn
from torchvision.ops import MultiScaleRoIAlign

from .necks import Neck


def check_extractor(extractor: object, argument: str, *, square: bool = False) -> None:
    """Raise a ``ValueError`` unless ``extractor`` is a region extractor (with a square output, if asked)."""
    if inspect.isclass(extractor):
        raise ValueError(f"{argument} must be an instance, not the class {extractor.__name__}: {extractor.__name__}()")
    if not isinstance(extractor, nn.Module) or getattr(extractor, "output_size", None) is None:
        raise ValueError(f"{argument} must be a roikit.RegionExtractor, not {type(extractor).__name__}")
    height, width = output_size(extractor)
    if square and height != width:
        raise ValueError(f"{argument} gives {height} x {width} parts, but masks are square: use a size such as 14 x 14")


def output_size(extractor: nn.Module) -> tuple[int, int]:
    """The grid of parts (rows, columns) that ``extractor`` makes of a RoI."""
    height, width = extractor.output_size  # type: ignore[misc]  # nn.Module's attributes are Tensor | Module
    return height, width


def pooled_channels(extractor: nn.Module, channels: int) -> int:
    """Channels of the region features that ``extractor`` makes of maps with ``channels`` channels."""
    out_channels = getattr(extractor, "out_channels", None)
    return out_channels(channels) if callable(out_channels) else channels


def default_extractor(output_size: int, *, aligned: bool) -> nn.Module:
    extractor: Any = nn.Module()
    extractor.output_size = (output_size, output_size)
    return extractor


def pool_from(neck: Neck, extractor: nn.Module) -> nn.Module:
    """The pooling module of torchvision's RoI heads, for the maps of ``neck`` that RoIs are pooled from."""
    return MultiScaleRoIAlign(list(neck.roi_maps), extractor.output_size, 2)
