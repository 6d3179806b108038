"""PASCAL VOC's metric: average precision of boxes at an IoU of 0.5, as the challenge's development kit measures it.

Everingham et al., The PASCAL Visual Object Classes (VOC) Challenge, IJCV 2010, section 4.2. A detection belongs to the
object of its class, in its image, of largest IoU. Below 0.5 it is false. On a *difficult* object it counts neither way.
Of several on one object the most certain is right, the others are false. Difficult objects are not asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
        (right,), objects = ranked(predictions, targets, label)
        per_class[name] = {
            number: average_precision(right, objects, eleven_points=eleven) if objects else None
            for number, eleven in NUMBERS.items()
        }
    return {**mean_over(per_class, tuple(NUMBERS)), "per_class": per_class}


def mean_over(per_class: Mapping[str, Mapping[str, float | None]], numbers: Sequence[str]) -> dict[str, float | None]:
    """The mean of each number over the classes that have it; None where none has."""
    means: dict[str, float | None] = {}
    for number in numbers:
        values = [value for row in per_class.values() if (value := row[number]) is not None]
        means[number] = sum(values) / len(values) if values else None
    return means


def ranked(
    predictions: Sequence[dict[str, Any]],
    targets: Sequence[dict[str, Any]],
    label: int,
    thresholds: Sequence[float] = (0.5,),
    key: str = "boxes",
    overlap: Callable[[Tensor, Tensor], Tensor] = box_iou,
) -> tuple[list[Tensor], int]:
    """The detections of a class in all images, the most certain first and those on difficult objects left out, and the
    number of objects to find.

    Args:
        predictions, targets: as of :func:`voc_metrics`.
        label: of the class.
        thresholds: of the IoU.
        key: of the boxes, ``[N, 4]`` or others that ``overlap`` takes.
        overlap: of two lists of boxes, ``[N, M]``.

    Returns:
        For each threshold a bool ``Tensor[N]``, whether a detection is right; the number of objects.
    """
    scores, objects = [], 0
    right: list[list[Tensor]] = [[] for _ in thresholds]
    counted: list[list[Tensor]] = [[] for _ in thresholds]
    for prediction, target in zip(predictions, targets, strict=True):
        mine = target["labels"].cpu() == label
        truth = target[key].cpu()[mine]
        difficult = target["iscrowd"].cpu()[mine].bool() if "iscrowd" in target else torch.zeros(len(truth)).bool()
        objects += int((~difficult).sum())
        own = prediction["labels"].cpu() == label
        score = prediction["scores"].cpu()[own].float()
        order = score.argsort(descending=True, stable=True)
        overlaps = overlap(prediction[key].cpu()[own][order].double(), truth.double())
        scores.append(score[order])
        for place, threshold in enumerate(thresholds):
            ok, counts = _assign(overlaps, difficult, threshold)
            right[place].append(ok)
            counted[place].append(counts)
    found = []
    every = torch.cat(scores) if scores else torch.zeros(0)
    for hits, counting in zip(right, counted, strict=True):
        which = torch.cat(counting) if counting else torch.zeros(0, dtype=torch.bool)
        order = every[which].argsort(descending=True, stable=True)
        found.append(torch.cat(hits)[which][order] if hits else which)
    return found, objects


def _assign(overlaps: Tensor, difficult: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """For detections of a class in an image, the most certain first, by their overlaps ``[D, N]`` with its objects:
    which are right, and which count at all."""
    right, counts = torch.zeros(len(overlaps), dtype=torch.bool), torch.ones(len(overlaps), dtype=torch.bool)
    if not overlaps.numel():
        return right, counts
    overlap, which = overlaps.max(1)
    taken: set[int] = set()
    for at in (overlap >= threshold).nonzero()[:, 0].tolist():
        one = int(which[at])
        if difficult[one]:
            counts[at] = False
        elif one not in taken:
            taken.add(one)
            right[at] = True
    return right, counts
