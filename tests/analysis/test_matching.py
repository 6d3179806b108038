"""match_detections against pycocotools, which we did not write, and its edge cases."""

from __future__ import annotations

import contextlib
import io

import pytest
import torch

from roikit.analysis import match_detections


def scene(seed: int) -> tuple[dict, dict]:
    g = torch.Generator().manual_seed(seed)
    n = int(torch.randint(1, 12, (1,), generator=g))
    corner, size = torch.rand(n, 2, generator=g) * 80, torch.rand(n, 2, generator=g) * 30 + 10
    boxes, labels = torch.cat([corner, corner + size], 1), torch.randint(1, 3, (n,), generator=g)
    crowd = (torch.rand(n, generator=g) < 0.2).long()
    again = torch.randint(0, n, (2 * n,), generator=g)
    found = boxes[again] + torch.randn(2 * n, 4, generator=g) * 2.5
    theirs = torch.where(torch.rand(2 * n, generator=g) < 0.2, 3 - labels[again], labels[again])
    return (
        {"boxes": boxes, "labels": labels, "iscrowd": crowd},
        {"boxes": found, "labels": theirs, "scores": torch.rand(2 * n, generator=g)},
    )


def xywh(box: torch.Tensor) -> list[float]:
    x1, y1, x2, y2 = box.double().tolist()
    return [x1, y1, x2 - x1, y2 - y1]


@pytest.mark.parametrize("seed", range(6))
def test_agrees_with_pycocotools(seed):
    coco_module = pytest.importorskip(
        "pycocotools.coco", reason="pycocotools, a development dependency, is not installed"
    )
    from pycocotools.cocoeval import COCOeval

    target, found = scene(seed)
    annotations = [
        {"id": i + 1, "image_id": 1, "category_id": int(target["labels"][i]), "bbox": xywh(box), "iscrowd": int(c)}
        | {"area": xywh(box)[2] * xywh(box)[3]}
        for i, (box, c) in enumerate(zip(target["boxes"], target["iscrowd"], strict=True))
    ]
    results = [
        {"image_id": 1, "category_id": int(label), "bbox": xywh(box), "score": float(score)}
        for box, label, score in zip(found["boxes"], found["labels"], found["scores"], strict=True)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = coco_module.COCO()
        truth.dataset = {"images": [{"id": 1}], "annotations": annotations, "categories": [{"id": 1}, {"id": 2}]}
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
        evaluation.params.iouThrs = evaluation.params.iouThrs[:1]
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluation.evaluate()
    right, ignored = set(), set()
    for one in filter(None, evaluation.evalImgs):
        for number, matched, ignore in zip(one["dtIds"], one["dtMatches"][0], one["dtIgnore"][0], strict=True):
            if ignore:
                ignored.add(number - 1)
            elif matched:
                right.add(number - 1)
    match = match_detections(target, found)
    assert set(match.right.nonzero().flatten().tolist()) == right
    assert set(match.ignored.nonzero().flatten().tolist()) == ignored
    assert int(match.found.sum()) == len(right)


@pytest.mark.parametrize("objects, detections", [(0, 0), (0, 2), (2, 0)])
def test_empty(objects, detections):
    boxes = torch.tensor([[0.0, 0.0, 4.0, 4.0]])
    match = match_detections(
        {"boxes": boxes.repeat(objects, 1), "labels": torch.ones(objects, dtype=torch.int64)},
        {
            "boxes": boxes.repeat(detections, 1),
            "labels": torch.ones(detections, dtype=torch.int64),
            "scores": torch.ones(detections),
        },
    )
    assert not match.right.any() and not match.found.any() and not match.ignored.any()
    assert match.right.shape == (detections,) and match.found.shape == (objects,)
