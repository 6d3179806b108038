"""AP over images drawn again, against torchmetrics and pycocotools on data sets that hold the images so often."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
import torch

from roikit.train.metrics import coco_metrics
from roikit.train.resampled import average_precisions, draws, match, resampled_ap


def boxes(count, generator):
    corner = torch.rand(count, 2, generator=generator) * 60
    return torch.cat([corner, corner + 5 + torch.rand(count, 2, generator=generator) * 40], 1)


def data(images, generator):
    """Objects of two classes, some of them crowds; detections near them and elsewhere."""
    predictions, targets = [], []
    for _ in range(images):
        count = int(torch.randint(0, 5, (1,), generator=generator))
        truth = boxes(count, generator)
        crowd = (torch.rand(count, generator=generator) < 0.2).long()
        area = (truth[:, 2] - truth[:, 0]) * (truth[:, 3] - truth[:, 1])
        labels = torch.randint(1, 3, (count,), generator=generator)
        targets.append({"boxes": truth, "labels": labels, "iscrowd": crowd, "area": area})
        near = truth.repeat(2, 1) + torch.randn(2 * count, 4, generator=generator) * 3
        found = torch.cat([near, boxes(3, generator)])
        guesses = torch.cat([labels.repeat(2), torch.randint(1, 3, (3,), generator=generator)])
        scores = torch.rand(len(found), generator=generator)
        predictions.append({"boxes": found, "labels": guesses, "scores": scores})
    return predictions, targets


def test_every_image_once_is_coco_s_number(rng):
    predictions, targets = data(40, rng)
    truth = coco_metrics(predictions, targets, ["a", "b"])["bbox"]["per_class"]
    for label, name in enumerate(("a", "b"), 1):
        (own,) = average_precisions(match(predictions, targets, label), np.ones((1, 40), int))
        assert own == pytest.approx(truth[name]["AP"], abs=1e-6)


def test_images_drawn_several_times_are_so_many_images(rng):
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    predictions, targets = data(12, rng)
    drawn = draws(12, 3)
    for counts in drawn:
        names = [i for i, count in enumerate(counts) for _ in range(count)]
        truth, found = [], []
        for number, i in enumerate(names, 1):
            for box, label, crowd, area in zip(*(targets[i][k].tolist() for k in targets[i]), strict=True):
                x, y, right, low = box
                own = {"image_id": number, "category_id": label, "bbox": [x, y, right - x, low - y], "area": area}
                truth.append(own | {"id": len(truth) + 1, "iscrowd": crowd})
            for box, label, score in zip(*(predictions[i][k].tolist() for k in predictions[i]), strict=True):
                x, y, right, low = box
                own = {"image_id": number, "category_id": label, "bbox": [x, y, right - x, low - y], "score": score}
                found.append(own)
        coco = COCO()
        with contextlib.redirect_stdout(io.StringIO()):
            images = [{"id": number} for number in range(1, len(names) + 1)]
            coco.dataset = {"images": images, "annotations": truth, "categories": [{"id": 1}, {"id": 2}]}
            coco.createIndex()
            result = COCOeval(coco, coco.loadRes(found), "bbox")
            result.evaluate()
            result.accumulate()
        for label in (1, 2):
            own = average_precisions(match(predictions, targets, label), counts[None])[0]
            precision = result.eval["precision"][:, :, label - 1, 0, -1]
            assert own == pytest.approx(precision.mean(), abs=1e-6)


def test_rounds_are_the_same_for_every_detector_and_vary_as_images_do(rng):
    predictions, targets = data(60, rng)
    rounds = resampled_ap(predictions, targets, 2, 50)
    assert rounds == resampled_ap(predictions, targets, 2, 50)
    assert draws(60, 50).sum(1).tolist() == [60] * 50
    whole = coco_metrics(predictions, targets, ["a", "b"])["bbox"]["AP"]
    assert abs(np.mean(rounds) - whole) < 4 * np.std(rounds) and 0.005 < np.std(rounds) < 0.2


def test_a_class_without_objects_is_left_out(rng):
    predictions, targets = data(5, rng)
    assert np.isnan(average_precisions(match(predictions, targets, 3), np.ones((2, 5), int))).all()
    assert resampled_ap(predictions, targets, 3, 4) == pytest.approx(resampled_ap(predictions, targets, 2, 4))
