"""Max pooling as a selection: the winning cell of each bin and channel. Its derivatives gather and scatter there."""

from .api import gather, max_pool

__all__ = ["gather", "max_pool"]
