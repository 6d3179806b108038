"""Two-stage detectors on torchvision's RPN and heads, with timm backbones and any region extractor."""

from .mimicking import mimic
from .models import cascade_rcnn, faster_rcnn, mask_rcnn, rfcn
from .state_dicts import WEIGHTS_PACKAGES, WeightsPackage

__all__ = ["WEIGHTS_PACKAGES", "WeightsPackage", "cascade_rcnn", "faster_rcnn", "mask_rcnn", "mimic", "rfcn"]
