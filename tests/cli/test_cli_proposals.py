"""Proposals from a file instead of an RPN."""

from __future__ import annotations

import json

import pytest
import tiny_run
import torch

from roikit.data import open_dataset, with_proposals
from roikit.data.errors import DataError
from roikit.data.transforms import train_transform
from roikit.detection import faster_rcnn, take_given_proposals
from roikit.train.trained import load_trained

FLAGS = [*tiny_run.FLAGS, "--optim.steps=2", "--model.options={box_score_thresh: 0.0}"]


def test_heads_are_trained_and_measured_on_the_proposals_of_another_run(call, fails, finished, coco, tmp_path):
    for split in ("train", "val"):
        file = tmp_path / f"of-{split}.json"
        done = call("proposals", finished, "--split", split, "--out", file, "--most=15", "--cpu=true")
        assert done.code == 0, done.err
        dataset = open_dataset(coco, split)
        rows = json.loads(file.read_text())
        assert {row["image_id"] for row in rows} == {record.image_id for record in dataset.records}
        assert len(rows) <= 15 * len(dataset)
    run = tmp_path / "run"
    given = f"--data.proposals={tmp_path}/of-{{split}}.json"
    done = call("train", f"--data.path={coco}", *FLAGS, given, f"--out={run}")
    assert done.code == 0, done.err
    model, _, _ = load_trained(run)
    assert not any(name.startswith("rpn.") for name in model.state_dict())
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    losses = {key for line in log if line["kind"] == "train" for key in line if key.startswith("loss_")}
    assert losses == {"loss_classifier", "loss_box_reg"}
    done = call("eval", run, "--out", tmp_path / "metrics.json", "--cpu=true")
    assert done.code == 0, done.err
    kept = json.loads((run / "metrics.json").read_text())["bbox"]
    assert json.loads((tmp_path / "metrics.json").read_text())["bbox"] == kept
    less = [row for row in json.loads((tmp_path / "of-val.json").read_text()) if row["image_id"] != 3]
    (tmp_path / "less.json").write_text(json.dumps(less))
    wrong = fails("eval", run, "--proposals", tmp_path / "less.json", "--cpu=true")
    assert "holds proposals of other images than" in wrong and "none for" in wrong
    assert "has no RPN" in fails("predict", run, coco / "images" / "val", "--out", tmp_path / "p")
    assert "has no RPN" in fails("proposals", run, "--out", tmp_path / "again.json")
    assert "has an RPN" in fails("eval", finished, "--proposals", tmp_path / "of-val.json")
    assert "exists already" in fails("proposals", finished, "--out", tmp_path / "of-val.json")


def _nothing():
    return {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}


def test_given_proposals_are_what_the_heads_see(rng):
    """With the very proposals of its own RPN a detector finds the same; boxes are resized as the images are."""
    torch.manual_seed(0)
    flags = {"num_classes": 3, "channels": 16, "fc_dim": 16, "min_size": 96, "max_size": 96, "box_score_thresh": 0.0}
    model = faster_rcnn("test_resnet", **flags).eval()
    image = torch.rand(3, 48, 64, generator=rng)
    with torch.no_grad():
        before = model([image])[0]
        images, _ = model.transform([image])
        proposals = model.rpn(images, model.backbone(images.tensors))[0][0]
        height, width = images.image_sizes[0]
        small = proposals * proposals.new_tensor([64 / width, 48 / height] * 2)
        take_given_proposals(model)
        after = model([image], [_nothing() | {"proposals": small}])[0]
    torch.testing.assert_close(after["scores"], before["scores"], rtol=0, atol=1e-4)
    torch.testing.assert_close(after["boxes"], before["boxes"], rtol=0, atol=1e-2)
    with pytest.raises(ValueError, match="image 0 has no proposals"):
        model([image])


def test_proposals_are_flipped_with_their_image(coco, tmp_path):
    dataset = open_dataset(coco, "train")
    rows = []
    for record in dataset.records:
        for box, score in zip(record.boxes, (0.2, 0.9, 0.5), strict=False):
            x, y, right, low = (float(value) for value in box)
            rows.append({"image_id": record.image_id, "bbox": [x, y, right - x, low - y], "score": score})
        rows.append({"image_id": record.image_id, "bbox": [0, 0, 9, 7], "score": 0.1})
    (tmp_path / "p.json").write_text(json.dumps(rows))
    given = with_proposals(dataset, tmp_path / "p.json").with_transform(train_transform(flip=1.0))
    for index, record in enumerate(dataset.records):
        target = given[index][1]
        assert {tuple(row) for row in target["boxes"].tolist()} <= {tuple(row) for row in target["proposals"].tolist()}
        assert target["proposals"][-1].tolist() == [record.width - 9.0, 0.0, record.width, 7.0]  # the worst is last


def test_wrong_proposals(coco, tmp_path):
    dataset = open_dataset(coco, "train")
    first = dataset.records[0].image_id
    file = tmp_path / "p.json"
    for content, message in (
        ("{", "is no JSON"),
        ("{}", "are a list of"),
        ('[{"image_id": 1}]', "entry 0 is no"),
        ('[{"image_id": 1, "bbox": [1, 2], "score": 1}]', "entry 0 is no"),
        (json.dumps([{"image_id": first, "bbox": [0, 0, 5, 5], "score": 1}]), "none for"),
        (json.dumps([{"image_id": "cat", "bbox": [0, 0, 5, 5], "score": 1}]), r"does not have \(first cat\)"),
    ):
        file.write_text(content)
        with pytest.raises(DataError, match=message):
            with_proposals(dataset, file)
    with pytest.raises(DataError, match="cannot be read"):
        with_proposals(dataset, tmp_path / "none.json")
