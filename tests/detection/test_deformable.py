"""Detectors with deformable convolutions and deformable pooling, alone and shared by two heads."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file

import roikit
from roikit.layers import DeformConv
from roikit.train.config import OptimConfig
from roikit.train.optim import make_optimizer, parameter_groups

BOTH = {"extractor": partial(roikit.ModulatedDeformRoIPool, hidden=8), "mask_extractor": "shared"}


def deformed(model) -> dict[str, DeformConv]:
    return {name: module for name, module in model.named_modules() if isinstance(module, DeformConv)}


def trained(model, batch, optim: OptimConfig, steps: int = 3):
    """A few steps in float64, with the rates that a configuration gives, and the same random numbers each time."""
    images, targets = ([image.double() for image in batch[0]], [{**t, "boxes": t["boxes"].double()} for t in batch[1]])
    rates = {"lr": optim.lr, "weight_decay": 1e-4, "factors": {}, "decay_norms": False, "steering": optim.steering}
    optimizer = make_optimizer(parameter_groups(model, **rates), name=optim.name, lr=optim.lr, momentum=0.9)
    for step in range(steps):
        torch.manual_seed(step)
        loss = sum(model(images, targets).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        return model.eval()(images)


@pytest.mark.parametrize("neck", ["fpn", "c5"])
def test_without_a_rate_it_is_the_regular_detector(tiny, batch, neck):
    """The paper's own degenerate case: "when the offset learning rate is set to zero, the Deformable Faster R-CNN
    detector degenerates to regular Faster R-CNN with aligned RoIpooling"."""
    regular = tiny(neck=neck, box_score_thresh=0.0)
    deformable = {"extractor": roikit.DeformRoIPool, "deformable": ["layer3", "layer4"], "modulated": False}
    found = {}
    for factor in (0.0, None):
        model = tiny(neck=neck, box_score_thresh=0.0, **deformable)
        assert len(deformed(model)) == 4
        missing, unexpected = model.load_state_dict(regular.state_dict(), strict=False)
        assert not unexpected and all(".offset." in name for name in missing)
        found[factor] = trained(model.double(), batch, OptimConfig(name="sgd", lr=0.01, offset_factor=factor))
    expected = trained(regular.double(), batch, OptimConfig(name="sgd", lr=0.01))
    assert sum(len(image["boxes"]) for image in expected)
    for one, other in zip(found[0.0], expected, strict=True):
        for key, value in other.items():
            torch.testing.assert_close(one[key], value, rtol=0, atol=1e-4)
    first = [image["scores"][:5] for image in (found[None][0], expected[0])]
    assert not torch.allclose(*first, rtol=0, atol=1e-9), "with a rate they learn"


def test_imagenet_weights_are_loaded_before(tiny, monkeypatch, tmp_path):
    source = timm.create_model("resnet10t")
    save_file(source.state_dict(), tmp_path / "model.safetensors")
    monkeypatch.setattr("roikit.detection.pretrained._lookup_error", lambda host: "no network")
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *a, **k: str(tmp_path / "model.safetensors"))
    settings = {"deformable": ("layer2", "layer4"), "weights": "imagenet"}
    model = tiny(**settings, trainable_layers=1)
    body, expected = model.backbone.body, source.state_dict()
    assert set(deformed(body)) == {f"{stage}.0.{conv}" for stage in ("layer2", "layer4") for conv in ("conv1", "conv2")}
    for name, value in body.state_dict().items():
        if ".offset." in name:
            assert not value.any()
        else:
            assert torch.equal(value, expected[name])
    learning = {name for name, parameter in body.named_parameters() if parameter.requires_grad}
    assert "layer2.0.conv1.offset.weight" in learning and "layer2.0.conv1.weight" not in learning

    assert model.build_info["deformable"] == ["layer2", "layer4"] and model.build_info["modulated"] is True
    again = tiny(**settings, built=model.build_info)
    again.load_state_dict(model.state_dict(), strict=True)
    assert again.build_info == model.build_info
    assert [p.requires_grad for p in again.parameters()] == [p.requires_grad for p in model.parameters()]


def test_coco_weights_are_loaded_before(monkeypatch):
    with torch.device("meta"):
        published = torchvision.models.detection.fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None)
    generator = torch.Generator().manual_seed(0)
    state = {name: torch.rand(value.shape, generator=generator) for name, value in published.state_dict().items()}
    monkeypatch.setattr("roikit.detection.build.coco_state_dict", lambda masks: dict(state))
    model = roikit.detection.faster_rcnn("resnet50", weights="coco", deformable="layer4")
    assert len(deformed(model)) == 3 and model.build_info["deformable"] == ["layer4"]
    name = "backbone.body.layer4.1.conv2.weight"
    assert torch.equal(model.state_dict()[name], state[name])


@pytest.mark.parametrize("per_level", [False, True])
def test_masks_pool_with_the_layers_of_boxes(tiny, batch, per_level):
    model = tiny("mask", **BOTH, extractor_per_level=per_level)
    heads = model.roi_heads
    assert heads.box_roi_pool.output_size == (7, 7) and heads.mask_roi_pool.output_size == (14, 14)
    names = {name for name, _ in model.named_parameters()}
    assert not any(name.startswith("roi_heads.mask_roi_pool") for name in names), "counted once"
    for level in range(4):
        box, mask = heads.box_roi_pool.extractor_at(level), heads.mask_roi_pool.extractor_at(level)
        assert box.both is mask.both and mask.part_size == (7, 7)
    assert (heads.box_roi_pool.extractor_at(0).both is heads.box_roi_pool.extractor_at(1).both) != per_level
    losses = model(*batch)
    (gradient,) = torch.autograd.grad(losses["loss_mask"], heads.box_roi_pool.extractor_at(0).both[-1].bias)
    assert gradient.any()

    average = copy.deepcopy(model).roi_heads  # as a running average of the weights does
    assert average.mask_roi_pool.extractor_at(0).both is average.box_roi_pool.extractor_at(0).both
    assert average.box_roi_pool.extractor_at(0).both is not heads.box_roi_pool.extractor_at(0).both


def test_masks_stay_with_the_layers_when_boxes_change_theirs(tiny, batch):
    model = tiny("mask", **BOTH)
    roikit.replace_roi(model, roikit.RoIAlign(7))
    assert any(name.startswith("roi_heads.mask_roi_pool.extractor.both") for name, _ in model.named_parameters())
    assert set(model.eval()(batch[0])[0]) == {"boxes", "labels", "masks", "scores"}


def test_pooling_at_another_grid_is_an_extractor_with_parts():
    """Every level and image, against an extractor that is built so and has the same weights."""
    pool = roikit.MultiScale(roikit.ModulatedDeformRoIPool(4, hidden=8), ["0", "1"], [8, 16], canonical_scale=64)
    for parameter in pool.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    finer, built = pool.at(14), roikit.ModulatedDeformRoIPool(4, 14, hidden=8, part_size=7)
    built.load_state_dict(pool.extractor.state_dict())
    features = {"0": torch.rand(2, 4, 16, 16), "1": torch.rand(2, 4, 8, 8)}
    boxes = [torch.tensor([[8.0, 8, 40, 60], [0, 0, 128, 100]]), torch.tensor([[30.0, 4, 90, 70]])]
    expected = roikit.MultiScale(built, ["0", "1"], [8, 16], canonical_scale=64)(features, boxes)
    assert torch.equal(finer(features, boxes), expected) and expected.shape == (3, 4, 14, 14)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(deformable=("layer9",)), "no stage 'layer9': 3×3 convolutions are in 'conv1', 'layer1', 'layer2'"),
        (dict(deformable="layer4", backbone="pvt_v2_b0"), "no stage 'layer4'"),
        (dict(kind="mask", mask_extractor="shared"), "'shared' .* those of a RoIAlign serve one grid"),
        (dict(kind="mask", mask_extractor="same"), "mask_extractor must be a roikit.RegionExtractor.*not 'same'"),
        (
            dict(kind="mask", mask_extractor="shared", extractor=partial(roikit.DeformRoIPool, output_size=5)),
            r"mask_extractor='shared': part_size \(5, 5\) must divide output_size \(14, 14\)",
        ),
    ],
)
def test_what_does_not_fit(tiny, arguments, message):
    with pytest.raises(ValueError, match=message):
        tiny(**arguments)


def test_an_extractor_without_layers_lends_none():
    pool = roikit.MultiScale(roikit.RoIAlign(7), ["0"], [8])
    with pytest.raises(ValueError, match="a RoIAlign serves one grid of bins"):
        pool.at(14)
