"""What an extractor says: the weights of Eq. (2), frozen objects with ``.pool(features)`` and ``.dense(H, W)``."""

from ..ops.axis import Axis
from .base import RegionWeights
from .composed import Composed, Stacked
from .selection import Selection
from .separable import Separable
from .shifted import ShiftedBins

__all__ = ["Axis", "Composed", "RegionWeights", "Selection", "Separable", "ShiftedBins", "Stacked"]
