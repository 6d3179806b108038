"""Predictions that other programs take: pycocotools, VOC's text files, YOLO's; images that fail; crowded pictures."""

from __future__ import annotations

import contextlib
import io
import json

import numpy as np
import pytest
import tiny_run
import torch
from PIL import Image

from roikit.analysis.detection_picture import draw_detections

FLAGS = [*tiny_run.FLAGS, "--optim.steps=2", "--model.options={box_score_thresh: 0.0}"]


@pytest.fixture(scope="module")
def gaps(tmp_path_factory):
    """The tiny data with category ids 0 and 7 and image ids from 1001, and a run on it."""
    from roikit.cli import main

    folder = tiny_run.make_coco(tmp_path_factory.mktemp("gaps") / "coco")
    for file in (folder / "annotations").iterdir():
        data = json.loads(file.read_text())
        for category in data["categories"]:
            category["id"] = {1: 0, 2: 7}[category["id"]]
        for image in data["images"]:
            image["id"] += 1000
        for one in data["annotations"]:
            one |= {"image_id": one["image_id"] + 1000, "category_id": {1: 0, 2: 7}[one["category_id"]]}
        file.write_text(json.dumps(data))
    run = tmp_path_factory.mktemp("gaps") / "run"
    assert main(["train", f"--data.path={folder}", *FLAGS, f"--out={run}"]) == 0
    return folder, run


def evaluated(folder, file):
    """pycocotools' AP of a results file."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(folder / "annotations" / "instances_val.json"))
        evaluation = COCOeval(truth, truth.loadRes(str(file)), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats


@pytest.mark.parametrize("command", ["predict", "eval"])
def test_pycocotools_takes_the_results(call, gaps, tmp_path, command):
    folder, run = gaps
    out = tmp_path / "out"
    where = ["--out", out] if command == "predict" else ["--predictions", out]
    done = call(command, run, "--data", folder, *where, "--cpu=true")
    assert done.code == 0, done.err
    rows = json.loads((out / "predictions.json").read_text())
    assert {row["category_id"] for row in rows} == {0, 7} and {row["image_id"] for row in rows} <= set(
        range(1001, 1007)
    )
    assert {(row["category_id"], row["category"]) for row in rows} == {(0, "disc"), (7, "box")}
    assert not (out / "predictions.jsonl").exists()
    kept = json.loads((run / "metrics.json").read_text())["bbox"]
    assert evaluated(folder, out / "predictions.json")[[0, 1, 8]] == pytest.approx(
        [kept["AP"], kept["AP50"], kept["AR100"]], abs=2e-3
    )


def test_a_split_without_annotations(call, fails, gaps, tmp_path):
    folder, run = gaps
    data = json.loads((folder / "annotations" / "instances_val.json").read_text())
    del data["annotations"]
    (tmp_path / "annotations").mkdir()
    file = tmp_path / "annotations" / "image_info_test-dev2017.json"
    file.write_text(json.dumps(data))
    (tmp_path / "test-dev2017").symlink_to(folder / "images" / "val")
    for number, path in enumerate((file, tmp_path)):
        done = call(
            "predict", run, "--data", path, "--split", "test-dev2017", "--out", tmp_path / f"o{number}", "--cpu=true"
        )
        assert done.code == 0, done.err
        rows = json.loads((tmp_path / f"o{number}" / "predictions.json").read_text())
        assert {row["image_id"] for row in rows} <= set(range(1001, 1007))
    data["categories"][1]["name"] = "cube"
    file.write_text(json.dumps(data))
    assert "has no category 'box', which the detector finds; it has disc, cube" in fails(
        "predict", run, "--data", file, "--out", tmp_path / "no"
    )
    del data["categories"]
    file.write_text(json.dumps(data))
    assert "no 'categories'" in fails("predict", run, "--data", file, "--out", tmp_path / "no")


def test_voc_and_yolo(call, gaps, tmp_path):
    folder, run = gaps
    for form in ("coco", "voc", "yolo"):
        done = call(
            "predict",
            run,
            "--data",
            folder,
            "--format",
            form,
            "--out",
            tmp_path / form,
            "--pictures=false",
            "--cpu=true",
        )
        assert done.code == 0, done.err
        assert not list((tmp_path / form).glob("*.png"))
    rows = json.loads((tmp_path / "coco" / "predictions.json").read_text())
    first = next(row for row in rows if row["category"] == "box")
    name = first["file_name"].rpartition("/")[2].removesuffix(".png")
    x, y, w, h = first["bbox"]
    lines = [line.split() for line in (tmp_path / "voc" / "det_box.txt").read_text().splitlines()]
    assert len(lines) == sum(row["category"] == "box" for row in rows)
    match = next(
        line for line in lines if line[0] == name and float(line[1]) == pytest.approx(first["score"], abs=2e-5)
    )
    assert [float(v) for v in match[2:]] == pytest.approx([x + 1, y + 1, x + w, y + h], abs=0.02)
    lines = [line.split() for line in (tmp_path / "yolo" / "labels" / f"{name}.txt").read_text().splitlines()]
    match = next(line for line in lines if line[0] == "7" and float(line[5]) == pytest.approx(first["score"], abs=2e-5))
    assert [float(v) for v in match[1:5]] == pytest.approx(
        [(x + w / 2) / 64, (y + h / 2) / 64, w / 64, h / 64], abs=1e-3
    )


def test_an_image_that_fails_is_named_and_the_others_are_kept(call, finished, coco, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for file in sorted((coco / "images" / "val").iterdir())[:2]:
        Image.open(file).save(folder / file.name)
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n")
    Image.fromarray(np.zeros((8, 15000, 3), np.uint8)).save(folder / "thin.png")
    (folder / "._001.png").write_bytes(b"\x00\x05\x16\x07")
    done = call("predict", finished, folder, "--out", tmp_path / "out", "--cpu=true")
    assert done.code == 1
    assert "broken.png: cannot be decoded" in done.err or "broken.png: not an image" in done.err
    assert "of 4 images could not be used; they are named above" in done.err and "Traceback" not in done.err
    rows = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert {row["file_name"].rpartition("/")[2] for row in rows} >= {"001.png", "002.png"}


def test_wrong_predictions(fails, finished, coco, tmp_path):
    images = coco / "images" / "val"
    assert "--format must be one of coco, voc, yolo" in fails(
        "predict", finished, images, "--format=x", "--out", tmp_path / "n"
    )
    assert "either images and folders, or --data" in fails("predict", finished, "--out", tmp_path / "n")
    assert "either images" in fails("predict", finished, images, "--data", coco, "--out", tmp_path / "n")
    assert "exists already" in fails("eval", finished, "--predictions", tmp_path)


@pytest.mark.parametrize("count", [0, 3, 31, 120])
def test_pictures_stay_readable(tmp_path, count):
    """Of many boxes the names stand below the picture, with their number: little of the image is covered."""
    generator = torch.Generator().manual_seed(count)
    corner = torch.rand(count, 2, generator=generator) * 250
    boxes = torch.cat([corner, corner + 10 + torch.rand(count, 2, generator=generator) * 60], 1)
    labels = torch.randint(1, 4, (count,), generator=generator)
    image = torch.full((3, 320, 320), 255, dtype=torch.uint8)
    found = {"boxes": boxes, "labels": labels, "scores": torch.rand(count, generator=generator)}
    draw_detections(image, found, ["walker", "crab", "spider"], tmp_path / "p.png")
    picture = np.asarray(Image.open(tmp_path / "p.png"))
    crowded = count > 30
    assert picture.shape[1] == 320 and (picture.shape[0] > 320) == crowded
    covered = (picture[:320] != 255).any(2).mean()
    outlines = float((2 * (boxes[:, 2:] - boxes[:, :2]).sum(1)).sum()) / 320**2
    assert covered <= outlines * (1.1 if crowded else 4) + 1e-9
