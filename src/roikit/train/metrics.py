"""COCO's detection metrics for boxes and masks, through torchmetrics with faster-coco-eval.

COCO's twelve numbers (https://cocodataset.org/#detection-eval), the same per class, and recalls. Areas are in square
image pixels; small < 32², medium < 96², large above. A number is None where there is no ground truth for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

# COCO's name, torchmetrics' name, in COCO's order of printing
NUMBERS = {
    "AP": "map",
    "AP50": "map_50",
    "AP75": "map_75",
    "AP_small": "map_small",
    "AP_medium": "map_medium",
    "AP_large": "map_large",
    "AR1": "mar_1",
    "AR10": "mar_10",
    "AR100": "mar_100",
    "AR_small": "mar_small",
    "AR_medium": "mar_medium",
    "AR_large": "mar_large",
}


_PER_CLASS = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large", "AR100")
_TRUTH = ("boxes", "labels", "iscrowd", "area")


def encode_masks(masks: Tensor) -> list[dict[str, Any]]:
    """Binary masks [N, H, W] to COCO's run-length code, `{"size": [H, W], "counts": bytes}` each."""
    from faster_coco_eval.core import mask as coder

    stack = np.asfortranarray(masks.detach().cpu().to(torch.uint8).permute(1, 2, 0).numpy())
    return coder.encode(stack)


def decode_masks(codes: Sequence[dict[str, Any]], size: tuple[int, int]) -> Tensor:
    """Undo of `encode_masks`: bool [N, H, W]; `size` = (H, W) serves where there is no mask."""
    from faster_coco_eval.core import mask as coder

    if not codes:
        return torch.zeros((0, *size), dtype=torch.bool)
    return torch.from_numpy(np.ascontiguousarray(coder.decode(list(codes)))).permute(2, 0, 1).bool()


def coco_metrics(
    predictions: Sequence[dict[str, Any]], targets: Sequence[dict[str, Any]], categories: Sequence[str]
) -> dict[str, Any]:
    """The metrics of a data set, as plain numbers.

    Args:
        predictions: one per image: `boxes` [N, 4] xyxy image pixels, `scores` [N], `labels` [N] (1 is `categories[0]`),
            and for masks `masks`, a list of N run-length codes (`encode_masks`).
        targets: one per image, as the data sets give them: `boxes`, `labels`, and optionally `iscrowd`, `area`, `masks`
            (uint8 [M, H, W]).
        categories: names; label i is `categories[i - 1]`.

    Returns:
        `{"bbox": {"AP": …, …, "per_class": {name: {"AP": …, "AP50": …, …}}}, "segm": {…}}`; `segm` where predictions
        have masks.
    """
    from torchmetrics.detection import MeanAveragePrecision

    if len(predictions) != len(targets):
        raise ValueError(f"{len(predictions)} predictions for {len(targets)} images")
    if not predictions:
        nothing: dict[str, Any] = dict.fromkeys(NUMBERS)
        return {"bbox": nothing | {"per_class": {name: dict.fromkeys(_PER_CLASS) for name in categories}}}
    with_masks = bool(predictions) and all("masks" in p for p in predictions)
    kinds: tuple[Literal["bbox", "segm"], ...] = ("bbox", "segm") if with_masks else ("bbox",)
    metric = MeanAveragePrecision(
        iou_type=kinds,
        backend="faster_coco_eval",
        extended_summary=True,  # the precision array, from which the numbers per class are read without a second pass
        max_detection_thresholds=[1, 10, 100],
        # pycocotools' thresholds; torchmetrics' own are in float32, where a recall of 0.3 falls short of 0.30000001
        iou_thresholds=np.linspace(0.5, 0.95, 10).tolist(),
        rec_thresholds=np.linspace(0, 1, 101).tolist(),
        sync_on_compute=False,  # the caller has gathered every process's detections
    )
    metric.warn_on_many_detections = False
    for prediction, target in zip(predictions, targets, strict=True):
        found: dict[str, Tensor] = {k: prediction[k].detach().cpu().float() for k in ("boxes", "scores")}
        found["labels"] = prediction["labels"].detach().cpu()
        truth: dict[str, Tensor] = {k: target[k].cpu() for k in _TRUTH if k in target}
        if with_masks:
            truth["masks"] = target["masks"].cpu().bool()
            height, width = truth["masks"].shape[-2:]
            found["masks"] = decode_masks(prediction["masks"], (height, width))
        metric.update([found], [truth])
    result = metric.compute()
    labels = np.atleast_1d(result["classes"].numpy()).tolist() if len(predictions) else []
    return {kind: _numbers(result, f"{kind}_" if with_masks else "", labels, categories) for kind in kinds}


def _numbers(result: dict[str, Any], prefix: str, labels: list[int], categories: Sequence[str]) -> dict[str, Any]:
    numbers: dict[str, Any] = {name: _plain(float(result[prefix + theirs])) for name, theirs in NUMBERS.items()}
    precision = result[prefix + "precision"].numpy()  # [IoU threshold, recall, class, area, most detections]
    recall = result[prefix + "recall"].numpy()  # [IoU threshold, class, area, most detections]
    per_class = {}
    for place, label in enumerate(labels):
        if not 1 <= label <= len(categories):
            continue
        own = precision[:, :, place, :, -1]
        per_class[categories[label - 1]] = {
            "AP": _mean(own[:, :, 0]),
            "AP50": _mean(own[0, :, 0]),
            "AP75": _mean(own[5, :, 0]),
            "AP_small": _mean(own[:, :, 1]),
            "AP_medium": _mean(own[:, :, 2]),
            "AP_large": _mean(own[:, :, 3]),
            "AR100": _mean(recall[:, place, 0, -1]),
        }
    numbers["per_class"] = {name: per_class.get(name, dict.fromkeys(_PER_CLASS)) for name in categories}
    return numbers


def _mean(values: np.ndarray) -> float | None:
    measured = values[values > -1]
    return float(measured.mean()) if measured.size else None


def _plain(value: float) -> float | None:
    return None if value < 0 else value
