"""torchvision's own detectors are the oracle: the same parameters under the same names, the same outputs."""

import pytest
import torch
from torchvision.models.detection import fasterrcnn_resnet50_fpn, maskrcnn_resnet50_fpn
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

import roikit
from roikit.detection import faster_rcnn, mask_rcnn

SIZES = dict(min_size=96, max_size=128, box_score_thresh=0.0, rpn_post_nms_top_n_test=100, box_detections_per_img=10)


@pytest.mark.parametrize(
    ("ours", "theirs", "millions"),
    [(faster_rcnn, fasterrcnn_resnet50_fpn, 41.757), (mask_rcnn, maskrcnn_resnet50_fpn, 44.401)],
)
def test_same_parameters_and_outputs(ours, theirs, millions):
    pools = {"extractor": roikit.RoIAlign(7, sampling_ratio=2, aligned=False)}
    if ours is mask_rcnn:
        pools["mask_extractor"] = roikit.RoIAlign(14, sampling_ratio=2, aligned=False)
    mine = ours("resnet50", num_classes=81, **pools, **SIZES).eval()
    reference = theirs(weights=None, weights_backbone=None, num_classes=81, **SIZES).eval()
    trainable = [sum(p.numel() for p in m.parameters() if p.requires_grad) for m in (mine, reference)]
    assert trainable[0] == trainable[1] == pytest.approx(millions * 1e6, abs=500)

    mine.load_state_dict(reference.state_dict(), strict=True)
    images = [torch.rand(3, 96, 120), torch.rand(3, 110, 70)]
    with torch.no_grad():
        for a, b in zip(mine(images), reference(images), strict=True):
            assert len(a["boxes"]) > 0
            for key in b:
                torch.testing.assert_close(a[key], b[key], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("layers", [0, 3, 4, 5])
def test_the_same_layers_are_frozen(layers):
    mine = faster_rcnn("resnet50", norm="frozen", trainable_layers=layers).backbone
    reference = resnet_fpn_backbone(backbone_name="resnet50", weights=None, trainable_layers=layers)
    assert {n: p.requires_grad for n, p in mine.named_parameters()} == {
        n: p.requires_grad for n, p in reference.named_parameters()
    }
    assert {n for n, _ in mine.named_buffers()} == {n for n, _ in reference.named_buffers()}
