"""Overlaps and non-maximum suppression of rotated boxes (cx, cy, w, h, θ clockwise), as in mmcv's extension."""

from __future__ import annotations

import torch
from torch import Tensor

from ...oriented import corners, shared_area


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


def _overlap(box: Tensor, others: Tensor, mode: int) -> Tensor:
    """Of one box with each of others `[N, 5]`."""
    turned = box.new_tensor([1, 1, 1, 1, -1]).double()  # their angle runs the other way
    one, many = box.double()[None] * turned, others.double() * turned
    inter = shared_area(one.expand_as(many), corners(many))
    own, areas = one[0, 2] * one[0, 3], many[:, 2] * many[:, 3]
    whole = own if mode == 1 else own + areas - inter
    return torch.where(inter > 0, inter / whole, 0.0).to(others.dtype)
