"""VOC folders: torchvision's reader and the real BCCD as oracles, and what goes wrong in such folders."""

import re

import pytest
import torch
from data_files import save_image, truncate, write_voc
from torchvision.datasets import VOCDetection

from roikit.data import DataError, open_dataset, splits_of


@pytest.mark.parametrize("split", ["train", "val"])
def test_bccd_agrees_with_torchvision(bccd, tmp_path, split):
    (tmp_path / "VOCdevkit").mkdir()
    (tmp_path / "VOCdevkit" / "VOC2012").symlink_to(bccd)
    oracle = VOCDetection(str(tmp_path), year="2012", image_set=split)
    dataset = open_dataset(bccd, split)
    assert len(dataset) == len(oracle)
    dropped = 0
    for index in range(len(oracle)):
        expected = []
        for element in VOCDetection.parse_voc_xml(_root(oracle.annotations[index]))["annotation"]["object"]:
            corners = [int(element["bndbox"][key]) for key in ("xmin", "ymin", "xmax", "ymax")]
            if corners[2] <= corners[0] or corners[3] <= corners[1]:
                dropped += 1
                continue
            expected.append((element["name"], [corners[0] - 1, corners[1] - 1, corners[2], corners[3]]))
        target = dataset.target(index)
        names = [dataset.categories[label - 1] for label in target["labels"]]
        assert list(zip(names, target["boxes"].tolist(), strict=True)) == expected
        assert dataset.file_name(index).endswith(oracle.images[index].split("/")[-1])
    assert dropped == dataset.report.degenerate == 1
    image, _ = dataset[3]
    assert (image.shape[2], image.shape[1]) == oracle[3][0].size


def _root(path):
    import xml.etree.ElementTree as ElementTree

    return ElementTree.parse(path).getroot()


def test_bccd_counts(bccd):
    """364 photographs, 4,888 boxes of which two enclose nothing."""
    splits = {split: open_dataset(bccd, split) for split in ("train", "val", "test")}
    assert [len(d) for d in splits.values()] == [205, 87, 72]
    assert [d.report.boxes for d in splits.values()] == [2804, 1137, 945]
    assert [d.report.degenerate for d in splits.values()] == [1, 1, 0]
    assert sum(d.report.clipped for d in splits.values()) == 0
    assert all(d.categories == ["Platelets", "RBC", "WBC"] for d in splits.values())
    assert "BloodImage_00343.jpg (object 4, RBC)" in str(splits["train"].report)
    labels = torch.cat([splits[s].target(i)["labels"] for s in splits for i in range(len(splits[s]))])
    assert torch.bincount(labels).tolist() == [0, 361, 4153, 372]  # the two degenerate ones are red cells
    both = open_dataset(bccd, "trainval").records
    assert {r.path for r in both} == {r.path for s in ("train", "val") for r in splits[s].records}


@pytest.fixture
def folder(tmp_path):
    files = {
        "a": [("cat", (1, 1, 64, 48), 0), ("ant", (5, 6, 10, 20), 1)],
        "b": [("dog", (2, 2, 30, 30), 0)],
        "c": [],
    }
    return write_voc(tmp_path, files)


def test_boxes_labels_difficult(folder):
    dataset = open_dataset(folder, "train")
    assert dataset.categories == ["ant", "cat", "dog"]
    image, target = dataset[0]
    assert image.shape == (3, 48, 64)
    # 1-based with both corners inside: the whole image is 1..64, 1..48
    assert target["boxes"].tolist() == [[0, 0, 64, 48], [4, 5, 10, 20]]
    assert target["labels"].tolist() == [2, 1] and target["iscrowd"].tolist() == [0, 1]
    assert target["area"].tolist() == [64 * 48, 6 * 15]
    assert {target["boxes"].dtype, target["area"].dtype} == {torch.float32}
    assert {target["labels"].dtype, target["iscrowd"].dtype} == {torch.int64}
    assert dataset[2][1]["boxes"].shape == (0, 4)
    assert dataset.report.crowd == 1 and dataset.report.empty == 1
    assert [dataset[i][1]["image_id"] for i in range(3)] == [1, 2, 3]


def test_categories_do_not_depend_on_the_split(folder):
    (folder / "ImageSets" / "Main" / "one.txt").write_text("b\n")
    dataset = open_dataset(folder, "one")
    assert dataset.categories == ["ant", "cat", "dog"] and dataset[0][1]["labels"].tolist() == [3]
    assert splits_of(folder) == ["one", "train"]
    (folder / "ImageSets" / "Main" / "cat_train.txt").write_text("a  1\nb -1\n")
    assert len(open_dataset(folder, "cat_train")) == 2


def test_categories_given(folder):
    dataset = open_dataset(folder, "train", categories=["dog", "cat", "ant"])
    assert dataset.target(0)["labels"].tolist() == [2, 3]
    with pytest.raises(DataError, match=r"a\.xml: object 2: unknown category 'ant'; known: dog, cat"):
        open_dataset(folder, "train", categories=["dog", "cat"])


def test_parts_of_an_object_are_not_objects(folder):
    _edit(folder, "b", "</object>", "<part><name>head</name><bndbox><xmin>1</xmin></bndbox></part></object>")
    assert open_dataset(folder, "train").categories == ["ant", "cat", "dog"]


def test_degenerate_dropped_and_clipped_counted(folder):
    write_voc(folder, {"d": [("cat", (9, 9, 9, 20), 0), ("cat", (20, 9, 10, 20), 0), ("cat", (0, 40, 70, 60), 0)]}, "d")
    dataset = open_dataset(folder, "d")
    assert (dataset.report.degenerate, dataset.report.clipped, dataset.report.boxes) == (2, 1, 1)
    assert dataset.target(0)["boxes"].tolist() == [[0, 39, 64, 48]]
    text = str(dataset.report)
    assert "dropped 2 degenerate boxes" in text and "d.jpg (object 1, cat)" in text and "clipped 1" in text


def test_size_missing_or_zero_is_taken_from_the_image(folder):
    _edit(folder, "a", "<width>64</width>", "<width>0</width>")
    _edit(folder, "b", r"<size>.*</size>", "")
    dataset = open_dataset(folder, "train")
    assert "2 annotations give no image size" in str(dataset.report)
    assert (dataset.records[0].width, dataset.records[1].width) == (64, 64)


def test_other_image_endings(folder):
    (folder / "JPEGImages" / "b.jpg").unlink()
    save_image(folder / "JPEGImages" / "b.png")
    assert open_dataset(folder, "train").file_name(1).endswith("b.png")


def _edit(folder, stem, pattern, text):
    file = folder / "Annotations" / f"{stem}.xml"
    old = file.read_text()
    new = re.sub(pattern, text, old, count=1, flags=re.S)
    assert new != old
    file.write_text(new)


BAD = {
    "no image": (lambda f: (f / "JPEGImages" / "a.jpg").unlink(), r"a\.jpg: missing image"),
    "no annotation": (lambda f: (f / "Annotations" / "a.xml").unlink(), r"a\.xml: missing annotation of a"),
    "broken XML": (lambda f: truncate(f / "Annotations" / "b.xml"), r"b\.xml: broken XML \(.*line 1"),
    "empty XML": (lambda f: (f / "Annotations" / "b.xml").write_text(""), r"b\.xml: broken XML"),
    "cut JPEG": (lambda f: truncate(f / "JPEGImages" / "b.jpg"), r"b\.jpg: cannot be decoded \(image file is trunc"),
    "no JPEG": (lambda f: (f / "JPEGImages" / "b.jpg").write_text("x"), r"b\.jpg: not an image"),
    "other size": (lambda f: save_image(f / "JPEGImages" / "b.jpg", 32, 32), r"b\.jpg: the image is 32x32.*says 64x48"),
    "outside": (
        lambda f: _edit(f, "b", "<xmin>2</xmin>(.*)<xmax>30", r"<xmin>70</xmin>\1<xmax>90"),
        r"b\.xml: object 1, dog: the box \[69, 1, 90, 30\] \(xyxy\) is outside its image b\.jpg of 64x48",
    ),
    "no name": (lambda f: _edit(f, "b", "<name>dog</name>", ""), r"b\.xml: object 1: missing key 'name'"),
    "no xmin": (lambda f: _edit(f, "b", "<xmin>2</xmin>", ""), r"object 1 \(dog\): missing key 'bndbox/xmin'"),
    "xmin no number": (lambda f: _edit(f, "b", "<xmin>2<", "<xmin>two<"), r"xmin is 'two', not a number"),
    "xmin nan": (lambda f: _edit(f, "b", "<xmin>2<", "<xmin>nan<"), r"xmin is 'nan', not a number"),
    "size no number": (lambda f: _edit(f, "b", "<width>64<", "<width>wide<"), r"size is 'wide' x '48'"),
    "empty set": (lambda f: (f / "ImageSets/Main/train.txt").write_text("\n"), r"train\.txt: the image set is empty"),
    "twice": (lambda f: (f / "ImageSets/Main/train.txt").write_text("a\na\n"), r"listed more than once: a"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_folders(folder, case):
    spoil, message = BAD[case]
    spoil(folder)
    with pytest.raises(DataError, match=message):
        open_dataset(folder, "train")


def test_all_problems_at_once(folder):
    for case in ("no image", "cut JPEG", "no name"):
        BAD[case][0](folder)
    with pytest.raises(DataError) as caught:
        open_dataset(folder, "train")
    assert len(caught.value.problems) == 3
    assert str(caught.value).startswith(f"{folder} (train): 3 problems in the data\n")


def test_unknown_split_and_masks(folder):
    with pytest.raises(DataError, match="no such image set; splits in this folder: train"):
        open_dataset(folder, "test")
    with pytest.raises(DataError, match="masks need a COCO file"):
        open_dataset(folder, "train", masks=True)


def test_no_object_at_all(tmp_path):
    with pytest.raises(DataError, match="no object in any file"):
        open_dataset(write_voc(tmp_path, {"a": []}), "train")
