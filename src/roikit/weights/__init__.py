"""What an extractor says: the weights of Eq. (2), frozen objects with ``.pool(features)`` and ``.dense(H, W)``."""

from ..ops.axis import Axis
from .attention import Attention
from .base import RegionWeights
from .composed import Composed, Stacked
from .points import Points
from .selection import Selection
from .separable import Separable
from .shifted import ShiftedBins

__all__ = [
    "Attention",
    "Axis",
    "Composed",
    "Points",
    "RegionWeights",
    "Selection",
    "Separable",
    "ShiftedBins",
    "Stacked",
]
