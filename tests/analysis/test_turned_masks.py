"""Masks of objects that turn: where the weights go, which parts are chosen, what the picture shows."""

from __future__ import annotations

import pytest
import torch
from pngs import has_colour, read_png
from small_detector import SmallDetector

import roikit
from roikit.analysis import RegionView, view_region
from roikit.analysis.canvas import INK, as_array
from roikit.analysis.following import choose_following, following
from roikit.analysis.transformations import Rotation
from roikit.analysis.turned_masks import COLOURS, Column, _tinted, choose_parts, draw_turned, turn_object, turned_views


@pytest.fixture
def turned(image):
    mask = torch.zeros(96, 128)
    mask[20:60, 40:100] = 1
    return turn_object(image, torch.tensor([30.0, 10.0, 110.0, 70.0]), mask, [0, 90, 180, 45])


def test_boxes_and_canvases(turned):
    assert [tuple(t.image.shape[1:]) for t in turned] == [(96, 128), (128, 96), (96, 128), (159, 159)]
    for one, box in zip(turned, ([40, 20, 100, 60], [20, 28, 60, 88], [28, 36, 88, 76]), strict=False):
        assert one.box.tolist() == pytest.approx(box, abs=1e-4)
    assert float(turned[3].box[2] - turned[3].box[0]) == pytest.approx(100 * 0.5**0.5, abs=1e-3)


def test_the_centre_of_the_object_is_read_where_it_has_turned_to(turned):
    """CenterPool's one cell holds the box's centre, at every angle."""
    model = SmallDetector(roikit.CenterPool(), size=96)
    views = turned_views(model, turned, (96, 128))
    for one, view in zip(turned, views, strict=True):
        cx, cy = (one.box[:2] + one.box[2:]).div(2).tolist()
        v, u = (int(n) for n in (view.mean[0] == view.mean.max()).nonzero()[0])
        assert abs((u + 0.5) * view.stride[1] - cx) < 4.1 and abs((v + 0.5) * view.stride[0] - cy) < 4.1
        assert view.box == pytest.approx(one.box.tolist())


def test_pictures_are_enlarged_as_the_unturned_one(turned):
    views = turned_views(SmallDetector(roikit.RoIAlign(2), size=192), turned, (96, 128))
    for view in views:  # twice as large, stride 4
        assert view.stride == pytest.approx((2.0, 2.0), rel=0.01)


def test_parts_that_differ_are_chosen():
    view = view_region(roikit.RoIAlign(3), torch.rand(1, 1, 12, 12), torch.tensor([1.5, 1.5, 10.5, 10.5]), 1)
    assert choose_parts(view, 4) == [0, 2, 6, 8]  # the corners are farthest from one another
    assert len(choose_parts(view, 20)) == 9 == len(set(choose_parts(view, 20)))
    weights = torch.zeros(1, 4, 6, 6)
    weights[0, 1, 2, 2] = weights[0, 2, 2, 2] = 1  # two alike, two without a weight
    weights[0, 2, 3, 3] = 1e-3
    assert choose_parts(RegionView((0, 0, 6, 6), weights, (1.0, 1.0), (2, 2)), 1) == [1]
    assert choose_parts(RegionView((0, 0, 6, 6), weights, (1.0, 1.0), (2, 2)), 4) == [1, 2]
    assert choose_parts(RegionView((0, 0, 6, 6), weights * 0, (1.0, 1.0), (2, 2)), 4) == []


def spot(height: int, width: int, v: int, u: int) -> torch.Tensor:
    """One weight of 1, blurred over its neighbours."""
    weights = torch.zeros(1, 1, height, width)
    weights[0, 0, v, u] = 9
    return torch.nn.functional.avg_pool2d(weights, 3, 1, 1)[0, 0]


@pytest.mark.parametrize("quarters", [1, 2, 3])
@pytest.mark.parametrize("first", [0, 2])
def test_parts_that_turn_with_the_object_follow(quarters, first):
    """Cells are 2 × 2 pixels; a quarter turn of the map is torch's rot90."""
    rotations = [Rotation(90.0 * first, 24, 32), Rotation(90.0 * quarters, 24, 32)]
    upright = torch.stack([spot(12, 16, 4, 6), spot(12, 16, 3, 5), torch.zeros(12, 16)])
    views = []
    for turns in (first, quarters):
        turned = torch.rot90(upright, turns, (1, 2)).clone()
        turned[1] = (
            upright[1] if turned.shape == upright.shape else spot(16, 12, 5, 3)
        )  # keeps its place: the upper left
        box = rotations[0 if turns == first else 1].box(torch.tensor([8.0, 4.0, 24.0, 20.0])).tolist()
        views.append(RegionView(tuple(box), turned[None], (2.0, 2.0), (3, 1)))
    scores = following(views, rotations)
    assert float(scores[0]) == pytest.approx(1, abs=1e-6) and float(scores[2]) == 0
    assert float(scores[1]) == pytest.approx(float(quarters == first), abs=0.01)
    assert choose_following(views, rotations, 1) == [0]


def test_parts_follow_between_two_angles_or_more():
    view = RegionView((0, 0, 6, 6), torch.rand(1, 1, 6, 6), (1.0, 1.0), (1, 1))
    for count in (1, 3):
        with pytest.raises(ValueError, match=f"{count} views, 2 rotations"):
            following([view] * count, [Rotation(0, 6, 6)] * 2)


def test_a_part_much_like_a_better_one_is_passed_over():
    weights = torch.stack([spot(6, 6, 2, 2), spot(6, 6, 2, 2) + 0.01, spot(6, 6, 4, 4), spot(6, 6, 2, 3)])
    other = weights.clone()
    other[[1, 3]] += 0.2 * spot(6, 6, 4, 4)  # these two follow less well
    views = [RegionView((0, 0, 6, 6), w[None], (1.0, 1.0), (2, 2)) for w in (weights, other)]
    assert choose_following(views, [Rotation(0, 6, 6)] * 2, 4) == [0, 2]  # 3 shares two thirds of its cells with 0


def test_the_picture(tmp_path, turned):
    columns = []
    for extractor, parts in ((roikit.RoIAlign(3), [0, 8]), (roikit.SemanticRoIAlign(3, 9), [4])):
        views = turned_views(SmallDetector(extractor, size=96), turned, (96, 128))
        columns.append(Column(type(extractor).__name__, views, parts))
    picture = read_png(draw_turned(tmp_path / "x.png", turned, columns, title="an object"))
    two, one = has_colour(picture, COLOURS[0]), has_colour(picture, COLOURS[1])
    assert two > one > 50 and not has_colour(picture, COLOURS[2])  # their labels at least
    assert has_colour(picture, INK, 0.1) > 4 * 3 * 200  # a frame in each of twelve cells
    # One column and row less is so much smaller.
    small = read_png(draw_turned(tmp_path / "y.png", turned[:3], [Column("x", columns[0].views[:3], [])]))
    assert small.shape[0] < picture.shape[0] and small.shape[1] < picture.shape[1]


def test_a_part_is_tinted_in_its_colour_where_its_weight_is(turned):
    """The first and the last part of a 2 × 2 grid lie in the upper left and the lower right quarter of the box."""
    views = turned_views(SmallDetector(roikit.RoIAlign(2), size=96), turned[:1], (96, 128))
    window = (30.0, 0.0, 110.0, 80.0)  # the box is (40, 20, 100, 60); 300 pixels of the panel are 80 of the image
    rgb = _tinted(as_array(turned[0].image), views[0], [0, 3], window)
    red, blue = rgb[..., 0] - rgb[..., 2] > 0.2, rgb[..., 2] - rgb[..., 0] > 0.2
    for tinted, (cx, cy) in ((red, (55, 30)), (blue, (85, 50))):
        v, u = tinted.nonzero()
        assert len(v) > 1000
        assert [u.mean() * 80 / 300 + 30, v.mean() * 80 / 300] == pytest.approx([cx, cy], abs=2)
    assert not (red & blue).any()


def test_what_does_not_fit(tmp_path, turned):
    views = turned_views(SmallDetector(roikit.RoIAlign(3), size=96), turned, (96, 128))
    for columns, message in (
        ([], "nothing to draw"),
        ([Column("a", views[:2], [0])], "a: 2 views for 4 angles"),
        ([Column("a", views, [9])], "a has no part 9: it has 9, counted from 0"),
        ([Column("a", views, list(range(9)))], "9 parts, but there are colours for 8"),
    ):
        with pytest.raises(ValueError, match=message):
            draw_turned(tmp_path / "x.png", turned, columns)
    with pytest.raises(ValueError, match="an image must be"):
        turn_object(torch.zeros(4, 4), torch.zeros(4), None, [0])
    assert not (tmp_path / "x.png").exists()
