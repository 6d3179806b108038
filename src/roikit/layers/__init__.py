"""Layers that several extractors and detectors are built of."""

from .deform_conv import DeformConv
from .deform_conv_v3 import DeformConvV3
from .deformable_backbone import make_deformable
from .dynamic_head import DynamicHeadBlock
from .flow import FlowNetS, warp
from .grid_prior import GridPrior
from .ms_deform_attn import MSDeformAttn

__all__ = [
    "DeformConv",
    "DeformConvV3",
    "DynamicHeadBlock",
    "FlowNetS",
    "GridPrior",
    "MSDeformAttn",
    "make_deformable",
    "warp",
]
