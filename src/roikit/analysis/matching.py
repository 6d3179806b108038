"""Which detections are right, which objects were missed: COCO's matching at one threshold."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor
from torchvision.ops import box_iou

from roikit.oriented import oriented_iou


@dataclasses.dataclass(frozen=True)
class Match:
    """What `match_detections` found.

    Args:
        right: bool ``Tensor[D]``, detections that have an object of their own.
        ignored: bool ``Tensor[D]``, detections on a crowd: neither right nor wrong.
        found: bool ``Tensor[N]``, objects that have a detection (never a crowd).
    """

    right: Tensor
    ignored: Tensor
    found: Tensor


def match_detections(target: dict[str, Any], prediction: dict[str, Any], iou: float = 0.5) -> Match:
    """Match the detections of one image to its objects, as COCO's evaluation does at one IoU threshold.

    In the order of their scores, each detection takes the free object of its class that it overlaps most, if the IoU
    is at least ``iou``. A detection without one that overlaps a crowd of its class (by ``iou`` of its own area) is
    ignored.

    Args:
        target: ``boxes`` [N, 4] (xyxy, image pixels), ``labels`` [N], and ``iscrowd`` [N] where there are crowds.
        prediction: ``boxes`` [D, 4], ``labels`` [D], ``scores`` [D]. Where both have ``oriented_boxes`` [·, 5], their
            IoU counts.
        iou: the threshold.

    Example:
        >>> box = torch.tensor([[0.0, 0.0, 10.0, 10.0]])
        >>> one = torch.ones(1, dtype=torch.int64)
        >>> match_detections({"boxes": box, "labels": one}, {"boxes": box, "labels": one, "scores": one / 2}).right
        tensor([True])
    """
    boxes, labels = target["boxes"].float(), target["labels"]
    crowd = target["iscrowd"].bool() if "iscrowd" in target else torch.zeros(len(labels), dtype=torch.bool)
    theirs, theirs_labels = prediction["boxes"].float(), prediction["labels"]
    same = theirs_labels[:, None] == labels[None]
    iou_of_all = box_iou(theirs, boxes)
    if "oriented_boxes" in target and "oriented_boxes" in prediction:
        iou_of_all = oriented_iou(prediction["oriented_boxes"].float(), target["oriented_boxes"].float())
    overlap = torch.where(same & ~crowd[None], iou_of_all, -1.0)
    right = torch.zeros(len(theirs), dtype=torch.bool)
    found = torch.zeros(len(boxes), dtype=torch.bool)
    if len(boxes):
        for d in torch.argsort(prediction["scores"], descending=True, stable=True).tolist():
            free = torch.where(found, -1.0, overlap[d])
            best = int(free.argmax())
            if free[best] >= iou:
                right[d] = found[best] = True
    covered = torch.where(same & crowd[None], _share_inside(theirs, boxes), 0.0)
    on_crowd = (covered >= iou).any(1) if len(boxes) else torch.zeros(len(theirs), dtype=torch.bool)
    return Match(right, on_crowd & ~right, found)


def _share_inside(boxes: Tensor, crowds: Tensor) -> Tensor:
    """The share of each box's area inside each crowd, [D, N]."""
    low = torch.maximum(boxes[:, None, :2], crowds[None, :, :2])
    high = torch.minimum(boxes[:, None, 2:], crowds[None, :, 2:])
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    return (high - low).clamp(min=0).prod(2) / area.clamp(min=1e-9)[:, None]
