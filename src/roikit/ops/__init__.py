"""How the sum y_k(b) = Σ_p w_k(b, p) x(p) is computed: 1-D rules, and one folder per operation.

The functional forms have torchvision's signatures: ``from roikit.ops import roi_align`` is a drop-in replacement.
"""

from . import flops
from .functional import (
    deform_ps_roi_pool,
    deform_roi_pool,
    prroi_pool,
    ps_roi_align,
    ps_roi_pool,
    roi_align,
    roi_pool,
)
from .functional_rotated import roi_align_rotated

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

flops.register()
