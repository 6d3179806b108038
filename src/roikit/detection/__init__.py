"""Two-stage detectors on torchvision's RPN and heads, with timm backbones and any region extractor."""

from ..oriented import oriented_boxes
from .extractor_losses import add_extractor_losses
from .fgfa import detect_in_video, fgfa
from .given_proposals import take_given_proposals
from .mimicking import mimic
from .models import cascade_rcnn, faster_rcnn, mask_rcnn, oriented_rcnn, rfcn
from .state_dicts import WEIGHTS_PACKAGES, WeightsPackage

__all__ = [
    "WEIGHTS_PACKAGES",
    "WeightsPackage",
    "add_extractor_losses",
    "cascade_rcnn",
    "detect_in_video",
    "faster_rcnn",
    "fgfa",
    "mask_rcnn",
    "mimic",
    "oriented_boxes",
    "oriented_rcnn",
    "rfcn",
    "take_given_proposals",
]
