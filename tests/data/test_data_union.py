"""Several splits as one."""

from __future__ import annotations

import json

import pytest
import tiny_run
from data_files import coco_data, write_coco

from roikit.data import DataError, only, open_dataset


@pytest.fixture
def coco(tmp_path):
    return tiny_run.make_coco(tmp_path / "coco", images=3)


def test_two_splits_are_one(coco):
    parts = [open_dataset(coco, split, masks=True) for split in ("train", "val")]
    both = open_dataset(coco, "train+val", masks=True)
    assert len(both) == 6 and both.has_masks and both.categories == parts[0].categories
    assert both.report.boxes == sum(part.report.boxes for part in parts) and both.report.images == 6
    for index in range(6):
        image, target = both[index]
        its_image, its = parts[index // 3][index % 3]
        assert bool((image == its_image).all()) and bool((target["boxes"] == its["boxes"]).all())
    # both files number their images from 1
    assert [both.records[i].image_id for i in range(6)] == [1, 2, 3, 4, 5, 6]
    assert "numbered anew" in str(both.report)


def test_ids_that_differ_stay(coco):
    file = coco / "annotations" / "instances_val.json"
    content = json.loads(file.read_text())
    for image in content["images"]:
        image["id"] += 100
    for annotation in content["annotations"]:
        annotation["image_id"] += 100
    file.write_text(json.dumps(content))
    both = open_dataset(coco, "train+val")
    assert [record.image_id for record in both.records] == [1, 2, 3, 101, 102, 103]
    assert "anew" not in str(both.report)


def test_what_is_no_union(coco):
    with pytest.raises(DataError, match=r"001\.png: is in two of the splits"):
        open_dataset(coco, "train+train")
    file = coco / "annotations" / "instances_val.json"
    content = json.loads(file.read_text())
    content["categories"][0]["name"] = "ring"
    file.write_text(json.dumps(content))
    with pytest.raises(DataError, match="different categories: disc, box; ring, box"):
        open_dataset(coco, "train+val")
    with pytest.raises(DataError, match="no annotation file for split 'test'"):
        open_dataset(coco, "train+test")


def test_some_categories_alone(tmp_path):
    write_coco(tmp_path, coco_data())
    whole = open_dataset(tmp_path, "train", True)
    some = only(whole, ["forty", "two"])
    assert (some.categories, some.category_ids, len(some), some.report.boxes) == (["forty", "two"], [40, 2], 3, 2)
    by_id = {record.image_id: record for record in some.records}
    assert by_id[7].labels.tolist() == [1] and by_id[3].labels.tolist() == [2] and len(by_id[12].boxes) == 0
    assert by_id[3].boxes.tolist() == [[0.0, 0.0, 64.0, 48.0]] and len(by_id[3].segmentations) == 1
    assert "only boxes of forty, two are taken" in some.report.notes and some.report.empty == 1
    for names, message in ((["three"], "has no category 'three'; it has two, nine, forty"), ([], "must be some")):
        with pytest.raises(DataError, match=message):
            only(whole, names)
