"""detectron2's `ROIPooler` interface, on stand-ins written from its documentation."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torchvision.ops import MultiScaleRoIAlign

import roikit
from roikit.integrations.detectron2 import Pooler, replace_roi


class Boxes:
    """detectron2.structures.Boxes, what of it a pooler reads."""

    def __init__(self, tensor):
        self.tensor = tensor


class Backbone(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(3, 16, 1)

    def output_shape(self):
        return {f"p{level}": SimpleNamespace(channels=16, stride=2**level) for level in (2, 3, 4, 5)}


def model():
    """A model of the shape of detectron2's GeneralizedRCNN with StandardROIHeads."""
    found = nn.Module()
    found.backbone = Backbone()
    found.roi_heads = nn.Module()
    pooler = SimpleNamespace(
        level_poolers=[SimpleNamespace(spatial_scale=2.0**-level) for level in (2, 3, 4, 5)],
        canonical_box_size=224,
        canonical_level=4,
        output_size=(7, 7),
    )
    found.roi_heads.box_pooler = pooler
    return found


@pytest.fixture
def scene(rng):
    maps = [torch.rand(2, 16, 256 // stride, 320 // stride, generator=rng) for stride in (4, 8, 16, 32)]
    corner = torch.rand(40, 2, generator=rng) * 100
    boxes = torch.cat([corner, corner + 4 + torch.rand(40, 2, generator=rng) ** 3 * 150], 1)
    return maps, [boxes[:25], boxes[25:]]


def test_it_pools_as_torchvision_assigns_levels(scene):
    """Both assign by the FPN paper's rule; torchvision's RoI Align is the unaligned one."""
    maps, boxes = scene
    names = [str(level) for level in range(4)]
    ours = Pooler(roikit.RoIAlign(7, sampling_ratio=2, aligned=False), [1 / 4, 1 / 8, 1 / 16, 1 / 32])
    theirs = MultiScaleRoIAlign(names, 7, 2)
    expected = theirs(dict(zip(names, maps, strict=True)), boxes, [(256, 320)] * 2)
    torch.testing.assert_close(ours(maps, [Boxes(one) for one in boxes]), expected, rtol=1e-4, atol=1e-5)


def test_every_kind_of_extractor_takes_the_pooler_s_place(scene):
    maps, boxes = scene
    for extractor in (roikit.RoIAlign(7), roikit.SemanticRoIAlign, roikit.DeformRoIPool, [roikit.PrRoIPool(7)] * 4):
        changed = replace_roi(model(), extractor)
        pooler = changed.roi_heads.box_pooler
        assert isinstance(pooler, Pooler)
        assert pooler(maps, [Boxes(one) for one in boxes]).shape == (40, 16, 7, 7)
    assert pooler(maps, [Boxes(torch.zeros(0, 4)), Boxes(torch.zeros(0, 4))]).shape == (0, 16, 7, 7)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"has no roi_heads\.box_pooler"):
        replace_roi(nn.Linear(1, 1), roikit.RoIAlign(7))
    with pytest.raises(ValueError, match=r"has no roi_heads\.mask_pooler"):
        replace_roi(model(), roikit.RoIAlign(14), head="mask")
    with pytest.raises(ValueError, match=r"built for \(7, 7\) parts, and the extractor gives \(14, 14\)"):
        replace_roi(model(), roikit.RoIAlign(14))
    with pytest.raises(ValueError, match="made for 8 channels"):
        replace_roi(model(), roikit.SemanticRoIAlign(8))
    with pytest.raises(ValueError, match="scales must halve"):
        Pooler(roikit.RoIAlign(7), [1 / 4, 1 / 16])


def test_a_one_stage_detector_of_torchvision_has_none():
    from torchvision.models.detection import retinanet_resnet50_fpn

    retina = retinanet_resnet50_fpn(weights=None, weights_backbone=None)
    with pytest.raises(ValueError, match=r"RetinaNet has no roi_heads\.box_roi_pool: .* two-stage detectors"):
        roikit.replace_roi(retina, roikit.RoIAlign(7))
