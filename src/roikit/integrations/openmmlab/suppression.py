"""Non-maximum suppression and overlaps of upright boxes, as in mmcv's extension."""

from __future__ import annotations

import math

import torch
import torchvision
from torch import Tensor


def nms(boxes: Tensor, scores: Tensor, *, iou_threshold: float, offset: int) -> Tensor:
    """Kept indices, best first; a box is `offset` longer than x2 - x1 on each side."""
    if offset:
        boxes = boxes + boxes.new_tensor([0, 0, offset, offset])
    return torchvision.ops.nms(boxes.float(), scores.float(), iou_threshold)


def softnms(
    boxes: Tensor, scores: Tensor, dets: Tensor, *, iou_threshold: float, sigma: float, min_score: float, method: int,
    offset: int,
) -> Tensor:  # fmt: skip
    """Scores fall with the overlap with better boxes (Bodla et al., ICCV 2017); methods 0 naive, 1 linear, 2 gaussian.

    Writes boxes with scores into the first rows of `dets`, best first, and returns their indices.
    """
    scores = scores.clone()
    left = torch.ones(len(boxes), dtype=torch.bool)
    kept: list[int] = []
    while bool(left.any()):
        best = int(torch.where(left, scores, -math.inf).argmax())
        if kept and scores[best] < min_score:
            break
        dets[len(kept), :4], dets[len(kept), 4] = boxes[best], scores[best]
        kept.append(best)
        left[best] = False
        overlap = _overlaps(boxes[best][None], boxes, offset)[0]
        if method == 0:
            factor = (overlap < iou_threshold).to(scores)
        elif method == 1:
            factor = torch.where(overlap >= iou_threshold, 1 - overlap, 1.0)
        else:
            factor = torch.exp(-(overlap**2) / sigma)
        scores = torch.where(left, scores * factor, scores)
        left &= scores >= min_score
    return torch.tensor(kept, dtype=torch.long)


def nms_match(dets: Tensor, *, iou_threshold: float) -> list[list[int]]:
    """Groups of indices: each kept box with the boxes that it suppresses, best first."""
    order = dets[:, 4].argsort(descending=True, stable=True)
    overlaps = _overlaps(dets[:, :4], dets[:, :4], 0)
    free = torch.ones(len(dets), dtype=torch.bool)
    groups = []
    for best in order.tolist():
        if not free[best]:
            continue
        free[best] = False
        mine = [i for i in order.tolist() if free[i] and overlaps[best, i] >= iou_threshold]
        free[mine] = False
        groups.append([best, *mine])
    return groups


def bbox_overlaps(boxes1: Tensor, boxes2: Tensor, ious: Tensor, *, mode: int, aligned: bool, offset: int) -> None:
    """IoU (mode 0) or the share of the first box (mode 1), of all pairs or of aligned ones, into `ious`."""
    ious.copy_(_overlaps(boxes1, boxes2, offset, share=mode == 1, aligned=aligned))


def _overlaps(a: Tensor, b: Tensor, offset: int, *, share: bool = False, aligned: bool = False) -> Tensor:
    if not aligned:
        a, b = a[:, None], b[None]
    sides = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2]) + offset).clamp(min=0)
    inter = sides.prod(-1)
    area1, area2 = ((x[..., 2:] - x[..., :2] + offset).prod(-1) for x in (a, b))
    whole = area1.expand_as(inter) if share else area1 + area2 - inter
    return inter / whole.clamp(min=offset or 1e-12)
