"""How the sum y_k(b) = Σ_p w_k(b, p) x(p) is computed: 1-D rules, and one folder per operation.

The functional forms have torchvision's signatures: ``from roikit.ops import roi_align`` is a drop-in replacement.
"""

from .functional import prroi_pool, roi_align, roi_pool

__all__ = ["prroi_pool", "roi_align", "roi_pool"]
