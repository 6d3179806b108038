"""How a method reads a box: in feature cells, on two axes, as bins, as rotated frames."""

from .grid import (
    Geometry,
    aligned,
    axes,
    bins,
    corners,
    every_bin,
    pair,
    rounded,
    rounded_bins,
    warped,
    whole,
    whole_bins,
)

__all__ = [
    "Geometry",
    "aligned",
    "axes",
    "bins",
    "corners",
    "every_bin",
    "pair",
    "rounded",
    "rounded_bins",
    "warped",
    "whole",
    "whole_bins",
]
