"""mmdetection's models and configurations on our operators.

Skipped where mmcv-lite and mmdet are not installed (docs/openmmlab.md); `.ci/run` has an environment with them.
"""

from __future__ import annotations

import math

import mmdet_models
import pytest
import torch
from torch import tensor

from roikit.integrations.openmmlab import install

pytest.importorskip("mmcv", reason="mmcv-lite is not installed")
pytest.importorskip("mmdet", reason="mmdet is not installed")
install()


def test_every_extractor_is_a_roi_layer():
    from mmdet.registry import MODELS
    from mmdet.utils import register_all_modules

    register_all_modules()
    rois = tensor([[1.0, 8.0, 8.0, 60.0, 40.0], [0.0, 4.0, 4.0, 30.0, 90.0], [1.0, 0.0, 0.0, 100.0, 120.0]])
    maps = tuple(torch.rand(2, 16, 128 // stride, 128 // stride) for stride in (4, 8))
    common = {"out_channels": 16, "featmap_strides": [4, 8]}
    for layer in (
        {"type": "roikit.RoIAlign", "output_size": 7},
        {"type": "roikit.PrRoIPool", "output_size": 7},
        {"type": "roikit.SemanticRoIAlign", "channels": 16},
        {"type": "roikit.DeformRoIPool", "channels": 16},
        {"type": "roikit.LearnedRegionFeatures", "channels": 16, "embed_dim": 32, "geometry_dim": 8},
    ):
        for kind in ("SingleRoIExtractor", "GenericRoIExtractor", "MultiScaleRoIExtractor"):
            extractor = MODELS.build({"type": kind, "roi_layer": dict(layer), **common})
            assert extractor(maps, rois).shape == (3, 16, 7, 7)
    single = MODELS.build(
        {
            "type": "SingleRoIExtractor",
            "roi_layer": {"type": "roikit.RoIAlign", "output_size": 7, "sampling_ratio": 0},
            **common,
        }
    )
    whole = MODELS.build(
        {
            "type": "MultiScaleRoIExtractor",
            "roi_layer": {"type": "roikit.RoIAlign", "output_size": 7, "sampling_ratio": 0},
            **common,
        }
    )
    theirs = MODELS.build(
        {
            "type": "SingleRoIExtractor",
            "roi_layer": {"type": "RoIAlign", "output_size": 7, "sampling_ratio": 0},
            **common,
        }
    )
    torch.testing.assert_close(single(maps, rois), theirs(maps, rois))
    torch.testing.assert_close(whole(maps, rois), theirs(maps, rois))
    with pytest.raises(ValueError, match="roikit has no extractor 'RoIAlgin'"):
        MODELS.build({"type": "MultiScaleRoIExtractor", "roi_layer": {"type": "roikit.RoIAlgin"}, **common})


MODELS_TRIED = [
    "faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py",
    "mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py",
    "cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco.py",
    "dcn/faster-rcnn_r50-dconv-c3-c5_fpn_1x_coco.py",
    "dcnv2/faster-rcnn_r50_fpn_mdpool_1x_coco.py",
    "groie/faste-rcnn_r50_fpn_groie_1x_coco.py",
    "dyhead/atss_r50_fpn_dyhead_1x_coco.py",
    "carafe/faster-rcnn_r50_fpn-carafe_1x_coco.py",
]


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS_TRIED)
def test_whole_models(name):
    """From mmdetection's own configuration: a training step with gradients everywhere, and detections."""
    total, without, infinite, found = mmdet_models.step_and_predict(name)
    assert math.isfinite(total) and total > 0 and not without and not infinite and found >= 0


@pytest.mark.slow
def test_a_model_gives_the_same_with_torchvision_s_operators():
    model, data = mmdet_models.model_and_data(MODELS_TRIED[0])
    with torch.no_grad():
        maps = model.extract_feat(data["inputs"])
        rois = tensor([[0.0, 10.0, 20.0, 120.0, 180.0], [0.0, 50.0, 5.0, 70.0, 40.0]])
        ours = model.roi_head._bbox_forward(maps, rois)
        for layer in model.roi_head.bbox_roi_extractor.roi_layers:
            layer.use_torchvision = True
        theirs = model.roi_head._bbox_forward(maps, rois)
    for key in ("cls_score", "bbox_pred", "bbox_feats"):
        torch.testing.assert_close(ours[key], theirs[key], rtol=1e-4, atol=1e-5)
