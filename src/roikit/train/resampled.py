"""AP over images drawn again: how far a difference between two detectors depends on the images they were judged on.

The bootstrap: as many images as there are, drawn with replacement, many times. The draws depend on the number of images
alone, so round r of two runs on one data set has the same images, and the difference of the two is a paired one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torchvision.ops import box_area, box_iou

THRESHOLDS = np.linspace(0.5, 0.95, 10)  # of the IoU, COCO's
_RECALLS = np.linspace(0, 1, 101)
_MOST = 100  # detections of a class in an image


@dataclass(frozen=True)
class Matches:
    """The detections of one class, best first, matched to its objects as COCO does.

    Attributes:
        images: int `[D]`, the image of each.
        hit: bool `[T, D]`, whether it is an object's at each IoU threshold.
        counted: bool `[T, D]`; one on a crowd is neither right nor wrong.
        objects: int `[N]`, the objects of each image, crowds left out.
    """

    images: np.ndarray
    hit: np.ndarray
    counted: np.ndarray
    objects: np.ndarray


def draws(images: int, rounds: int) -> np.ndarray:
    """int `[rounds, images]`: how often each image is drawn in each round."""
    return np.random.default_rng(0).multinomial(images, np.full(images, 1 / images), size=rounds)


def match(predictions: Sequence[dict[str, Any]], targets: Sequence[dict[str, Any]], label: int) -> Matches:
    """Match the boxes of one class in every image.

    Args:
        predictions, targets: as of `roikit.train.metrics.coco_metrics`.
        label: of the class.
    """
    found = []
    objects = np.zeros(len(targets), np.int64)
    for image, (prediction, target) in enumerate(zip(predictions, targets, strict=True)):
        mine, theirs = prediction["labels"] == label, target["labels"] == label
        scores = prediction["scores"][mine].double().numpy()
        order = np.argsort(-scores, kind="stable")[:_MOST]
        boxes, truth = prediction["boxes"][mine][order.copy()].double(), target["boxes"][theirs].double()
        crowd = target["iscrowd"][theirs].bool() if "iscrowd" in target else theirs[theirs].new_zeros(len(truth))
        objects[image] = int((~crowd).sum())
        overlaps = box_iou(boxes, truth)
        if bool(crowd.any()):  # of a crowd it counts how much of the detection lies in it
            areas = box_area(boxes)[:, None]
            shared = overlaps * (areas + box_area(truth)) / (1 + overlaps)
            overlaps[:, crowd] = (shared / areas.clamp(min=1e-9))[:, crowd]
        hit, counted = _match_image(overlaps.numpy(), crowd.numpy())
        found.append((np.full(len(order), image), scores[order], hit, counted))
    images, scores = (np.concatenate([each[part] for each in found]) for part in (0, 1))
    hit, counted = (np.concatenate([each[part] for each in found], axis=1) for part in (2, 3))
    order = np.argsort(-scores, kind="stable")
    return Matches(images[order], hit[:, order], counted[:, order], objects)


def _match_image(overlaps: np.ndarray, crowd: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each detection, best first, takes the free object with the largest overlap; only then a crowd."""
    hit = np.zeros((len(THRESHOLDS), len(overlaps)), bool)
    counted = np.ones_like(hit)
    for place, threshold in enumerate(THRESHOLDS):
        free = ~crowd
        for index, row in enumerate(overlaps):
            fits = row >= threshold - 1e-10
            if (fits & free).any():
                best = int(np.where(fits & free, row, -1).argmax())
                hit[place, index], free[best] = True, False
            elif (fits & crowd).any():
                counted[place, index] = False
    return hit, counted


def average_precisions(matches: Matches, drawn: np.ndarray) -> np.ndarray:
    """COCO's AP of a class over images drawn so often (`[R, N]`): float64 `[R]`, NaN where none of its objects is."""
    objects = drawn @ matches.objects
    weights = drawn[:, matches.images]
    total = np.zeros(len(drawn))
    for hit, counted in zip(matches.hit, matches.counted, strict=True):
        right = np.cumsum(weights * hit, 1)
        wrong = np.cumsum(weights * (counted & ~hit), 1)
        precision = right / np.maximum(right + wrong, 1)
        precision = np.maximum.accumulate(precision[:, ::-1], 1)[:, ::-1]
        for r, count in enumerate(objects):
            places = np.searchsorted(right[r] / max(count, 1), _RECALLS, side="left")
            reached = places < right.shape[1]
            total[r] += precision[r, places[reached]].sum() / len(_RECALLS)
    return np.where(objects > 0, total / len(THRESHOLDS), np.nan)


def resampled_ap(
    predictions: Sequence[dict[str, Any]], targets: Sequence[dict[str, Any]], classes: int, rounds: int
) -> list[float]:
    """AP of the boxes over `rounds` draws of the images, each the mean over the classes that have an object in it."""
    drawn = draws(len(targets), rounds)
    each = [average_precisions(match(predictions, targets, label), drawn) for label in range(1, classes + 1)]
    return np.nanmean(np.stack(each), 0).tolist()
