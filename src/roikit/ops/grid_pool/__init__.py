"""Separable sums: y[r, c, i, j] = Σ_v Σ_u rows[r, i, v] · cols[r, j, u] · x[b_r, c, v, u].

``grid_pool`` takes geometry and evaluates the rule inside one kernel (derivatives in the maps); ``tap_pool`` takes the
taps themselves and has derivatives in them too; ``pool`` chooses.
"""

from .api import pool, taps_of
from .fused import grid_pool
from .taps import tap_pool

__all__ = ["grid_pool", "pool", "tap_pool", "taps_of"]
