"""Region pooling as functions: ``from roikit.ops import roi_align`` is a drop-in replacement for torchvision's."""

from .deformable import deform_ps_roi_pool, deform_roi_pool
from .rotated import roi_align_rotated
from .upright import prroi_pool, ps_roi_align, ps_roi_pool, roi_align, roi_pool

__all__ = [
    "deform_ps_roi_pool",
    "deform_roi_pool",
    "prroi_pool",
    "ps_roi_align",
    "ps_roi_pool",
    "roi_align",
    "roi_align_rotated",
    "roi_pool",
]
