"""Max pooling as a selection: find the winning cell of each bin and channel, then gather there."""

from .api import gather, winners

__all__ = ["gather", "winners"]
