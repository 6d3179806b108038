"""Targets that do not fit the detector, reported before they become an index error deep in a loss (or, on a GPU, a
device-side assertion)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn


def inputs_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
    """Images and targets of a call of a detector, ``None`` for what it was not given."""
    named = (kwargs[name] for name in ("images", "targets") if name in kwargs)
    images, targets = (*args, *named, None, None)[:2]
    return images, targets


class CheckTargets:
    """A forward pre-hook for a detector in training: raises a ``ValueError`` that names the image and what is wrong.

    Args:
        num_classes: with the background.
        more: what a target needs beside boxes and labels, of "masks" and "oriented_boxes".
    """

    def __init__(self, num_classes: int, more: Sequence[str] = ()) -> None:
        self.num_classes = num_classes
        self.keys = ("boxes", "labels", *more)

    def __call__(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not model.training:
            return
        images, targets = inputs_of(args, kwargs)
        if targets is None:
            raise ValueError("training needs targets: model(images, targets); for predictions call model.eval() first")
        if len(images) != len(targets):
            raise ValueError(f"{len(images)} images, but {len(targets)} targets")
        for index, target in enumerate(targets):
            self._check(f"target {index}", target, images[index].shape[-2:])

    def _check(self, name: str, target: Mapping[str, Tensor], image_size: Sequence[int]) -> None:
        for key in self.keys:
            if key not in target:
                raise ValueError(f"{name} has no {key!r}: it has {', '.join(map(repr, target)) or 'nothing'}")
        boxes, labels = target["boxes"], target["labels"]
        if boxes.ndim != 2 or boxes.shape[1] != 4 or not boxes.is_floating_point():
            raise ValueError(f"{name}: boxes must be a float Tensor[N, 4], not {boxes.dtype} of {list(boxes.shape)}")
        if labels.shape != boxes.shape[:1]:
            raise ValueError(f"{name}: {len(boxes)} boxes, but labels of shape {list(labels.shape)}")
        if len(labels) and not (1 <= labels.min() and labels.max() < self.num_classes):
            raise ValueError(
                f"{name}: labels must be from 1 to {self.num_classes - 1} (num_classes={self.num_classes} counts the "
                f"background, which is 0), but there are {sorted(set(labels.tolist()))}"
            )
        if "masks" in self.keys and target["masks"].shape != (len(boxes), *image_size):
            expected = [len(boxes), *image_size]
            raise ValueError(f"{name}: masks must have shape {expected}, not {list(target['masks'].shape)}")
        if "oriented_boxes" in self.keys:
            oriented = target["oriented_boxes"]
            if oriented.shape != (len(boxes), 5):
                raise ValueError(
                    f"{name}: oriented_boxes must have shape {[len(boxes), 5]}, rows (cx, cy, w, h, θ), not "
                    f"{list(oriented.shape)}"
                )
            if not bool((oriented[:, 2:4] > 0).all()):
                empty = int((oriented[:, 2:4] <= 0).any(1).nonzero()[0])
                raise ValueError(f"{name}: oriented box {empty} has no area ({oriented[empty].tolist()}): leave it out")
