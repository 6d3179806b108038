"""Turned images against torch.rot90, turned boxes by hand, mirrored and moved boxes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from roikit.analysis.transformations import GREY, Rotation, box_of_mask, reflect_box, scale_and_pan


@pytest.mark.parametrize("quarters", [-3, -1, 0, 1, 2, 3, 4])
@pytest.mark.parametrize("size", [(7, 11), (8, 8), (10, 5)])
def test_quarter_turns_are_those_of_torch(rng, quarters, size):
    image = torch.rand(3, *size, generator=rng)
    rotation = Rotation(90.0 * quarters, *size)
    expected = torch.rot90(image, quarters, (1, 2))
    assert rotation.canvas == tuple(expected.shape[1:])
    torch.testing.assert_close(rotation.image(image), expected, atol=2e-5, rtol=0)
    mask = torch.rand(*size, generator=rng) > 0.9
    mask[3, 2] = True
    found = rotation.box(torch.zeros(4), mask)
    torch.testing.assert_close(found, box_of_mask(torch.rot90(mask, quarters, (0, 1))), atol=1e-5, rtol=0)
    # without a mask: a box is its own mask where it lies on whole pixels
    box, mask = torch.tensor([1.0, 2.0, 4.0, 5.0]), torch.zeros(size)
    mask[2:5, 1:4] = 1
    torch.testing.assert_close(rotation.box(box), rotation.box(torch.zeros(4), mask), atol=1e-5, rtol=0)


def test_a_turn_by_45_degrees_by_hand():
    rotation = Rotation(45, 10, 10)
    assert rotation.canvas == (15, 15)  # 10·√2 = 14.14
    turned = rotation.image(torch.ones(1, 10, 10), fill=0.25)
    assert turned[0, 7, 7] == pytest.approx(1) and turned[0, 0, 0] == pytest.approx(0.25)
    # a square about the centre: its corners lie on the axes, 4·√2/2 from the centre of the canvas
    half = 2 * math.sqrt(2)
    box = rotation.box(torch.tensor([3.0, 3.0, 7.0, 7.0]))
    assert box.tolist() == pytest.approx([7.5 - half, 7.5 - half, 7.5 + half, 7.5 + half])
    # a point to the right of the centre moves up and left of there: counter-clockwise as seen
    assert rotation.points(torch.tensor([[9.0, 5.0]]))[0].tolist() == pytest.approx([7.5 + half, 7.5 - half])
    # one pixel, centred at (5.5, 2.5): 0.5 right of and 2.5 above the centre
    mask = torch.zeros(10, 10)
    mask[2, 5] = 1
    cos = math.sqrt(0.5)
    x, y = 7.5 + 0.5 * cos - 2.5 * cos, 7.5 - 2.5 * cos - 0.5 * cos
    assert rotation.box(torch.zeros(4), mask).tolist() == pytest.approx([x - cos, y - cos, x + cos, y + cos])


def test_the_box_of_a_disc_turns_with_it_and_not_with_its_corners():
    y, x = torch.meshgrid(torch.arange(60) + 0.5, torch.arange(80) + 0.5, indexing="ij")
    mask = (y - 20) ** 2 + (x - 50) ** 2 < 100
    rotation = Rotation(30, 60, 80)
    box, corners = rotation.box(torch.zeros(4), mask), rotation.box(torch.tensor([40.0, 10.0, 60.0, 30.0]))
    centre = rotation.points(torch.tensor([[50.0, 20.0]]))[0]
    assert (box[:2] + box[2:]).tolist() == pytest.approx((2 * centre).tolist(), abs=0.3)
    assert (box[2:] - box[:2]).tolist() == pytest.approx([20, 20], abs=1.5)
    assert (corners[2:] - corners[:2]).tolist() == pytest.approx([27.3, 27.3], abs=0.1)  # 20·(cos 30° + sin 30°)


def test_what_is_in_the_image_moves_with_its_points():
    image = torch.zeros(1, 40, 50)
    image[0, 5:9, 30:36] = 1  # its centre is (33, 7)
    rotation = Rotation(-67, 40, 50)
    turned = rotation.image(image, fill=0)[0].double()
    y, x = (torch.arange(n) + 0.5 for n in turned.shape)
    centre = [float((turned.sum(0) * x).sum() / turned.sum()), float((turned.sum(1) * y).sum() / turned.sum())]
    assert centre == pytest.approx(rotation.points(torch.tensor([[33.0, 7.0]]))[0].tolist(), abs=0.05)
    assert float(turned.sum()) == pytest.approx(24, rel=0.03)


def test_beyond_the_border_it_is_grey_as_in_training():
    assert float(Rotation(45, 20, 20).image(torch.ones(3, 20, 20))[0, 0, 0]) == pytest.approx(GREY)


def test_an_empty_mask_counts_as_none_and_another_size_is_refused():
    rotation, box = Rotation(20, 8, 9), torch.tensor([1.0, 2.0, 5.0, 6.0])
    assert torch.equal(rotation.box(box, torch.zeros(8, 9)), rotation.box(box))
    assert box_of_mask(torch.zeros(3, 3)) is None
    with pytest.raises(ValueError, match=r"of an image of 8×9, not \[9, 8\]"):
        rotation.image(torch.zeros(3, 9, 8))


def test_mirrored_boxes_are_those_of_mirrored_masks(rng):
    mask = torch.rand(9, 14, generator=rng) > 0.95
    mask[4, 3] = True
    assert torch.equal(reflect_box(box_of_mask(mask), 14), box_of_mask(mask.flip(-1)))


def test_scaled_and_panned_boxes_stay_in_their_limits():
    box, random = torch.tensor([4000.0, 5000.0, 4040.0, 5010.0]), np.random.default_rng(0)
    moved = torch.stack([scale_and_pan(box, (9000, 9000), random, 1.5, 0.25) for _ in range(2000)]).double()
    factors = (moved[:, 2:] - moved[:, :2]) / torch.tensor([40.0, 10.0])
    shifts = ((moved[:, 2:] + moved[:, :2]) / 2 - torch.tensor([4020.0, 5005.0])) / torch.tensor([40.0, 10.0])
    for values, low, high in ((factors.log(), -math.log(1.5), math.log(1.5)), (shifts, -0.25, 0.25)):
        for column in values.T:  # even over the whole interval: the mean and the spread of a uniform distribution
            assert low - 1e-3 <= column.min() and column.max() <= high + 1e-3
            assert float(column.mean()) == pytest.approx(0, abs=0.06 * high)
            assert float(column.std()) == pytest.approx((high - low) / math.sqrt(12), rel=0.05)
    assert abs(float(torch.corrcoef(torch.cat([factors.log(), shifts], 1).T).fill_diagonal_(0).abs().max())) < 0.1


def test_moved_boxes_are_clipped_and_may_stay():
    random = np.random.default_rng(1)
    assert scale_and_pan(torch.tensor([2.0, 3.0, 9.0, 8.0]), (20, 30), random, 1.0, 0.0).tolist() == [2, 3, 9, 8]
    for _ in range(50):
        x1, y1, x2, y2 = scale_and_pan(torch.tensor([0.0, 0.0, 30.0, 20.0]), (20, 30), random).tolist()
        assert 0 <= x1 < x2 <= 30 and 0 <= y1 < y2 <= 20
