"""Every wrong argument: one message that says what, and what to do."""

import pytest
from torch import nn

import roikit


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(backbone="resnet51"), "unknown backbone 'resnet51': did you mean .*'resnet50'"),
        (dict(backbone="zzzzzzzz"), "unknown backbone 'zzzzzzzz': .*list_models"),
        (dict(backbone="resnet50.nope"), "unknown tag 'nope' .* timm has .*'a1_in1k'"),
        (dict(backbone=nn.Identity()), "backbone must be the name of a timm model.*not Identity"),
        (dict(backbone="vit_tiny_patch16_224"), r"at least two strides.*\[16, 16, 16\]"),
        (dict(backbone="vit_tiny_patch16_224", neck="c5"), "cannot be dilated to stride 16"),
        (dict(backbone_options={"nonsense": 1}), "timm cannot build 'resnet10t'.*nonsense"),
        (dict(neck="pan"), "unknown neck 'pan': choose one of 'fpn', 'c5'"),
        (dict(weights="lvis"), "unknown weights 'lvis': choose one of None, 'imagenet', 'coco'"),
        (dict(norm="group"), "unknown norm 'group'"),
        (dict(num_classes=1), "num_classes=1: it counts the background"),
        (dict(channels=0), "channels=0 must be positive"),
        (dict(trainable_layers=6), "trainable_layers=6 must be from 0"),
        (dict(anchor_sizes=(8, 16)), r"anchor_sizes has 2 entries.*reads 5 maps \(strides \[4, 8, 16, 32, 64\]\)"),
        (dict(anchor_sizes=[[8], [16, 17], [32], [64], [128]]), "same number of sizes"),
        (dict(anchor_sizes=(8, 16, 32, 64, -1)), "must be positive"),
        (dict(extractor=nn.Flatten()), "extractor must be a roikit.RegionExtractor, not Flatten"),
        (dict(extractor="RoIAlign"), "extractor must be a roikit.RegionExtractor, not str"),
        (dict(extractor=roikit.RoIAlign), r"must be an instance, not the class RoIAlign: RoIAlign\(\)"),
        (dict(kind="mask", mask_extractor=nn.Flatten()), "mask_extractor must be a roikit.RegionExtractor"),
        (dict(kind="mask", mask_extractor=roikit.RoIAlign((7, 14))), "gives 7 x 14 parts, but masks are square"),
    ],
)
def test_wrong_value(tiny, arguments, message):
    with pytest.raises(ValueError, match=message):
        tiny(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(rpn_nms_tresh=0.5), "unknown setting 'rpn_nms_tresh': did you mean rpn_nms_thresh"),
        (dict(qqqq=0.5), "unknown setting 'qqqq': see"),
        (dict(box_roi_pool=nn.Identity()), "box_roi_pool is built here: use extractor"),
        (dict(rpn_anchor_generator=None), "rpn_anchor_generator is built here: use anchor_sizes"),
    ],
)
def test_wrong_setting(tiny, arguments, message):
    with pytest.raises(TypeError, match=message):
        tiny(**arguments)
