"""Layers that several extractors and detectors are built of."""

from .deform_conv import DeformConv
from .deformable_backbone import make_deformable

__all__ = ["DeformConv", "make_deformable"]
