"""The objects of a data set that an analysis looks at."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor

from .transformations import box_of_mask


def as_they_are(dataset: Any) -> Any:
    """The data set without a transform."""
    return dataset.with_transform(None) if hasattr(dataset, "with_transform") else dataset


def spread_objects(dataset: Any, most: int) -> list[tuple[int, list[int]]]:
    """At most so many objects, evenly over a data set, crowds left out: (image, its objects) in order.

    Raises:
        ValueError: a data set without an object.
    """
    objects = [(i, n) for i, r in enumerate(dataset.records) for n in range(len(r.boxes)) if not r.iscrowd[n]]
    if not objects:
        raise ValueError("the data set has no object to look at")
    count = min(most, len(objects))
    chosen: dict[int, list[int]] = {}
    for index, n in (objects[k * len(objects) // count] for k in range(count)):
        chosen.setdefault(index, []).append(n)
    return list(chosen.items())


def mask_at(target: dict[str, Any], place: int) -> Tensor | None:
    """The mask of an object of a target, ``None`` where it has none or it is empty."""
    mask = target["masks"][place] if "masks" in target else None
    return None if mask is None or not bool(mask.any()) else mask


def box_at(target: dict[str, Any], place: int) -> Tensor:
    """The box of an object of a target: around its mask where it has one, so that a turned mask is compared with it."""
    mask = mask_at(target, place)
    found = None if mask is None else box_of_mask(mask)
    return target["boxes"][place].float() if found is None else found


def images_with_objects(dataset: Any, most: int) -> Iterator[tuple[int, Tensor, dict[str, Any], list[int]]]:
    """(index, image, target, objects) of the images that `spread_objects` takes; targets and images as they are."""
    data = as_they_are(dataset)
    for index, places in spread_objects(dataset, most):
        image, target = data[index]
        yield index, image, target, places
