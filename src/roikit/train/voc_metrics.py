"""PASCAL VOC's metric: average precision of boxes at an IoU of 0.5, as the challenge's development kit measures it.

Everingham et al., The PASCAL Visual Object Classes (VOC) Challenge, IJCV 2010, section 4.2. A detection belongs to the
object of its class, in its image, of largest IoU. Below 0.5 it is false. On a *difficult* object it counts neither way.
Of several on one object the most certain is right, the others are false. Difficult objects are not asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchvision.ops import box_iou

NUMBERS = {"voc_ap50_07": True, "voc_ap50": False}  # name → 11 points (VOC 2007) rather than all (VOC 2010 on)


def average_precision(right: Tensor, objects: int, *, eleven_points: bool) -> float:
    """The area under a curve of precision over recall, precision first made to fall.

    Args:
        right: bool ``Tensor[N]``, whether each detection is right, the most certain first.
        objects: how many there are to find, at least 1.
        eleven_points: the mean of the largest precision at a recall of at least 0, 0.1, …, 1 (VOC 2007), instead of
            the area with a step at every recall.

    Example:
        >>> right = torch.tensor([True, False, True])  # of 4: precision 1 up to a recall of 1/4, 2/3 up to 1/2
        >>> round(average_precision(right, 4, eleven_points=False), 4)  # (1 + 2/3) / 4
        0.4167
        >>> round(average_precision(right, 4, eleven_points=True), 4)  # (3 · 1 + 3 · 2/3) / 11
        0.4545
    """
    found = right.to(torch.int64).cumsum(0)
    precision = found.double() / torch.arange(1, len(found) + 1)
    best = precision.flip(0).cummax(0).values.flip(0) if len(found) else precision  # at this recall or a larger one
    if not eleven_points:
        return float(best[right].sum()) / objects
    # in whole numbers: 3 of 10 found are a recall of 0.3, which floating point may miss
    reached = [best[10 * found >= tenths * objects] for tenths in range(11)]
    return sum(float(values[0]) for values in reached if len(values)) / 11


def voc_metrics(
    predictions: Sequence[dict[str, Any]], targets: Sequence[dict[str, Any]], categories: Sequence[str]
) -> dict[str, Any]:
    """AP at IoU 0.5 of a data set, with 11 points and with all.

    Args:
        predictions: one per image: ``boxes`` [N, 4] xyxy image pixels, ``scores`` [N], ``labels`` [N] (1 is
            ``categories[0]``).
        targets: one per image: ``boxes``, ``labels``, and optionally ``iscrowd``, where 1 means difficult.
        categories: names; label i is ``categories[i - 1]``.

    Returns:
        ``{"voc_ap50_07": …, "voc_ap50": …, "per_class": {name: {"voc_ap50_07": …, "voc_ap50": …}}}``; the means are
        over the classes of which there are objects that are not difficult, and None stands for the others.

    Boxes are continuous: a VOC box of the pixels 1 … 10 runs from 0 to 10, so that overlaps are the development kit's.

    Example:
        >>> box, one = torch.tensor([[0.0, 0, 9, 9]]), torch.tensor([1])
        >>> found = {"boxes": box, "labels": one, "scores": torch.tensor([0.9])}
        >>> voc_metrics([found], [{"boxes": box, "labels": one}], ["cat", "dog"])["voc_ap50"]
        1.0
    """
    if len(predictions) != len(targets):
        raise ValueError(f"{len(predictions)} predictions for {len(targets)} images")
    per_class: dict[str, dict[str, float | None]] = {}
    for label, name in enumerate(categories, start=1):
        scores, right, counted, objects = [], [], [], 0
        for prediction, target in zip(predictions, targets, strict=True):
            mine = target["labels"].cpu() == label
            truth = target["boxes"].cpu()[mine]
            difficult = target["iscrowd"].cpu()[mine].bool() if "iscrowd" in target else torch.zeros(len(truth)).bool()
            objects += int((~difficult).sum())
            own = prediction["labels"].cpu() == label
            score = prediction["scores"].cpu()[own].float()
            order = score.argsort(descending=True, stable=True)
            ok, counts = _assign(prediction["boxes"].cpu()[own][order].double(), truth.double(), difficult)
            scores.append(score[order])
            right.append(ok)
            counted.append(counts)
        per_class[name] = _numbers(scores, right, counted, objects)
    means: dict[str, float | None] = {}
    for number in NUMBERS:
        values = [value for row in per_class.values() if (value := row[number]) is not None]
        means[number] = sum(values) / len(values) if values else None
    return {**means, "per_class": per_class}


def _numbers(scores: list[Tensor], right: list[Tensor], counted: list[Tensor], objects: int) -> dict[str, float | None]:
    """Both numbers of a class from its detections in every image."""
    if not objects:
        return dict.fromkeys(NUMBERS)
    counts = torch.cat(counted)
    order = torch.cat(scores)[counts].argsort(descending=True, stable=True)
    ranked = torch.cat(right)[counts][order]
    return {name: average_precision(ranked, objects, eleven_points=eleven) for name, eleven in NUMBERS.items()}


def _assign(boxes: Tensor, truth: Tensor, difficult: Tensor) -> tuple[Tensor, Tensor]:
    """For detections of a class in an image, the most certain first: which are right, and which count at all."""
    right, counts = torch.zeros(len(boxes), dtype=torch.bool), torch.ones(len(boxes), dtype=torch.bool)
    if not len(boxes) or not len(truth):
        return right, counts
    overlap, which = box_iou(boxes, truth).max(1)
    taken: set[int] = set()
    for at in (overlap >= 0.5).nonzero()[:, 0].tolist():
        one = int(which[at])
        if difficult[one]:
            counts[at] = False
        elif one not in taken:
            taken.add(one)
            right[at] = True
    return right, counts
