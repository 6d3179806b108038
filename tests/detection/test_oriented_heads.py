"""Detectors of oriented boxes: at an angle of 0 they are the upright one; what they learn, what they refuse."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from torch.nn import functional as F

import roikit
from roikit.detection import add_extractor_losses, faster_rcnn, oriented_boxes, oriented_rcnn
from roikit.detection.oriented import OrientedBoxCoder, OrientedTransform, scaled
from roikit.oriented import corners, oriented_iou, upright

SMALL = {
    "backbone": "resnet10t", "num_classes": 4, "channels": 16, "fc_dim": 32, "min_size": 64, "max_size": 96,
    "rpn_post_nms_top_n_train": 100, "rpn_post_nms_top_n_test": 50, "box_score_thresh": 0.0,
}  # fmt: skip
TURNED = partial(roikit.RoITransformer, enlarge=(1.0, 1.0))


def flat(boxes: torch.Tensor) -> torch.Tensor:
    """Upright boxes as oriented ones."""
    return torch.cat([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2], torch.zeros(len(boxes), 1)], 1)


@pytest.mark.parametrize("extractor", [roikit.RoIAlign, TURNED, roikit.SemanticRoIAlign])
def test_without_an_angle_it_is_the_upright_detector(batch, extractor):
    """A transformer that does not turn yet, deltas of θ that are 0: the same losses, the same detections."""
    images, targets = batch
    plain = faster_rcnn(extractor=roikit.RoIAlign(7, 2) if extractor is TURNED else extractor, **SMALL)
    model = oriented_rcnn(extractor=extractor, **SMALL)
    state = plain.state_dict()
    for part in ("weight", "bias"):
        name = f"roi_heads.box_predictor.bbox_pred.{part}"
        own = state[name].unflatten(0, (4, 4))
        state[name] = torch.cat([own, torch.zeros_like(own[:, :1])], 1).flatten(0, 1)
    told = model.load_state_dict(state, strict=False)
    assert all("predict" in name for name in told.missing_keys) and not told.unexpected_keys
    turned = [{**target, "oriented_boxes": flat(target["boxes"])} for target in targets]
    losses = []
    for one, given in ((plain, targets), (model, turned)):
        torch.manual_seed(1)
        losses.append(one(images, [dict(target) for target in given]))
    assert set(losses[1]) - set(losses[0]) == ({"loss_rotated"} if extractor is TURNED else set())
    for name in losses[0]:
        torch.testing.assert_close(losses[1][name], losses[0][name])
    with torch.no_grad():
        before, after = (one.eval()(images) for one in (plain, model))
    for upright_one, oriented_one in zip(before, after, strict=True):
        # torchvision clips boxes to the image before it suppresses: the best ones that lie inside are the same
        assert (oriented_one["oriented_boxes"][:, 4] == 0).all()
        assert upright_one["scores"][0] == pytest.approx(oriented_one["scores"][0].item(), abs=1e-5)
        torch.testing.assert_close(upright_one["boxes"][0], oriented_one["boxes"][0], atol=1e-3, rtol=1e-4)


def test_deltas_and_back(rng):
    coder = OrientedBoxCoder()
    reference, oriented = (torch.rand(30, 5, generator=rng) * torch.tensor([60, 60, 30, 30, 6.0]) + 1 for _ in range(2))
    deltas = coder.encode(oriented, reference)
    found = coder.decode(deltas[:, None], reference)[:, 0]
    torch.testing.assert_close(oriented_iou(found, oriented).diagonal(), torch.ones(30), atol=1e-4, rtol=0)
    assert ((found[:, 4] - reference[:, 4]).abs() <= math.pi / 4 + 1e-5).all()  # the nearest of its names
    # by hand: a box 3 along and 1 across, seen from one that is turned by 30°
    cos, sin = math.cos(math.pi / 6), math.sin(math.pi / 6)
    reference = torch.tensor([[10.0, 20, 6, 4, math.pi / 6]])
    oriented = torch.tensor([[10 + 3 * cos + sin, 20 + cos - 3 * sin, 12, 4, math.pi / 6 + 0.1]])
    c, s = math.cos(0.1), math.sin(0.1)
    along_u, along_v = math.sqrt((12 * c) ** 2 + (4 * s) ** 2), math.sqrt((12 * s) ** 2 + (4 * c) ** 2)
    mixed = (16 - 144) * s * c / (along_u * along_v)
    wanted = [10 * 3 / 6, 10 * 1 / 4, 5 * math.log(along_u / 6), 5 * math.log(along_v / 4), 5 * math.atanh(mixed)]
    assert coder.encode(oriented, reference)[0].tolist() == pytest.approx(wanted, abs=1e-4)
    # a square keeps the direction of its reference
    square = coder.decode(coder.encode(torch.tensor([[10.0, 20, 8, 8, 1.2]]), reference)[:, None], reference)[0, 0]
    assert square.tolist() == pytest.approx([10, 20, 8, 8, math.pi / 6], abs=1e-4)


def test_deltas_do_not_jump_where_a_box_changes_its_name():
    """Turned past 45° by a hair, a box of -45° ≤ θ < 45° has its sides exchanged and θ = -45°."""
    coder, reference = OrientedBoxCoder(), torch.tensor([[10.0, 20, 12, 12, 0.0]])
    before, after = math.pi / 4 - 1e-4, -math.pi / 4 + 1e-4
    boxes = torch.tensor([[10.0, 20, 16, 4, before], [10, 20, 4, 16, after]])
    one, other = coder.encode(boxes, reference.expand(2, -1))
    torch.testing.assert_close(one, other, atol=0.02, rtol=0)


def test_boxes_are_resized_with_their_image():
    """Corners of the same places, where both sides grow alike; and there and back again where they do not."""
    boxes = torch.tensor([[30.0, 20, 20, 6, 0.4], [50, 40, 10, 30, -0.7]])
    torch.testing.assert_close(corners(scaled(boxes, (80, 100), (160, 200))), corners(boxes) * 2)
    back = scaled(scaled(boxes, (80, 100), (121, 150)), (121, 150), (80, 100))
    assert (oriented_iou(back, boxes).diagonal() > 0.98).all()
    transform = OrientedTransform(64, 96, [0.0] * 3, [1.0] * 3)
    image, target = torch.rand(3, 32, 40), {"boxes": upright(boxes), "oriented_boxes": boxes}
    _, (found,) = transform([image], [target])
    torch.testing.assert_close(found["oriented_boxes"], boxes * torch.tensor([2, 2, 2, 2, 1.0]))
    transform.eval()
    result = [{"boxes": found["boxes"], "oriented_boxes": found["oriented_boxes"]}]
    torch.testing.assert_close(transform.postprocess(result, [(64, 80)], [(32, 40)])[0]["oriented_boxes"], boxes)


@pytest.mark.parametrize("extractor", [roikit.RoIAlign, roikit.RoITransformer])
def test_it_learns_a_turned_object(extractor):
    torch.manual_seed(0)
    model = oriented_rcnn(extractor=extractor, **(SMALL | {"num_classes": 2, "box_score_thresh": 0.1}))
    y, x = torch.meshgrid(torch.arange(64) + 0.5 - 30, torch.arange(64) + 0.5 - 34, indexing="ij")
    cos, sin = math.cos(0.5), math.sin(0.5)
    mask = ((x * cos - y * sin).abs() <= 24) & ((x * sin + y * cos).abs() <= 6)
    image = 0.2 + 0.6 * mask.float().expand(3, -1, -1)
    oriented = oriented_boxes(mask[None])
    target = {"boxes": upright(oriented), "labels": torch.tensor([1]), "oriented_boxes": oriented}
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(80):
        optimizer.zero_grad()
        sum(model([image], [target]).values()).backward()
        optimizer.step()
    with torch.no_grad():
        found = model.eval()([image])[0]
    assert len(found["labels"]) and oriented_iou(found["oriented_boxes"][:1], oriented).item() > 0.6
    assert oriented_iou(flat(upright(oriented)), oriented).item() < 0.4  # what an upright box can reach


def test_an_image_without_an_object_teaches(batch):
    images, targets = batch
    model = oriented_rcnn(extractor=roikit.RoITransformer, **SMALL)
    empty = {**targets[1], "oriented_boxes": torch.zeros(0, 5)}
    losses = model([images[1]], [empty])
    assert losses["loss_box_reg"] == 0 and losses["loss_rotated"] == 0 and losses["loss_classifier"] > 0
    sum(losses.values()).backward()


def test_the_loss_is_torchvision_s_smooth_l1(batch, monkeypatch):
    """Of the five deltas of the right class alone, over all samples."""
    images, targets = batch
    model = oriented_rcnn(extractor=roikit.RoIAlign, **SMALL)
    seen = {}
    plain = F.smooth_l1_loss

    def watched(found, wanted, **settings):
        seen[found.shape[-1]] = (found, wanted, settings)
        return plain(found, wanted, **settings)

    monkeypatch.setattr(F, "smooth_l1_loss", watched)
    target = {**targets[0], "oriented_boxes": flat(targets[0]["boxes"])}
    loss = model([images[0]], [target])["loss_box_reg"]
    found, wanted, settings = seen[5]
    assert settings["beta"] == pytest.approx(1 / 9) and len(found) == len(wanted) > 0
    assert wanted[:, 4].abs().max() == 0 and 0 < loss < plain(found, wanted, beta=1 / 9, reduction="sum")


def test_what_is_refused(batch):
    images, targets = batch
    model = oriented_rcnn(extractor=roikit.RoIAlign, **SMALL)
    with pytest.raises(ValueError, match="target 0 has no 'oriented_boxes'"):
        model(images, targets)
    with pytest.raises(ValueError, match=r"target 0: oriented_boxes must have shape \[2, 5\]"):
        model(images, [{**target, "oriented_boxes": torch.zeros(1, 5)} for target in targets])
    with pytest.raises(ValueError, match="target 0: oriented box 0 has no area"):
        model(images, [{**target, "oriented_boxes": torch.zeros(len(target["boxes"]), 5)} for target in targets])
    with pytest.raises(ValueError, match="there are none of an oriented detector"):
        oriented_rcnn(weights="coco")
    with pytest.raises(TypeError, match="mask_channels"):
        oriented_rcnn(mask_channels=3)
    with pytest.raises(ValueError, match="position-sensitive"):
        oriented_rcnn(extractor=roikit.PSRoIAlign(7))
    add_extractor_losses(oriented_rcnn(extractor=roikit.DeformRoIPool, **SMALL), offsets=0.1)
