"""Cascade R-CNN: thresholds, boxes and losses by hand, one stage against torchvision, three against a loop."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torchvision.ops import clip_boxes_to_image

import roikit

ONE = dict(iou_thresholds=(0.5,), box_weights=((10, 10, 5, 5),), loss_weights=(1,))


def test_thresholds_by_hand(tiny):
    """Boxes as wide as the object and of these tenths of its height: their IoU. A threshold that is reached counts."""
    heads = tiny("cascade").roi_heads
    boxes = torch.tensor([[0, 0, 10, height] for height in (4.9, 5, 5.9, 6, 6.9, 7, 10)])
    targets = [{"boxes": torch.tensor([[0.0, 0, 10, 10], [50, 50, 60, 60]]), "labels": torch.tensor([2, 3])}]
    found = [heads.match(stage, [boxes], targets)[0][0].tolist() for stage in range(3)]
    assert found == [[0, 2, 2, 2, 2, 2, 2], [0, 0, 0, 2, 2, 2, 2], [0, 0, 0, 0, 0, 2, 2]]


def test_the_object_of_largest_iou_counts(tiny):
    heads = tiny("cascade").roi_heads
    objects = torch.tensor([[0.0, 0, 10, 8], [0, 0, 10, 10]])
    labels, deltas = heads.match(
        0, [torch.tensor([[0.0, 0, 10, 10]])], [{"boxes": objects, "labels": torch.tensor([1, 3])}]
    )
    assert labels[0].tolist() == [3] and deltas[0].tolist() == [[0, 0, 0, 0]]


def test_deltas_by_hand(tiny):
    """A box of 20 × 40 px about (20, 40). The object lies 2 px to the right and 4 px above: a tenth of its size."""
    heads = tiny("cascade").roi_heads
    box, target = torch.tensor([[10.0, 20, 30, 60]]), {"boxes": torch.tensor([[12.0, 16, 32, 56]])}
    target["labels"] = torch.tensor([1])
    for stage, factor in enumerate((10, 20, 30)):
        (deltas,) = heads.match(stage, [box], [target])[1]
        torch.testing.assert_close(deltas, torch.tensor([[0.1 * factor, -0.1 * factor, 0, 0]]))
    # the same deltas move a box less in each stage: by 1/10, 1/20, 1/30 of its size; twice, √2, ∛2 times as wide
    scores, deltas = torch.tensor([[5.0, 0, 1, 0]]), torch.tensor([[1, -1, 5 * math.log(2), 0]]).repeat(1, 4)
    for stage in range(3):
        x, y, half = 20 + 2 / (stage + 1), 40 - 4 / (stage + 1), 10 * 2 ** (1 / (stage + 1))
        (moved,) = heads.refine(stage, scores, deltas, [box], [(100, 100)])
        torch.testing.assert_close(moved, torch.tensor([[x - half, y - 20, x + half, y + 20]]))


def test_boxes_of_classes(tiny):
    """The foreground class with the highest score moves the box, whatever the background's score."""
    heads = tiny("cascade", class_specific_boxes=True).roi_heads
    deltas = torch.zeros(2, 4, 4)
    deltas[:, :, 0] = torch.tensor([10.0, 20, 30, 40])  # by 1, 2, 3, 4 widths
    scores = torch.tensor([[9.0, 0, 1, 0], [0, 1, 2, 3]])
    boxes = torch.tensor([[10.0, 10, 20, 20]] * 2)
    first, second = heads.refine(0, scores, deltas.flatten(1), [boxes[:1], boxes[1:]], [(99, 99), (99, 55)])
    torch.testing.assert_close(first, torch.tensor([[40.0, 10, 50, 20]]))
    torch.testing.assert_close(second, torch.tensor([[50.0, 10, 55, 20]]))  # cut at its own image's border
    assert [len(own) for own in heads.refine(0, scores[:0], deltas[:0].flatten(1), [boxes[:0]] * 2, [(9, 9)] * 2)] == [
        0,
        0,
    ]


def test_a_box_cut_to_nothing_is_background(tiny, batch):
    heads = tiny("cascade").roi_heads
    outside = torch.tensor([[300.0, 300, 310, 310]])
    nothing = heads.refine(0, torch.zeros(1, 4), torch.zeros(1, 16), [outside], [(64, 64)])
    assert nothing[0].tolist() == [[64, 64, 64, 64]]
    assert heads.match(1, nothing, batch[1][:1])[0][0].tolist() == [0]
    features = {str(level): torch.rand(1, 16, 16 >> level, 16 >> level) for level in range(4)}
    assert torch.isfinite(heads.pool_of(1)(features, nothing, [(64, 64)])).all()


def test_weights_of_the_losses(tiny, batch):
    losses = []
    for weights in ((1, 1, 1), (1, 0.5, 0.25)):
        torch.manual_seed(1)
        model = tiny("cascade", loss_weights=weights)
        losses.append(model(*batch))
    for name, loss in losses[0].items():
        factor = {"stage2": 0.5, "stage3": 0.25}.get(name.rpartition("_")[2], 1)
        torch.testing.assert_close(losses[1][name], factor * loss)
    torch.manual_seed(1)
    assert tiny("cascade").roi_heads.loss_weights == (1, 0.5, 0.25)


@pytest.mark.parametrize("specific", [True, False], ids=["a box per class", "one box"])
def test_one_stage_is_a_faster_rcnn(tiny, batch, specific):
    cascade = tiny("cascade", class_specific_boxes=specific, box_score_thresh=0.0, **ONE)
    faster = tiny("faster", box_score_thresh=0.0)
    state = cascade.state_dict()
    if not specific:  # the same four numbers for every class
        for key in ("weight", "bias"):
            own = state[f"roi_heads.box_predictor.bbox_pred.{key}"]
            state[f"roi_heads.box_predictor.bbox_pred.{key}"] = torch.cat([own] * 4)
    faster.load_state_dict(state, strict=True)
    losses = []
    for model in (cascade, faster):
        torch.manual_seed(2)
        losses.append(model(*batch))
    for name, loss in losses[1].items():
        torch.testing.assert_close(losses[0][f"{name}_stage1" if f"{name}_stage1" in losses[0] else name], loss)
    with torch.no_grad():
        mine, theirs = (model.eval()(batch[0]) for model in (cascade, faster))
    for one, other in zip(mine, theirs, strict=True):
        assert len(other["boxes"]) > 10
        for key in other:
            torch.testing.assert_close(one[key], other[key], atol=1e-5, rtol=1e-5)


def by_hand(model, features, proposals, shapes):
    """Boxes and mean probabilities before suppression: section 4 written out, for all images' boxes one by one."""
    heads = model.roi_heads
    layers = [(heads.box_head, heads.box_predictor), *zip(heads.later_heads, heads.later_predictors, strict=True)]
    boxes = list(proposals)
    for stage, (head, predictor) in enumerate(layers):
        pooled = heads.pool_of(stage)(features, boxes, shapes)
        _, deltas = predictor(head(pooled))
        moved, at = [], 0
        for own, (height, width) in zip(boxes, shapes, strict=True):
            rows = []
            for x1, y1, x2, y2 in own.tolist():
                dx, dy, dw, dh = deltas[at, :4].tolist()
                at, w, h = at + 1, x2 - x1, y2 - y1
                x, y = (x1 + x2) / 2 + dx / (10 * (stage + 1)) * w, (y1 + y2) / 2 + dy / (10 * (stage + 1)) * h
                w, h = w * math.exp(dw / (5 * (stage + 1))), h * math.exp(dh / (5 * (stage + 1)))
                rows.append([x - w / 2, y - h / 2, x + w / 2, y + h / 2])
            moved.append(clip_boxes_to_image(torch.tensor(rows), (height, width)))
        read, boxes = boxes, moved
    votes = [p(h(heads.pool_of(s)(features, read, shapes)))[0].softmax(1) for s, (h, p) in enumerate(layers)]
    return torch.cat(boxes), sum(votes) / 3


@pytest.mark.parametrize("extractor", [roikit.RoIAlign, roikit.DeformRoIPool], ids=["shared", "own layers"])
def test_detections_are_those_of_a_loop(tiny, batch, extractor):
    settings = dict(box_score_thresh=0.0, box_nms_thresh=1.0, box_detections_per_img=1000)  # nothing is left out
    model = tiny("cascade", extractor=extractor, **settings).eval()
    torch.manual_seed(0)
    for name, parameter in model.roi_heads.named_parameters():
        if name.endswith("weight"):
            nn.init.normal_(parameter, std=3 / parameter.shape[1] ** 0.5)  # boxes that move, scores that differ
    seen = {}
    model.roi_heads.register_forward_pre_hook(lambda module, args: seen.update(args=args))
    model.roi_heads.register_forward_hook(lambda module, args, out: seen.update(found=[dict(one) for one in out[0]]))
    with torch.no_grad():
        model(batch[0])
        boxes, scores = by_hand(model, *seen["args"][:3])
    start = 0
    for proposals, found in zip(seen["args"][1], seen["found"], strict=True):
        own = slice(start, start + len(proposals))
        start += len(proposals)
        kept = (boxes[own, 2:] - boxes[own, :2] >= 1e-2).all(1).nonzero()[:, 0]
        for label in (1, 2, 3):
            # a row for each detection, in whatever order: box and score, which counts as much as a hundred pixels
            expected = torch.cat([boxes[own][kept], 100 * scores[own][kept, label, None]], 1)
            mine = found["labels"] == label
            rows = torch.cat([found["boxes"][mine], 100 * found["scores"][mine, None]], 1)
            assert len(rows) == len(expected) > 10
            distance = torch.cdist(rows, expected, p=torch.inf)
            assert float(distance.amin(0).max()) < 1e-2 and float(distance.amin(1).max()) < 1e-2


def test_no_gradient_through_boxes(tiny, batch):
    model = tiny("cascade", extractor=roikit.PrRoIPool(7))  # differentiable in its boxes
    losses = model(*batch)
    (losses["loss_box_reg_stage2"] + losses["loss_classifier_stage3"]).backward()
    heads = model.roi_heads
    assert all(p.grad is None for p in [*heads.box_head.parameters(), *heads.box_predictor.parameters()])
    assert all(p.grad is None for p in heads.later_predictors[1].bbox_pred.parameters())
    assert heads.later_predictors[0].bbox_pred.weight.grad.abs().sum() > 0
    assert heads.later_predictors[1].cls_score.weight.grad.abs().sum() > 0


def test_later_stages_learn_from_the_samples_of_the_first(tiny, batch):
    model = tiny("cascade", box_batch_size_per_image=16)
    seen = []
    for predictor in (model.roi_heads.box_predictor, *model.roi_heads.later_predictors):
        predictor.register_forward_hook(lambda module, args, out: seen.append(len(out[0])))
    model(*batch)
    assert len(set(seen)) == 1 and 0 < seen[0] <= 32


def test_weights_gone_astray_show_in_the_loss(tiny, batch):
    model = tiny("cascade")
    nn.init.constant_(model.roi_heads.box_predictor.bbox_pred.weight, float("nan"))
    losses = model(*batch)
    assert losses["loss_box_reg_stage1"].isnan() and losses["loss_box_reg_stage3"].isfinite()


@pytest.mark.parametrize(
    ("extractor", "per_level", "expected"),
    [
        (roikit.RoIAlign, False, 1),
        (roikit.DeformRoIPool(16), False, 1),
        (roikit.DeformRoIPool, False, 3),
        (roikit.DeformRoIPool, True, 12),
        ([roikit.RoIAlign(7) for _ in range(4)], False, 4),
    ],
    ids=["class", "made", "with layers", "with layers, per level", "listed"],
)
def test_extractors_of_the_stages(tiny, batch, extractor, per_level, expected):
    model = tiny("cascade", extractor=extractor, extractor_per_level=per_level)
    each = {id(module) for module in model.modules() if isinstance(module, roikit.RegionExtractor)}
    assert len(each) == expected
    sum(model(*batch).values()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_replacing_the_extractor_replaces_it_in_all_stages(tiny, batch):
    model = tiny("cascade", extractor=roikit.DeformRoIPool, box_score_thresh=0.0)
    assert len(model.roi_heads.later_roi_pools) == 2
    roikit.replace_roi(model, roikit.PrRoIPool(7))
    assert {id(model.roi_heads.pool_of(stage)) for stage in range(3)} == {id(model.roi_heads.box_roi_pool)}
    assert not [name for name in model.state_dict() if "roi_pool" in name]
    assert all(torch.isfinite(loss) for loss in model(*batch).values())
    with torch.no_grad():
        assert len(model.eval()(batch[0])[0]["boxes"]) > 0


def test_every_class_of_the_data_can_be_scored(tiny):
    """The paper's sizes: two layers of 1024 a stage, four numbers for a box."""
    with torch.device("meta"):
        model = tiny("cascade", channels=256, fc_dim=1024, num_classes=81)
    own = 256 * 49 * 1024 + 1024 + 1024 * 1024 + 1024 + 1024 * 81 + 81 + 1024 * 4 + 4
    assert sum(p.numel() for p in model.roi_heads.parameters()) == 3 * own
