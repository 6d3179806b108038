"""Every wrong argument: one message that says what, and what to do."""

import pytest
import torch
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
        (dict(backbone="coatnet_0_rw_224"), "'coatnet_0_rw_224' takes images of one size only.*differ: choose a conv"),
        (dict(backbone_options={"nonsense": 1}), "timm cannot build 'resnet10t'.*nonsense"),
        (dict(built={"norm": "batch"}), "built must be the build_info of a detector, but it has no 'aligned'"),
        (dict(neck="pan"), "unknown neck 'pan': choose one of 'fpn', 'c5'"),
        (dict(weights="lvis"), "unknown weights 'lvis': choose 'imagenet', 'coco', None, or a path that exists"),
        (dict(norm="group"), "unknown norm 'group'"),
        (dict(num_classes=1), "num_classes=1: it counts the background"),
        (dict(channels=0), "channels=0 must be positive"),
        (dict(trainable_layers=6), "trainable_layers=6 must be from 0"),
        (dict(anchor_sizes=(8, 16)), r"anchor_sizes has 2 entries.*reads 5 maps \(strides \[4, 8, 16, 32, 64\]\)"),
        (dict(anchor_sizes=[[8], [16, 17], [32], [64], [128]]), "same number of sizes"),
        (dict(anchor_sizes=(8, 16, 32, 64, -1)), "must be positive"),
        (dict(extractor=nn.Flatten()), "extractor must be a roikit.RegionExtractor.*not Flatten"),
        (dict(extractor="RoIAlign"), "extractor must be a roikit.RegionExtractor.*not 'RoIAlign'"),
        (dict(extractor=nn.Identity), "extractor must be a roikit.RegionExtractor.*not Identity"),
        (dict(extractor=[]), "extractor is an empty list"),
        (dict(extractor=[roikit.RoIAlign(7)] * 3), "4 levels need one extractor, or one each, not 3"),
        (dict(extractor=roikit.DeformRoIPool(8)), r"DeformRoIPool was made for 8 channels.* 16 \(channels=16\): leave"),
        (dict(extractor=roikit.DeformRoIPool(16), extractor_per_level=True), "give extractor as what makes one"),
        (
            dict(extractor=roikit.PSRoIAlign(7)),
            r"position-sensitive: .* one channel of 49 maps.*roikit\.detection\.rfcn",
        ),
        (dict(extractor=roikit.PSRoIPool), r"PSRoIPool is position-sensitive: .*roikit\.detection\.rfcn"),
        (dict(kind="mask", mask_extractor=roikit.PSRoIPool(14)), "mask_extractor PSRoIPool.* is position-sensitive"),
        (dict(aggregate="mean"), "aggregate must be one of 'assign', 'concat', 'sum', not 'mean'"),
        (dict(kind="rfcn", extractor=roikit.RoIAlign(7)), r"must be position-sensitive in an R-FCN.*not RoIAlign\(out"),
        (
            dict(kind="rfcn", extractor=roikit.DeformRoIPool),
            "must be position-sensitive in an R-FCN.*not DeformRoIPool.*has an argument group_size",
        ),
        (dict(kind="rfcn", extractor=nn.Flatten()), "must be position-sensitive in an R-FCN.*not Flatten"),
        (
            dict(kind="cascade", iou_thresholds=(0.5, 0.6)),
            r"iou_thresholds, .* have \[2, 3, 3\] entries: a cascade needs",
        ),
        (dict(kind="cascade", iou_thresholds=(0, 0.6, 0.7)), r"above 0 and at most 1: \(0, 0.6, 0.7\)"),
        (
            dict(kind="cascade", iou_thresholds=0.5),
            "iou_thresholds must be a list with an entry for each stage, not 0.5",
        ),
        (dict(kind="cascade", box_weights=[[10, 10, 5]] * 3), "box_weights must be four positive numbers"),
        (dict(kind="cascade", box_weights=[1, 2, 3]), "box_weights must be four positive numbers"),
        (dict(kind="cascade", loss_weights=(1, 1, 0)), r"loss_weights must be positive: \(1, 1, 0\)"),
        (dict(kind="cascade", weights="coco"), "none of a Cascade R-CNN"),
        (dict(kind="cascade", extractor=roikit.PSRoIAlign(7)), "position-sensitive: .* roikit.detection.rfcn does"),
        (dict(kind="rfcn", aggregate="concat"), "no layer behind its pooling"),
        (dict(kind="rfcn", weights="coco"), "none of an R-FCN"),
        (
            dict(kind="rfcn", extractor=roikit.DeformPSRoIPool(64 * 49, group_size=7)),
            r"DeformPSRoIPool was made for 3136 channels.* have 392 \(\(num_classes \+ 4\)·49 = 392\): leave",
        ),
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
        (dict(kind="rfcn", fc_dim=64), "unknown setting 'fc_dim'"),
        (dict(kind="mask", class_specific_boxes=True), "unknown setting 'class_specific_boxes'"),
        (dict(mask_channels=8), "unknown setting 'mask_channels'"),
        (dict(kind="cascade", mask_channels=8), "unknown setting 'mask_channels'"),
        (dict(iou_thresholds=(0.5,)), "unknown setting 'iou_thresholds'"),
        (dict(kind="cascade", box_fg_iou_thresh=0.6), "box_fg_iou_thresh differs from stage to stage.* use iou_thres"),
        (dict(rpn_nms_tresh=0.5), "unknown setting 'rpn_nms_tresh': did you mean rpn_nms_thresh"),
        (dict(qqqq=0.5), "unknown setting 'qqqq': see"),
        (dict(box_roi_pool=nn.Identity()), "box_roi_pool is built here: use extractor"),
        (dict(rpn_anchor_generator=None), "rpn_anchor_generator is built here: use anchor_sizes"),
    ],
)
def test_wrong_setting(tiny, arguments, message):
    with pytest.raises(TypeError, match=message):
        tiny(**arguments)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            dict(labels=torch.tensor([1, 4])),
            r"target 0: labels must be from 1 to 3 \(num_classes=4 .* there are \[1, 4\]",
        ),
        (dict(labels=torch.tensor([0, 1])), "background, which is 0"),
        (dict(labels=torch.tensor([1])), r"target 0: 2 boxes, but labels of shape \[1\]"),
        (dict(boxes=torch.zeros(2, 5)), r"must be a float Tensor\[N, 4\], not torch.float32 of \[2, 5\]"),
        (dict(boxes=torch.ones(2, 4, dtype=torch.int64)), "float Tensor.*torch.int64"),
        (dict(masks=torch.zeros(2, 32, 64)), r"masks must have shape \[2, 64, 64\], not \[2, 32, 64\]"),
        (dict(masks=None), "target 0 has no 'masks': it has 'boxes', 'labels'"),
    ],
)
def test_wrong_target(tiny, batch, change, message):
    images, targets = batch
    model = tiny("mask")
    targets[0] = {key: value for key, value in (targets[0] | change).items() if value is not None}
    for call in (lambda: model(images, targets), lambda: model(images, targets=targets)):
        with pytest.raises(ValueError, match=message):
            call()


def test_labels_are_not_checked_in_evaluation(tiny, batch):
    images, targets = batch
    targets[0]["labels"] = torch.tensor([1, 99])
    with torch.no_grad():
        assert len(tiny().eval()(images, targets)) == 2


def test_missing_targets(tiny, batch):
    model = tiny()
    with pytest.raises(ValueError, match="training needs targets"):
        model(batch[0])
    with pytest.raises(ValueError, match="2 images, but 1 targets"):
        model(batch[0], batch[1][:1])
