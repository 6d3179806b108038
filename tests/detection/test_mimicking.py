"""R-CNN feature mimicking: its losses and regions by hand, crops against torchvision, nothing of it left behind."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional as F
from torchvision.models.detection.image_list import ImageList
from torchvision.transforms.v2.functional import resized_crop

import roikit
from roikit.detection import mimic
from roikit.detection.mimicking import crop, mimic_losses

OBJECT = [8, 8, 40, 40]
# of 32 × 32, 32 × 16, 32 × 12 of the object's pixels, and beside it: IoU 1, ½, ⅜, 0
PROPOSALS = [OBJECT, [8, 8, 40, 24], [8, 8, 40, 20], [44, 44, 60, 60]]
SAMPLED = [*PROPOSALS, OBJECT]  # torchvision adds the ground truth at the end
TARGETS = [
    {"boxes": torch.tensor([OBJECT]).float(), "labels": torch.tensor([2])},
    {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)},
]


class Proposes(nn.Module):
    """Stands for the RPN: the same proposals for every image."""

    def forward(self, images, features, targets):
        return [torch.tensor(PROPOSALS).float() for _ in images.image_sizes], {}


class Calls:
    """What went into and came out of a module, call after call."""

    def __init__(self, module):
        self.inputs, self.outputs = [], []
        module.register_forward_hook(self)

    def __call__(self, module, arguments, output):
        self.inputs.append(arguments)
        self.outputs.append(output)


def as_seen(model, images):
    """The batch as the detector's backbone gets it."""
    return model.transform(images)[0].tensors


def cut(image, box, size):
    """A box of whole pixels that `size` is a multiple of, cut out of the image enlarged by as much."""
    x1, y1, x2, y2 = box
    columns, rows = size // (x2 - x1), size // (y2 - y1)
    assert columns * (x2 - x1) == rows * (y2 - y1) == size
    height, width = image.shape[-2:]
    large = F.interpolate(image[None], (height * rows, width * columns), mode="bilinear")[0]
    return large[:, y1 * rows : y2 * rows, x1 * columns : x2 * columns]


def cosine(a, b):
    a, b = a.double().tolist(), b.double().tolist()
    return sum(p * q for p, q in zip(a, b, strict=True)) / math.sqrt(sum(p * p for p in a) * sum(q * q for q in b))


def surprise(scores, label):
    scores = scores.double().tolist()
    return math.log(sum(math.exp(s) for s in scores)) - scores[label]


def test_losses_and_features_by_hand(tiny):
    model = tiny()
    model.rpn = Proposes()
    training = mimic(model, weight=0.25, size=64)
    with torch.no_grad():  # statistics that are those of no batch
        for name, buffer in model.backbone.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_(std=0.1)
    images = [torch.rand(3, 64, 64), torch.rand(3, 64, 64)]
    heads = Calls(model.roi_heads.box_head)
    losses = training(images, TARGETS)

    inside, apart = heads.outputs  # the second image has no object
    assert len(inside) == len(SAMPLED) + len(PROPOSALS)
    regions = [0, 1, 4]
    sums = sum(1 - cosine(a, inside[r]) for a, r in zip(apart, regions, strict=True))
    assert sums > 0.01
    assert losses["loss_mimic"].item() == pytest.approx(0.25 * sums / 2, rel=1e-5)
    mean = sum(surprise(scores, 2) for scores in training.classifier(apart)) / 3
    assert losses["loss_mimic_classifier"].item() == pytest.approx(0.25 * mean, rel=1e-5)

    # f_RCNN: the detector's parts, as in evaluation, on crops made otherwise, of which it reads the map of stride 16
    model.eval()
    batch = as_seen(model, images)
    crops = torch.stack([cut(batch[0], SAMPLED[r], 64) for r in regions])
    maps = model.backbone(crops)["2"]
    assert maps.shape[-2:] == (4, 4)
    whole = [torch.tensor([[0.0, 0, 64, 64]])] * 3
    pooled = roikit.RoIAlign(7, sampling_ratio=2)(maps, whole, 1 / 16)
    torch.testing.assert_close(apart, model.roi_heads.box_head(pooled), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("regions", "chosen"), [("fg", [0, 1, 4]), ("bg", [2, 3]), ("fg+bg", [0, 1, 2, 3, 4])])
def test_regions_by_hand(tiny, regions, chosen):
    """What is cropped, by IoU: an object from ½ on."""
    model = tiny(box_bg_iou_thresh=0.5)
    model.rpn = Proposes()
    backbone = Calls(model.backbone)
    images = [torch.rand(3, 64, 64)]
    losses = mimic(model, regions, size=96)(images, TARGETS[:1])
    assert losses["loss_mimic"] > 0 and losses["loss_mimic_classifier"] > 0
    (batch,), (crops,) = backbone.inputs
    expected = torch.stack([cut(batch[0], SAMPLED[r], 96) for r in chosen])
    # float32 tells places near 60 px to 4e-6 px, and normalised pixels differ by up to 5 from one to the next
    torch.testing.assert_close(crops, expected, rtol=0, atol=1e-4)


def test_neither_object_nor_background_is_drawn(tiny):
    training = mimic(tiny(), "fg+bg")
    assert [own.tolist() for own in training.choose([torch.tensor([-1, 0, 3, -1]), torch.tensor([-1])])] == [
        [False, True, True, False],
        [False],
    ]


def test_no_more_than_rois_and_any_of_them(tiny):
    training = mimic(tiny(), rois=3)
    labels = torch.tensor([0, 1, 2, 0, 3, 1, 1])
    seen = Counter()
    for _ in range(60):
        first, second = training.choose([labels, labels[:3]])
        assert first.sum() == 3 and second.tolist() == [False, True, True]
        seen.update(first.nonzero()[:, 0].tolist())
    assert sorted(seen) == [1, 2, 4, 5, 6]


KINDS = {
    "pyramid": ("faster", {}),
    "c5": ("faster", {"neck": "c5"}),
    "concatenated levels": ("faster", {"aggregate": "concat"}),
    "an extractor for each level": (
        "faster",
        {"extractor": roikit.ModulatedDeformRoIPool, "extractor_per_level": True},
    ),
    "mask": ("mask", {}),
    "cascade that shares its pooling": ("cascade", {}),
    "cascade with layers": ("cascade", {"extractor": roikit.DeformRoIPool}),
}


@pytest.mark.parametrize("name", KINDS)
def test_every_detector(tiny, batch, name):
    """The first box head's features of the regions it learns from; everything that learned before still does."""
    kind, arguments = KINDS[name]
    model = tiny(kind, **arguments)
    images, targets = batch
    heads, pools = Calls(model.roi_heads.box_head), Calls(model.roi_heads.box_roi_pool)
    losses = mimic(model, rois=500, size=64)(images, targets)
    (inside, apart), boxes = heads.outputs, pools.inputs[0][1]
    overlaps = torchvision.ops.box_iou(boxes[0], targets[0]["boxes"]).amax(1)  # images of 64 px are not resized
    regions = (overlaps >= 0.5).nonzero()[:, 0].tolist()
    assert regions and len(apart) == len(regions)
    expected = sum(1 - cosine(a, inside[r]) for a, r in zip(apart, regions, strict=True))
    assert losses["loss_mimic"].item() == pytest.approx(0.1 * expected / 2, rel=1e-4, abs=1e-6)
    sum(losses.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)


def test_torchvision_s_own_detector(batch):
    model = torchvision.models.detection.fasterrcnn_mobilenet_v3_large_fpn(
        weights=None, weights_backbone=None, num_classes=4, min_size=64, max_size=96
    )
    with pytest.raises(ValueError, match=r"MultiScaleRoIAlign: call roikit.replace_roi"):
        mimic(model)
    roikit.replace_roi(model, roikit.PrRoIPool(7))
    losses = mimic(model, size=64)(*batch)
    assert losses["loss_mimic"] > 0 and losses["loss_mimic_classifier"] > 0


def test_gradients_reach_both_branches(tiny, batch):
    model = tiny(extractor=roikit.ModulatedDeformRoIPool)
    training = mimic(model, size=64)
    heads = Calls(model.roi_heads.box_head)
    losses = training(*batch)

    def largest(loss, things):
        found = torch.autograd.grad(losses[loss], things, retain_graph=True, allow_unused=True)
        return [None if g is None else g.abs().max().item() for g in found]

    inside, apart = heads.outputs
    assert all(g > 0 for g in largest("loss_mimic", [inside, apart]))
    first, second = largest("loss_mimic_classifier", [inside, apart])
    assert first is None and second > 0
    shared = [next(model.backbone.parameters()), model.roi_heads.box_head.fc7.weight]
    for loss in ("loss_mimic", "loss_mimic_classifier"):
        assert all(g > 0 for g in largest(loss, shared))
    unshared = [training.classifier.weight, model.roi_heads.box_predictor.cls_score.weight]
    assert largest("loss_mimic", unshared) == [None, None]
    own, others = largest("loss_mimic_classifier", unshared)
    assert own > 0 and others is None


def test_the_detector_s_losses_and_statistics_are_those_without(tiny, batch):
    results = []
    for mimicking in (False, True):
        torch.manual_seed(1)
        model = tiny()
        trained = mimic(model, size=64) if mimicking else model
        torch.manual_seed(2)
        losses = trained(*batch)
        results.append((losses, dict(model.named_buffers()), [m.training for m in model.modules()]))
    (plain, statistics, modes), (losses, after, modes_after) = results
    assert set(losses) == {*plain, "loss_mimic", "loss_mimic_classifier"}
    assert all(torch.equal(losses[name], plain[name]) for name in plain)
    counts = [name for name in statistics if name.endswith("num_batches_tracked")]
    assert counts and all(statistics[name] == 1 for name in counts)
    assert all(torch.equal(after[name], statistics[name]) for name in statistics)
    assert modes == modes_after


def test_features_of_a_crop_are_its_own(tiny):
    training = mimic(tiny(), size=64)
    crops = torch.rand(3, 3, 64, 64)
    together = training.features(crops)
    for one, alone in zip(crops, together, strict=True):
        torch.testing.assert_close(training.features(one[None])[0], alone, rtol=1e-4, atol=1e-5)


def test_an_image_without_objects(tiny, batch):
    """Losses of 0 that the classifier takes part in: with several processes each waits for every gradient."""
    images, targets = batch
    training = mimic(tiny(), size=64)
    losses = training(images[1:], targets[1:])
    assert losses["loss_mimic"] == 0 and losses["loss_mimic_classifier"] == 0
    sum(losses.values()).backward()
    assert all(p.grad is not None and not p.grad.any() for p in training.classifier.parameters())


def test_features_that_are_zero():
    features = [torch.zeros(2, 5, requires_grad=True), torch.rand(2, 5, requires_grad=True)]
    mimicked, _ = mimic_losses(*features, torch.zeros(2, 3), torch.tensor([1, 2]))
    assert mimicked == 2
    mimicked.backward()
    assert all(one.grad.isfinite().all() for one in features)


def test_half_precision(tiny, batch):
    with torch.autocast("cpu", torch.bfloat16):
        losses = mimic(tiny(), size=64)(*batch)
    assert all(loss.dtype == torch.float32 and loss.isfinite() for loss in losses.values())
    assert losses["loss_mimic"] > 0


def test_nothing_is_left_in_the_detector(tiny, batch):
    model = tiny("mask")
    training = mimic(model, size=64)
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    optimiser = torch.optim.SGD(training.parameters(), 0.01)
    sum(training(*batch).values()).backward()
    optimiser.step()
    assert [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()] == hooks
    plain = tiny("mask")
    plain.load_state_dict(model.state_dict())  # every name has its place
    for one in zip(plain.eval()(batch[0]), model.eval()(batch[0]), training.eval()(batch[0]), strict=True):
        assert one[0].keys() == one[1].keys() == one[2].keys() == {"boxes", "labels", "scores", "masks"}
        assert all(torch.equal(one[0][key], other[key]) for other in one[1:] for key in other)
    assert len(plain(batch[0])[0]["boxes"]), "detections that are none would prove nothing"


def test_hooks_are_gone_after_an_error(tiny, batch):
    model = tiny()
    before = len(model.roi_heads.box_head._forward_hooks)
    with pytest.raises(ValueError, match="target 0 has no 'labels'"):
        mimic(model, size=64)(batch[0][:1], [{"boxes": batch[1][0]["boxes"]}])
    assert len(model.roi_heads.box_head._forward_hooks) == before


def test_crops_are_torchvision_s():
    image = torch.rand(3, 40, 56)
    whole, inner = [0, 0, 56, 40], [20, 8, 36, 24]
    boxes = torch.tensor([whole, inner]).float()
    crops = crop(ImageList(image[None], [(40, 56)]), [boxes], 64)
    for found, (x1, y1, x2, y2), border in zip(crops, (whole, inner), (0, 2), strict=True):
        expected = resized_crop(image, y1, x1, y2 - y1, x2 - x1, [64, 64], antialias=False)
        inside = slice(border, 64 - border)  # half a pixel along the border is between the box and what lies around it
        torch.testing.assert_close(found[:, inside, inside], expected[:, inside, inside], rtol=0, atol=1e-5)
    torch.testing.assert_close(crops[1], cut(image, inner, 64), rtol=0, atol=1e-5)


def test_crops_that_shrink_are_means():
    image = torch.rand(1, 3, 128, 200)
    box = torch.tensor([[32.0, 0, 160, 128]])
    crops = crop(ImageList(image, [(128, 200)]), [box], 32)
    torch.testing.assert_close(crops, F.avg_pool2d(image, 4)[..., 8:40], rtol=0, atol=1e-5)


def test_crops_of_a_padded_batch():
    batch = torch.rand(2, 3, 64, 96)
    boxes = [torch.tensor([[4.0, 5, 60, 44]]), torch.tensor([[50.5, 30, 70, 50], [0, 0, 9, 9]])]
    together = crop(ImageList(batch, [(64, 96), (50, 70)]), boxes, 32)
    alone = crop(ImageList(batch[1:, :, :50, :70].clone(), [(50, 70)]), boxes[1:], 32)
    assert together.shape == (3, 3, 32, 32)
    assert torch.equal(together[1:], alone)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"regions": "positive"}, "regions must be one of 'fg', 'bg', 'fg.bg', not 'positive'"),
        ({"rois": 0}, "rois must be at least 1"),
        ({"weight": -1}, "weight 0 or more"),
        ({"weight": math.nan}, "weight 0 or more"),
        ({"size": 50}, "size must be a multiple of 32"),
        ({"size": 0}, "size must be a multiple of 32"),
    ],
)
def test_wrong_arguments(tiny, arguments, message):
    with pytest.raises(ValueError, match=message):
        mimic(tiny(), **arguments)


def test_what_has_nothing_to_mimic(tiny):
    with pytest.raises(ValueError, match=r"no fully connected layers .*R-FCN"):
        mimic(tiny("rfcn"))
    with pytest.raises(ValueError, match="must be a Faster, Mask or Cascade R-CNN, not Linear"):
        mimic(nn.Linear(2, 2))
