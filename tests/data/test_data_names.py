"""Names that differ from their files', image sets and XML as tools write them: nothing is lost without a word."""

from __future__ import annotations

import json
import unicodedata

import numpy as np
import pytest
from data_files import annotation, coco_data, save_image, write_coco, write_voc

from roikit.data import DataError, images_in, open_dataset

CAT = [("cat", (1, 1, 10, 20), 0)]


def listed(folder, *lines, encoding="utf-8"):
    (folder / "ImageSets" / "Main" / "train.txt").write_bytes("".join(f"{line}\n" for line in lines).encode(encoding))
    return open_dataset(folder, "train")


def names(dataset):
    return [record.path.relative_to(record.path.parents[1]).as_posix() for record in dataset.records]


# ---- image sets


def test_every_listed_name_becomes_a_record_or_a_problem(tmp_path):
    for sub in ("cam1", "cam2"):
        (tmp_path / "Annotations" / sub).mkdir(parents=True)
    write_voc(tmp_path, {"cam1/0001": CAT, "cam2/0001": [("dog", (1, 1, 9, 9), 0)], "plain": CAT})
    assert names(listed(tmp_path, "cam1/0001", "./plain", "cam2/0001")) == [
        "cam1/0001.jpg",
        "JPEGImages/plain.jpg",
        "cam2/0001.jpg",
    ]
    with pytest.raises(DataError) as caught:
        listed(tmp_path, "cam1/0001", "cam3/0001", "sub/a", "plane")
    assert len(caught.value.problems) == 3
    for name in ("cam3/0001", "sub/a", "plane"):
        assert f"missing annotation of {name}, which ImageSets/Main/train.txt lists" in str(caught.value)


def test_names_with_spaces(tmp_path):
    write_voc(tmp_path, {"cat": CAT, "cat 2": [("dog", (1, 1, 9, 9), 0)], "cat 1": CAT, "a b c": CAT})
    assert names(listed(tmp_path, "cat 2")) == ["JPEGImages/cat 2.jpg"]
    assert names(listed(tmp_path, "cat 1")) == ["JPEGImages/cat 1.jpg"]  # the whole line first
    assert names(listed(tmp_path, "cat  1")) == ["JPEGImages/cat.jpg"]  # a class's set, as VOC writes it
    assert names(listed(tmp_path, "cat -1", '"cat 2"', "'a b c'")) == [
        "JPEGImages/cat.jpg",
        "JPEGImages/cat 2.jpg",
        "JPEGImages/a b c.jpg",
    ]
    with pytest.raises(DataError, match="missing annotation of cat 3, which"):
        listed(tmp_path, "cat 3")


@pytest.mark.parametrize(
    "line", ["a.jpg", "JPEGImages/a.jpg Annotations/a.xml", ".\\a", "JPEGImages\\a.JPG", "Annotations/a.xml"]
)
def test_lines_that_are_paths(tmp_path, line):
    write_voc(tmp_path, {"a": CAT, "b": CAT})
    assert names(listed(tmp_path, line, "b")) == ["JPEGImages/a.jpg", "JPEGImages/b.jpg"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-8-sig", "cp1252"])
def test_sets_in_other_encodings(tmp_path, encoding):
    write_voc(tmp_path, {"Käfer": CAT})
    assert names(listed(tmp_path, "Käfer", encoding=encoding)) == ["JPEGImages/Käfer.jpg"]


def test_a_set_that_is_no_text(tmp_path):
    write_voc(tmp_path, {"a": CAT})
    (tmp_path / "ImageSets" / "Main" / "train.txt").write_bytes(b"ab\0\xff\xfe\0")
    with pytest.raises(DataError, match=r"train\.txt: no text"):
        open_dataset(tmp_path, "train")


# ---- XML


def change(folder, how, name="a"):
    """The annotation's XML passed through a function of its text."""
    file = folder / "Annotations" / f"{name}.xml"
    file.write_text(how(file.read_text()))
    return open_dataset(folder, "train")


@pytest.mark.parametrize(
    "how",
    [
        lambda text: text.replace("<annotation>", '<annotation xmlns="http://www.w3.org/ns">'),
        lambda text: text.replace("<object>", "<Object>").replace("</object>", "</Object>"),
        lambda text: text.replace("<object>", "<objects><object>").replace("</object>", "</object></objects>"),
        lambda text: text.replace("annotation>", "root>"),
        lambda text: text.replace("bndbox>", "BndBox>").replace("name>", "Name>"),
    ],
    ids=["namespace", "Object", "objects", "another root", "capitals"],
)
def test_boxes_are_found_wherever_they_stand(tmp_path, how):
    write_voc(tmp_path, {"a": CAT})
    dataset = change(tmp_path, how)
    assert dataset.categories == ["cat"] and dataset.records[0].boxes.tolist() == [[0.0, 0.0, 10.0, 20.0]]


def test_xml_that_is_something_else_is_no_background(tmp_path):
    write_voc(tmp_path, {"a": CAT, "b": CAT})
    with pytest.raises(DataError, match="no VOC annotation: its root is <html>"):
        change(tmp_path, lambda text: "<html><body/></html>")
    write_voc(tmp_path, {"a": CAT, "b": CAT})
    with pytest.raises(DataError, match="1 <bndbox> stand outside of any <object>"):
        change(tmp_path, lambda text: text.replace("object>", "thing>"))


@pytest.mark.parametrize(("word", "crowd"), [("true", 1), ("1.0", 1), ("Yes", 1), ("0.0", 0), ("False", 0), ("", 0)])
def test_difficult_in_other_words(tmp_path, word, crowd):
    write_voc(tmp_path, {"a": CAT})
    dataset = change(tmp_path, lambda text: text.replace("<difficult>0", f"<difficult>{word}"))
    assert dataset.records[0].iscrowd.tolist() == [crowd]


def test_difficult_that_is_neither(tmp_path):
    write_voc(tmp_path, {"a": CAT})
    with pytest.raises(DataError, match=r"object 1 \(cat\): difficult is 'very', neither yes"):
        change(tmp_path, lambda text: text.replace("<difficult>0", "<difficult>very"))


def test_parts_of_objects_are_no_objects(tmp_path):
    """VOC's person layout: a part has a name and a box of its own."""
    write_voc(tmp_path, {"a": CAT})
    part = "<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>3</xmax><ymax>3</ymax></bndbox></part>"
    dataset = change(tmp_path, lambda text: text.replace("</object>", f"{part}</object>"))
    assert dataset.categories == ["cat"] and dataset.report.boxes == 1


# ---- files


def test_what_systems_leave_behind(tmp_path):
    write_voc(tmp_path / "v", {"a": CAT, "b": CAT})
    for folder, name in (("Annotations", "._a.xml"), ("JPEGImages", "._a.jpg"), ("JPEGImages", "Thumbs.db")):
        (tmp_path / "v" / folder / name).write_bytes(b"\x00\x05\x16\x07")
    (tmp_path / "v" / "ImageSets" / "Main" / "._train.txt").write_bytes(b"\x00\x05")
    assert len(open_dataset(tmp_path / "v", "train")) == 2
    assert [file.name for file in images_in(tmp_path / "v" / "JPEGImages")] == ["a.jpg", "b.jpg"]
    write_coco(tmp_path / "c", coco_data())
    (tmp_path / "c" / "annotations" / "._instances_train.json").write_bytes(b"\x00\x05\x16\x07")
    assert len(open_dataset(tmp_path / "c", "train")) == 3


@pytest.mark.parametrize(
    ("stored", "said", "how"),
    [
        ("sub/a.jpg", "sub\\a.jpg", "\\ for /"),
        ("a b.jpg", "a%20b.jpg", "%20 and the like"),
        ("A.JPG", "a.jpg", "letter case"),
        (unicodedata.normalize("NFC", "Käfer.jpg"), unicodedata.normalize("NFD", "Käfer.jpg"), "the form of accents"),
        (unicodedata.normalize("NFD", "Käfer.jpg"), unicodedata.normalize("NFC", "Käfer.jpg"), "the form of accents"),
    ],
    ids=["backslash", "percent", "case", "decomposed", "composed"],
)
def test_names_that_mean_a_file(tmp_path, stored, said, how):
    data = coco_data()
    write_coco(tmp_path, data)
    (tmp_path / "images" / "train" / "3.jpg").unlink()
    save_image(tmp_path / "images" / "train" / stored)
    next(image for image in data["images"] if image["id"] == 3)["file_name"] = said
    (tmp_path / "annotations" / "instances_train.json").write_text(json.dumps(data))
    dataset = open_dataset(tmp_path, "train")
    assert dataset.report.boxes == 3
    assert f"1 names differ from their files' by {how}" in dataset.report.notes


def test_two_files_that_a_name_may_mean(tmp_path):
    data = coco_data()
    write_coco(tmp_path, data)
    folder = tmp_path / "images" / "train"
    (folder / "3.jpg").rename(folder / "Cat.jpg")
    save_image(folder / "CAT.jpg")
    next(image for image in data["images"] if image["id"] == 3)["file_name"] = "cat.jpg"
    (tmp_path / "annotations" / "instances_train.json").write_text(json.dumps(data))
    with pytest.raises(DataError) as caught:
        open_dataset(tmp_path, "train")
    assert "cat.jpg: missing image: no such file; there is" in str(caught.value)
    assert "CAT.jpg" in str(caught.value) and "Cat.jpg" in str(caught.value)


def test_the_ending_differs(tmp_path):
    write_coco(tmp_path, coco_data())
    (tmp_path / "images" / "train" / "3.jpg").rename(tmp_path / "images" / "train" / "3.png")
    with pytest.raises(DataError, match=r"3\.jpg: missing image: no such file; there is .*3\.png"):
        open_dataset(tmp_path, "train")


# ---- COCO's entries


def test_one_bad_entry_is_one_problem(tmp_path):
    data = coco_data()
    data["images"][1] |= {"width": "64"}  # image 3, of two annotations
    data["categories"][1] |= {"id": "forty"}  # of one
    for number in range(300):
        data["annotations"].append(annotation(10 + number, 3, 40, [1, 1, 5, 5]))
    write_coco(tmp_path, coco_data())
    (tmp_path / "annotations" / "instances_train.json").write_text(json.dumps(data))
    with pytest.raises(DataError) as caught:
        open_dataset(tmp_path, "train")
    assert len(caught.value.problems) == 2
    assert "images[1]: size '64' x 48" in str(caught.value) and "categories[1]: id 'forty'" in str(caught.value)


def test_whole_numbers_may_have_a_point(tmp_path):
    data = coco_data()
    write_coco(tmp_path, data)
    for image in data["images"]:
        image.update(id=float(image["id"]), width=64.0, height=48.0)
    for one in data["annotations"]:
        one.update(
            image_id=float(one["image_id"]), category_id=float(one["category_id"]), id=None, iscrowd=None, area=None
        )
    data["categories"][0]["id"] = 9.0
    (tmp_path / "annotations" / "instances_train.json").write_text(json.dumps(data))
    dataset = open_dataset(tmp_path, "train")
    assert dataset.category_ids == [2, 9, 40] and dataset.report.boxes == 3
    assert [type(record.image_id) for record in dataset.records] == [int] * 3


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "cp1252"])
def test_json_in_other_encodings(tmp_path, encoding):
    data = coco_data()
    data["categories"][0]["name"] = "Käfer"
    path = write_coco(tmp_path, data)
    path.write_bytes(json.dumps(data, ensure_ascii=False).encode(encoding))
    assert "Käfer" in open_dataset(tmp_path, "train").categories


def test_notes_on_what_looks_like_a_slip(tmp_path):
    data = coco_data()
    data["categories"].append({"id": 50, "name": "Nine"})
    data["images"].append({"id": 99, "file_name": "7.jpg", "width": 64, "height": 48})
    write_coco(tmp_path, data)
    notes = open_dataset(tmp_path, "train").report.notes
    assert "categories that differ by letter case or spaces alone are kept apart: 'nine' and 'Nine'" in notes
    assert "1 files stand under several image ids, such as 7.jpg (7, 99): kept as several" in notes
    write_voc(tmp_path / "v", {"a": [("Cat", (1, 1, 9, 9), 0), ("cat", (1, 1, 9, 9), 0)]})
    assert any("'Cat' and 'cat'" in note for note in open_dataset(tmp_path / "v", "train").report.notes)


def test_run_lengths_as_python_shows_them(tmp_path):
    from roikit.data.masks import encode_mask

    data = coco_data()
    mask = np.zeros((48, 64), np.uint8)
    mask[5:15, 10:30] = 1
    code = encode_mask(mask)
    data["annotations"][0]["segmentation"] = {**code, "counts": repr(code["counts"].encode())}
    write_coco(tmp_path, data)
    dataset = open_dataset(tmp_path, "train", True)
    index = [record.image_id for record in dataset.records].index(3)
    assert (dataset[index][1]["masks"][0].numpy() == mask).all()


def test_metrics_of_nothing():
    from roikit.train.metrics import coco_metrics

    numbers = coco_metrics([], [], ["a"])["bbox"]
    assert numbers["AP"] is None and numbers["per_class"]["a"]["AP"] is None
