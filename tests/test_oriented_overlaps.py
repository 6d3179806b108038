"""Overlaps of oriented boxes against shapely's polygons, suppression against a loop, smallest rectangles by hand."""

from __future__ import annotations

import math

import pytest
import torch
import torchvision
from torch import Tensor

from roikit.oriented import around_polygons, corners, oriented_iou, oriented_nms, shared_area, upright


def drawn(count: int, generator: torch.Generator) -> Tensor:
    """Boxes of all angles on 60 × 60 pixels, in float64."""
    scale = torch.tensor([60.0, 60, 40, 40, 2 * math.pi], dtype=torch.float64)
    return torch.rand(count, 5, generator=generator, dtype=torch.float64) * scale


def test_overlaps_are_those_of_polygons(rng):
    geometry = pytest.importorskip("shapely.geometry", reason="shapely, the oracle of overlaps, is not installed")
    boxes, others = drawn(40, rng), drawn(60, rng)
    others[:10] = boxes[:10]  # the same
    others[10:20] = boxes[10:20] + torch.tensor([0, 0, 0, 0, math.pi / 2])  # across
    others[20:30, 4] = boxes[20:30, 4]  # parallel
    others[30:40] = boxes[30:40] * torch.tensor([1, 1, 0.5, 1, 1])  # sides that coincide in part
    found = oriented_iou(boxes, others)
    one, two = ([geometry.Polygon(c) for c in corners(each).tolist()] for each in (boxes, others))
    for i, a in enumerate(one):
        for j, b in enumerate(two):
            both = a.intersection(b).area
            assert found[i, j].item() == pytest.approx(both / (a.area + b.area - both), abs=1e-12)
    torch.testing.assert_close(found.diagonal()[:10], torch.ones(10).double())


def test_a_polygon_that_is_no_rectangle(rng):
    geometry = pytest.importorskip("shapely.geometry", reason="shapely, the oracle of overlaps, is not installed")
    polygon = torch.tensor([[[5.0, 3], [50, 8], [30, 28], [44, 55], [8, 40]]]).double()  # not even convex
    boxes = drawn(50, rng)
    shape = geometry.Polygon(polygon[0].tolist())
    wanted = [geometry.Polygon(c).intersection(shape).area for c in corners(boxes).tolist()]
    torch.testing.assert_close(shared_area(boxes, polygon.expand(50, -1, -1)), torch.tensor(wanted).double())


def test_upright_boxes_overlap_as_torchvision_s(rng):
    boxes = drawn(30, rng).float()
    boxes[:, 4] = 0
    torch.testing.assert_close(oriented_iou(boxes, boxes), torchvision.ops.box_iou(upright(boxes), upright(boxes)))


def test_no_area_no_overlap():
    boxes = torch.tensor([[5.0, 5, 0, 4, 0.3], [5, 5, 4, 4, 0.3], [5, 5, 4, 4, 0.3]])
    assert oriented_iou(boxes, boxes)[0].tolist() == [0, 0, 0]
    assert oriented_iou(boxes, boxes)[1].tolist() == pytest.approx([0, 1, 1])
    none = boxes[:0]
    assert oriented_iou(none, boxes).shape == (0, 3)
    assert oriented_nms(none, none[:, 0], none[:, 0].long(), 0.5).tolist() == []


def test_suppression_is_the_loop(rng):
    boxes, scores = drawn(80, rng).float(), torch.rand(80, generator=rng)
    labels = torch.randint(1, 4, (80,), generator=rng)
    overlap, kept = oriented_iou(boxes, boxes), []
    for place in scores.argsort(descending=True).tolist():
        if not any(labels[place] == labels[k] and overlap[place, k] > 0.3 for k in kept):
            kept.append(place)
    assert oriented_nms(boxes, scores, labels, 0.3).tolist() == kept and 10 < len(kept) < 80
    flat = boxes.clone()
    flat[:, 4] = 0
    wanted = torchvision.ops.batched_nms(upright(flat), scores, labels, 0.3)
    assert oriented_nms(flat, scores, labels, 0.3).tolist() == wanted.tolist()


def test_the_smallest_rectangle_of_corners_is_the_box(rng):
    boxes = drawn(40, rng) + torch.tensor([0, 0, 5, 5, 0])
    found = around_polygons(corners(boxes))
    assert (found[:, 4].abs() <= math.pi / 4 + 1e-6).all()
    torch.testing.assert_close(
        oriented_iou(found.double(), boxes).diagonal(), torch.ones(40).double(), atol=1e-5, rtol=0
    )
    trapezium = torch.tensor([[[0.0, 0], [10, 0], [8, 4], [1, 4]]])
    assert around_polygons(trapezium).tolist() == [[5, 2, 10, 4, 0]]
    assert around_polygons(trapezium[:0]).shape == (0, 5)
