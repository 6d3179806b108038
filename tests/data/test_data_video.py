"""Videos: ImageNet VID's files, COCO's with frames, moving Shapes; neighbours, speeds, and the flow that is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from data_files import annotation, coco_data, save_image, write_coco
from torch.nn.functional import avg_pool2d

from roikit.data import DataError, only, open_dataset, splits_of
from roikit.data.shapes.levels import LEVELS
from roikit.data.shapes.moving import draw_video
from roikit.data.transforms import train_transform
from roikit.data.vid import CLASSES
from roikit.data.video import WithNeighbours, known_flow, motion, speed_of, videos_of
from roikit.layers import warp

VIDEO = "train/ILSVRC2015_VID_train_0000/ILSVRC2015_train_00000000"


def xml_of(*objects, size=(64, 48)):
    text = "".join(
        f"<object><trackid>{track}</trackid><name>{name}</name><bndbox><xmax>{x2}</xmax><xmin>{x1}</xmin><ymax>{y2}</ymax>"
        f"<ymin>{y1}</ymin></bndbox><occluded>0</occluded><generated>0</generated></object>"
        for track, name, (x1, y1, x2, y2) in objects
    )
    return f"<annotation><size><width>{size[0]}</width><height>{size[1]}</height></size>{text}</annotation>"


def write_vid(folder, frames=4):
    """A training video in which a dog walks and a car stands, and one for validation, of which nothing is labelled."""
    for video in (VIDEO, "val/ILSVRC2015_val_00000000"):
        (folder / "Annotations" / "VID" / video).mkdir(parents=True)
        for k in range(frames):
            save_image(folder / "Data" / "VID" / video / f"{k:06d}.JPEG", 64, 48, k)
            moving = (0, "n02084071", (4 + 4 * k, 10, 23 + 4 * k, 29))
            objects = (moving, (1, "n02958343", (0, 0, 9, 9))) if video == VIDEO else ()
            (folder / "Annotations" / "VID" / video / f"{k:06d}.xml").write_text(xml_of(*objects))
    sets = folder / "ImageSets" / "VID"
    sets.mkdir(parents=True)
    (sets / "VID_train_15frames.txt").write_text(f"{VIDEO} 1 1 {frames}\n{VIDEO} 1 3 {frames}\n")
    (sets / "VID_val_frames.txt").write_text("val/ILSVRC2015_val_00000000/000002 3\n")
    return folder


def test_the_thirty_classes():
    """The challenge's list, in its order."""
    names = list(CLASSES.values())
    assert len(names) == len(set(names)) == 30 and names == sorted(names)
    assert (names[0], names[29]) == ("airplane", "zebra") and all(len(n) == 9 and n[0] == "n" for n in CLASSES)


def test_vid(tmp_path):
    folder = write_vid(tmp_path / "vid")
    assert splits_of(folder) == ["train", "val", "train_15frames", "val_frames"]
    every, some = open_dataset(folder, "train"), open_dataset(folder, "train_15frames")
    assert len(every) == 4 and len(some) == 2 and every.categories == list(CLASSES.values())
    target = every.target(1)
    assert target["boxes"].tolist() == [[8, 10, 28, 30], [0, 0, 10, 10]]  # corners are pixels, and inside
    assert [every.categories[label - 1] for label in target["labels"]] == ["dog", "car"]
    assert every.records[1].tracks.tolist() == [0, 1] and every.records[1].frame == 1
    assert [record.frame for record in some.records] == [1, 3]
    assert [path.stem for path in some.videos[VIDEO]] == [f"{k:06d}" for k in range(4)]  # neighbours need no label
    assert not any("image size" in note for note in every.report.notes)
    val = open_dataset(folder, "val_frames")
    assert len(val) == 1 and val.report.empty == 1 and val.records[0].frame == 2
    dogs = only(every, ["dog"])
    assert dogs.records[2].tracks.tolist() == [0] and dogs.videos == every.videos


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (xml_of((0, "dog", (1, 1, 9, 9))), "object 1: unknown class 'dog'; ImageNet VID's 30 are n02691156 (airplane)"),
        (xml_of((0, "n02084071", (1, 1, "x", 9))), "object 1 (dog): bndbox"),
        (
            xml_of((0, "n02084071", (90, 1, 99, 9))),
            "object 1, dog: the box [90, 1, 100, 10] (xyxy) is outside",
        ),
        (xml_of(size=(65, 48)), "the image is 64x48 pixels"),
        ("<annotation><object>", "broken XML"),
    ],
)
def test_wrong_annotations(tmp_path, text, reason):
    folder = write_vid(tmp_path / "vid")
    (folder / "Annotations" / "VID" / VIDEO / "000002.xml").write_text(text)
    with pytest.raises(DataError) as raised:
        open_dataset(folder, "train")
    assert reason in str(raised.value) and "00000" in str(raised.value)


def test_what_is_missing(tmp_path):
    folder = write_vid(tmp_path / "vid")
    with pytest.raises(DataError, match="has no split 'test'; splits are train, val, train_15frames, val_frames"):
        open_dataset(folder, "test")
    with pytest.raises(DataError, match="ImageNet VID's files are read for their upright boxes only"):
        open_dataset(folder, "train", True)
    (folder / "ImageSets" / "VID" / "VID_val_frames.txt").write_text("val/ILSVRC2015_val_00000000/000009 3\n7 7 7\n")
    with pytest.raises(DataError) as raised:
        open_dataset(folder, "val_frames")
    assert "000009.xml: missing annotation" in str(raised.value) and "line 2: '7 7 7' is neither" in str(raised.value)
    (folder / "ImageSets" / "VID" / "VID_val_frames.txt").write_text("val/ILSVRC2015_val_00000000/000001 3\n")
    (folder / "Data" / "VID" / "val" / "ILSVRC2015_val_00000000" / "000001.JPEG").unlink()
    with pytest.raises(DataError, match=r"000001\.JPEG: missing image"):
        open_dataset(folder, "val_frames")


def test_speeds_by_hand(tmp_path):
    """A box of 20 pixels moves by 4 a frame: IoUs 16/24, 12/28, 8/32 with those 1, 2, 3 frames away."""
    dataset = open_dataset(write_vid(tmp_path / "vid"), "train")
    found = motion(dataset)
    one, two, three = 16 / 24, 12 / 28, 8 / 32
    assert found[0][0] == pytest.approx((one + two + three) / 3) and found[1][0] == pytest.approx((2 * one + two) / 3)
    assert found[2][1] == 1 and motion(dataset, reach=1)[0][0] == pytest.approx(one)
    assert speed_of(np.array([0.95, 0.9, 0.7, 0.69])).tolist() == [0, 1, 1, 2]


def test_coco_with_frames(tmp_path):
    """Numbers of frames may have gaps; files without them are no videos."""
    data = coco_data()
    for image, frame in zip(data["images"], (5, 0, 9), strict=True):  # of the images 7, 3, 12
        image |= {"video_id": 4, "frame_id": frame}
    data["annotations"] = [
        annotation(k, image, 9, [0, 0, 10, 10]) | {"instance_id": 8} for k, image in enumerate((3, 7))
    ]
    write_coco(tmp_path / "d", data)
    dataset = open_dataset(tmp_path / "d", "train")
    (order,) = videos_of(dataset).values()
    assert [dataset.records[i].image_id for i in order] == [3, 7, 12] and [dataset.records[i].frame for i in order] == [
        0,
        1,
        2,
    ]
    assert motion(dataset)[order[0]].tolist() == [1]
    write_coco(tmp_path / "e", coco_data())
    still = open_dataset(tmp_path / "e", "train")
    assert not still.videos and not videos_of(still)
    with pytest.raises(DataError, match=r"3\.jpg is no frame of a video: neighbouring frames need ImageNet VID's"):
        WithNeighbours(still, lambda *sample: sample)


# ---- moving Shapes


def test_a_video_is_the_same_every_time():
    level = LEVELS["moving-tiny"]
    one, other = draw_video(level, "train", 1), draw_video(level, "train", 1)
    assert len(one) == level.frames and all(np.array_equal(a, b) for (a, _), (b, _) in zip(one, other, strict=True))
    assert not np.array_equal(one[0][0], draw_video(level, "train", 2)[0][0])
    with pytest.raises(ValueError, match="Shapes has train and val"):
        draw_video(level, "test", 0)


def test_the_known_flow_undoes_the_motion():
    """Warped along it a later frame shows each figure where it was, to the error of interpolation and JPEG."""
    dataset = open_dataset("shapes:moving-tiny", "train", True)
    assert len(dataset) == 20 and [len(frames) for frames in dataset.videos.values()] == [5] * 4
    undone, moved = [], []
    for indices in videos_of(dataset).values():
        first, last = dataset.records[indices[0]], dataset.records[indices[-1]]
        flow = known_flow(first, last)[None]
        near = [dataset[i][0][None].float() / 255 for i in (indices[0], indices[-1])]
        near = [avg_pool2d(x, 3, 1, 1) for x in near]
        mask = (dataset.target(indices[0])["masks"].sum(0) > 0) & flow[0].isfinite().all(0)
        if flow.nan_to_num().abs().max() > 6:
            undone.append((warp(near[1], flow.nan_to_num()) - near[0]).abs().mean(1)[0][mask].mean().item())
            moved.append((near[1] - near[0]).abs().mean(1)[0][mask].mean().item())
    assert undone and sum(undone) < 0.75 * sum(moved)
    assert known_flow(first, first).nan_to_num().abs().max() < 1e-3


def test_neighbours_of_an_image():
    dataset = open_dataset("shapes:moving-tiny", "train", True)
    transform = WithNeighbours(dataset, lambda *sample: sample, count=3, reach=2, flow=True)
    image, target = dataset[2]
    frames = transform.neighbours(dataset.records[2])
    assert frames == [0, 1, 3, 4] and transform.neighbours(dataset.records[0]) == [1, 2]
    torch.manual_seed(0)
    before = torch.get_rng_state()
    _, found = transform(image, target)
    assert torch.equal(before, torch.get_rng_state())  # what is drawn after it is what is drawn without it
    assert found["support"].shape == (3, 3, 96, 96) and found["flow"].shape == (3, 2, 96, 96)
    others = [dataset[i][0] for i in frames]
    assert all(any(torch.equal(one, other) for other in others) for one in found["support"])


@pytest.mark.parametrize("settings", [{"flip": 1.0}, {"flip": 0.0, "vertical_flip": 1.0}, {"flip": 0.0}])
def test_neighbours_are_transformed_with_their_image(settings):
    """In a mirror frames are mirrored, and what goes to the right goes to the left."""
    dataset = open_dataset("shapes:moving-tiny", "train", True)
    plain = WithNeighbours(dataset, lambda *sample: sample, flow=True)
    turned = WithNeighbours(dataset, train_transform(**settings), flow=True)
    image, target = dataset[1]
    torch.manual_seed(1)
    _, before = plain(image, target)
    torch.manual_seed(1)
    _, after = turned(image, target)
    axis = 3 if settings["flip"] else 2 if "vertical_flip" in settings else None
    frames, flow = before["support"], before["flow"].clone()
    if axis is not None:
        frames, flow = frames.flip(axis), flow.flip(axis)
        flow[:, 3 - axis] *= -1
    assert after["support"].dtype == torch.float32
    torch.testing.assert_close(after["support"], frames.float() / 255)
    torch.testing.assert_close(after["flow"], flow, equal_nan=True)
