"""Overlaps and non-maximum suppression of rotated boxes (cx, cy, w, h, θ clockwise), by clipping polygons."""

from __future__ import annotations

import torch
from torch import Tensor


def box_iou_rotated(boxes1: Tensor, boxes2: Tensor, ious: Tensor, *, mode_flag: int, aligned: bool) -> None:
    """IoU (0) or the share of the first box (1) of all pairs or of aligned ones, into `ious` (flat)."""
    if aligned:
        found = torch.stack([_overlap(a, b[None], mode_flag)[0] for a, b in zip(boxes1, boxes2, strict=True)])
    else:
        found = torch.stack([_overlap(a, boxes2, mode_flag) for a in boxes1])
    ious.copy_(found.reshape(ious.shape))


def nms_rotated(
    dets: Tensor, scores: Tensor, order: Tensor, dets_sorted: Tensor, labels: Tensor, iou_threshold: float,
    multi_label: bool,
) -> Tensor:  # fmt: skip
    """Kept indices, best first; with labels (a sixth column) boxes of different ones do not suppress each other."""
    free = torch.ones(len(order), dtype=torch.bool, device=dets.device)
    kept = []
    for place in range(len(order)):
        if not free[place]:
            continue
        kept.append(int(order[place]))
        overlap = _overlap(dets_sorted[place, :5], dets_sorted[:, :5], 0)
        same = dets_sorted[:, 5] == dets_sorted[place, 5] if multi_label else torch.ones_like(free)
        free &= ~((overlap > iou_threshold) & same)
    return torch.tensor(kept, dtype=torch.long, device=dets.device)


def _corners(boxes: Tensor) -> Tensor:
    """`[N, 4, 2]` (x, y), in order around each box, in float64."""
    cx, cy, w, h, angle = boxes.double().unbind(1)
    cos, sin = angle.cos(), angle.sin()
    signs = boxes.new_tensor([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]]).double()
    u, v = signs[:, 0] * w[:, None], signs[:, 1] * h[:, None]
    return torch.stack([cx[:, None] + u * cos[:, None] - v * sin[:, None],
                        cy[:, None] + u * sin[:, None] + v * cos[:, None]], 2)  # fmt: skip


def _overlap(box: Tensor, others: Tensor, mode: int) -> Tensor:
    """Of one box with each of others `[N, 5]`."""
    areas = others[:, 2].double() * others[:, 3].double()
    own = float(box[2]) * float(box[3])
    clip = _corners(box[None])[0].tolist()
    centre, reach = box[:2].double(), float(box[2:4].double().norm()) / 2
    near = (others[:, :2].double() - centre).norm(dim=1) <= reach + others[:, 2:4].double().norm(dim=1) / 2
    inter = torch.zeros(len(others), dtype=torch.float64)
    for place in near.nonzero()[:, 0].tolist():
        inter[place] = _area(_clipped(_corners(others[place][None])[0].tolist(), clip))
    inter = inter.to(others.device)
    whole = own if mode == 1 else own + areas - inter
    return torch.where(inter > 0, inter / whole, 0.0).to(others.dtype)


def _clipped(polygon: list, clip: list) -> list:
    """Sutherland and Hodgman: the part of a polygon within a convex one that turns the same way."""
    for (ax, ay), (bx, by) in zip(clip, [*clip[1:], clip[0]], strict=True):
        side = [(bx - ax) * (y - ay) - (by - ay) * (x - ax) for x, y in polygon]
        kept = []
        for place, ((x, y), own) in enumerate(zip(polygon, side, strict=True)):
            (px, py), before = polygon[place - 1], side[place - 1]
            if (own >= 0) != (before >= 0):
                t = before / (before - own)
                kept.append((px + t * (x - px), py + t * (y - py)))
            if own >= 0:
                kept.append((x, y))
        polygon = kept
    return polygon


def _area(polygon: list) -> float:
    pairs = zip(polygon, [*polygon[1:], *polygon[:1]], strict=True)
    return abs(sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in pairs)) / 2
