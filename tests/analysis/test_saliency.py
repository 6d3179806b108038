"""Error-bounded saliency regions of nodes that are known to read a part of the image, and their pictures."""

from __future__ import annotations

import pytest
import torch
from pngs import has_colour, read_png
from small_detector import SmallDetector
from torch import nn
from torchvision.models.detection.transform import GeneralizedRCNNTransform

import roikit
from experiments.spatial_support.located import Located
from experiments.spatial_support.nodes import BackboneNode, BoxNode
from experiments.spatial_support.pictures import GREEN, Row, draw_supports, field_shown
from experiments.spatial_support.saliency import saliency_region

NODE = BackboneNode(40.0, 20.0)  # of maps with stride 16: reads rows 16 to 31, columns 32 to 47


def detector(channels: int, bias: bool = False) -> SmallDetector:
    """Each cell of the map reads a square of 16 × 16 pixels and nothing else; weights are positive."""
    model = SmallDetector(roikit.RoIAlign(2))
    model.transform = GeneralizedRCNNTransform(64, 64, [0.0] * 3, [1.0] * 3, size_divisible=16)
    model.backbone = nn.Conv2d(3, channels, 16, 16, bias=bias)
    nn.init.uniform_(model.backbone.weight, 0.1, 1.0)
    model.roi_heads.box_head = nn.Flatten()
    return model


def errors_of(model: SmallDetector, image: torch.Tensor, kept: torch.Tensor, measure: str) -> float:
    """By the definition: blocks of 4 × 4 pixels, the response of the node's cell, and its error."""
    mask = kept.repeat_interleave(4, 0).repeat_interleave(4, 1)
    with torch.no_grad():
        whole, left = (model.backbone(x[None].double())[0, :, 1, 2] for x in (image, image * mask))
    if measure == "size":
        return float((left - whole).norm() / whole.norm())
    return 1 - float(left @ whole / (left.norm() * whole.norm())) if left.norm() > 0 else 1.0


SQUARE = torch.zeros(16, 16, dtype=torch.bool)
SQUARE[4:8, 8:12] = True


@pytest.mark.parametrize(("measure", "channels"), [("size", 1), ("size", 5), ("cosine", 5)])
def test_the_square_that_a_node_reads(measure, channels, rng):
    torch.manual_seed(0)
    model, image = detector(channels), torch.rand(3, 64, 64, generator=rng) + 0.1
    found = saliency_region(model, image, NODE, 0.0, measure=measure)
    assert torch.equal(found.kept, SQUARE) and found.minimal and found.share == 16 / 256
    assert found.error <= 1e-5
    assert torch.equal(found.mask(64, 64), SQUARE.repeat_interleave(4, 0).repeat_interleave(4, 1))


@pytest.mark.parametrize(("measure", "bound"), [("size", 0.3), ("cosine", 0.003)])
def test_a_larger_bound_keeps_what_nothing_can_be_taken_from(measure, bound, rng):
    torch.manual_seed(0)
    model, image = detector(5), torch.rand(3, 64, 64, generator=rng) + 0.1
    found = saliency_region(model, image, NODE, bound, measure=measure)
    model.backbone.double()
    assert bool((found.kept <= SQUARE).all()) and 0 < int(found.kept.sum()) < 16 and found.minimal
    assert errors_of(model, image, found.kept, measure) == pytest.approx(found.error, abs=1e-6)
    assert found.error <= bound + 1e-5
    for v, u in found.kept.nonzero().tolist():
        fewer = found.kept.clone()
        fewer[v, u] = False
        assert errors_of(model, image, fewer, measure) > bound


def test_of_a_sum_the_smallest_region_is_found(rng):
    """One channel is a sum over blocks: the most blocks are spared by leaving out those that add least."""
    torch.manual_seed(0)
    model, image = detector(1), torch.rand(3, 64, 64, generator=rng) + 0.1
    found = saliency_region(model, image, NODE, 0.4, measure="size")
    parts = (image[:, 16:32, 32:48] * model.backbone.weight[0].detach()).sum(0)
    blocks = parts.unflatten(0, (4, 4)).unflatten(2, (4, 4)).sum((1, 3)).flatten()
    spared = int((blocks.sort().values.cumsum(0) <= 0.4 * blocks.sum()).sum())
    assert 3 < spared < 13 and int(found.kept.sum()) == 16 - spared


def test_a_box_needs_what_its_bins_read(rng):
    """RoIAlign of 1 cell a bin on means over 4 × 4 pixels: the box's own pixels, where it lies on cells."""
    model = SmallDetector(roikit.RoIAlign(2, sampling_ratio=1))
    model.roi_heads.box_head = nn.Flatten()
    image = torch.rand(3, 64, 64, generator=rng) + 0.1
    found = saliency_region(model, image, BoxNode((16.0, 8.0, 24.0, 16.0)), 0.0, measure="size")
    expected = torch.zeros(16, 16, dtype=torch.bool)
    expected[2:4, 4:6] = True
    assert torch.equal(found.kept, expected)


def test_the_bound_holds_where_the_search_is_ended(rng):
    torch.manual_seed(0)
    model, image, seen = detector(5), torch.rand(3, 64, 64, generator=rng) + 0.1, []
    found = saliency_region(model, image, NODE, 0.3, measure="size", most=12, report=lambda *a: seen.append(a))
    assert found.tried == 12 == sum(count for count, _, _ in seen) and not found.minimal
    model.backbone.double()
    assert errors_of(model, image, found.kept, "size") <= 0.3
    assert seen[-1][1] == pytest.approx(found.share)


def test_a_node_that_says_nothing_needs_nothing_and_blocks_are_square():
    model = detector(3)
    nn.init.zeros_(model.backbone.weight)
    model.transform = GeneralizedRCNNTransform(32, 64, [0.0] * 3, [1.0] * 3, size_divisible=16)
    found = saliency_region(model, torch.rand(3, 32, 64), BackboneNode(4.0, 4.0), 0.0)
    assert found.kept.shape == (8, 16) and found.share == 0 and found.error == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"bound": -0.1}, "bound is an error and must be 0 or more"),
        ({"measure": "l1"}, 'measure must be "cosine" or "size"'),
        ({"blocks": 1}, "blocks are along the longer side, 2 to 256"),
        ({"batch": 0}, "batch and most must be at least 1"),
    ],
)
def test_what_does_not_fit(arguments, message):
    with pytest.raises(ValueError, match=message):
        saliency_region(detector(1), torch.rand(3, 64, 64), NODE, **arguments)


def test_pictures_of_every_kind(tmp_path, rng):
    torch.manual_seed(0)
    image = torch.full((3, 64, 64), 0.5)
    image[0] = 1.0  # a red picture: its colour is seen where it is shown as it is
    region = saliency_region(detector(1), image, NODE, 0.0, measure="size")
    field = torch.zeros(64, 64)
    field[10:20, 30:50] = 1
    dots = Located(torch.tensor([[10.0, 10.0], [50.0, 40.0]]), torch.tensor([1.0, 4.0]))
    rows = [Row(kind, image, NODE, [s, s], ["a", "b\nc"]) for kind, s in (("f", field), ("d", dots), ("r", region))]
    whole = read_png(draw_supports(tmp_path / "x.png", rows, ["one", "two"], title="three kinds"))
    assert has_colour(whole, GREEN) > 9 * 20  # the node, in nine pictures
    one = read_png(draw_supports(tmp_path / "y.png", rows[2:], ["one", "two"]))
    assert one.shape[0] < whole.shape[0]
    red = has_colour(one, "#ff8080", 0.03)
    image_red = has_colour(read_png(draw_supports(tmp_path / "z.png", rows[1:2], ["one", "two"])), "#ff8080", 0.03)
    # the image once, and 1/16 of it in each of two pictures; the node covers a little of all
    assert red / image_red == pytest.approx(1 + 2 / 16, rel=0.03)


def test_a_field_is_drawn_by_means_and_roots():
    field = torch.zeros(200, 100)
    field[0:2, 0:2] = 4.0
    field[2, 2] = 4.0
    shown = field_shown(field, most=100)
    assert shown.shape == (100, 50) and shown[0, 0] == 1 and shown[1, 1] == 0.5 and shown.sum() == 1.5
    assert field_shown(torch.zeros(3, 3)).sum() == 0


def test_rows_that_do_not_fit(tmp_path):
    image = torch.rand(3, 8, 8)
    for rows, names, message in (
        ([], ["a"], "nothing to draw"),
        ([Row("r", image, NODE, [], [])], ["a"], "r: 0 supports and 0 captions for 1 runs"),
        ([Row("r", image[0], NODE, [image[0]], [""])], ["a"], "an image must be"),
    ):
        with pytest.raises(ValueError, match=message):
            draw_supports(tmp_path / "x.png", rows, names)
    assert not (tmp_path / "x.png").exists()
