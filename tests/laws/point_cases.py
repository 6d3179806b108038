"""The degenerate cases of the methods on free points, for law 8."""

from __future__ import annotations

import math

import torch
from listing import SCALE, close, rois, turned_boxes

from roikit.boxes import Rois
from roikit.extractors import RoIAlign, RoITransformer, RotatedRoIAlign, SectorPool


def by_image(boxes, rows) -> list[torch.Tensor]:
    return [rows[boxes[:, 0] == image] for image in range(2)]


def without_an_angle_it_is_align(x, rng):
    boxes = rois(rng)
    for sampling in (0, 1, 2, 3):
        expected = RoIAlign((3, 2), sampling)(x, boxes, SCALE)
        pool = RotatedRoIAlign((3, 2), sampling)
        close(pool(x, boxes, SCALE), expected)
        x1, y1, x2, y2 = boxes[:, 1:].unbind(1)
        upright = torch.stack([boxes[:, 0], (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1, 0 * x1], 1)
        close(pool(x, None, SCALE, rotated_boxes=upright), expected)


def a_turned_box_on_the_turned_image_is_the_box_on_the_image(x, rng):
    boxes = rois(rng, scale=(0.5, 0.5))
    rows = turned_boxes(boxes[:, 1:], (3, 2))["rotated_boxes"]
    rows[:, 2] *= 1.7  # also beyond the map
    pool = RotatedRoIAlign((3, 2))
    expected = pool(x, None, 0.5, rotated_boxes=torch.cat([boxes[:, :1], rows], 1))
    width = 2 * x.shape[3]
    for _ in range(3):  # a quarter turn counter-clockwise brings (x, y) to (y, width - x)
        rows = torch.stack([rows[:, 1], width - rows[:, 0], rows[:, 2], rows[:, 3], rows[:, 4] + math.pi / 2], 1)
        x = torch.rot90(x, 1, (2, 3))
        width = 2 * x.shape[3]
        close(pool(x, None, 0.5, rotated_boxes=torch.cat([boxes[:, :1], rows], 1)), expected, 1e-11)


def half_a_turn_turns_the_grid(x, rng):
    boxes = rois(rng)
    rows = turned_boxes(boxes[:, 1:], (3, 2))["rotated_boxes"]
    pool = RotatedRoIAlign((3, 2))
    around = rows + rows.new_tensor([0, 0, 0, 0, math.pi])
    expected = pool(x, boxes, SCALE, rotated_boxes=rows)
    close(pool(x, boxes, SCALE, rotated_boxes=around), expected.flip(2, 3), 1e-11)
    quarter = rows[:, [0, 1, 3, 2, 4]] + rows.new_tensor([0, 0, 0, 0, math.pi / 2])  # its width is the other's height
    close(RotatedRoIAlign((2, 3))(x, boxes, SCALE, rotated_boxes=quarter), expected.transpose(2, 3).flip(3), 1e-11)


def formats_of_rotated_boxes_mean_the_same(x, rng):
    boxes = rois(rng)
    boxes = boxes[torch.argsort(boxes[:, 0], stable=True)]
    rows = turned_boxes(boxes[:, 1:], (3, 2))["rotated_boxes"]
    pool, index = RotatedRoIAlign((3, 2)), boxes[:, 0].long()
    expected = pool(x, None, SCALE, rotated_boxes=torch.cat([boxes[:, :1], rows], 1))
    lists = by_image(boxes, rows)
    for given in (boxes, by_image(boxes, boxes[:, 1:]), Rois(boxes[:, 1:], index, 0 * index)):
        for turned in (rows, lists, torch.cat([boxes[:, :1], rows], 1)):
            close(pool(x, given, SCALE, rotated_boxes=turned), expected, 0)
    close(pool(x, None, SCALE, rotated_boxes=lists), expected, 0)


def untrained_it_is_align_of_the_enlarged_box(x, rng):
    boxes = rois(rng)
    centre, half = (boxes[:, 1:3] + boxes[:, 3:]) / 2, (boxes[:, 3:] - boxes[:, 1:3]) / 2
    for enlarge in ((1.2, 1.4), (1.0, 1.0)):
        grown = half * half.new_tensor(enlarge)
        expected = RoIAlign(3)(x, torch.cat([boxes[:, :1], centre - grown, centre + grown], 1), SCALE)
        close(RoITransformer(5, 3, enlarge=enlarge).double()(x, boxes, SCALE), expected)


def it_is_rotated_align_of_the_boxes_it_predicts(x, rng):
    boxes = rois(rng)
    pool = RoITransformer(5, 3).double()
    with torch.no_grad():
        pool.predict.bias.copy_(torch.tensor([0.5, -1.0, 0.7, -0.6, 1.3], dtype=x.dtype))
    weights = pool.weights(x, boxes, SCALE)
    x1, y1, x2, y2 = boxes[:, 1:].unbind(1)
    w, h = x2 - x1, y2 - y1
    expected = [(x1 + x2) / 2 + 0.05 * w, (y1 + y2) / 2 - 0.1 * h, w * math.exp(0.14), h * math.exp(-0.12)]
    expected = torch.stack([*expected, torch.full_like(w, 0.26 * math.pi)], 1)
    close(weights.rotated, expected)
    larger = expected * expected.new_tensor([1, 1, 1.2, 1.4, 1])
    close(pool(x, boxes, SCALE), RotatedRoIAlign(3)(x, boxes, SCALE, rotated_boxes=larger))


def one_sector_is_align_with_one_bin(x, rng):
    boxes = rois(rng)
    close(SectorPool(1, 1, 6)(x, boxes, SCALE), RoIAlign(1, 6)(x, boxes, SCALE))


def sectors_by_their_samples_are_the_whole(x, rng):
    boxes = rois(rng)
    pool = SectorPool(8, 4, 14)
    share = torch.tensor(pool._counts).double().reshape(8, 4) / 14**2
    whole = (pool(x, boxes, SCALE) * share).sum((2, 3), keepdim=True)
    close(whole, RoIAlign(1, 14)(x, boxes, SCALE))


def turning_the_image_turns_the_directions(x, rng):
    boxes = rois(rng, scale=(1.0, 1.0))
    expected = SectorPool()(x, boxes)
    x1, y1, x2, y2 = boxes[:, 1:].unbind(1)
    turned = torch.stack([boxes[:, 0], y1, x.shape[3] - x2, y2, x.shape[3] - x1], 1)
    close(SectorPool()(torch.rot90(x, 1, (2, 3)), turned), expected.roll(2, 2), 1e-12)


POINT_CASES = {
    RotatedRoIAlign: [
        without_an_angle_it_is_align,
        a_turned_box_on_the_turned_image_is_the_box_on_the_image,
        half_a_turn_turns_the_grid,
        formats_of_rotated_boxes_mean_the_same,
    ],
    RoITransformer: [untrained_it_is_align_of_the_enlarged_box, it_is_rotated_align_of_the_boxes_it_predicts],
    SectorPool: [
        one_sector_is_align_with_one_bin,
        sectors_by_their_samples_are_the_whole,
        turning_the_image_turns_the_directions,
    ],
}
