"""Shapes: the same pictures everywhere, boxes and masks that belong to them, written once and whole."""

import dataclasses
import hashlib
import json
import multiprocessing
import os
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO

from roikit.data import DataError, contact_sheet, describe, open_dataset
from roikit.data.shapes import CLASSES, LEVELS, draw, shapes_folder, write
from roikit.data.shapes.figures import Capsule, Ellipse, Part, Polygon, figure
from roikit.data.shapes.paint import Pose, extent, silhouette
from roikit.data.shapes.scene import pose_of

TINY = LEVELS["tiny"]
SMALL = dataclasses.replace(LEVELS["full"], name="small", width=160, height=120, train=10, val=6, size=(12, 60))


def digest(level, split, index):
    pixels, figures = draw(level, split, index)
    state = hashlib.sha256(pixels.tobytes())
    for found in figures:
        state.update(bytes([found.label]) + np.packbits(found.mask).tobytes())
    return state.hexdigest()[:16]


@pytest.mark.parametrize(
    ("level", "split", "index", "expected"),
    [
        (TINY, "train", 0, "4b69d37383cc2875"),
        (TINY, "val", 3, "221cb95d1189f080"),
        (LEVELS["easy"], "train", 17, "bbdbec74f76f9531"),
        (LEVELS["full"], "val", 2, "75c25889167fa50f"),
    ],
)
def test_the_same_pixels_as_ever(level, split, index, expected):
    """A change of these needs a new `shapes.write.VERSION`."""
    assert digest(level, split, index) == expected


def test_pictures_differ():
    seen = {digest(TINY, split, index) for split in ("train", "val") for index in range(4)}
    assert len(seen) == 8
    assert digest(dataclasses.replace(TINY, seed=1), "train", 0) not in seen
    with pytest.raises(ValueError, match="train and val"):
        draw(TINY, "test", 0)


def contents(folder):
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


def test_any_number_of_processes_writes_the_same(tmp_path):
    one = shapes_folder(SMALL, processes=1, root=tmp_path / "one")
    two = shapes_folder(SMALL, processes=2, root=tmp_path / "two")
    assert contents(one) == contents(two)
    assert len(contents(one)) == 10 + 6 + 2


def test_boxes_masks_and_areas_agree(tmp_path):
    folder = shapes_folder(SMALL, processes=1, root=tmp_path)
    dataset = open_dataset(folder, "train", masks=True)
    assert dataset.categories == list(CLASSES) and len(dataset) == 10
    assert dataset.report.degenerate == dataset.report.clipped == 0 and dataset.report.boxes > 20
    oracle = COCO(str(folder / "annotations" / "instances_train.json"))
    for index in range(len(dataset)):
        image, target = dataset[index]
        assert image.shape == (3, 120, 160)
        entries = oracle.loadAnns(oracle.getAnnIds(imgIds=target["image_id"]))
        assert [e["category_id"] for e in entries] == target["labels"].tolist()
        assert (target["masks"].sum(0) <= 1).all()  # what is seen of one is not seen of another
        for mask, box, area, entry in zip(target["masks"], target["boxes"], target["area"], entries, strict=True):
            np.testing.assert_array_equal(mask.numpy(), oracle.annToMask(entry))
            rows, columns = torch.nonzero(mask, as_tuple=True)
            edges = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            assert box.tolist() == [float(edge) for edge in edges]
            assert area == mask.sum()
            assert -np.pi <= entry["angle"] <= np.pi and 0 < entry["visible"] <= 1


def test_masks_lie_on_the_figures():
    """Where a mask is, the picture differs from the same picture without figures."""
    for index in range(3):
        level = dataclasses.replace(TINY, grain=0)
        pixels, figures = draw(level, "train", index)
        again, _ = draw(dataclasses.replace(level, figures=(0, 0)), "train", index)
        changed = (pixels.astype(int) != again).any(2)
        mask = np.any([f.mask for f in figures], 0)
        assert changed[mask].mean() > 0.98
        rows, columns = np.nonzero(changed & ~mask)
        inside = sum(
            mask[max(r - 2, 0) : r + 3, max(c - 2, 0) : c + 3].any() for r, c in zip(rows, columns, strict=True)
        )
        assert inside == len(rows)  # the soft edge of the outline, no further out


def test_sizes_and_occlusion_keep_to_the_level():
    level = dataclasses.replace(LEVELS["full"], width=320, height=320)
    sides, count = [], 0
    for index in range(12):
        for found in draw(level, "train", index)[1]:
            x1, y1, x2, y2 = found.box
            sides.append(max(x2 - x1, y2 - y1))
            assert found.visible > 1 - level.hidden - level.outside
            count += 1
    assert count > 50 and min(sides) < 30 and max(sides) > 80 and max(sides) <= 206  # 200 and the outline


def test_classes_share_colours_and_sizes():
    """Nothing but the parts tells a class: mean colour and size of 5 classes agree within their spread."""
    sides = {label: [] for label in range(1, 6)}
    colours = {label: [] for label in range(1, 6)}
    level = dataclasses.replace(TINY, figures=(3, 3), width=160, height=160)
    for index in range(120):
        pixels, figures = draw(level, "train", index)
        for found in figures:
            x1, y1, x2, y2 = found.box
            sides[found.label].append(max(x2 - x1, y2 - y1))
            colours[found.label].append(pixels[found.mask].mean(0))
    everything = np.concatenate([np.array(s) for s in sides.values()])
    for label in sides:
        assert len(sides[label]) > 30
        standard_error = everything.std() / np.sqrt(len(sides[label]))
        assert abs(np.mean(sides[label]) - everything.mean()) < 4 * standard_error
        own = np.array(colours[label])
        assert (abs(own.mean(0) - 105) < 30).all() and own.std(0).min() > 25


@pytest.mark.parametrize("name", CLASSES)
def test_limbs_move(name):
    """Every figure of a class has the same parts, each time at other places."""
    first, second = (figure(name, np.random.default_rng(seed)) for seed in (1, 2))
    assert [type(p.shape) for p in first] == [type(p.shape) for p in second]
    moved = sum(a.shape != b.shape for a, b in zip(first, second, strict=True))
    assert moved >= len(first) - 1  # the body stays


def test_the_angle_is_counter_clockwise_as_seen():
    level = dataclasses.replace(TINY, turn=180, skew=0)
    for seed in range(5):
        pose, angle = pose_of(np.random.default_rng(seed), level, [Part(Ellipse((0, 0), 1, 1))])
        up = np.array(pose.to_image(0, -1)) / pose.scale  # y points down in the image
        # straight up, turned counter-clockwise by 90 degrees, points left
        np.testing.assert_allclose(up, [-np.sin(np.radians(angle)), -np.cos(np.radians(angle))], atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "area"),
    [
        (Capsule((-1.0, 0.0), (1.0, 0.5), 0.4, 0.4), 2 * 0.4 * np.hypot(2, 0.5) + np.pi * 0.16),
        (Ellipse((0.2, 0.1), 1.0, 0.8, (0.6, 0.8)), np.pi * 0.8),
        (Polygon(((0.0, -1.0), (1.0, 1.0), (-1.0, 1.0))), 2.0),
        (Polygon(((0.0, -1.0), (-1.0, 1.0), (1.0, 1.0))), 2.0),
    ],
)
@pytest.mark.parametrize("scale", [20.0, 60.0])
def test_areas_of_parts(shape, area, scale):
    """The painted area is the shape's, plus its outline."""
    pose = Pose(scale, 0.0, 0.0, scale, 100.0, 100.0)
    painted = silhouette([Part(shape)], pose, 200, 200).sum()
    line = 0.6 + 0.8 * min(scale / 60, 1)
    x1, y1, x2, y2 = extent([Part(shape)], pose)
    around = 2 * (x2 - x1 + y2 - y1)  # at least the perimeter
    assert area * scale**2 < painted < area * scale**2 + around * line * 1.2


def test_drawn_once_and_never_again(cache, monkeypatch):
    monkeypatch.setenv("ROIKIT_CACHE", str(cache / "once"))
    train = open_dataset("shapes:tiny", "train")
    folder = shapes_folder("shapes:tiny")
    times = {f: f.stat().st_mtime_ns for f in folder.rglob("*")}
    monkeypatch.setattr(write, "draw", lambda *_: pytest.fail("drawn again"))
    val = open_dataset("shapes:tiny", "val")
    assert {f: f.stat().st_mtime_ns for f in folder.rglob("*")} == times
    assert (len(train), len(val)) == (TINY.train, TINY.val)
    assert train.report.source == "shapes:tiny (train)" and str(folder) in str(train.report)
    assert [p.name for p in folder.parent.iterdir()] == [folder.name]


def _ask(root, barrier, results):
    barrier.wait()
    results.put(str(shapes_folder(TINY, processes=1, root=root)))


def test_two_at_once(tmp_path):
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(2), context.Queue()
    children = [context.Process(target=_ask, args=(tmp_path, barrier, results)) for _ in range(2)]
    for child in children:
        child.start()
    folders = {results.get(timeout=60) for _ in children}
    for child in children:
        child.join(60)
        assert child.exitcode == 0
    assert len(folders) == 1 and len(list(tmp_path.iterdir())) == 1
    assert len(open_dataset(folders.pop(), "train")) == TINY.train


def test_interrupted_drawing_leaves_nothing(tmp_path, monkeypatch):
    def stop(level, split, index):
        if index == 9:
            raise KeyboardInterrupt
        return draw(level, split, index)

    monkeypatch.setattr(write, "draw", stop)
    with pytest.raises(KeyboardInterrupt):
        shapes_folder(TINY, processes=1, root=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_killed_drawing_is_cleared_away_later(tmp_path):
    old, new = tmp_path / ".drawing-old", tmp_path / ".drawing-new"
    for folder in (old, new):
        folder.mkdir()
    os.utime(old, (1, 1))
    shapes_folder(TINY, processes=1, root=tmp_path)
    assert not old.exists() and new.exists()


def test_a_damaged_cache_is_reported(tmp_path):
    folder = shapes_folder(TINY, processes=1, root=tmp_path)
    (folder / "images" / "train" / "000003.jpg").unlink()
    with pytest.raises(DataError, match=r"000003\.jpg: missing image"):
        open_dataset(folder, "train")


def test_unknown_level_and_split():
    with pytest.raises(
        DataError, match="no such level of Shapes; there are shapes:full, shapes:easy, shapes:medium, shapes:tiny"
    ):
        open_dataset("shapes:hard", "train")
    with pytest.raises(DataError, match="no split 'test'; Shapes has train and val"):
        open_dataset("shapes:tiny", "test")


def test_cache_folder_that_cannot_be_made(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ROIKIT_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match=r"cannot be written .* set ROIKIT_CACHE"):
        open_dataset("shapes:tiny", "train")


def test_no_space_left(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(write, "_draw_some", full)
    with pytest.raises(DataError, match=r"drawing tiny failed .*No space left"):
        shapes_folder(TINY, processes=1, root=tmp_path)
    assert list(tmp_path.iterdir()) == []


def _killed(*_):
    os.kill(os.getpid(), 9)


def test_a_drawing_process_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(write, "_draw_some", _killed)
    with pytest.raises(DataError, match=r"drawing tiny failed \(one of its processes was killed\)"):
        shapes_folder(TINY, processes=2, root=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_json_says_what_was_drawn(tmp_path):
    folder = shapes_folder(TINY, processes=1, root=tmp_path)
    data = json.loads((folder / "annotations" / "instances_val.json").read_text())
    assert data["level"]["width"] == TINY.width and len(data["images"]) == TINY.val
    assert [a["id"] for a in data["annotations"]] == list(range(1, len(data["annotations"]) + 1))
    shutil.rmtree(folder)


def test_describe_and_contact_sheet(tmp_path):
    dataset = open_dataset("shapes:tiny", "train")
    text = "\n".join(describe(dataset))
    assert f"{TINY.train} images, {dataset.report.boxes} boxes" in text and "96x96" in text
    rows = {line.split()[0]: line.split() for line in text.splitlines()}
    labels = torch.cat([dataset.target(i)["labels"] for i in range(len(dataset))])
    for label, name in enumerate(CLASSES, start=1):
        assert int(rows[name][1]) == (labels == label).sum()
    with Image.open(contact_sheet(dataset, tmp_path / "new" / "sheet.png", n=5, side=80)) as sheet:
        assert sheet.size == (240, 160)
