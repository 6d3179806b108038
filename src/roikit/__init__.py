"""Region feature extraction for object detection: every RoI extractor behind one interface."""

from importlib import import_module
from typing import TYPE_CHECKING

from .extras import teach

if TYPE_CHECKING:
    from . import analysis as analysis
    from . import boxes as boxes
    from . import data as data
    from . import detection as detection
    from . import extractors as extractors
    from . import geometry as geometry
    from . import layers as layers
    from . import modes as modes
    from . import ops as ops
    from . import rules as rules
    from . import sums as sums
    from . import weights as weights
    from .boxes import Rois as Rois
    from .extractors import *  # noqa: F403  (the listing of extractors is in one place)
    from .integrations.torchvision import replace_roi as replace_roi
    from .multiscale import MultiScale as MultiScale
    from .sums.memory import empty_cache as empty_cache

__version__ = "0.1.0"

teach()
_PACKAGES = (
    *("analysis", "boxes", "data", "detection", "extractors", "geometry", "layers", "modes", "ops", "rules", "sums"),
    "weights",
)
_HOMES = {
    "MultiScale": "multiscale",
    "Rois": "boxes",
    "empty_cache": "sums.memory",
    "replace_roi": "integrations.torchvision",
}


def __getattr__(name: str) -> object:
    # On first use: `roikit --help` needs no torch, and the command line sets OpenMP's environment before torch loads.
    if name in _PACKAGES:
        return import_module(f".{name}", __name__)  # which also makes it an attribute
    home = import_module(f".{_HOMES.get(name, 'extractors')}", __name__)
    if name not in _HOMES and name not in home.__all__:
        raise AttributeError(f"module 'roikit' has no attribute {name!r}")
    value = globals()[name] = getattr(home, name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_PACKAGES, *_HOMES, *import_module(".extractors", __name__).__all__})
