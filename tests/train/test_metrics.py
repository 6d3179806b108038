"""COCO's numbers against pycocotools, the reference implementation."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
import torch

from roikit.train.metrics import NUMBERS, coco_metrics, decode_masks, encode_masks

pycocotools = pytest.importorskip("pycocotools", reason="pycocotools, a development dependency, is not installed")
CATEGORIES = ["a", "b", "c", "never"]
SIDE = 160


def scene(seed: int, *, images: int = 12, crowds: bool = False, areas: bool = False):
    """Random ground truth, and detections that are noisy copies, duplicates, wrong classes and noise."""
    rng = np.random.default_rng(seed)
    predictions, targets = [], []
    for _ in range(images):
        n = int(rng.integers(0, 7))
        sides = rng.choice([12, 25, 50, 110], (n, 2)) * rng.uniform(0.7, 1.2, (n, 2))
        corner = rng.uniform(0, 1, (n, 2)) * (SIDE - sides).clip(min=0)
        boxes = np.concatenate([corner, (corner + sides).clip(max=SIDE)], 1).round(1)
        labels = rng.integers(1, 4, n)
        keep = rng.uniform(size=n) < 0.85
        found = [boxes[keep] + rng.normal(0, 3, (keep.sum(), 4)), boxes[keep] + rng.normal(0, 9, (keep.sum(), 4))]
        noise = rng.uniform(0, SIDE / 2, (4, 2))
        found.append(np.concatenate([noise, noise + rng.uniform(5, SIDE / 2, (4, 2))], 1))
        boxes_found = np.concatenate(found).clip(0, SIDE)
        boxes_found[:, 2:] = np.maximum(boxes_found[:, 2:], boxes_found[:, :2] + 1)
        labels_found = np.concatenate([labels[keep], labels[keep], rng.integers(1, 4, 4)])
        wrong = rng.uniform(size=len(labels_found)) < 0.1
        labels_found[wrong] = rng.integers(1, 4, wrong.sum())
        target = {
            "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
            "labels": torch.tensor(labels, dtype=torch.int64),
            "iscrowd": torch.tensor((rng.uniform(size=n) < 0.25) & crowds, dtype=torch.int64),
        }
        area = (target["boxes"][:, 2:] - target["boxes"][:, :2]).prod(1)
        # annotated areas (of the mask, in COCO) differ from the box's: they decide what is small and what is large
        target["area"] = area * torch.tensor(rng.uniform(0.4, 1, n), dtype=torch.float32) if areas else area
        target["masks"] = ellipses(target["boxes"])
        prediction = {
            "boxes": torch.tensor(boxes_found, dtype=torch.float32),
            "labels": torch.tensor(labels_found, dtype=torch.int64),
            "scores": torch.tensor(rng.uniform(0.05, 1, len(boxes_found)), dtype=torch.float32),
        }
        prediction["masks"] = encode_masks(ellipses(prediction["boxes"]))
        predictions.append(prediction)
        targets.append(target)
    return predictions, targets


def ellipses(boxes: torch.Tensor) -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(SIDE) + 0.5, torch.arange(SIDE) + 0.5, indexing="ij")
    masks = []
    for x1, y1, x2, y2 in boxes.tolist():
        inside = ((x - (x1 + x2) / 2) / (x2 - x1) * 2) ** 2 + ((y - (y1 + y2) / 2) / (y2 - y1) * 2) ** 2 <= 1
        masks.append(inside)
    return torch.stack(masks).to(torch.uint8) if masks else torch.zeros((0, SIDE, SIDE), dtype=torch.uint8)


def oracle(predictions, targets, kind: str):
    """pycocotools' evaluation object after `accumulate` and `summarize`."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    annotations, results = [], []
    for image, (prediction, target) in enumerate(zip(predictions, targets, strict=True), start=1):
        codes = encode_masks(target["masks"]) if len(target["masks"]) else []
        for i, (x1, y1, x2, y2) in enumerate(target["boxes"].tolist()):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image,
                    "category_id": int(target["labels"][i]),
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": float(target["area"][i]),
                    "iscrowd": int(target["iscrowd"][i]),
                    "segmentation": codes[i],
                }
            )
        for i, (x1, y1, x2, y2) in enumerate(prediction["boxes"].tolist()):
            result = {
                "image_id": image,
                "category_id": int(prediction["labels"][i]),
                "score": float(prediction["scores"][i]),
            }
            result |= (
                {"bbox": [x1, y1, x2 - x1, y2 - y1]} if kind == "bbox" else {"segmentation": prediction["masks"][i]}
            )
            results.append(result)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "images": [{"id": i + 1, "height": SIDE, "width": SIDE} for i in range(len(targets))],
            "categories": [{"id": i, "name": n} for i, n in enumerate(CATEGORIES, start=1)],
            "annotations": annotations,
        }
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(results), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


@pytest.mark.parametrize("kind", ["bbox", "segm"])
@pytest.mark.parametrize(("crowds", "areas"), [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize("seed", [0, 1])
def test_twelve_numbers_are_pycocotools(kind, crowds, areas, seed):
    predictions, targets = scene(seed, crowds=crowds, areas=areas)
    ours = coco_metrics(predictions, targets, CATEGORIES)[kind]
    theirs = oracle(predictions, targets, kind)
    numbers = [ours[name] if ours[name] is not None else -1.0 for name in NUMBERS]
    np.testing.assert_allclose(numbers, theirs.stats, atol=1e-6)
    assert theirs.stats[0] > 0.02, "the scene is too hard to tell anything"


def test_numbers_per_class_are_pycocotools():
    predictions, targets = scene(3, crowds=True)
    ours = coco_metrics(predictions, targets, CATEGORIES)["bbox"]["per_class"]
    precision = oracle(predictions, targets, "bbox").eval["precision"]
    for place, name in enumerate(CATEGORIES[:3]):
        own = precision[:, :, place, 0, -1]
        assert ours[name]["AP"] == pytest.approx(own[own > -1].mean(), abs=1e-6)
        assert ours[name]["AP50"] == pytest.approx(own[0][own[0] > -1].mean(), abs=1e-6)
        assert ours[name]["AP75"] == pytest.approx(own[5][own[5] > -1].mean(), abs=1e-6)
    assert ours["never"]["AP"] is None


def test_boxes_alone():
    predictions, targets = scene(0)
    with_masks = coco_metrics(predictions, targets, CATEGORIES)
    plain = [{k: v for k, v in p.items() if k != "masks"} for p in predictions]
    alone = coco_metrics(plain, targets, CATEGORIES)
    assert set(alone) == {"bbox"}
    assert alone["bbox"] == with_masks["bbox"]


def test_perfect_detections():
    _, targets = scene(0)
    predictions = [{"boxes": t["boxes"], "labels": t["labels"], "scores": torch.ones(len(t["boxes"]))} for t in targets]
    assert coco_metrics(predictions, targets, CATEGORIES)["bbox"]["AP"] == pytest.approx(1)


def test_no_detections_and_no_objects():
    empty = {"boxes": torch.zeros((0, 4)), "labels": torch.zeros(0, dtype=torch.int64), "scores": torch.zeros(0)}
    _, targets = scene(0)
    assert coco_metrics([empty] * len(targets), targets, CATEGORIES)["bbox"]["AP"] == 0
    nothing = [{"boxes": torch.zeros((0, 4)), "labels": torch.zeros(0, dtype=torch.int64)}]
    assert coco_metrics([empty], nothing, CATEGORIES)["bbox"]["AP"] is None


def test_mask_code_round_trip():
    masks = ellipses(torch.tensor([[10.0, 20, 60, 90], [0, 0, 5, 5]]))
    assert torch.equal(decode_masks(encode_masks(masks), (SIDE, SIDE)), masks.bool())
    assert decode_masks([], (3, 4)).shape == (0, 3, 4)
    assert encode_masks(torch.zeros((0, 3, 4))) == []
