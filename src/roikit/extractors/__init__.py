"""One file per method, named as the field names it. ``EXTRACTORS`` is the listing: the conformance suite, the command
line and the documentation read it."""

from .base import RegionExtractor
from .deform_roi_pool import DeformRoIPool, ModulatedDeformRoIPool
from .pr_roi_pool import PrRoIPool
from .roi_align import RoIAlign
from .roi_pool import RoIPool

EXTRACTORS: tuple[type[RegionExtractor], ...] = (RoIPool, RoIAlign, PrRoIPool, DeformRoIPool, ModulatedDeformRoIPool)

__all__ = [
    "EXTRACTORS",
    "DeformRoIPool",
    "ModulatedDeformRoIPool",
    "PrRoIPool",
    "RegionExtractor",
    "RoIAlign",
    "RoIPool",
]
