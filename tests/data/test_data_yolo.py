"""YOLO's layout as its tools write it: files of a data set, lists, labels, polygons, and what is wrong in them."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from data_files import YOLO_YAML, boxes_of, save_image, write_yolo

from roikit.data import DataError, open_dataset, splits_of

YOLO_BOXES = {("dog", 24.0, 12.0, 40.0, 36.0), ("cat", 0.0, 0.0, 16.0, 24.0)}


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"file": "config.yaml", "text": YOLO_YAML.replace("[cat, dog]", "{0: cat, 1: dog}")},
        {"text": YOLO_YAML.replace("path: .\n", "")},
        {"text": YOLO_YAML.replace("path: .", "path: ../datasets/somewhere/else")},
        {"text": YOLO_YAML.replace("images/train", "[images/train]") + "nc: 2\n"},
        {  # as Roboflow writes it: paths that lead out of the folder, images and labels in each split's
            "text": "train: ../train/images\nval: ../valid/images\nnc: 2\nnames: ['cat', 'dog']\n",
            "images": "{}/images",
            "labels": "{}/labels",
            "splits": ("train", "valid"),
        },
        {"text": YOLO_YAML.encode("utf-16").decode("latin-1")},
    ],
    ids=["plain", "names by number", "no path", "another's path", "a list", "roboflow", "utf-16"],
)
def test_yolo(tmp_path, change):
    folder = write_yolo(tmp_path / "d", **change)
    if "utf-16" in str(change.get("text", "").encode("latin-1", "ignore")[:2]) or change.get("text", "").startswith(
        "\xff"
    ):
        (folder / "data.yaml").write_bytes(change["text"].encode("latin-1"))
    assert splits_of(folder) == ["train", "val"]
    for path in (folder, folder / change.get("file", "data.yaml")):
        dataset = open_dataset(path, "val")
        assert dataset.categories == ["cat", "dog"] and dataset.category_ids == [0, 1]
        assert boxes_of(dataset) == YOLO_BOXES and len(dataset) == 2 and len(dataset.records[1].boxes) == 0
        assert "1 images have no label file: taken as images without an object" in dataset.report.notes
        assert not any("size was taken" in note for note in dataset.report.notes)


def test_yolo_lists_polygons_and_gaps(tmp_path):
    folder = write_yolo(tmp_path, "train: train.txt\nnames: {3: cat, 7: dog}\n", splits=("train",))
    (folder / "train.txt").write_text("./images/train/a-train.jpg\n\nimages\\train\\b-train.jpg\n")
    (folder / "labels" / "train" / "a-train.txt").write_text(
        "7 0.25 0.25 0.75 0.25 0.5 0.75\n7.0 0.25 0.25 0.75 0.25 0.5 0.75\n" * 2
    )
    (folder / "labels" / "train" / "b-train.txt").write_text("")
    dataset = open_dataset(folder, "train", True)
    assert (dataset.categories, dataset.category_ids, len(dataset)) == (["cat", "dog"], [3, 7], 2)
    assert boxes_of(dataset) == {("dog", 16.0, 12.0, 48.0, 36.0)} and dataset.report.boxes == 2
    mask = dataset[0][1]["masks"][0]
    assert mask[:, :16].sum() == 0 and 0.4 < mask[12:36, 16:48].float().mean() < 0.6  # a triangle
    assert any("2 lines repeat another" in note for note in dataset.report.notes)
    assert any("1 names differ from their files' by \\ for /" in note for note in dataset.report.notes)


def test_yolo_with_a_list_of_classes_alone(tmp_path):
    folder = write_yolo(tmp_path, None, splits=("all",), images="images", labels="labels")
    for number in range(8):
        save_image(folder / "images" / f"{number}.jpg", seed=number)
    (folder / "classes.txt").write_text("cat\ndog\n\n")
    assert splits_of(folder) == ["train", "val"]
    train, val = open_dataset(folder, "train"), open_dataset(folder, "val")
    assert (len(train), len(val)) == (8, 2) and not {r.path for r in train.records} & {r.path for r in val.records}
    kept = json.loads((folder / "roikit-split.json").read_text())
    assert {len(kept["train"]), len(kept["val"])} == {8, 2}
    assert any("comes without splits: 8 images to train on, 2 to evaluate on" in note for note in train.report.notes)


def test_cvat_yolo(tmp_path):
    folder = write_yolo(tmp_path, None, splits=("train",), images="obj_train_data", labels="obj_train_data")
    (folder / "obj.names").write_text("cat\ndog\n")
    (folder / "train.txt").write_text("obj_train_data/a-train.jpg\nobj_train_data/b-train.jpg\n")
    assert splits_of(folder) == ["train"] and boxes_of(open_dataset(folder, "train")) == YOLO_BOXES


def test_a_link_that_git_wrote_as_a_file(tmp_path):
    """`images` of the published coco128 is a link, which is a small file where links are not supported."""
    folder = write_yolo(tmp_path / "d")
    shutil.move(folder / "images", tmp_path / "images")
    (folder / "images").write_text("../images")
    assert boxes_of(open_dataset(folder, "train")) == YOLO_BOXES


def test_yolo_reads_what_globox_reads(tmp_path, rng):
    """Against a reader that is not ours: random boxes of random images."""
    globox = pytest.importorskip("globox", reason="globox, which reads the same files, is not installed")
    random = np.random.default_rng(int(rng.initial_seed()))
    folder = write_yolo(tmp_path, splits=())
    for number in range(6):
        width, height = (int(side) for side in random.integers(20, 90, 2))
        save_image(folder / "images" / "train" / f"{number}.png", width, height, number)
        rows = []
        for _ in range(int(random.integers(1, 6))):
            w, h = random.uniform(0.1, 0.5, 2)
            cx, cy = random.uniform(w / 2, 1 - w / 2), random.uniform(h / 2, 1 - h / 2)
            rows.append(f"{random.integers(0, 2)} {cx:.6f} {cy:.6f} {w:.6f} {h:.6f}\n")
        (folder / "labels" / "train").mkdir(parents=True, exist_ok=True)
        (folder / "labels" / "train" / f"{number}.txt").write_text("".join(rows))
    theirs = globox.AnnotationSet.from_yolo_v5(
        folder / "labels" / "train", image_folder=folder / "images" / "train", image_extension=".png"
    )
    ours = open_dataset(folder, "train")
    for record in ours.records:
        mine = sorted(
            (label - 1, *row) for label, row in zip(record.labels.tolist(), record.boxes.tolist(), strict=True)
        )
        other = theirs[record.path.name].boxes
        assert np.allclose(mine, sorted((int(b.label), b.xmin, b.ymin, b.xmax, b.ymax) for b in other), atol=1e-3)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 0.5 0.5 0.2", "a-train.txt: line 1: 4 numbers, neither a box"),
        ("0 0.5 0.5 0.2 0.2 0.9", "six numbers are predictions"),
        ("2 0.5 0.5 0.2 0.2", "line 1: unknown class 2; data.yaml has names for 2 (to 1)"),
        ("0.5 0.5 0.5 0.2 0.2", "unknown class 0.5"),
        ("cat 0.5 0.5 0.2 0.2", "is not a row of numbers"),
        ("0 32 24 10 10", "are not fractions of the image's sides"),
        ("0 nan 0.5 0.1 0.1", "are not fractions"),
    ],
)
def test_wrong_yolo_lines(tmp_path, line, message):
    folder = write_yolo(tmp_path)
    (folder / "labels" / "train" / "a-train.txt").write_text(line)
    with pytest.raises(DataError) as caught:
        open_dataset(folder, "train")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (YOLO_YAML.replace("[cat, dog]", "3"), "names are neither a list nor numbers with names"),
        (YOLO_YAML.replace("[cat, dog]", "[]"), "names are empty"),
        (YOLO_YAML + "nc: 3\n", "nc is 3, but there are 2 names"),
        (YOLO_YAML.replace("images/train", "images/trian"), "train is 'images/trian', which is not there"),
        ("train: [\n", "is no valid YAML in line"),
        ("train: l.txt\nnames: [cat, dog]\n", "line 2: no image images/train/c.jpg; there is"),
    ],
)
def test_wrong_yolo_files(tmp_path, text, message):
    folder = write_yolo(tmp_path, text)
    save_image(folder / "images" / "train" / "c.png")
    (folder / "l.txt").write_text("images/train/a-train.jpg\nimages/train/c.jpg\n")
    with pytest.raises(DataError) as caught:
        open_dataset(folder, "train")
    assert message in str(caught.value)


def test_masks_of_boxes_are_refused(tmp_path):
    with pytest.raises(DataError, match="a box, and masks were asked for, which need polygons"):
        open_dataset(write_yolo(tmp_path), "train", True)
    with pytest.raises(DataError, match="has no split 'test'; splits are train, val"):
        open_dataset(tmp_path, "test")


def test_a_yaml_file_of_something_else(tmp_path):
    (tmp_path / "a.yaml").write_text("seed: 3\n")
    with pytest.raises(DataError, match="not YOLO's file of a data set: it needs names, and train or val"):
        open_dataset(tmp_path / "a.yaml", "train")


@pytest.mark.parametrize("text", ["images/" + "a" * 300 + ".png", "a" * 300])
def test_a_list_that_holds_a_name_which_no_file_can_have(tmp_path, text):
    """A short list may be a stand-in for a link."""
    (tmp_path / "data.yaml").write_text("train: train.txt\nnames: [cat]\n", encoding="utf-8")
    (tmp_path / "train.txt").write_text(text + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"no image (images/)?a"):
        open_dataset(tmp_path, "train")
