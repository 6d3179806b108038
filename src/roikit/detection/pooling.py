"""Where an extractor meets a detector: checks, and the module that pools RoIs from a neck's maps."""

from __future__ import annotations

import inspect

from ..extractors import RegionExtractor, RoIAlign
from ..multiscale import MultiScale
from .necks import Neck


def default_extractor(output_size: int, *, aligned: bool) -> RegionExtractor:
    """What a head pools with when nothing is said: RoIAlign with 2 x 2 samples a bin, as in torchvision."""
    return RoIAlign(output_size, sampling_ratio=2, aligned=aligned)


def check_extractor(extractor: object, argument: str, *, square: bool = False) -> None:
    """Raise a ``ValueError`` unless ``extractor`` is a region extractor (with a square output, if asked)."""
    if inspect.isclass(extractor):
        raise ValueError(f"{argument} must be an instance, not the class {extractor.__name__}: {extractor.__name__}()")
    if not isinstance(extractor, RegionExtractor):
        raise ValueError(f"{argument} must be a roikit.RegionExtractor, not {type(extractor).__name__}")
    height, width = extractor.output_size
    if square and height != width:
        raise ValueError(f"{argument} gives {height} x {width} parts, but masks are square: use a size such as 14 x 14")


def pooled_channels(extractor: RegionExtractor, channels: int) -> int:
    """Channels of the region features that ``extractor`` makes of maps with ``channels`` channels: the same, unless it
    has a method ``out_channels`` that says otherwise (position-sensitive pooling has fewer)."""
    out_channels = getattr(extractor, "out_channels", None)
    return out_channels(channels) if callable(out_channels) else channels


def pool_from(neck: Neck, extractor: RegionExtractor) -> MultiScale:
    """The pooling module of torchvision's RoI heads, for the maps of ``neck`` that RoIs are pooled from."""
    return MultiScale(extractor, neck.roi_maps, [neck.strides[name] for name in neck.roi_maps])
