"""What an extractor says: the weights of Eq. (2), frozen objects with ``.pool(features)`` and ``.dense(H, W)``."""

from .attention import Attention
from .axis import Axis
from .base import RegionWeights
from .composed import Composed, Stacked
from .points import Points
from .selection import Selection
from .separable import Separable
from .shifted import Channels, ShiftedBins

__all__ = [
    "Attention",
    "Axis",
    "Channels",
    "Composed",
    "Points",
    "RegionWeights",
    "Selection",
    "Separable",
    "ShiftedBins",
    "Stacked",
]
