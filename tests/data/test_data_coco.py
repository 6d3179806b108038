"""COCO files: pycocotools and torchvision's reader as oracles, the folder layouts, and what goes wrong in them."""

import json

import numpy as np
import pytest
import torch
from data_files import annotation, coco_data, save_image, truncate, write_coco
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from torchvision.datasets import CocoDetection

from roikit.data import DataError, open_dataset, splits_of


def blob(seed=0):
    rows, columns = np.mgrid[:48, :64]
    return ((rows - 20 - seed) ** 2 + (columns - 30) ** 2 < 150).astype(np.uint8)


def masks_of_every_kind():
    data = coco_data()
    compressed = coco_mask.encode(np.asfortranarray(blob()))
    compressed["counts"] = compressed["counts"].decode()
    flat = blob(5).flatten(order="F")
    changes = np.flatnonzero(np.diff(np.concatenate([[0], flat, [0]])))
    counts = np.diff(np.concatenate([[0], changes, [flat.size]])).tolist()
    data["annotations"] += [
        annotation(4, 7, 9, [18, 8, 25, 25], segmentation=compressed, area=int(blob().sum())),
        annotation(5, 7, 2, [18, 8, 25, 25], segmentation={"size": [48, 64], "counts": counts}, iscrowd=1),
        annotation(6, 12, 2, [5, 5, 40, 30], segmentation=[[5, 5, 45, 5, 25, 20], [30, 25, 44.5, 25, 44, 34.5]]),
    ]
    return data


def test_agrees_with_pycocotools_and_torchvision(tmp_path, capsys):
    path = write_coco(tmp_path, masks_of_every_kind())
    dataset = open_dataset(tmp_path, "train", masks=True)
    oracle, reader = COCO(str(path)), CocoDetection(str(tmp_path / "images" / "train"), str(path))
    assert dataset.category_ids == [2, 9, 40] and dataset.categories == ["two", "nine", "forty"]
    assert len(dataset) == len(reader) == 3
    for index, number in enumerate(reader.ids):
        image, target = dataset[index]
        picture, annotations = reader[index]
        assert target["image_id"] == number
        np.testing.assert_array_equal(image.permute(1, 2, 0).numpy(), np.array(picture))
        assert target["masks"].dtype == torch.uint8 and target["masks"].shape == (len(annotations), 48, 64)
        for k, entry in enumerate(annotations):
            x, y, w, h = entry["bbox"]
            assert target["boxes"][k].tolist() == [x, y, x + w, y + h]
            assert dataset.category_ids[target["labels"][k] - 1] == entry["category_id"]
            assert target["area"][k] == entry["area"] and target["iscrowd"][k] == entry["iscrowd"]
            np.testing.assert_array_equal(target["masks"][k].numpy(), oracle.annToMask(entry))
    assert dataset.report.crowd == 1


def test_without_masks(tmp_path):
    write_coco(tmp_path, coco_data())
    dataset = open_dataset(tmp_path, "train")
    assert not dataset.has_masks and "masks" not in dataset[0][1]
    assert dataset[2][1]["boxes"].shape == (0, 4) and dataset.report.empty == 1  # image 12


@pytest.mark.parametrize(
    ("split", "file", "images"),
    [
        ("train", "annotations/instances_train.json", "images/train"),
        ("train", "annotations/instances_train.json", "train"),
        ("train", "annotations/train.json", "images"),
        ("train", "train.json", ""),
        ("train", "train.json", "images/train"),
        ("train", "train/_annotations.coco.json", "train"),
        ("val", "annotations/instances_val2017.json", "val2017"),
        ("val2017", "annotations/instances_val2017.json", "images/val2017"),
        ("train", "annotations/instances_train2017.json", "images/train2017"),
    ],
)
def test_layouts(tmp_path, split, file, images):
    path = write_coco(tmp_path, coco_data(), file, images)
    for source in (tmp_path, path):
        dataset = open_dataset(source, split)
        assert len(dataset) == 3 and dataset.file_name(0) == str(tmp_path / images / "3.jpg")
    assert len(splits_of(tmp_path)) == 1


def test_other_files_of_cocos_folder_are_no_splits(tmp_path):
    for name in ("captions_val2017", "person_keypoints_val2017", "instances_val2017"):
        write_coco(tmp_path, coco_data(), f"annotations/{name}.json", "val2017")
    assert splits_of(tmp_path) == ["val2017"]


def test_split_in_the_name_of_a_file(tmp_path):
    for split in ("train", "val"):
        write_coco(tmp_path, coco_data(), f"labels_{split}.json", f"{split}")
    assert "/val/" in open_dataset(str(tmp_path / "labels_{split}.json"), "val").file_name(0)


def test_file_names_with_folders(tmp_path):
    data = coco_data()
    for image in data["images"]:
        image["file_name"] = f"some/where/{image['file_name']}"
    write_coco(tmp_path, data, images="")
    assert open_dataset(tmp_path, "train").file_name(0) == str(tmp_path / "some/where/3.jpg")


def test_dropped_clipped_and_missing_optional_keys(tmp_path):
    data = coco_data()
    data["annotations"] += [
        annotation(4, 12, 9, [5, 5, 0, 10]),
        annotation(5, 12, 9, [5, 5, 10, -3]),
        annotation(6, 12, 9, [-2.5, 40, 20, 20]),
        annotation(7, 12, 9, [10, 10, 54.005, 10]),
    ]
    for key in ("area", "iscrowd", "segmentation"):
        del data["annotations"][0][key]
    del data["images"][2]["width"]
    write_coco(tmp_path, data)
    dataset = open_dataset(tmp_path, "train")
    assert (dataset.report.degenerate, dataset.report.clipped) == (2, 1)
    torch.testing.assert_close(dataset[2][1]["boxes"], torch.tensor([[0, 40, 17.5, 48], [10, 10, 64, 20]]))
    assert dataset[0][1]["area"][0] == 200 and dataset[0][1]["iscrowd"][0] == 0
    text = str(dataset.report)
    assert "annotation id 4" in text and "1 annotations have no area" in text
    assert "1 annotations give no image size" in text


def test_masks_of_dropped_boxes_go_too(tmp_path):
    data = coco_data()
    data["annotations"].insert(0, annotation(9, 3, 9, [5, 5, 0, 10]))
    write_coco(tmp_path, data)
    target = open_dataset(tmp_path, "train", masks=True)[0][1]
    assert target["masks"].flatten(1).sum(1).tolist() == [200, 64 * 48]


@pytest.mark.parametrize("annotated", [(64, 48), (48, 64)])
def test_rotated_photographs(tmp_path, annotated):
    """The annotated size says whether boxes refer to the stored pixels or to the upright picture."""
    data = coco_data()
    for image in data["images"]:
        image["width"], image["height"] = annotated
    data["annotations"] = [annotation(1, 3, 9, [1, 2, 3, 4])]
    write_coco(tmp_path, data)
    for image in data["images"]:
        exif = Image.Exif()
        exif[0x0112] = 6
        pixels = np.zeros((48, 64, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / "train" / image["file_name"], exif=exif)
    dataset = open_dataset(tmp_path, "train")
    assert dataset[0][0].shape == (3, annotated[1], annotated[0])
    assert ("EXIF rotation" in str(dataset.report)) == (annotated == (64, 48))


def change(**values):
    def spoil(folder, data):
        data["annotations"][0].update(values)

    return spoil


def remove(key):
    def spoil(folder, data):
        del data["annotations"][0][key]

    return spoil


def image(**values):
    def spoil(folder, data):
        data["images"][0].update(values)

    return spoil


def do(action):
    return lambda folder, data: action(data)


BAD = {
    "unknown category": (change(category_id=5), r"annotation id 1: unknown category_id 5; known: 2, 9, 40"),
    "category no id": (change(category_id=True), r"unknown category_id True"),
    "unknown image": (change(image_id=99), r"annotation id 1: image_id 99 is not among the images"),
    "no bbox": (remove("bbox"), r"annotation id 1: missing key 'bbox'"),
    "no category": (remove("category_id"), r"missing key 'category_id'"),
    "no image_id": (remove("image_id"), r"missing key 'image_id'"),
    "three numbers": (change(bbox=[1, 2, 3]), r"bbox \[1, 2, 3\] is not four finite numbers"),
    "nan": (change(bbox=[1, 2, 3, float("nan")]), r"is not four finite numbers"),
    "huge": (change(bbox=[1, 2, 3, 10**400]), r"is not four finite numbers"),
    "text": (change(bbox=[1, 2, 3, "4"]), r"is not four finite numbers"),
    "bad area": (change(area=-4), r"area -4 is not"),
    "bad crowd": (change(iscrowd=2), r"iscrowd 2 is not 0 or 1"),
    "outside": (change(bbox=[64, 0, 5, 5]), r"the box \[64, 0, 69, 5\] \(xyxy\) is outside its image 3\.jpg of 64x48"),
    "annotation no object": (do(lambda d: d["annotations"].append(3)), r"annotations\[3\]: int, not an object"),
    "annotation twice": (do(lambda d: d["annotations"].append(d["annotations"][0])), r"id 1: the id is used more than"),
    "image twice": (do(lambda d: d["images"].append(d["images"][0])), r"images\[3\]: id 7 is used more than once"),
    "image no object": (do(lambda d: d["images"].append("x")), r"images\[3\]: str, not an object"),
    "image without name": (do(lambda d: d["images"][0].pop("file_name")), r"images\[0\]: missing key 'file_name'"),
    "image without id": (do(lambda d: d["images"][0].pop("id")), r"images\[0\]: missing key 'id'"),
    "image name": (image(file_name=5), r"file_name 5 is not a name"),
    "image name with zero": (image(file_name="a\0b"), r"cannot be read|missing image"),
    "image id text": (image(id="seven"), r"images\[0\]: id 'seven' is not an integer"),
    "image size text": (image(width="64"), r"images\[0\]: size '64' x 48"),
    "category twice": (do(lambda d: d["categories"].append(d["categories"][0])), r"categories\[3\]: id 9 is used"),
    "name twice": (do(lambda d: d["categories"].append({"id": 4, "name": "two"})), r"name 'two' is used more than"),
    "category no name": (do(lambda d: d["categories"].append({"id": 4})), r"categories\[3\]: missing key 'name'"),
    "no annotations": (do(lambda d: d.pop("annotations")), r"no 'annotations': not a COCO file of labelled images"),
    "annotations no list": (do(lambda d: d.update(annotations={})), r"no list under 'annotations'"),
    "no images": (do(lambda d: d["images"].clear()), r"'images' is empty"),
    "no categories": (do(lambda d: d["categories"].clear()), r"'categories' is empty"),
    "wrong size": (image(width=63), r"7\.jpg: the image is 64x48 pixels, .*instances_train\.json says 63x48"),
    "missing image": (lambda f, d: (f / "images/train/3.jpg").unlink(), r"3\.jpg: missing image: no such file"),
    "truncated": (lambda f, d: truncate(f / "images/train/3.jpg"), r"3\.jpg: cannot be decoded"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files(tmp_path, case):
    spoil, message = BAD[case]
    data = coco_data()
    path = write_coco(tmp_path, data)
    spoil(tmp_path, data)
    path.write_text(json.dumps(data))
    with pytest.raises(DataError, match=message) as caught:
        open_dataset(tmp_path, "train")
    assert str(tmp_path) in str(caught.value)


MASKS = {
    "none": (None, "missing key 'segmentation', and masks were asked for"),
    "odd polygon": ([[1, 2, 3, 4, 5, 6, 7]], "not a list of x, y pairs"),
    "text polygon": ([[1, 2, 3, 4, 5, "6"]], "not a finite number"),
    "text": ("abc", "of type str"),
    "no counts": ({"size": [48, 64]}, "no 'size' or no 'counts'"),
    "other size": ({"size": [64, 48], "counts": [3072]}, "segmentation is of size [64, 48] (height, width)"),
    "short": ({"size": [48, 64], "counts": [10, 10]}, "cover 20 pixels, the image has 3072"),
    "negative": ({"size": [48, 64], "counts": [3082, -10]}, "not whole numbers of pixels"),
    "broken string": ({"size": [48, 64], "counts": "Qoo"}, "no compressed run lengths"),
    "no string": ({"size": [48, 64], "counts": 5}, "of type int"),
    "letters": ({"size": [48, 64], "counts": "\u00e4\u00f6"}, "no compressed run lengths"),
}


@pytest.mark.parametrize("case", MASKS)
def test_bad_masks(tmp_path, case):
    segmentation, message = MASKS[case]
    data = coco_data()
    data["annotations"][0]["segmentation"] = segmentation
    if segmentation is None:
        del data["annotations"][0]["segmentation"]
    write_coco(tmp_path, data)
    with pytest.raises(DataError) as caught:
        open_dataset(tmp_path, "train", masks=True)
    assert message in str(caught.value) and "annotation id 1" in str(caught.value)
    assert len(open_dataset(tmp_path, "train")) == 3  # without masks it is not looked at


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"images": [', "broken JSON (Expecting value at line 1, column 13)"),
        ("", "broken JSON"),
        ("[]", "holds a list"),
        ("[" * 100000, "broken JSON (nested too deeply)"),
        (b"\xff\xfe\x00", "no text"),
    ],
)
def test_broken_json(tmp_path, text, message):
    path = tmp_path / "train.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    for source in (tmp_path, path):
        with pytest.raises(DataError) as caught:
            open_dataset(source, "train")
        assert str(caught.value).startswith(f"{path}: ") and message in str(caught.value)
        assert "\n" not in str(caught.value)


def test_only_the_first_problems_are_shown(tmp_path):
    data = coco_data()
    data["annotations"] = [annotation(n, 3, 77, [1, 1, 5, 5]) for n in range(35)]
    path = write_coco(tmp_path, data)
    with pytest.raises(DataError) as caught:
        open_dataset(tmp_path, "train")
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{path}: 35 problems in the data"
    assert len(lines) == 22 and lines[-1].strip() == "... and 15 more"
    assert len(caught.value.problems) == 35


def test_paths_that_are_no_data_set(tmp_path):
    cases = {
        tmp_path / "none": "no such file or folder",
        tmp_path: "the folder is empty",
        save_image(tmp_path / "x" / "a.jpg"): "not a data set; expected a folder, a COCO .json file, a YOLO",
        tmp_path / "x": "no data set that is known: neither COCO",
    }
    for path, message in cases.items():
        if path == tmp_path:
            (tmp_path / "e").mkdir()
            path = tmp_path / "e"
        with pytest.raises(DataError, match=message):
            open_dataset(path, "train")
    write_coco(tmp_path / "c", coco_data())
    with pytest.raises(DataError, match="no annotation file for split 'test'; splits found: train"):
        open_dataset(tmp_path / "c", "test")


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
