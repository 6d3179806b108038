from __future__ import annotations

import sys

import pytest
import torch
from pngs import has_colour, read_png

from roikit.analysis import draw_predictions
from roikit.analysis.canvas import class_colour

NAMES = ["disc", "box"]


def one_scene() -> tuple[dict, dict]:
    target = {"boxes": torch.tensor([[10.0, 10, 50, 60], [70, 20, 120, 70]]), "labels": torch.tensor([1, 2])}
    found = {
        "boxes": torch.tensor([[11.0, 10, 50, 58]]),
        "labels": torch.tensor([1]),
        "scores": torch.tensor([0.9]),
    }
    return target, found


def test_writes_boxes_in_the_colours_of_their_classes(tmp_path, image):
    target, found = one_scene()
    path = draw_predictions(tmp_path / "new" / "predictions.png", [image], [target], [found], NAMES)
    picture = read_png(path)
    assert picture.std() > 0.1 and min(picture.shape[:2]) > 250
    left, right = picture[:, : picture.shape[1] // 2], picture[:, picture.shape[1] // 2 :]
    legend = int(0.85 * len(picture))
    assert has_colour(left[:legend], class_colour(1)) and has_colour(left[:legend], class_colour(2))
    assert has_colour(right[:legend], class_colour(1)) and not has_colour(right[:legend], class_colour(2))
    assert not list(tmp_path.rglob("*.part"))


def test_threshold_hides_detections(tmp_path, image):
    target, found = one_scene()
    sure = read_png(draw_predictions(tmp_path / "a.png", [image], [target], [found], NAMES, threshold=0.5))
    none = read_png(draw_predictions(tmp_path / "b.png", [image], [target], [found], NAMES, threshold=0.95))
    right = slice(int(sure.shape[1] * 0.55), None), slice(0, int(0.85 * len(sure)))
    assert has_colour(sure[right[1], right[0]], class_colour(1)) > 3 * has_colour(
        none[right[1], right[0]], class_colour(1)
    )


def test_masks_are_filled_in(tmp_path, image):
    target, found = one_scene()
    masks = torch.zeros(2, 96, 128, dtype=torch.uint8)
    masks[0, 20:50, 15:45] = 1
    plain = read_png(draw_predictions(tmp_path / "a.png", [image], [target], [found], NAMES))
    with_masks = (target | {"masks": masks}, found | {"masks": masks[:1, None] * 0.9})
    filled = read_png(draw_predictions(tmp_path / "b.png", [image], [with_masks[0]], [with_masks[1]], NAMES))
    changed = (abs(plain - filled).max(-1) > 0.05).mean(0)
    half = len(changed) // 2
    assert changed[:half].any() and changed[half:].any()


def test_many_images_sizes_and_none_found(tmp_path):
    sizes = [(40, 60), (60, 40), (64, 64), (32, 200), (200, 32)]
    images = [torch.rand(3, *size) for size in sizes]
    none = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
    empty = [none | {"scores": torch.zeros(0)}] * len(sizes)
    few = read_png(draw_predictions(tmp_path / "a.png", images, [none] * 5, empty, NAMES, most=2))
    all_ = read_png(draw_predictions(tmp_path / "b.png", images, [none] * 5, empty, NAMES))
    assert len(all_) > 1.5 * len(few) and all_.shape[1] == few.shape[1]


def test_hundreds_of_boxes_and_classes(tmp_path, image):
    g = torch.Generator().manual_seed(0)
    corner = torch.rand(300, 2, generator=g) * 80
    target = {"boxes": torch.cat([corner, corner + 12], 1), "labels": torch.arange(300) % 90 + 1}
    found = target | {"scores": torch.rand(300, generator=g)}
    names = [f"a class with a long name {i}" for i in range(90)]
    assert read_png(draw_predictions(tmp_path / "a.png", [image], [target], [found], names)).std() > 0.1
    assert len({class_colour(label) for label in range(1, 91)}) == 90


@pytest.mark.parametrize(
    "change, said",
    [
        ({"images": []}, "no image"),
        ({"targets": []}, "one of each per image"),
        ({"threshold": 1.5}, "between 0 and 1"),
        ({"most": 0}, "at least 1"),
        ({"categories": ["disc"]}, "1 categories"),
        ({"images": [torch.rand(1, 8, 8)]}, r"Tensor\[3, H, W\]"),
        ({"images": [torch.zeros(3, 8, 8, dtype=torch.int64)]}, "uint8 or floats"),
    ],
)
def test_errors_teach(tmp_path, image, change, said):
    target, found = one_scene()
    arguments = {"images": [image], "targets": [target], "predictions": [found], "categories": NAMES} | change
    with pytest.raises(ValueError, match=said):
        draw_predictions(tmp_path / "a.png", **arguments)
    assert not list(tmp_path.iterdir())


def test_boxes_of_a_wrong_shape(tmp_path, image):
    target, found = one_scene()
    with pytest.raises(ValueError, match=r"targets\[0\]: boxes must be a Tensor\[N, 4\]"):
        draw_predictions(tmp_path / "a.png", [image], [target | {"boxes": torch.zeros(2, 5)}], [found], NAMES)


def test_leaves_the_global_backend_alone(tmp_path, image):
    target, found = one_scene()
    import matplotlib

    before = matplotlib.rcParams._get("backend")
    draw_predictions(tmp_path / "a.png", [image], [target], [found], NAMES)
    assert matplotlib.rcParams._get("backend") == before
    assert "matplotlib.pyplot" not in sys.modules or before is not None
