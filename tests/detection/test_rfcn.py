"""R-FCN: its head against one put together by hand from torchvision's operators."""

from __future__ import annotations

import functools

import pytest
import torch
import torchvision

import roikit
from roikit.detection import faster_rcnn, rfcn

CLASSES, CHANNELS = 4, 16


def head_by_hand(model, maps, boxes, pool, specific):
    """Scores and box deltas from the neck's map: two 1×1 convolutions, a position-sensitive pooling each, the mean."""
    x = torch.relu(maps["c5"])
    votes = []
    for layer in (model.backbone.scores, model.backbone.boxes):
        made = torch.nn.functional.conv2d(x, layer.weight, layer.bias)
        votes.append(pool(made, boxes, (7, 7), 1 / 16).mean((2, 3)))
    scores, deltas = votes
    return scores, deltas if specific else torch.cat([deltas] * CLASSES, 1)


@pytest.mark.parametrize("specific", [False, True], ids=["one box", "a box per class"])
@pytest.mark.parametrize(
    ("extractor", "pool"),
    [
        (roikit.PSRoIPool(7), torchvision.ops.ps_roi_pool),
        (roikit.PSRoIAlign(7), functools.partial(torchvision.ops.ps_roi_align, sampling_ratio=2)),
    ],
    ids=["PSRoIPool", "PSRoIAlign"],
)
def test_scores_and_boxes_are_those_of_a_head_made_by_hand(tiny, batch, extractor, pool, specific):
    model = tiny("rfcn", neck="c5", extractor=extractor, class_specific_boxes=specific, box_score_thresh=0.0).eval()
    for layer in (model.backbone.scores, model.backbone.boxes):
        torch.nn.init.normal_(layer.weight)  # far from the nearly equal values of the start
    seen = {}
    model.backbone.register_forward_hook(lambda module, args, maps: seen.update(maps=maps))
    model.rpn.register_forward_hook(lambda module, args, out: seen.update(boxes=out[0]))
    model.roi_heads.box_predictor.register_forward_hook(lambda module, args, out: seen.update(out=out))
    with torch.no_grad():
        detections = model(batch[0])
        expected = head_by_hand(model, seen["maps"], seen["boxes"], pool, specific)
    assert sum(len(one["boxes"]) for one in detections) > 10
    for found, wanted in zip(seen["out"], expected, strict=True):
        assert float(wanted.std()) > 1e-2
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5 * float(wanted.abs().max()))
    assert [tuple(out.shape[1:]) for out in seen["out"]] == [(CLASSES,), (4 * CLASSES,)]


@pytest.mark.parametrize("specific", [False, True])
def test_parameters_counted_by_hand(tiny, specific):
    """Beyond backbone, neck and RPN: k²·C score maps and k²·4 (or k²·4·C) box maps of 1×1 convolutions with a bias."""
    model = tiny("rfcn", class_specific_boxes=specific)
    maps = 49 * (CLASSES + (4 * CLASSES if specific else 4))
    shared = tiny("faster", neck="c5")
    rest = sum(p.numel() for p in [*shared.backbone.parameters(), *shared.rpn.parameters()])
    assert sum(p.numel() for p in model.parameters()) - rest == maps * (CHANNELS + 1)
    assert not list(model.roi_heads.parameters())


def test_the_paper_s_sizes():
    """ResNet-101 in the paper; here -50: 1024 channels behind conv5, 7×7 maps for 21 classes and for one box."""
    model = rfcn(num_classes=21)
    assert model.backbone.neck.reduce.weight.shape == (1024, 2048, 1, 1)
    assert model.backbone.scores.weight.shape == (49 * 21, 1024, 1, 1)
    assert model.backbone.boxes.weight.shape == (49 * 4, 1024, 1, 1)
    assert isinstance(model.roi_heads.box_roi_pool.extractor, roikit.PSRoIAlign)


DEFORMABLE = functools.partial(roikit.DeformPSRoIPool, group_size=7)
EXTRACTORS = {
    "PSRoIPool": roikit.PSRoIPool(7),
    "PSRoIAlign 3×3": roikit.PSRoIAlign(3),
    "the class": roikit.PSRoIAlign,
    "DeformPSRoIPool": DEFORMABLE,
    "made for its maps": roikit.DeformPSRoIPool((CLASSES + 4) * 49, group_size=7),
    "groups of 3": functools.partial(roikit.DeformPSRoIPool, group_size=3, classes=CLASSES + 4),
}


@pytest.mark.parametrize("neck", ["c5", "fpn"])
@pytest.mark.parametrize("extractor", EXTRACTORS.values(), ids=EXTRACTORS)
def test_every_position_sensitive_extractor(tiny, batch, extractor, neck):
    model = tiny("rfcn", neck=neck, extractor=extractor)
    pool = model.roi_heads.box_roi_pool
    assert model.backbone.out_channels == (CLASSES + 4) * pool.extractor.groups
    losses = model(*batch)
    assert set(losses) == {"loss_classifier", "loss_box_reg", "loss_objectness", "loss_rpn_box_reg"}
    sum(losses.values()).backward()
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
    assert pool.featmap_names == (["c5_ps"] if neck == "c5" else ["0_ps", "1_ps", "2_ps", "3_ps"])


def test_the_rpn_reads_what_it_reads_in_a_faster_rcnn(tiny, batch):
    model = tiny("rfcn", neck="fpn").eval()
    seen = []
    model.rpn.head.register_forward_hook(lambda module, args, out: seen.extend(x.shape[1] for x in args[0]))
    with torch.no_grad():
        model(batch[0])
    assert seen == [CHANNELS] * 5


def test_swapping_position_sensitive_extractors(tiny, batch):
    model = tiny("rfcn", neck="fpn").eval()
    for extractor in (roikit.PSRoIPool(7), DEFORMABLE, [roikit.PSRoIAlign(7) for _ in range(4)]):
        roikit.replace_roi(model, extractor)
        with torch.no_grad():
            assert len(model(batch[0])) == 2
    before = model.roi_heads.box_roi_pool
    refused = {
        r"makes a channel of 49 maps, and RoIAlign\(.* makes one of 1: roikit.detection.faster_rcnn": roikit.RoIAlign(
            7
        ),
        "channel of 49 maps, and DeformPSRoIPool makes one of 9": functools.partial(DEFORMABLE, group_size=3),
        "channel of 49 maps, and PSRoIAlign.* makes one of 9": roikit.PSRoIAlign(3),
        "made for 49 channels, but its maps have 392": roikit.DeformPSRoIPool(49, group_size=7),
        "built for 7×7 parts and DeformPSRoIPool gives 5×5": functools.partial(DEFORMABLE, output_size=5),
    }
    for message, extractor in refused.items():
        with pytest.raises(ValueError, match=message):
            roikit.replace_roi(model, extractor)
    assert model.roi_heads.box_roi_pool is before


class TestOneForEachLevel:
    def test_each_has_layers_of_its_own(self, tiny, batch):
        make = functools.partial(roikit.ModulatedDeformRoIPool, hidden=8)
        model = tiny(extractor=make, extractor_per_level=True)
        each = model.roi_heads.box_roi_pool.extractor
        assert len(each) == 4 and len({id(p) for p in each.parameters()}) == 16
        first = [one.both[0].weight for one in each]
        assert not any(torch.equal(first[0], other) for other in first[1:])
        losses = model(*batch)
        sum(losses.values()).backward()
        assert [name for name, p in model.named_parameters() if p.grad is None] == []

    def test_a_list_is_taken_as_it_is(self, tiny):
        given = [roikit.DeformRoIPool(CHANNELS) for _ in range(4)]
        for per_level in (False, True):
            each = tiny(extractor=given, extractor_per_level=per_level).roi_heads.box_roi_pool.extractor
            assert all(a is b for a, b in zip(each, given, strict=True))

    def test_masks_too(self, tiny, batch):
        model = tiny(
            "mask", extractor=roikit.DeformRoIPool, mask_extractor=roikit.DeformRoIPool, extractor_per_level=True
        )
        assert len(model.roi_heads.mask_roi_pool.extractor) == 4
        assert all(torch.isfinite(loss) for loss in model(*batch).values())


@pytest.mark.parametrize("kind", ["faster", "mask", "rfcn"])
@pytest.mark.parametrize("aggregate", ["concat", "sum"])
def test_all_levels_at_once(tiny, batch, kind, aggregate):
    if (kind, aggregate) == ("rfcn", "concat"):
        pytest.skip("refused: tests/detection/test_errors.py")
    model = tiny(kind, neck="fpn", aggregate=aggregate)
    times = 4 if aggregate == "concat" else 1
    if kind != "rfcn":
        assert model.roi_heads.box_head.fc6.in_features == CHANNELS * times * 49
    if kind == "mask":
        assert model.roi_heads.mask_head[0][0].in_channels == CHANNELS * times
    losses = model(*batch)
    sum(losses.values()).backward()
    assert all(torch.isfinite(loss) for loss in losses.values())
    with torch.no_grad():
        assert len(model.eval()(batch[0])) == 2


def test_parameters_of_the_semantic_aware_paper_s_table():
    """Yang et al. 2024, Table 1, Faster R-CNN R-50-FPN for 80 classes: 149.4M with modulated deformable RoI pooling,
    one for each level with branches of its own; scales and shifts of frozen batch norm count as parameters."""

    def millions(**settings):
        model = faster_rcnn(num_classes=81, weights=None, norm="frozen", **settings)
        frozen = sum(b.numel() for name, b in model.named_buffers() if name.endswith(("weight", "bias")))
        return (sum(p.numel() for p in model.parameters()) + frozen) / 1e6

    make = functools.partial(roikit.ModulatedDeformRoIPool, pack="separate")
    inputs, hidden = 256 * 49, 1024
    pack = (2 * (inputs + 1) * hidden + (hidden + 1) * hidden + (hidden + 1) * (2 + 1) * 49) / 1e6
    plain = millions()
    assert plain == pytest.approx(41.757, abs=5e-4) and pack == pytest.approx(26.892, abs=5e-4)
    assert millions(extractor=make) == pytest.approx(plain + pack)
    each = millions(extractor=make, extractor_per_level=True)
    assert each == pytest.approx(plain + 4 * pack) and each == pytest.approx(149.33, abs=5e-3)
    assert abs(each - 149.4) < 0.1
