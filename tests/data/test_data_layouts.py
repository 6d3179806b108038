"""Every layout that docs/data.md lists, as a tiny folder: found without a flag, its numbers right, nothing lost."""

from __future__ import annotations

import json
import shutil

import pytest
from data_files import YOLO_YAML, boxes_of, coco_data, save_image, write_coco, write_voc, write_yolo

from roikit.data import DataError, open_dataset, splits_of
from roikit.data.cache import write_atomically

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
    assert boxes_of(val) == {("cat", 0.0, 0.0, 10.0, 20.0), ("dog", 4.0, 4.0, 30.0, 40.0)}
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
    (tmp_path / "other.yml").write_text(YOLO_YAML)
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
