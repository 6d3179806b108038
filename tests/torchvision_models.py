"""Small detectors of torchvision's, images for them, and what they find compared."""

from __future__ import annotations

import functools

import torch
import torchvision
from torch import nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

SMALL = {"min_size": 96, "max_size": 128, "rpn_post_nms_top_n_test": 40, "rpn_post_nms_top_n_train": 40}


def build(kind, **settings):
    torch.manual_seed(7)
    backbone = resnet_fpn_backbone(backbone_name="resnet18", weights=None, trainable_layers=5)
    return kind(backbone, num_classes=3, **SMALL, **settings).eval()


@functools.cache
def images():
    generator = torch.Generator().manual_seed(3)
    return [torch.rand(3, 96, 128, generator=generator), torch.rand(3, 90, 110, generator=generator)]


def same_detections(found, expected):
    assert sum(len(one["boxes"]) for one in expected) > 10, "nothing was detected: the comparison says nothing"
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        for key, value in other.items():
            torch.testing.assert_close(one[key], value, rtol=1e-4, atol=1e-4)


class OneMap(nn.Sequential):
    """A backbone with a single map of stride 8."""

    out_channels = 8

    def __init__(self, channels=3):
        super().__init__(nn.Conv2d(channels, 8, 3, 8, 1), nn.BatchNorm2d(8))


def single_level(**settings):
    pool = torchvision.ops.MultiScaleRoIAlign(["0"], 7, 2)
    anchors = AnchorGenerator(((16, 32, 64),), ((0.5, 1.0, 2.0),))
    return FasterRCNN(
        OneMap(**settings), num_classes=3, rpn_anchor_generator=anchors, box_roi_pool=pool, **SMALL
    ).eval()
