"""Sums whose bins lie anywhere: y[r, c, k] = Σ_v Σ_u rows[r, k, v] · cols[r, k, u] · x[b_r, channel(c, k), v, u].

Every bin has its own row and column taps, and its own channels: bin k of RoI r reads channels base[r, k] + c · step.
"""

from .api import Channels, pool

__all__ = ["Channels", "pool"]
