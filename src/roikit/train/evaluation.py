"""A detector on a data set, to the metrics of its kind."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from .detections import detect
from .metrics import coco_metrics
from .motion_metrics import motion_metrics
from .oriented_metrics import oriented_metrics
from .resampled import resampled_ap
from .voc_metrics import voc_metrics


def evaluate(
    model: nn.Module,
    dataset: Any,
    accelerator,
    *,
    batch: int = 4,
    workers: int = 0,
    tick: Callable[[int], None] | None = None,
    voc: bool = False,
    oriented: bool = False,
    reach: int = 9,
    resample: int = 0,
    found: Callable[[Sequence[dict[str, Any]]], None] | None = None,
) -> dict[str, Any] | None:
    """COCO's metrics of a detector on a data set; arguments as for `detect`, and

    Args:
        voc: with VOC's numbers (`voc_metrics`) among those of the boxes.
        oriented: with those of oriented boxes (`oriented_metrics`) too; the targets have some.
        found: called with the detections, on the main process.
        resample: with `resampled_AP` among them, the AP of so many draws of the images (`resampled_ap`).

    Returns `coco_metrics`' result with `images` and `seconds`, None on processes other than the main one.
    """
    start = time.perf_counter()
    predictions = detect(model, dataset, accelerator, batch=batch, workers=workers, reach=reach, tick=tick)
    if predictions is None:
        return None
    if found is not None:
        found(predictions)
    targets = [_target(dataset, index) for index in range(len(dataset))]
    metrics = coco_metrics(predictions, targets, dataset.categories)
    more: list[dict[str, Any]] = []
    if voc:
        more.append(voc_metrics(predictions, targets, dataset.categories))
    if oriented:
        more.append(oriented_metrics(predictions, targets, dataset.categories))
    if targets and getattr(dataset, "videos", None):
        more.append(motion_metrics(predictions, dataset))
    boxes = metrics["bbox"]
    for numbers in more:
        for name, row in numbers.pop("per_class").items():
            boxes["per_class"][name] |= row
        boxes |= numbers
    if resample and targets:
        rounds = resampled_ap(predictions, targets, len(dataset.categories), resample)
        metrics["bbox"]["resampled_AP"] = [round(value, 4) for value in rounds]
    return {**metrics, "images": len(dataset), "seconds": round(time.perf_counter() - start, 2)}


def _target(dataset: Any, index: int) -> dict[str, Any]:
    """The ground truth without reading the image, where the data set can."""
    return dataset.target(index) if hasattr(dataset, "target") else dataset[index][1]
