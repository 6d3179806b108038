"""Softmax-weighted sums over a map: y[r,k] = Σ_p softmax_p(rows + columns + bias) · x(p)."""

from . import reference
from .api import attention_pool
from .samples import Samples

__all__ = ["Samples", "attention_pool", "reference"]
