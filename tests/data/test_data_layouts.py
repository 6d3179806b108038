"""Every layout that docs/data.md lists, as a tiny folder: found without a flag, its numbers right, nothing lost."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from data_files import annotation, coco_data, save_image, write_coco, write_voc

from roikit.data import DataError, open_dataset, splits_of
from roikit.data.cache import write_atomically

YAML = "path: .\ntrain: images/train\nval: images/val\nnames: [cat, dog]\n"


def write_yolo(folder, text=YAML, file="data.yaml", splits=("train", "val"), images="images/{}", labels="labels/{}"):
    """Two images a split: one with two boxes, one without a label file."""
    folder.mkdir(parents=True, exist_ok=True)
    if text is not None:
        (folder / file).write_text(text)
    for split in splits:
        save_image(folder / images.format(split) / f"a-{split}.jpg", 64, 48)
        save_image(folder / images.format(split) / f"b-{split}.jpg", 64, 48, 1)
        (folder / labels.format(split)).mkdir(parents=True, exist_ok=True)
        (folder / labels.format(split) / f"a-{split}.txt").write_text("1 0.5 0.5 0.25 0.5\n0 0.125 0.25 0.25 0.5\n")
    return folder


def boxes(dataset, index=0):
    record = dataset.records[index]
    return {
        (dataset.categories[label - 1], *row) for label, row in zip(record.labels, record.boxes.tolist(), strict=True)
    }


YOLO_BOXES = {("dog", 24.0, 12.0, 40.0, 36.0), ("cat", 0.0, 0.0, 16.0, 24.0)}


# ---- YOLO


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"file": "config.yaml", "text": YAML.replace("[cat, dog]", "{0: cat, 1: dog}")},
        {"text": YAML.replace("path: .\n", "")},
        {"text": YAML.replace("path: .", "path: ../datasets/somewhere/else")},
        {"text": YAML.replace("images/train", "[images/train]") + "nc: 2\n"},
        {  # as Roboflow writes it: paths that lead out of the folder, images and labels in each split's
            "text": "train: ../train/images\nval: ../valid/images\nnc: 2\nnames: ['cat', 'dog']\n",
            "images": "{}/images",
            "labels": "{}/labels",
            "splits": ("train", "valid"),
        },
        {"text": YAML.encode("utf-16").decode("latin-1")},
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
        assert boxes(dataset) == YOLO_BOXES and len(dataset) == 2 and len(dataset.records[1].boxes) == 0
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
    assert boxes(dataset) == {("dog", 16.0, 12.0, 48.0, 36.0)} and dataset.report.boxes == 2
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
    assert splits_of(folder) == ["train"] and boxes(open_dataset(folder, "train")) == YOLO_BOXES


def test_a_link_that_git_wrote_as_a_file(tmp_path):
    """`images` of the published coco128 is a link, which is a small file where links are not supported."""
    folder = write_yolo(tmp_path / "d")
    shutil.move(folder / "images", tmp_path / "images")
    (folder / "images").write_text("../images")
    assert boxes(open_dataset(folder, "train")) == YOLO_BOXES


def test_yolo_reads_what_globox_reads(tmp_path, rng):
    """Against a reader that is not ours: random boxes of random images."""
    globox = pytest.importorskip("globox")
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
        (YAML.replace("[cat, dog]", "3"), "names are neither a list nor numbers with names"),
        (YAML.replace("[cat, dog]", "[]"), "names are empty"),
        (YAML + "nc: 3\n", "nc is 3, but there are 2 names"),
        (YAML.replace("images/train", "images/trian"), "train is 'images/trian', which is not there"),
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


# ---- export folders in COCO's format


def test_roboflow_coco(tmp_path):
    """The annotations beside the images; category 0 is what the others are, and no annotation's."""
    for split in ("train", "valid"):
        data = coco_data()
        data["categories"] = [{"id": 0, "name": "animals", "supercategory": "none"}] + [
            {**category, "supercategory": "animals"} for category in data["categories"]
        ]
        write_coco(tmp_path, data, f"{split}/_annotations.coco.json", split)
    assert sorted(splits_of(tmp_path)) == ["train", "valid"]
    for split in ("train", "valid", "val"):
        dataset = open_dataset(tmp_path, split)
        assert dataset.category_ids == [2, 9, 40] and dataset.report.boxes == 3
        assert any("category 0, 'animals', has no annotation" in note for note in dataset.report.notes)
    data["annotations"][0]["category_id"] = 0  # used: it stays
    write_coco(tmp_path, data, "train/_annotations.coco.json", "train")
    assert open_dataset(tmp_path, "train").category_ids == [0, 2, 9, 40]


@pytest.mark.parametrize(
    ("file", "images"),
    [
        ("result.json", "images"),
        ("annotations/instances_default.json", "images/default"),
        ("_annotations.coco.json", ""),
    ],
    ids=["Label Studio", "CVAT", "beside"],
)
def test_one_file_is_split_once(tmp_path, file, images):
    data = coco_data()
    for image in data["images"]:  # Label Studio on Windows
        if file == "result.json":
            image["file_name"] = f"images\\{image['file_name']}"
    for number in range(100, 107):
        data["images"].append({"id": number, "file_name": f"{number}.jpg", "width": 64, "height": 48})
    path = write_coco(tmp_path, {**data, "images": []}, file)
    for image in data["images"]:
        save_image(tmp_path / images / image["file_name"].replace("images\\", ""))
    path.write_text(json.dumps(data))
    assert splits_of(tmp_path) == ["train", "val"]
    train, val = open_dataset(tmp_path, "train"), open_dataset(tmp_path, "val")
    assert (len(train), len(val)) == (8, 2) and train.report.boxes + val.report.boxes == 3
    again = open_dataset(tmp_path, "train")
    assert [r.image_id for r in again.records] == [r.image_id for r in train.records]
    save_image(tmp_path / images / "new.jpg")
    data["images"].append({"id": 200, "file_name": "new.jpg", "width": 64, "height": 48})
    path.write_text(json.dumps(data))
    assert (len(open_dataset(tmp_path, "train")), len(open_dataset(tmp_path, "val"))) == (9, 2)
    with pytest.raises(DataError, match="comes without splits, so there are train and val"):
        open_dataset(tmp_path, "test")
    data["images"] = data["images"][:3]
    path.write_text(json.dumps(data))
    with pytest.raises(DataError, match=r"roikit-split\.json: names 8 images that are not there"):
        open_dataset(tmp_path, "train")
    (tmp_path / "roikit-split.json").write_text("[]")
    with pytest.raises(DataError, match=r"roikit-split\.json: is no split of train and val"):
        open_dataset(tmp_path, "train")


def test_a_split_of_a_folder_that_cannot_be_written(tmp_path, monkeypatch, cache):
    folder = tmp_path / "d"
    write_coco(folder, coco_data(), "result.json", "images")

    def write(path, text):
        if path.parent == folder:
            raise PermissionError(13, "read-only")
        write_atomically(path, text)

    monkeypatch.setattr("roikit.data.seeded_split.write_atomically", write)
    train = open_dataset(folder, "train")
    assert not (folder / "roikit-split.json").exists()
    assert [r.path for r in open_dataset(folder, "train").records] == [r.path for r in train.records]
    assert any(str(cache) in note for note in train.report.notes)


# ---- XML


FILES = {f"{n}": [("cat", (1, 1, 10, 20), 0), ("dog", (5, 5, 30, 40), 1)] for n in range(5)}


def test_sets_directly_in_imagesets(tmp_path):
    write_voc(tmp_path, FILES)
    for file in (tmp_path / "ImageSets" / "Main").iterdir():
        shutil.move(file, tmp_path / "ImageSets" / file.name)
    assert splits_of(tmp_path) == ["train"] and len(open_dataset(tmp_path, "train")) == 5


def test_a_devkit_of_several_years_is_their_union(tmp_path):
    write_voc(tmp_path / "VOC2007", FILES, "trainval")
    write_voc(tmp_path / "VOC2007", {"t": FILES["0"]}, "test")
    write_voc(tmp_path / "VOC2012", {f"y{name}": [("bird", (1, 1, 9, 9), 0)] for name in FILES}, "trainval")
    assert splits_of(tmp_path) == ["test", "trainval"]
    dataset = open_dataset(tmp_path, "trainval")
    assert len(dataset) == 10 and dataset.categories == ["bird", "cat", "dog"]
    assert open_dataset(tmp_path, "test").categories == dataset.categories
    with pytest.raises(DataError, match="no year has an image set 'val'; splits are test, trainval"):
        open_dataset(tmp_path, "val")


@pytest.mark.parametrize("layout", ["beside", "annotations", "no sets", "parts"])
def test_labelimg(tmp_path, layout):
    write_voc(tmp_path / "v", FILES)
    source, folder = tmp_path / "v", tmp_path / "d"
    folder.mkdir()
    if layout == "beside":
        for file in [*(source / "Annotations").iterdir(), *(source / "JPEGImages").iterdir()]:
            shutil.copy(file, folder / file.name)
    elif layout == "annotations":
        shutil.copytree(source / "Annotations", folder / "annotations")
        shutil.copytree(source / "JPEGImages", folder / "images")
    elif layout == "no sets":
        shutil.copytree(source / "Annotations", folder / "Annotations")
        shutil.copytree(source / "JPEGImages", folder / "JPEGImages")
    else:  # as Roboflow exports VOC
        for split, names in (("train", "0123"), ("valid", "4")):
            (folder / split).mkdir()
            for name in names:
                shutil.copy(source / "Annotations" / f"{name}.xml", folder / split)
                shutil.copy(source / "JPEGImages" / f"{name}.jpg", folder / split)
    assert splits_of(folder) == ["train", "val"]
    train, val = open_dataset(folder, "train"), open_dataset(folder, "val")
    assert (len(train), len(val)) == (4, 1) and train.categories == val.categories == ["cat", "dog"]
    assert boxes(val) == {("cat", 0.0, 0.0, 10.0, 20.0), ("dog", 4.0, 4.0, 30.0, 40.0)}
    assert any("comes without splits" in note for note in train.report.notes) == (layout != "parts")


# ---- which one


def test_ambiguous_folders_say_how_to_choose(tmp_path):
    write_yolo(tmp_path)
    write_coco(tmp_path, coco_data())
    with pytest.raises(DataError) as caught:
        open_dataset(tmp_path, "train")
    assert "several layouts, YOLO and COCO: for YOLO give" in str(caught.value)
    assert open_dataset(tmp_path / "data.yaml", "train").categories == ["cat", "dog"]
    assert len(open_dataset(tmp_path / "annotations" / "instances_train.json", "train")) == 3
    (tmp_path / "other.yml").write_text(YAML)
    with pytest.raises(DataError, match=r"several YOLO files \(data\.yaml, other\.yml\): give the one to take"):
        open_dataset(tmp_path, "train")


def test_a_folder_above_says_what_is_below(tmp_path):
    write_yolo(tmp_path / "yolo")
    write_coco(tmp_path / "coco", coco_data())
    with pytest.raises(DataError, match="no data set, but there are some in it: coco, yolo"):
        open_dataset(tmp_path, "train")
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "notes.md").write_text("")
    with pytest.raises(DataError, match=r"no data set that is known.*there is notes\.md"):
        open_dataset(tmp_path / "x", "train")


def test_a_yaml_file_of_something_else(tmp_path):
    (tmp_path / "a.yaml").write_text("seed: 3\n")
    with pytest.raises(DataError, match="not YOLO's file of a data set: it needs names, and train or val"):
        open_dataset(tmp_path / "a.yaml", "train")


def test_one_degenerate_polygon_is_dropped_and_counted(tmp_path):
    data = coco_data()
    data["annotations"][0]["segmentation"] += [[1, 2, 3, 4], []]
    data["annotations"][1]["segmentation"] = []
    data["annotations"].append(annotation(9, 7, 9, [1, 1, 5, 5], segmentation=None))
    write_coco(tmp_path, data)
    dataset = open_dataset(tmp_path, "train", True)
    assert dataset.report.boxes == 2  # of four, two without a mask
    assert "2 pieces of masks enclose nothing: dropped" in dataset.report.notes
    assert any("2 annotations have no usable mask: left out" in note for note in dataset.report.notes)
    assert open_dataset(tmp_path, "train").report.boxes == 4
