"""Feature aggregation: what it must leave alone, Eq. 3-4 written out, a ring that costs one pass a frame."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.nn import functional as F

import roikit
from roikit.detection import cascade_rcnn, detect_in_video, faster_rcnn, fgfa, oriented_rcnn, take_given_proposals
from roikit.detection.fgfa import FrameAggregation
from roikit.layers.flow import FlowNetS, warp

SMALL = {
    "backbone": "resnet10t", "num_classes": 4, "channels": 16, "fc_dim": 32, "min_size": 64, "max_size": 96,
    "rpn_post_nms_top_n_train": 100, "rpn_post_nms_top_n_test": 50, "box_score_thresh": 0.0, "norm": "frozen",
}  # fmt: skip


@pytest.fixture
def pair():
    """A detector of single images and the same one that aggregates."""
    plain = faster_rcnn(**SMALL)
    model = copy.deepcopy(plain)
    fgfa(model, flow=FlowNetS(2))
    return plain, model


def target_of(image: torch.Tensor, support: torch.Tensor, **more: torch.Tensor) -> dict:
    return {"boxes": torch.tensor([[10.0, 8, 50, 40]]), "labels": torch.tensor([2]), "support": support, **more}


def test_without_neighbours_it_is_the_detector(pair):
    with torch.no_grad():
        one, other = (each.eval()([torch.rand(3, 64, 80, generator=torch.Generator().manual_seed(0))]) for each in pair)
    for key in one[0]:
        torch.testing.assert_close(one[0][key], other[0][key])


def test_identical_frames_give_the_single_frame_s_maps_and_losses(pair):
    plain, model = pair
    image = torch.rand(3, 64, 80)
    target = target_of(image, image.expand(2, -1, -1, -1))
    losses = []
    for one in pair:
        torch.manual_seed(3)
        losses.append(one([image], [dict(target)]))
    assert losses[0].keys() == losses[1].keys()
    for name in losses[0]:
        torch.testing.assert_close(losses[1][name], losses[0][name], atol=1e-4, rtol=1e-4)
    video = [image] * 5
    with torch.no_grad():
        alone = plain.eval()([image])[0]
        found = list(detect_in_video(model.eval(), video, reach=2))
    for each in found:
        torch.testing.assert_close(each["scores"], alone["scores"], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(each["boxes"], alone["boxes"], atol=1e-2, rtol=1e-3)


def test_aggregation_written_out(pair, rng):
    """Cell by cell: carried maps, cosines of their embeddings with the frame's own, a softmax over frames."""
    room = pair[1].backbone
    own = {"0": torch.rand(1, 16, 6, 8, generator=rng)}
    others = {"0": torch.rand(2, 16, 6, 8, generator=rng)}
    flow = torch.rand(2, 2, 12, 16, generator=rng) * 16 - 8
    found = room.aggregate(own, others, flow, (48, 64))["0"]
    cells = F.adaptive_avg_pool2d(flow, (6, 8)) / 8
    frames = torch.cat([own["0"], warp(others["0"], cells)])
    embedded = room.embeddings["16"](frames)
    for v, u in ((0, 0), (3, 5), (5, 7)):
        cosines = [F.cosine_similarity(e[:, v, u], embedded[0, :, v, u], dim=0) for e in embedded]
        weights = torch.stack(cosines).softmax(0)
        wanted = sum(w * f[:, v, u] for w, f in zip(weights, frames, strict=True))
        torch.testing.assert_close(found[0, :, v, u], wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("length", "reach"), [(1, 2), (2, 3), (4, 2), (5, 2), (6, 2), (9, 2), (4, 0)])
def test_the_ring_gives_every_frame_its_neighbours(pair, length, reach, monkeypatch):
    """Each frame once, in order, with the frames around it that there are, for one pass of the backbone each."""
    model = pair[1].eval()
    passes, seen = [], []
    plain = model.backbone.neck.forward
    monkeypatch.setattr(model.backbone.neck, "forward", lambda x: passes.append(len(x)) or plain(x))

    def flow(first, second):
        seen.append((round(float(first[0, 0, 0, 0]), 3), [round(float(v), 3) for v in second[:, 0, 0, 0]]))
        return [torch.zeros(len(first), 2, 16, 16)]

    monkeypatch.setattr(model.backbone.flow, "forward", flow)
    video = [torch.full((3, 64, 64), k / 10) for k in range(length)]
    assert len(list(detect_in_video(model, video, reach))) == length and passes == [1] * length
    mean, std = model.transform.image_mean[0], model.transform.image_std[0]
    value = [round((k / 10 - mean) / std, 3) for k in range(length)]
    wanted = []
    for k in range(length):
        around = [value[j] for j in range(max(0, k - reach), min(length, k + reach + 1)) if j != k]
        wanted += [(value[k], around)] if around else []
    assert seen == wanted


def test_frames_are_taken_as_they_are_needed(pair):
    taken = []

    def video():
        for k in range(9):
            taken.append(k)
            yield torch.rand(3, 64, 64)

    found = detect_in_video(pair[1].eval(), video(), reach=2)
    next(found)
    assert taken == [0, 1, 2]


def test_neighbours_help_a_frame_that_shows_nothing():
    """Trained on pairs of a black frame and one with the object, a black frame between them is answered."""
    torch.manual_seed(0)
    model = faster_rcnn(**(SMALL | {"num_classes": 2, "norm": "batch", "box_score_thresh": 0.05}))
    fgfa(model, flow=FlowNetS(2))
    clear, dark = torch.full((3, 64, 64), 0.2), torch.full((3, 64, 64), 0.2)
    clear[:, 16:48, 12:52] = 0.9
    target = {"boxes": torch.tensor([[12.0, 16, 52, 48]]), "labels": torch.tensor([1])}
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for _ in range(40):
        optimizer.zero_grad()
        losses = model([dark], [target | {"support": torch.stack([clear, clear])}])
        sum(losses.values()).backward()
        optimizer.step()
    model.eval()
    alone = model([dark])[0]["scores"].max() if len(model([dark])[0]["scores"]) else 0
    between = list(detect_in_video(model, [clear, dark, clear], reach=1))[1]
    assert between["scores"][0] > 0.5 > alone
    assert (between["boxes"][0] - target["boxes"][0]).abs().max() < 10


def test_a_known_flow_is_learned_and_resized(pair):
    """`loss_flow` is the distance in pixels of the resized image; unknown places do not count."""
    model = pair[1]
    image = torch.rand(3, 32, 40)  # resized to twice its sides
    flow = torch.zeros(2, 2, 32, 40)
    flow[:, 0] = 3.0
    flow[:, 1, :16] = float("nan")
    losses = model([image], [target_of(image, image.expand(2, -1, -1, -1), flow=flow)])
    assert losses["loss_flow"].item() == pytest.approx(6, abs=0.01)
    losses["loss_flow"].backward()
    assert model.backbone.flow.predict[-1].bias.grad.abs().sum() > 0
    assert model.backbone.support is None  # nothing is left for the next call


@pytest.mark.parametrize("kind", ["c5", "dyhead", "cascade", "oriented", "sra"])
def test_any_detector_of_this_package(kind):
    """Every map of a neck, whatever its channels; every head."""
    build = {"cascade": cascade_rcnn, "oriented": oriented_rcnn}.get(kind, faster_rcnn)
    more = {"c5": {"neck": "c5"}, "dyhead": {"neck": "dyhead"}, "sra": {"extractor": roikit.SemanticRoIAlign}}
    model = build(**SMALL, **more.get(kind, {}))
    fgfa(model, flow=FlowNetS(2))
    image = torch.rand(3, 64, 64)
    oriented = {"oriented_boxes": torch.tensor([[30.0, 24, 40, 20, 0.4]])} if kind == "oriented" else {}
    losses = model([image], [target_of(image, torch.rand(2, 3, 64, 64), **oriented)])
    sum(losses.values()).backward()
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert all(p.grad is not None for p in model.backbone.embeddings.parameters())
    assert len(list(detect_in_video(model.eval(), [image] * 3, reach=1))) == 3


def test_what_is_refused(pair):
    plain, model = pair
    image = torch.rand(3, 64, 64)
    own = target_of(image, torch.rand(2, 3, 64, 64))
    alone = {key: value for key, value in own.items() if key != "support"}
    with pytest.raises(ValueError, match="1 of 2 targets have 'support'"):
        model([image, image], [own, alone])
    with pytest.raises(ValueError, match=r"target 0: support must be a Tensor\[T, 3, 64, 64\]"):
        model([image], [target_of(image, torch.rand(2, 3, 32, 64))])
    with pytest.raises(ValueError, match="aggregates frames already"):
        fgfa(model)
    for wrong in (plain.eval(), model.train()):
        with pytest.raises(ValueError, match="needs a detector after"):
            next(detect_in_video(wrong, [image]))
    with pytest.raises(ValueError, match=r"one size, but \(64, 64\) is followed by \(32, 64\)"):
        list(detect_in_video(model.eval(), [image, image[:, :32]], reach=1))
    given = faster_rcnn(**SMALL)
    take_given_proposals(given)
    with pytest.raises(ValueError, match="it needs its RPN"):
        fgfa(given)
    assert isinstance(copy.deepcopy(model).backbone, FrameAggregation)
