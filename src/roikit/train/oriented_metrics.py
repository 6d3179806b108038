"""AP of oriented boxes, as DOTA measures it: PASCAL VOC's rules with the IoU of oriented boxes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from roikit.geometry.rotated import of_boxes
from roikit.oriented import oriented_iou

from .voc_metrics import average_precision, mean_over, ranked

THRESHOLDS = tuple(0.5 + 0.05 * k for k in range(10))
NUMBERS = ("oriented_ap", "oriented_ap50", "oriented_ap50_07")


def oriented_metrics(
    predictions: Sequence[dict[str, Any]], targets: Sequence[dict[str, Any]], categories: Sequence[str]
) -> dict[str, Any]:
    """AP of oriented boxes in a data set.

    Args:
        predictions: one per image: ``oriented_boxes`` [N, 5] (cx, cy, w, h, θ; image pixels, radians), or, of a
            detector that finds upright ones, ``boxes`` [N, 4] xyxy, which mean θ = 0; ``scores`` [N], ``labels`` [N].
        targets: one per image: ``oriented_boxes``, ``labels``, and optionally ``iscrowd``, where 1 means difficult.
        categories: names; label i is ``categories[i - 1]``.

    Returns:
        ``oriented_ap50_07`` (11 points, DOTA's own) and ``oriented_ap50`` (all points) at an IoU of 0.5,
        ``oriented_ap``, the mean of the latter over the IoUs 0.5, 0.55, … 0.95, and ``per_class`` with the same; None
        for classes without an object.

    Example:
        >>> one, score = torch.tensor([1]), torch.tensor([0.9])
        >>> truth = {"oriented_boxes": torch.tensor([[50.0, 50, 80, 10, 0.6]]), "labels": one}
        >>> found = truth | {"scores": score}
        >>> upright = {"boxes": torch.tensor([[14.0, 23, 86, 77]]), "labels": one, "scores": score}
        >>> [oriented_metrics([each], [truth], ["ship"])["oriented_ap50"] for each in (found, upright)]
        [1.0, 0.0]
    """
    if len(predictions) != len(targets):
        raise ValueError(f"{len(predictions)} predictions for {len(targets)} images")
    found = [p if "oriented_boxes" in p else p | {"oriented_boxes": of_boxes(p["boxes"])} for p in predictions]
    per_class: dict[str, dict[str, float | None]] = {}
    for label, name in enumerate(categories, start=1):
        right, objects = ranked(found, targets, label, THRESHOLDS, "oriented_boxes", oriented_iou)
        if not objects:
            per_class[name] = dict.fromkeys(NUMBERS)
            continue
        every = [average_precision(one, objects, eleven_points=False) for one in right]
        eleven = average_precision(right[0], objects, eleven_points=True)
        per_class[name] = dict(zip(NUMBERS, (sum(every) / len(every), every[0], eleven), strict=True))
    return {**mean_over(per_class, NUMBERS), "per_class": per_class}
