"""DOTA's layout: quadrilaterals, difficult objects, splits, what is wrong in the files; oriented boxes of others."""

from __future__ import annotations

import math

import pytest
import torch
from data_files import boxes_of, coco_data, save_image, write_coco, write_voc, write_yolo

from roikit.data import DataError, contact_sheet, open_dataset, splits_of
from roikit.data.transforms import train_transform
from roikit.oriented import corners, oriented_iou

HEADER = "imagesource:GoogleEarth\ngsd:0.146\n"
DIAMOND = "20 5 30 15 20 25 10 15"
LINES = f"{DIAMOND} ship 0\n40 10 60 10 60 20 40 20 plane 1\n"


def write_dota(folder, labels="labelTxt", splits=("train", "val"), lines=LINES):
    """Two images a split: one with a diamond and a difficult rectangle, one with nothing."""
    for split in splits:
        save_image(folder / split / "images" / f"P-{split}.png", 64, 48)
        save_image(folder / split / "images" / f"Q-{split}.png", 64, 48, 1)
        (folder / split / labels).mkdir(parents=True, exist_ok=True)
        (folder / split / labels / f"P-{split}.txt").write_text(HEADER + lines)
        (folder / split / labels / f"Q-{split}.txt").write_text(HEADER)
    return folder


@pytest.mark.parametrize("labels", ["labelTxt", "labelTxt-v1.5", "annfiles"])
def test_dota(tmp_path, labels):
    folder = write_dota(tmp_path / "d", labels)
    assert splits_of(folder) == ["train", "val"]
    dataset = open_dataset(folder, "val", oriented=True)
    assert dataset.categories == ["plane", "ship"] and len(dataset) == 2
    assert boxes_of(dataset) == {("ship", 10.0, 5.0, 30.0, 25.0), ("plane", 40.0, 10.0, 60.0, 20.0)}
    assert not any("size was taken" in note for note in dataset.report.notes) and dataset.report.crowd == 1
    target = dataset.target(0)
    assert target["iscrowd"].tolist() == [0, 1] and "masks" not in target
    assert target["oriented_boxes"][1].tolist() == [50, 15, 20, 10, 0]
    diamond = target["oriented_boxes"][0].tolist()
    assert diamond[:4] == pytest.approx([20, 15, 200**0.5, 200**0.5]) and abs(diamond[4]) == pytest.approx(math.pi / 4)
    assert dataset.target(1)["oriented_boxes"].shape == (0, 5)
    assert "oriented_boxes" not in open_dataset(folder, "train").target(0)  # unless asked for
    mask = open_dataset(folder, "train", True).target(0)["masks"][0]
    assert mask.sum() == pytest.approx(200, abs=30)
    both = open_dataset(folder, "train+val", oriented=True)
    assert len(both) == 4 and both.target(2)["oriented_boxes"].shape == (2, 5)


def test_dota_without_splits(tmp_path):
    folder = tmp_path / "d"
    (folder / "labelTxt").mkdir(parents=True)
    for number in range(5):
        save_image(folder / "images" / f"{number}.jpg", seed=number)
        (folder / "labelTxt" / f"{number}.txt").write_text(f"{DIAMOND} ship 0\n")
    train, val = (open_dataset(folder, split, oriented=True) for split in splits_of(folder))
    assert (len(train), len(val)) == (4, 1) and any("comes without splits" in note for note in val.report.notes)


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ("1 2 3 4 ship 0\n", "object 1: 6 words in '1 2 3 4 ship 0'; a line is eight numbers, a category"),
        ("1 2 3 4 5 6 7 x ship 0\n", "object 1: '1 2 3 4 5 6 7 x' are not eight numbers"),
        ("1 2 3 4 5 6 7 inf ship 0\n", "are not finite numbers"),
        (f"{DIAMOND} ship 0\n{DIAMOND} ship hard\n", "object 2 (ship): difficult is 'hard', not 0, 1 or 2"),
        ("200 5 210 5 210 15 200 15 ship 0\n", "object 1, ship: the box [200, 5, 210, 15] (xyxy) is outside its image"),
    ],
)
def test_wrong_lines(tmp_path, lines, reason):
    folder = write_dota(tmp_path / "d", lines=lines)
    with pytest.raises(DataError) as raised:
        open_dataset(folder, "train", oriented=True)
    assert reason in str(raised.value) and "P-train.txt" in str(raised.value)


def test_what_is_missing_or_flat(tmp_path):
    folder = write_dota(tmp_path / "d", lines=f"{DIAMOND} ship\n5 5 15 15 25 25 35 35 line 0\n")
    dataset = open_dataset(folder, "val", oriented=True)
    assert dataset.report.degenerate == 1 and dataset.target(0)["oriented_boxes"].shape == (1, 5)
    with pytest.raises(DataError, match="has no split 'test'; splits are train, val"):
        open_dataset(folder, "test")
    (folder / "val" / "images" / "P-val.png").unlink()
    with pytest.raises(DataError, match=r"P-val\.png: missing image: no such file"):
        open_dataset(folder, "val")
    for file in folder.rglob("labelTxt/P-*.txt"):
        file.write_text(HEADER)
    with pytest.raises(DataError, match="no object in any label file"):
        open_dataset(folder, "train")


def test_oriented_boxes_of_other_layouts(tmp_path):
    """Around the masks; the files of VOC and boxes of YOLO have none."""
    write_coco(tmp_path / "coco", coco_data())
    dataset = open_dataset(tmp_path / "coco", "train", oriented=True)
    found = {tuple(row) for i in range(3) for row in dataset.target(i)["oriented_boxes"].tolist()}
    assert (20, 10, 20, 10, 0) in found and (32, 24, 64, 48, 0) in found and "masks" not in dataset.target(0)
    with pytest.raises(DataError, match="need a COCO file"):
        open_dataset(write_voc(tmp_path / "voc", {"a": [("cat", (1, 1, 9, 9), 0)]}), "train", oriented=True)
    with pytest.raises(DataError, match="which need polygons"):
        open_dataset(write_yolo(tmp_path / "yolo"), "train", oriented=True)


def test_oriented_boxes_move_with_the_image(tmp_path):
    """Flips, resizing and cropping move the corners as they move pixels."""
    dataset = open_dataset("shapes:tiny", "val", True, oriented=True)
    image, target = dataset[0]
    for settings in ({"flip": 1.0}, {"flip": 0.0, "vertical_flip": 1.0}, {"flip": 1.0, "vertical_flip": 1.0}):
        _, after = train_transform(**settings)(image, dict(target))
        wanted = corners(target["oriented_boxes"])
        if settings.get("flip"):
            wanted[..., 0] = image.shape[2] - wanted[..., 0]
        if settings.get("vertical_flip"):
            wanted[..., 1] = image.shape[1] - wanted[..., 1]
        found = corners(after["oriented_boxes"])
        assert torch.cdist(found, wanted).amin(2).max() < 1e-3  # corners may change places
    torch.manual_seed(0)
    _, after = train_transform(flip=0.0, scale=(2.0, 2.0), crop=(192, 192))(image, dict(target))
    grown = target["oriented_boxes"] * torch.tensor([2, 2, 2, 2, 1.0])
    assert (oriented_iou(after["oriented_boxes"], grown).diagonal() > 0.999).all()
    _, after = train_transform(flip=0.0, crop=(40, 96))(image, dict(target))
    assert len(after["oriented_boxes"]) == len(after["boxes"]) == len(after["labels"])


def test_they_are_drawn(tmp_path):
    dataset = open_dataset(write_dota(tmp_path / "d"), "train", oriented=True)
    assert contact_sheet(dataset, tmp_path / "sheet.png", 2).stat().st_size > 1000
