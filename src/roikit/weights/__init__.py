"""What an extractor says: the weights of Eq. (2), frozen objects with ``.pool(features)`` and ``.dense(H, W)``."""

from ..ops.axis import Axis
from .base import RegionWeights
from .selection import Selection
from .separable import Separable
from .shifted import ShiftedBins

__all__ = ["Axis", "RegionWeights", "Selection", "Separable", "ShiftedBins"]
