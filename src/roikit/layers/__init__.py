"""Layers that several extractors and detectors are built of."""

from .deform_conv import DeformConv
from .deformable_backbone import make_deformable
from .dynamic_head import DynamicHeadBlock
from .grid_prior import GridPrior

__all__ = ["DeformConv", "DynamicHeadBlock", "GridPrior", "make_deformable"]
