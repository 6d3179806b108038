"""The pictures of a trained detector on a data set: predictions.png and weights.png."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .objects import as_they_are
from .predictions import draw_predictions
from .regions import RegionView, region_weights_of
from .weights import draw_weights

__all__ = ["draw_predictions", "draw_weights", "picture_predictions", "picture_weights"]


def picture_predictions(
    model: nn.Module, dataset: Any, path: str | Path, *, threshold: float = 0.5, most: int = 8
) -> Path:
    """Run a detector on a few images of a data set and draw what it found beside what is there.

    Args:
        model: a torchvision-like detector; run in evaluation mode and put back.
        dataset: a `roikit.data.DetectionDataset`; images spread evenly over those that have objects are taken.
        path, threshold, most: see `draw_predictions`.

    Raises:
        ValueError: a data set without an image.
    """
    chosen = _spread(_with_objects(dataset), most)
    samples = [as_they_are(dataset)[i] for i in chosen]
    images = [image for image, _ in samples]
    training, device = model.training, next(model.parameters()).device
    model.eval()
    try:
        with torch.no_grad():  # one at a time: large images need not fit together
            predictions = [model([image.to(device).float() / 255])[0] for image in images]
    finally:
        model.train(training)
    targets = [target for _, target in samples]
    return draw_predictions(
        path, images, targets, predictions, dataset.categories, threshold=threshold, most=len(images)
    )


def picture_weights(model: nn.Module, dataset: Any, path: str | Path, *, most: int = 3) -> Path:
    """Draw where a detector's features of a few objects come from: a small, a middling and a large one.

    Args:
        model: a detector that `region_weights_of` takes.
        dataset: a `roikit.data.DetectionDataset`.
        path: where to write; an existing file is replaced.
        most: number of objects.

    Raises:
        ValueError: a data set without an object.
    """
    images: list[Tensor] = []
    views: list[RegionView] = []
    for index, place in _objects_by_size(dataset, most):
        image, target = as_they_are(dataset)[index]
        images.append(image)
        view = region_weights_of(model, image, target["boxes"][place])
        name = dataset.categories[int(target["labels"][place]) - 1]
        views.append(dataclasses.replace(view, title=f"{name}: {view.title}"))
    return draw_weights(path, images, views, title="Where region features come from")


def _with_objects(dataset: Any) -> list[int]:
    if not len(dataset):
        raise ValueError("the data set has no image to draw")
    full = [i for i, record in enumerate(dataset.records) if len(record.boxes)]
    return full or list(range(len(dataset)))


def _spread(indices: list[int], most: int) -> list[int]:
    """At most so many, evenly spaced."""
    count = min(most, len(indices))
    return [indices[k * len(indices) // count] for k in range(count)]


def _objects_by_size(dataset: Any, most: int) -> list[tuple[int, int]]:
    """(image, object) at evenly spaced quantiles of size, from the 5th to the 95th per cent."""
    rows = [
        (float((box[2] - box[0]) * (box[3] - box[1])), i, n)
        for i, record in enumerate(dataset.records)
        for n, box in enumerate(record.boxes)
    ]
    if not rows:
        raise ValueError("the data set has no object to show the weights of")
    rows.sort()
    count = min(most, len(rows))
    places = [0.05 + 0.9 * k / (count - 1) for k in range(count)] if count > 1 else [0.5]
    return [rows[round(p * (len(rows) - 1))][1:] for p in places]
