"""replace_roi on torchvision's detectors: nothing changes but the layer."""

from __future__ import annotations

import functools
import inspect

import pytest
import torch
import torchvision
from torchvision.models.detection import FasterRCNN, KeypointRCNN, MaskRCNN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision_models import SMALL, build, images, same_detections, single_level

import roikit
from roikit.detection.pooling import groups_of
from roikit.extractors import EXTRACTORS

UNALIGNED = functools.partial(roikit.RoIAlign, sampling_ratio=2, aligned=False)


def test_faster_rcnn_detects_the_same():
    model = build(FasterRCNN)
    with torch.no_grad():
        expected = model(images())
        old = model.roi_heads.box_roi_pool
        assert roikit.replace_roi(model, UNALIGNED(7)) is model
        new = model.roi_heads.box_roi_pool
        assert isinstance(new, roikit.MultiScale) and not new.training
        assert new.featmap_names == old.featmap_names and new.strides == [4.0, 8.0, 16.0, 32.0]
        same_detections(model(images()), expected)


@pytest.mark.parametrize(
    ("kind", "name", "size"), [(MaskRCNN, "mask", 14), (KeypointRCNN, "keypoint", 14)], ids=["mask", "keypoint"]
)
def test_mask_and_keypoint_rcnn_detect_the_same(kind, name, size):
    model = build(kind, box_detections_per_img=8)
    heads = model.roi_heads
    with torch.no_grad():
        expected = model(images())
        before = getattr(heads, f"{name}_roi_pool")
        roikit.replace_roi(model, UNALIGNED(7))
        assert getattr(heads, f"{name}_roi_pool") is before, "it was not asked for"
        same_detections(model(images()), expected)
        roikit.replace_roi(model, UNALIGNED(7), **{name: UNALIGNED(size)})
        assert isinstance(getattr(heads, f"{name}_roi_pool"), roikit.MultiScale)
        same_detections(model(images()), expected)


def takes(kind, name):
    return name in inspect.signature(kind).parameters


def boxes_and_masks():
    targets = []
    for image in images():
        masks = torch.zeros(1, *image.shape[-2:], dtype=torch.uint8)
        masks[:, 20:70, 15:80] = 1
        targets.append({"boxes": torch.tensor([[15.0, 20, 80, 70]]), "labels": torch.tensor([1]), "masks": masks})
    return targets


def assert_trains(model):
    losses = model.train()(images(), boxes_and_masks())
    total = sum(losses.values())
    assert bool(torch.isfinite(total)) and "loss_box_reg" in losses
    total.backward()
    layers = model.roi_heads.box_roi_pool.extractor
    assert all(p.grad is not None for p in layers.parameters())
    return losses


# One without layers, one with, one that takes sizes of images, one with masks for parts: the others with -m slow.
SOME = (roikit.RoIAlign, roikit.DeformRoIPool, roikit.LearnedRegionFeatures, roikit.SemanticRoIAlign, roikit.PSRoIAlign)


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[] if kind in SOME else pytest.mark.slow) for kind in EXTRACTORS]
)
def test_every_extractor_trains_in_mask_rcnn(kind):
    """Where it gives the grids that the heads were built for; the class says how, the model says the channels."""
    model = build(MaskRCNN)
    model.roi_heads.box_head, model.roi_heads.box_predictor = TwoMLPHead(256 * 7 * 7, 16), FastRCNNPredictor(16, 3)
    parts = {"masks": 14 * 14} if takes(kind, "masks") else {"output_size": 14}
    if not takes(kind, *parts):
        with pytest.raises(ValueError, match="box head was built for 7×7 parts"):
            roikit.replace_roi(model, kind)
        return
    if groups_of(kind) > 1:
        with pytest.raises(ValueError, match=r"roikit\.detection\.rfcn builds detectors for it"):
            roikit.replace_roi(model, kind)
        return
    roikit.replace_roi(model.train(), kind)
    assert model.roi_heads.box_roi_pool.training
    if sum(p.numel() for p in model.roi_heads.box_roi_pool.parameters()) < 2e7:  # four times as many for masks
        roikit.replace_roi(model, kind, mask=functools.partial(kind, **parts))
    assert "loss_mask" in assert_trains(model)
    assert bool(model.backbone.body.conv1.weight.grad.any())


POSITION_SENSITIVE = [kind for kind in EXTRACTORS if takes(kind, "group_size") or groups_of(kind) > 1]


@pytest.mark.parametrize("kind", POSITION_SENSITIVE)
def test_every_position_sensitive_extractor_trains_in_an_rfcn(kind):
    model = roikit.detection.rfcn("test_resnet", num_classes=3, channels=16, **SMALL)
    roikit.replace_roi(model, functools.partial(kind, group_size=7) if takes(kind, "group_size") else kind)
    assert_trains(model)


def test_layers_are_made_for_the_maps_of_the_model():
    model = roikit.replace_roi(build(FasterRCNN), functools.partial(roikit.DeformRoIPool, gamma=0.2))
    pool = model.roi_heads.box_roi_pool.extractor
    assert pool.channels == 256 and pool.gamma == 0.2
    with torch.no_grad():
        expected = model(images())
        same_detections(
            roikit.replace_roi(model, roikit.RoIAlign(7))(images()), expected
        )  # untrained, its offsets are 0


def test_one_extractor_for_each_level():
    given = [roikit.DeformRoIPool(256) for _ in range(4)]
    model = roikit.replace_roi(build(FasterRCNN).train(), given)
    assert all(a is b for a, b in zip(model.roi_heads.box_roi_pool.extractor, given, strict=True))
    assert_trains(model)


def test_levels_stay_aggregated():
    """A head that was built for several levels side by side gets them from the new layer too."""
    model = roikit.detection.faster_rcnn(
        "test_resnet", num_classes=3, channels=16, fc_dim=16, aggregate="concat", **SMALL
    )
    roikit.replace_roi(model, roikit.PrRoIPool(7))
    assert model.roi_heads.box_roi_pool.aggregate == "concat"
    assert_trains(model)


def test_an_extractor_that_takes_sizes_of_images_gets_them():
    seen = []

    class Sized(roikit.RoIAlign):
        extras = ("image_sizes",)

        def weights(self, features, boxes, spatial_scale=1.0, image_sizes=None):
            seen.append(image_sizes)
            return super().weights(features, boxes, spatial_scale)

    model = roikit.replace_roi(build(FasterRCNN), Sized(7))
    with torch.no_grad():
        model(images())
    assert seen == [[(96, 128), (96, 117)]]


def test_training_losses_are_torchvisions():
    target = [{"boxes": torch.tensor([[15.0, 20, 80, 70]]), "labels": torch.tensor([1])}] * 2
    model = build(FasterRCNN).train()
    found = []
    for _ in range(2):
        model.zero_grad()
        torch.manual_seed(1)
        losses = model(images(), target)
        sum(losses.values()).backward()
        found.append((losses, model.backbone.body.conv1.weight.grad.clone()))
        roikit.replace_roi(model, UNALIGNED(7))
    (before, gradient), (after, new_gradient) = found
    for name, value in before.items():
        torch.testing.assert_close(after[name], value, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(new_gradient, gradient, rtol=1e-3, atol=1e-3 * float(gradient.abs().max()))


def test_a_pyramid_whose_coarse_maps_have_one_stride():
    """torchvision's MobileNet: two maps of stride 32, and a pooling layer that lists four names."""
    torch.manual_seed(7)
    make = torchvision.models.detection.fasterrcnn_mobilenet_v3_large_320_fpn
    model = make(weights=None, weights_backbone=None, num_classes=3, **SMALL).eval()
    with torch.no_grad():
        expected = model(images())
        roikit.replace_roi(model, UNALIGNED(7))
        assert model.roi_heads.box_roi_pool.featmap_names == ["0", "1"]
        assert model.roi_heads.box_roi_pool.strides == [32.0, 32.0]
        same_detections(model(images()), expected)


@pytest.mark.parametrize("more", [{}, {"pool": 64}, {"2": 64, "3": 64, "pool": 64}], ids=str)
def test_given_strides_are_read_for_the_maps_that_exist(more):
    make = torchvision.models.detection.fasterrcnn_mobilenet_v3_large_320_fpn
    model = make(weights=None, weights_backbone=None, num_classes=3, **SMALL).eval()
    roikit.replace_roi(model, roikit.RoIAlign(7), strides={"0": 32, "1": 32, **more})
    assert model.roi_heads.box_roi_pool.featmap_names == ["0", "1"]
    with torch.no_grad():
        model(images())


def test_a_backbone_with_one_map():
    torch.manual_seed(7)
    model = single_level()
    with torch.no_grad():
        expected = model(images())
        roikit.replace_roi(model, UNALIGNED(7))
        assert model.roi_heads.box_roi_pool.strides == [8.0]
        same_detections(model(images()), expected)


def test_probing_the_strides_leaves_the_model_as_it_was():
    model = single_level().train()
    model.backbone[1].eval()  # one module of another mode than its parent
    before = {name: value.clone() for name, value in model.state_dict().items()}
    roikit.replace_roi(model, roikit.RoIAlign(7))
    assert model.training and model.backbone[0].training and not model.backbone[1].training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_given_strides_are_taken():
    model = roikit.replace_roi(single_level(), roikit.RoIAlign(7), strides={"0": (8, 4)})
    assert model.roi_heads.box_roi_pool.strides == [(8, 4)]


def test_a_second_replacement_replaces_the_first():
    model = roikit.replace_roi(single_level(), roikit.RoIAlign(7))
    roikit.replace_roi(model, roikit.PrRoIPool(7))
    assert isinstance(model.roi_heads.box_roi_pool.extractor, roikit.PrRoIPool)


def test_state_dicts_and_copies():
    import copy
    import pickle

    model = roikit.replace_roi(single_level(), roikit.RoIAlign(7, aligned=False))
    single_level().load_state_dict(model.state_dict())  # the layer has no weights of its own
    with torch.no_grad():
        expected = model(images())
        for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            same_detections(other(images()), expected)
