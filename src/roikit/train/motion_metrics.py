"""AP by how fast objects move, as Flow-Guided Feature Aggregation measures it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from roikit.data.video import SPEEDS, motion, speed_of

from .voc_metrics import average_precision, mean_over, ranked

NUMBERS = ("video_ap50", *(f"video_ap50_{speed}" for speed in SPEEDS))


def motion_metrics(predictions: Sequence[dict[str, Any]], dataset: Any) -> dict[str, Any]:
    """AP at an IoU of 0.5 (all points) of a data set of videos, and of its slow, medium and fast objects alone.

    An object's speed in a frame is the mean IoU of its box with its boxes in the ten frames before and after: slow
    above 0.9, medium down to 0.7, fast below (Zhu et al., FGFA, ICCV 2017, section 5.1). Where one speed is measured,
    objects of the others are not asked for, and detections on them count neither way.

    Args:
        predictions: one per image: ``boxes``, ``scores``, ``labels``.
        dataset: whose images are frames of videos, with tracks.

    Returns:
        ``video_ap50``, ``video_ap50_slow``, ``…_medium``, ``…_fast``, means over the classes that have such objects,
        and ``per_class`` with the same; None where there is none.
    """
    targets = [dataset.target(index) for index in range(len(dataset))]
    speeds = [torch.from_numpy(speed_of(overlap)) for overlap in motion(dataset)]
    per_class: dict[str, dict[str, float | None]] = {name: {} for name in dataset.categories}
    for place, number in enumerate(NUMBERS):
        asked = targets
        if place:
            asked = [
                target | {"iscrowd": torch.where(speed == place - 1, target["iscrowd"], 1)}
                for target, speed in zip(targets, speeds, strict=True)
            ]
        for label, name in enumerate(dataset.categories, start=1):
            (right,), objects = ranked(predictions, asked, label)
            per_class[name][number] = average_precision(right, objects, eleven_points=False) if objects else None
    return {**mean_over(per_class, NUMBERS), "per_class": per_class}
