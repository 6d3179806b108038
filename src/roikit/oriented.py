"""Oriented boxes (cx, cy, w, h, θ) as shapes: the smallest ones around points and masks, overlaps, suppression.

Centre and sides are in image pixels, θ in radians, counter-clockwise as one sees the image (y points down). A point at
(u, v) of the box's own frame lies in the image at (cx + u·cosθ + v·sinθ, cy + v·cosθ - u·sinθ).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_STEPS = 180  # directions that are tried for a mask, over a right angle: half a degree


def corners(oriented: Tensor) -> Tensor:
    """The corners of oriented boxes ``[N, 5]``: ``[N, 4, 2]`` (x, y), clockwise as one sees the image, beginning with
    the one that is the upper left at θ = 0."""
    cx, cy, w, h, angle = oriented.unbind(1)
    cos, sin = angle.cos()[:, None], angle.sin()[:, None]
    signs = oriented.new_tensor([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])
    u, v = signs[:, 0] * w[:, None], signs[:, 1] * h[:, None]
    return torch.stack([cx[:, None] + u * cos + v * sin, cy[:, None] + v * cos - u * sin], 2)


def upright(oriented: Tensor) -> Tensor:
    """The upright boxes ``[N, 4]`` (x1, y1, x2, y2) around oriented ones ``[N, 5]``."""
    cx, cy, w, h, angle = oriented.unbind(1)
    cos, sin = angle.cos().abs(), angle.sin().abs()
    across, down = (w * cos + h * sin) / 2, (w * sin + h * cos) / 2
    return torch.stack([cx - across, cy - down, cx + across, cy + down], 1)


def oriented_boxes(masks: Tensor) -> Tensor:
    """The smallest rectangle around each mask.

    Args:
        masks: ``Tensor[N, H, W]``; not 0 on the object.

    Returns:
        float32 ``Tensor[N, 5]`` with rows (cx, cy, w, h, θ): pixels, and radians counter-clockwise as one sees the
        image. Of the four ways to name one rectangle it is the one with -45° ≤ θ < 45°, to half a degree; of equal
        areas the one nearest to upright. An empty mask has a row of zeros.

    Example:
        >>> import torch
        >>> mask = torch.zeros(1, 20, 30)
        >>> mask[0, 4:10, 5:25] = 1
        >>> oriented_boxes(mask).tolist()
        [[15.0, 7.0, 20.0, 6.0, 0.0]]
    """
    found = [_around_mask(mask != 0) for mask in masks]
    return torch.stack(found) if found else masks.new_zeros(0, 5, dtype=torch.float32)


def around_polygons(polygons: Tensor) -> Tensor:
    """The smallest rectangle around each polygon ``[N, V, 2]`` (x, y): float32 ``[N, 5]``, named as by
    :func:`oriented_boxes`. One of its sides lies along one of the convex hull, so it is exact.

    Example:
        >>> square = torch.tensor([[[5.0, 0.0], [10.0, 5.0], [5.0, 10.0], [0.0, 5.0]]])
        >>> around_polygons(square).round(decimals=3)
        tensor([[ 5.0000,  5.0000,  7.0710,  7.0710, -0.7850]])
    """
    found = []
    for points in polygons.double():
        first, second = torch.triu_indices(len(points), len(points), 1)
        between = points[second] - points[first]
        quarter = math.pi / 2
        angle = torch.remainder(torch.atan2(-between[:, 1], between[:, 0]) + quarter / 2, quarter) - quarter / 2
        found.append(_smallest(points[:, 0], points[:, 1], angle[angle.abs().argsort(stable=True)]))
    return torch.stack(found) if found else polygons.new_zeros(0, 5, dtype=torch.float32)


def _around_mask(mask: Tensor) -> Tensor:
    rows = mask.any(1).nonzero()[:, 0]
    if not len(rows):
        return torch.zeros(5, device=mask.device)
    columns = torch.arange(mask.shape[1], device=mask.device)
    inside = mask[rows]
    first = torch.where(inside, columns, mask.shape[1]).amin(1).double()
    last = torch.where(inside, columns, -1).amax(1).double() + 1
    # The corners of each row's outermost pixels: the rectangle around them is that around all pixels.
    y = rows.double()
    steps = torch.arange(_STEPS, device=mask.device, dtype=torch.float64) - _STEPS // 2
    angle = steps[steps.abs().argsort(stable=True)] * (math.pi / 2 / _STEPS)
    return _smallest(torch.cat([first, first, last, last]), torch.cat([y, y + 1, y, y + 1]), angle)


def _smallest(x: Tensor, y: Tensor, angle: Tensor) -> Tensor:
    """Of the rectangles around points (float64) in these directions the first of the smallest."""
    cos, sin = angle.cos()[:, None], angle.sin()[:, None]
    along, across = x * cos - y * sin, x * sin + y * cos  # in the frame of the rectangle
    left, right, top, bottom = along.amin(1), along.amax(1), across.amin(1), across.amax(1)
    area = (right - left) * (bottom - top)
    best = int((area <= area.amin() * (1 + 1e-9)).nonzero()[0])  # what differs by rounding is equal
    u, v = (left + right)[best] / 2, (top + bottom)[best] / 2
    cos, sin = angle.cos()[best], angle.sin()[best]
    sides = (right - left)[best], (bottom - top)[best]
    return torch.stack([u * cos + v * sin, v * cos - u * sin, *sides, angle[best]]).float()


def shared_area(oriented: Tensor, polygons: Tensor) -> Tensor:
    """The area that each oriented box ``[P, 5]`` shares with a polygon ``[P, V, 2]`` (x, y): ``[P]``, exact.

    In the box's own frame the shared area is ∮ clamp(v, -h/2, h/2) du over the polygon's boundary where u is from -w/2
    to w/2 (Green's theorem); on an edge the integrand is linear between at most four points. Nothing is sorted or
    counted, so edges that coincide are no special case.
    """
    cx, cy, w, h, angle = (part[:, None] for part in oriented.unbind(1))
    x, y = polygons[..., 0] - cx, polygons[..., 1] - cy
    u, v = x * angle.cos() - y * angle.sin(), x * angle.sin() + y * angle.cos()
    du, dv = u.roll(-1, 1) - u, v.roll(-1, 1) - v

    def reached(start: Tensor, step: Tensor, half: Tensor) -> tuple[Tensor, Tensor]:
        """Where on an edge (0 to 1, or beyond) a coordinate is -half and half, the earlier first."""
        safe = torch.where(step == 0, torch.ones_like(step), step)
        one, other = (-half - start) / safe, (half - start) / safe
        return torch.minimum(one, other), torch.maximum(one, other)

    begin, end = (place.clamp(0, 1) for place in reached(u, du, w / 2))
    places = [begin, *(torch.clamp(place, begin, end) for place in reached(v, dv, h / 2)), end]
    heights = [torch.maximum(torch.minimum(v + place * dv, h / 2), -h / 2) for place in places]
    # a piece without length counts nothing, wherever it lies
    pieces = [(places[k + 1] - places[k]) * (heights[k + 1] + heights[k]) / 2 for k in range(3)]
    return (du * torch.stack(pieces).sum(0)).sum(1).abs()


def oriented_iou(boxes: Tensor, others: Tensor) -> Tensor:
    """Intersection over union of oriented boxes ``[N, 5]`` and ``[M, 5]``: ``[N, M]`` in their type, exact; 0 where a
    box has no area.

    Example:
        >>> square = torch.tensor([[5.0, 5.0, 4.0, 4.0, 0.0]])
        >>> turned = torch.tensor([[5.0, 5.0, 4.0, 4.0, torch.pi / 4]])  # they share a regular octagon
        >>> oriented_iou(square, turned).round(decimals=4)
        tensor([[0.7071]])
    """
    one, two = boxes.double(), others.double()
    reach = [each[:, 2:4].norm(dim=1) / 2 for each in (one, two)]
    far = torch.cdist(one[:, :2], two[:, :2], compute_mode="donot_use_mm_for_euclid_dist")
    first, second = (far < reach[0][:, None] + reach[1]).nonzero(as_tuple=True)
    shared = one.new_zeros(len(one), len(two))
    shared[first, second] = shared_area(one[first], corners(two)[second])
    whole = (one[:, 2] * one[:, 3])[:, None] + two[:, 2] * two[:, 3] - shared
    return torch.where(shared > 0, shared / whole.clamp(min=1e-12), torch.zeros_like(shared)).to(boxes.dtype)


def oriented_nms(boxes: Tensor, scores: Tensor, labels: Tensor, iou_threshold: float) -> Tensor:
    """Non-maximum suppression of oriented boxes ``[N, 5]``, class by class: kept indices, best first.

    A box is suppressed by a better one of its label where their IoU is above ``iou_threshold``.
    """
    kept = []
    for label in labels.unique():
        own = (labels == label).nonzero()[:, 0]
        own = own[scores[own].argsort(descending=True, stable=True)]
        suppresses = (oriented_iou(boxes[own], boxes[own]) > iou_threshold).cpu()
        free = torch.ones(len(own), dtype=torch.bool)
        for place in range(len(own)):
            if free[place]:
                free[place + 1 :] &= ~suppresses[place, place + 1 :]
        kept.append(own[free.to(own.device)])
    every = torch.cat([torch.zeros(0, dtype=torch.int64, device=boxes.device), *kept])
    return every[scores[every].argsort(descending=True, stable=True)]
