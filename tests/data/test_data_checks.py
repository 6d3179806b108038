"""The check before training: remembered for whole files, repeated for changed ones."""

import json
import os
import pickle

import pytest
from data_files import coco_data, save_image, truncate, write_coco

from roikit.data import DataError, checks, open_dataset
from roikit.data.errors import Problem


@pytest.fixture
def decoded(monkeypatch):
    """Names of the files that were really decoded."""
    names = []
    inspect = checks.inspect_image

    def counting(path, **how):
        names.append(path.name)
        return inspect(path)

    monkeypatch.setattr(checks, "inspect_image", counting)
    return names


def test_a_second_start_decodes_only_what_changed(tmp_path, decoded):
    write_coco(tmp_path, coco_data())
    first = open_dataset(tmp_path, "train")
    assert sorted(decoded) == ["12.jpg", "3.jpg", "7.jpg"]
    decoded.clear()
    second = open_dataset(tmp_path, "train")
    assert decoded == [] and [r.width for r in second.records] == [r.width for r in first.records]
    save_image(tmp_path / "images/train/7.jpg", seed=99)
    os.utime(tmp_path / "images/train/7.jpg", ns=(1, 1))
    open_dataset(tmp_path, "train")
    assert decoded == ["7.jpg"]


def test_a_file_cut_later_is_noticed_and_a_bad_one_is_not_remembered(tmp_path, decoded):
    write_coco(tmp_path, coco_data())
    open_dataset(tmp_path, "train")
    truncate(tmp_path / "images/train/3.jpg")
    for _ in range(2):
        decoded.clear()
        with pytest.raises(DataError, match=r"3\.jpg: cannot be decoded"):
            open_dataset(tmp_path, "train")
        assert decoded == ["3.jpg"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"a": 1}', '{"a": [1, 2]}'])
def test_a_broken_cache_is_not_trusted(tmp_path, decoded, text):
    write_coco(tmp_path, coco_data())
    open_dataset(tmp_path, "train")
    checks._cache_file([tmp_path / "images/train/3.jpg"]).write_text(text)
    decoded.clear()
    open_dataset(tmp_path, "train")
    assert len(decoded) == 3
    assert json.loads(checks._cache_file([tmp_path / "images/train/3.jpg"]).read_text())


def test_without_a_writable_cache_folder(tmp_path, decoded, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ROIKIT_CACHE", str(tmp_path / "file"))
    write_coco(tmp_path / "data", coco_data())
    for _ in range(2):
        open_dataset(tmp_path / "data", "train")
    assert len(decoded) == 6


def test_progress_is_called(tmp_path):
    write_coco(tmp_path, coco_data())
    calls = []
    open_dataset(tmp_path, "train", progress=lambda *call: calls.append(call))
    assert calls == [("reading annotations", 3, 3), ("checking images", 3, 3)]


def test_an_image_replaced_after_the_check(tmp_path):
    write_coco(tmp_path, coco_data())
    dataset = open_dataset(tmp_path, "train")
    save_image(tmp_path / "images/train/3.jpg", 10, 12)
    with pytest.raises(DataError, match=r"3\.jpg: 10x12 pixels now, 64x48 when the data was checked"):
        dataset[0]


def test_errors_travel_between_processes():
    error = DataError("what", (Problem("file", "reason"),))
    copy = pickle.loads(pickle.dumps(error))
    assert str(copy) == "what" and copy.problems == error.problems and isinstance(copy, ValueError)
