"""Detectors as wholes: losses, detections, which map goes where, precision."""

import copy
import subprocess
import sys

import pytest
import torch
from torchvision.models.detection import FasterRCNN, MaskRCNN

import roikit

BOX_LOSSES = {"loss_classifier", "loss_box_reg"}
EVERY_STAGE = {f"{name}_stage{stage}" for name in BOX_LOSSES for stage in (1, 2, 3)}
LOSSES = {kind: {"loss_objectness", "loss_rpn_box_reg", *BOX_LOSSES} for kind in ("faster", "rfcn")}
LOSSES["mask"] = LOSSES["faster"] | {"loss_mask"}
LOSSES["cascade"] = LOSSES["faster"] - BOX_LOSSES | EVERY_STAGE
kinds = pytest.mark.parametrize("kind", LOSSES)
necks = pytest.mark.parametrize("neck", ["fpn", "c5"])


@kinds
@necks
def test_training_gives_finite_losses_and_every_parameter_a_gradient(tiny, batch, kind, neck):
    model = tiny(kind, neck=neck)
    losses = model(*batch)
    assert set(losses) == LOSSES[kind]
    sum(losses.values()).backward()
    assert all(torch.isfinite(loss) for loss in losses.values())
    # a parameter without a gradient would stop training on several devices
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


@kinds
@necks
def test_evaluation_gives_detections_in_the_pixels_of_each_image(tiny, batch, kind, neck):
    model = tiny(kind, neck=neck, box_score_thresh=0.0).eval()
    images, _ = batch
    assert isinstance(model, MaskRCNN if kind == "mask" else FasterRCNN)
    with torch.no_grad():
        results = model(images)
    for image, result in zip(images, results, strict=True):
        height, width = image.shape[-2:]
        count = len(result["boxes"])
        assert 0 < count <= 100
        assert result["scores"].shape == result["labels"].shape == (count,)
        assert result["boxes"].shape == (count, 4)
        assert (result["boxes"] >= 0).all() and (result["boxes"] <= torch.tensor([width, height] * 2)).all()
        assert set(result["labels"].tolist()) <= {1, 2, 3}
        if kind == "mask":
            assert result["masks"].shape == (count, 1, height, width)


@necks
def test_loss_falls_on_one_image(tiny, batch, neck):
    images, targets = batch[0][:1], batch[1][:1]
    model = tiny("faster", neck=neck)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    history = []
    for _ in range(12):
        loss = sum(model(images, copy.deepcopy(targets)).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    assert sum(history[-3:]) < 0.8 * sum(history[:3])


@kinds
@necks
def test_images_without_boxes(tiny, batch, kind, neck):
    images, targets = batch
    model = tiny(kind, neck=neck)
    losses = model(images[1:], targets[1:])
    sum(losses.values()).backward()
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert all(loss == 0 for name, loss in losses.items() if "box_reg" in name)
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


@kinds
def test_no_detection_gives_empty_tensors(tiny, batch, kind):
    model = tiny(kind, box_score_thresh=1.1).eval()
    with torch.no_grad():
        result = model(batch[0])[1]
    assert result["boxes"].shape == (0, 4)
    assert result["labels"].shape == result["scores"].shape == (0,)
    if kind == "mask":
        assert result["masks"].shape == (0, 1, 56, 80)


def test_c5_rpn_reads_conv4_and_rois_come_from_conv5(tiny, batch):
    model = tiny(neck="c5").eval()
    seen = {}
    model.backbone.register_forward_hook(lambda module, args, maps: seen.update(maps=maps))
    model.rpn.head.register_forward_hook(lambda module, args, out: seen.update(rpn=args[0]))
    model.roi_heads.box_head.register_forward_hook(lambda module, args, out: seen.update(pooled=args[0]))
    with torch.no_grad():
        model(batch[0])
    assert len(seen["rpn"]) == 1 and seen["rpn"][0] is seen["maps"]["c4"]
    assert seen["rpn"][0].shape[1] == 256  # channels of ResNet-10's conv4, not of the neck
    assert seen["pooled"].shape[1:] == (16, 7, 7)
    assert list(model.roi_heads.box_roi_pool.featmap_names) == ["c5"]


def test_c5_has_five_scales_times_three_ratios_at_stride_16(tiny, batch):
    model = tiny(neck="c5")
    assert model.rpn.anchor_generator.sizes == ((32, 64, 128, 256, 512),)
    assert model.rpn.anchor_generator.num_anchors_per_location() == [15]
    assert model.backbone.strides == {"c4": 16, "c5": 16}
    maps = model.backbone(torch.rand(1, 3, 64, 96))
    assert maps["c4"].shape[-2:] == maps["c5"].shape[-2:] == (4, 6)


def test_fpn_strides_and_anchors_are_torchvisions(tiny):
    model = tiny()
    assert model.backbone.strides == {"0": 4, "1": 8, "2": 16, "3": 32, "pool": 64}
    assert model.rpn.anchor_generator.sizes == ((32,), (64,), (128,), (256,), (512,))
    maps = model.backbone(torch.rand(1, 3, 128, 64))
    assert {name: 128 // m.shape[2] for name, m in maps.items()} == model.backbone.strides


@pytest.mark.parametrize(
    ("neck", "given", "expected"),
    [
        ("fpn", (8, 16, 32, 64, 128), ((8,), (16,), (32,), (64,), (128,))),
        ("fpn", [[8, 12], [16, 24], [32, 48], [64, 96], [99, 128]], ((8, 12), (16, 24), (32, 48), (64, 96), (99, 128))),
        ("c5", (16, 32), ((16, 32),)),
        ("c5", [[16, 32]], ((16, 32),)),
    ],
)
def test_anchor_sizes(tiny, batch, neck, given, expected):
    model = tiny(neck=neck, anchor_sizes=given, aspect_ratios=(0.5, 1.0))
    assert model.rpn.anchor_generator.sizes == expected
    assert all(torch.isfinite(loss) for loss in model(*batch).values())


@necks
def test_bfloat16_autocast_keeps_coordinates_in_float32(tiny, batch, neck):
    model = tiny("mask", neck=neck)
    seen = {}
    model.rpn.head.register_forward_hook(lambda module, args, out: seen.update(features=args[0], out=out))
    model.rpn.anchor_generator.register_forward_hook(lambda module, args, out: seen.update(anchors=out))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = model(*batch)
        sum(losses.values()).backward()
        assert seen["features"][0].dtype == torch.bfloat16
        assert all(t.dtype == torch.float32 for level in seen["out"] for t in level)
        assert all(loss.dtype == torch.float32 and torch.isfinite(loss) for loss in losses.values())
        half = seen["anchors"]
        model.eval()
        with torch.no_grad():
            result = model(batch[0])[0]
    assert {k: v.dtype for k, v in result.items() if k != "labels"} == dict.fromkeys(
        ("boxes", "scores", "masks"), torch.float32
    )
    with torch.no_grad():
        model(batch[0])
    assert all(torch.equal(a, b) for a, b in zip(half, seen["anchors"], strict=True))


@kinds
@necks
def test_state_dict_round_trip(tiny, batch, kind, neck):
    first, second = tiny(kind, neck=neck, box_score_thresh=0.0), tiny(kind, neck=neck, box_score_thresh=0.0)
    first(*batch)  # moves the running statistics away from their initial values
    second.load_state_dict(first.state_dict(), strict=True)
    third = copy.deepcopy(first)
    with torch.no_grad():
        results = [model.eval()(batch[0]) for model in (first, second, third)]
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert all(torch.equal(a[key], b[key]) for key in a)


@necks
@pytest.mark.parametrize("name", ["RoIAlign", "RoIPool", "PrRoIPool"])
def test_another_extractor_is_one_argument(tiny, batch, neck, name):
    extractor, mask_extractor = getattr(roikit, name)(output_size=5), getattr(roikit, name)(output_size=14)
    model = tiny("mask", neck=neck, extractor=extractor, mask_extractor=mask_extractor)
    assert model.roi_heads.box_roi_pool.extractor is extractor
    assert model.roi_heads.mask_roi_pool.extractor is mask_extractor
    assert model.roi_heads.box_head.fc6.in_features == 16 * 25
    losses = model(*batch)
    sum(losses.values()).backward()
    assert all(torch.isfinite(loss) for loss in losses.values())


class Halves(roikit.RoIAlign):
    """Gives half the channels, as position-sensitive extractors give fewer."""

    def out_channels(self, channels):
        return channels // 2

    def after(self, pooled, weights):
        return pooled[:, ::2]


def test_heads_follow_the_channels_of_the_extractor(tiny, batch):
    model = tiny("mask", extractor=Halves(3), mask_extractor=Halves(14))
    assert model.roi_heads.box_head.fc6.in_features == 8 * 9
    assert model.roi_heads.mask_head[0][0].in_channels == 8
    assert all(torch.isfinite(loss) for loss in model(*batch).values())


def test_pooling_has_the_strides_of_the_backbone(tiny):
    assert tiny().roi_heads.box_roi_pool.strides == [4, 8, 16, 32]
    pool = tiny("mask", neck="c5").roi_heads
    assert pool.box_roi_pool.strides == pool.mask_roi_pool.strides == [16]


def test_timm_is_imported_only_when_a_detector_is_built():
    code = """if True:
        import sys, roikit
        assert "roikit.detection" not in sys.modules
        import roikit.detection
        assert "timm" not in sys.modules
    """
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
