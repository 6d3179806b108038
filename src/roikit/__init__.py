"""Region feature extraction for object detection: every RoI extractor behind one interface."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from . import analysis, data, detection, ops
    from .boxes import Rois
    from .extractors import PrRoIPool, RegionExtractor, RoIAlign, RoIPool
    from .integrations.torchvision import replace_roi
    from .multiscale import MultiScale

__all__ = [
    "MultiScale",
    "PrRoIPool",
    "RegionExtractor",
    "RoIAlign",
    "RoIPool",
    "Rois",
    "analysis",
    "data",
    "detection",
    "ops",
    "replace_roi",
]
__version__ = "0.1.0"

_HOMES = {"MultiScale": "multiscale", "Rois": "boxes", "replace_roi": "integrations.torchvision"}


def __getattr__(name: str) -> object:
    # On first use: `roikit --help` needs no torch, and the command line sets OpenMP's environment before torch loads.
    if name not in __all__:
        raise AttributeError(f"module 'roikit' has no attribute {name!r}")
    if name.islower() and name not in _HOMES:
        return import_module(f".{name}", __name__)  # a package; importing it also makes it an attribute
    value = getattr(import_module(f".{_HOMES.get(name, 'extractors')}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
