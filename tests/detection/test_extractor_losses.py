"""Losses of an extractor's own in a detector: numbers worked out from its weights, and rectangles drawn by hand."""

from __future__ import annotations

import copy
import math
from functools import partial

import pytest
import torch
from torch import Tensor

import roikit
from roikit.detection import add_extractor_losses, cascade_rcnn, faster_rcnn, mask_rcnn, oriented_boxes
from roikit.train.sampling import Samplers

SMALL = {"num_classes": 3, "channels": 16, "fc_dim": 16, "min_size": 64, "max_size": 64, "box_batch_size_per_image": 8}


def rectangle(cx: float, cy: float, w: float, h: float, degrees: float, size: int = 64) -> Tensor:
    """A mask [size, size] of the pixels whose centre lies in a rotated rectangle."""
    angle = math.radians(degrees)
    y, x = torch.meshgrid(torch.arange(size) + 0.5 - cy, torch.arange(size) + 0.5 - cx, indexing="ij")
    u, v = x * math.cos(angle) - y * math.sin(angle), x * math.sin(angle) + y * math.cos(angle)
    return ((u.abs() <= w / 2) & (v.abs() <= h / 2)).to(torch.uint8)


def scene(*masks: Tensor):
    stack = torch.stack(masks)
    boxes = []
    for mask in stack:
        rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
        boxes.append([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
    return {"boxes": torch.tensor(boxes).float(), "labels": torch.ones(len(masks), dtype=torch.int64), "masks": stack}


@pytest.mark.parametrize("degrees", [0.0, 10.0, 30.0, -44.0, -20.5])
def test_the_rectangle_that_was_drawn_is_found(degrees):
    for w, h in ((40.0, 14.0), (16.0, 38.0)):
        found = oriented_boxes(rectangle(32.3, 30.6, w, h, degrees)[None])[0].tolist()
        assert found[0] == pytest.approx(32.3, abs=0.6) and found[1] == pytest.approx(30.6, abs=0.6)
        assert found[2] == pytest.approx(w, abs=1.8) and found[3] == pytest.approx(h, abs=1.8)
        assert math.degrees(found[4]) == pytest.approx(degrees, abs=3)


def test_odd_masks():
    assert oriented_boxes(torch.zeros(0, 8, 9)).shape == (0, 5)
    assert oriented_boxes(torch.zeros(1, 8, 9)).tolist() == [[0.0] * 5]
    one = torch.zeros(1, 8, 9, dtype=torch.bool)
    one[0, 2, 3] = True
    assert oriented_boxes(one).tolist() == [[3.5, 2.5, 1.0, 1.0, 0.0]]


@pytest.mark.parametrize("per_level", [False, True])
def test_offsets_are_penalised_by_their_mean_square(per_level):
    torch.manual_seed(0)
    build = partial(faster_rcnn, "test_resnet", extractor=roikit.DeformRoIPool, extractor_per_level=per_level, **SMALL)
    model = build()
    for module in model.modules():
        if isinstance(module, roikit.DeformRoIPool):
            torch.nn.init.normal_(module.offset.bias, std=0.5)  # the layer's weights are zero: offsets are its biases
    plain = copy.deepcopy(model)
    add_extractor_losses(model, offsets=0.5)
    image, target = torch.rand(3, 64, 64), scene(rectangle(30, 30, 30, 20, 0))
    Samplers(model).reseed([1]), Samplers(plain).reseed([1])
    losses, before = model([image], [target]), plain([image], [target])
    assert set(losses) - set(before) == {"loss_offsets"}
    assert all(torch.equal(losses[name], before[name]) for name in before)
    if not per_level:
        extractor = model.roi_heads.box_roi_pool.extractor
        assert losses["loss_offsets"].item() == pytest.approx(0.5 * extractor.offset.bias.square().mean().item())
        losses["loss_offsets"].backward()
        torch.testing.assert_close(extractor.offset.bias.grad, extractor.offset.bias.detach() / 98)
    assert "weights" not in model.roi_heads.box_roi_pool._each[0].__dict__
    assert sorted(model.eval()([image])[0]) == ["boxes", "labels", "scores"]  # nothing is added in evaluation


def test_oriented_boxes_are_learned_from_masks():
    """The loss is RoITransformer's own for the RoIs that were sampled, and training on it alone turns the boxes."""
    torch.manual_seed(0)
    model = faster_rcnn("test_resnet", extractor=roikit.RoITransformer, **SMALL)
    add_extractor_losses(model, oriented=2.0)
    image, target = torch.rand(3, 64, 64), scene(rectangle(32, 30, 40, 12, 30))
    samplers = Samplers(model)
    extractor = model.roi_heads.box_roi_pool.extractor
    optimizer = torch.optim.Adam(extractor.parameters(), lr=3e-3)
    found = []
    for _ in range(60):
        samplers.reseed([1])
        loss = model([image], [target])["loss_oriented"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(float(loss.detach()))
    assert found[-1] < 0.2 * found[0]
    model.eval()
    with torch.no_grad():
        maps = model.backbone(model.transform([image])[0].tensors)
        weights = model.roi_heads.box_roi_pool.weights(maps, [target["boxes"]])
    _, _, w, _, angle = weights.rotated[0].tolist()
    assert math.degrees(angle) == pytest.approx(30, abs=8) and w == pytest.approx(40, abs=6)


def test_what_has_no_such_loss_says_so():
    with pytest.raises(ValueError, match="offsets needs a deformable extractor"):
        add_extractor_losses(faster_rcnn("test_resnet", **SMALL), offsets=1.0)
    with pytest.raises(ValueError, match=r"oriented needs one roikit\.RoITransformer"):
        add_extractor_losses(faster_rcnn("test_resnet", extractor=roikit.DeformRoIPool, **SMALL), oriented=1.0)
    with pytest.raises(ValueError, match=r"oriented needs one roikit\.RoITransformer"):
        add_extractor_losses(cascade_rcnn("test_resnet", extractor=roikit.RoITransformer, **SMALL), oriented=1.0)
    with pytest.raises(ValueError, match="0 or more"):
        add_extractor_losses(faster_rcnn("test_resnet", **SMALL), offsets=-1.0)
    model = faster_rcnn("test_resnet", extractor=roikit.RoITransformer, **SMALL)
    add_extractor_losses(model, oriented=1.0)
    target = scene(rectangle(30, 30, 30, 20, 0))
    del target["masks"]
    with pytest.raises(ValueError, match="target 0 has no masks"):
        model([torch.rand(3, 64, 64)], [target])
    assert "select_training_samples" not in model.roi_heads.__dict__  # put back after an error too


def test_masks_of_a_mask_rcnn_serve(rng):
    torch.manual_seed(0)
    model = mask_rcnn("test_resnet", extractor=roikit.RoITransformer, mask_channels=8, **SMALL)
    add_extractor_losses(model, oriented=1.0)
    losses = model([torch.rand(3, 64, 64)], [scene(rectangle(30, 30, 30, 20, 15))])
    assert losses["loss_oriented"] > 0 and torch.isfinite(losses["loss_mask"])
