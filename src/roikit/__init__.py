"""Region feature extraction for object detection: every RoI extractor behind one interface."""

from . import ops
from .boxes import Rois
from .extractors import PrRoIPool, RegionExtractor, RoIAlign, RoIPool
from .integrations.torchvision import replace_roi
from .multiscale import MultiScale

__all__ = ["MultiScale", "PrRoIPool", "RegionExtractor", "RoIAlign", "RoIPool", "Rois", "ops", "replace_roi"]
__version__ = "0.1.0"
