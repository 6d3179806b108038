"""``roikit bench``: speed of the region poolings beside torchvision's, in one run."""

from .command import main

__all__ = ["main"]
