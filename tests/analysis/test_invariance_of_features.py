"""Invariance: exact where it must be, by hand, and against torchvision's own path through a detector."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
import torchvision
from small_detector import STRIDE, Pictures, SmallDetector, pictures

import roikit
from roikit.analysis.invariance import (
    TRANSFORMS,
    Draws,
    ObjectFeatures,
    between_objects,
    cosine,
    invariance_features,
    summarise,
)
from roikit.analysis.reading import read_maps, region_features, resize_factor
from roikit.analysis.transformations import Rotation

ROTATION, REFLECTION, MOVED = TRANSFORMS


class Quarter(Draws):
    """Every rotation is by 90°."""

    def rotation(self, image, repeat, size):
        return Rotation(90.0, *size)


@pytest.mark.parametrize("normalised", [False, True])
def test_the_mean_of_a_region_does_not_change(rng, normalised):
    """Mirrored and by quarters turned pictures of whole cells: the same pixels, so the same mean."""
    model = SmallDetector(roikit.RoIAlign(1), normalised=normalised)
    found = list(invariance_features(model, pictures(rng), 100, Quarter()))
    assert len(found) == 6
    for one in found:
        for name in (ROTATION, REFLECTION):
            assert cosine(one.before, one.after[name]).tolist() == pytest.approx([1.0], abs=1e-6)
            torch.testing.assert_close(one.after[name][0], one.before, atol=1e-5, rtol=0)
        assert float((one.after[MOVED][0] - one.before).abs().max()) > 1e-4


def test_features_that_keep_their_place_are_compared_as_they_are(rng):
    """RoI Align: mirroring exchanges its columns, a quarter turn turns its grid. Nothing puts them back."""
    found = list(invariance_features(SmallDetector(roikit.RoIAlign(3)), pictures(rng), 100, Quarter()))
    for one in found:
        grid = one.before.unflatten(0, (3, 3, 3))
        torch.testing.assert_close(one.after[REFLECTION][0], grid.flip(2).flatten(), atol=1e-5, rtol=0)
        torch.testing.assert_close(one.after[ROTATION][0], grid.rot90(1, (1, 2)).flatten(), atol=1e-5, rtol=0)
        expected = torch.nn.functional.cosine_similarity(one.before, grid.flip(2).flatten(), dim=0)
        assert float(cosine(one.before, one.after[REFLECTION][0])) == pytest.approx(float(expected), abs=1e-5)
        assert float(expected) < 0.9999


def test_nothing_done_changes_nothing(rng):
    """Masks included: the box before is that of the mask, as the one after."""
    data = pictures(rng)
    data.masks = [torch.zeros(2, 64, 64, dtype=torch.uint8) for _ in data.images]
    for masks, boxes in zip(data.masks, data.boxes, strict=True):
        x1, y1, x2, y2 = boxes[0].int().tolist()
        masks[0, y1 + 3 : y2 - 1, x1 + 1 : x2 - 2] = 1  # smaller than its box; the second object's is empty
    still = Draws(repeats=2, angle=0, scale=1, shift=0)
    found = list(invariance_features(SmallDetector(roikit.RoIAlign(3, sampling_ratio=2)), data, 100, still))
    assert [one.masked for one in found] == [True, False] * 3
    for one in found:
        for name in (ROTATION, MOVED):
            torch.testing.assert_close(one.after[name], one.before.expand(2, -1), atol=1e-5, rtol=0)
    of_mask = torch.cat([data.boxes[0][0, :2] + torch.tensor([1, 3]), data.boxes[0][0, 2:] - torch.tensor([2, 1])])
    image = torch.nn.functional.avg_pool2d(data.images[0][None], STRIDE)
    expected = torchvision.ops.roi_align(image, [of_mask[None]], 3, 1 / STRIDE, 2, aligned=True)
    torch.testing.assert_close(found[0].before, expected.flatten(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [(50, 71), (64, 64), (90, 40)])
def test_features_are_those_of_the_detector(rng, size):
    """Against the way that torchvision's own forward pass goes."""
    model = roikit.detection.faster_rcnn(
        "test_resnet", num_classes=3, channels=16, fc_dim=8, min_size=64, max_size=96
    ).train()
    image = torch.randint(0, 256, (3, *size), generator=rng, dtype=torch.uint8)
    boxes = torch.tensor([[4.0, 5.0, 30.0, 44.0], [0.0, 0.0, 9.0, 13.5]])
    maps = read_maps(model, image)
    found = region_features(model, maps, boxes)
    assert model.training  # put back
    model.eval()
    kept = {}
    model.roi_heads.box_roi_pool.register_forward_hook(lambda module, inputs, output: kept.update(x=output))
    with torch.no_grad():
        images, _ = model.transform([image / 255])
        ratio = torch.tensor([n / o for n, o in zip(images.image_sizes[0], size, strict=True)]).flip(0).repeat(2)
        model.roi_heads.box_roi_pool(model.backbone(images.tensors), [boxes * ratio], images.image_sizes)
    assert maps.size == tuple(images.image_sizes[0]) and maps.factor == pytest.approx(resize_factor(model, size))
    torch.testing.assert_close(found, kept["x"], atol=1e-5, rtol=1e-4)


def test_torchvisions_own_pooling_is_taken_too(rng):
    model = SmallDetector(roikit.RoIAlign(2, sampling_ratio=2))
    ours = list(invariance_features(model, data := pictures(rng), 3))
    pool = torchvision.ops.MultiScaleRoIAlign(["0"], 2, 2)
    pool.scales, pool.map_levels = [1 / STRIDE], None
    model.roi_heads.box_roi_pool = pool
    theirs = list(invariance_features(model, data, 3))
    assert len(ours) == len(theirs) == 3 and theirs[0].before.shape == (12,)


def test_an_object_stays_as_large_when_its_picture_turns(rng):
    """The canvas is larger, what it is enlarged by is not: a disc's mean and extent on the map stay."""
    y, x = torch.meshgrid(torch.arange(64) + 0.5, torch.arange(64) + 0.5, indexing="ij")
    disc = ((y - 32) ** 2 + (x - 32) ** 2 < 20**2).to(torch.uint8)
    image = (0.5 + 0.5 * disc)[None].expand(3, -1, -1).float()
    data = Pictures([image], [torch.tensor([[12.0, 12.0, 52.0, 52.0]])], [disc[None]])
    model = SmallDetector(roikit.RoIAlign(4), size=128)
    (one,) = invariance_features(model, data, 1, Draws(repeats=8))
    assert cosine(one.before, one.after[ROTATION]).min() > 0.999
    assert float((one.after[ROTATION] - one.before).abs().max()) < 0.06


def test_what_is_done_depends_on_the_seed_the_image_and_the_object_alone(rng):
    data = pictures(rng, count=4)
    model = SmallDetector(roikit.RoIAlign(2))
    every = list(invariance_features(model, data, 8, Draws(seed=3)))
    again = list(invariance_features(model, data, 8, Draws(seed=3)))
    fewer = list(invariance_features(model, data, 4, Draws(seed=3)))  # every other object
    other = list(invariance_features(model, data, 8, Draws(seed=4)))
    repeats = list(invariance_features(model, data, 8, Draws(seed=3, repeats=2)))
    for name in (ROTATION, MOVED):
        for k, one in enumerate(every):
            assert torch.equal(one.after[name], again[k].after[name])
            assert not torch.equal(one.after[name], other[k].after[name])
            torch.testing.assert_close(one.after[name][0], repeats[k].after[name][0])
            assert not torch.allclose(repeats[k].after[name][0], repeats[k].after[name][1])
        for k, one in enumerate(fewer):
            torch.testing.assert_close(one.after[name], every[2 * k].after[name])
    angles = {Draws(seed=s).rotation(i, k, (8, 8)).degrees for s in range(3) for i in range(3) for k in range(3)}
    assert len(angles) == 27 and all(abs(a) <= 180 for a in angles)


def test_cosines_between_objects_are_those_of_all_pairs(rng):
    rows = torch.randn(7, 5, generator=rng) + 1
    rows[3] = 0  # no direction
    pairs = [
        float(torch.nn.functional.cosine_similarity(rows[a], rows[b], dim=0).double())
        for a, b in itertools.permutations([0, 1, 2, 4, 5, 6], 2)
    ]
    assert between_objects(rows) == pytest.approx(sum(pairs) / len(pairs), abs=1e-6)
    assert math.isnan(between_objects(rows[:1]))


def features(before, rotated, reflected, moved) -> ObjectFeatures:
    tensors = [torch.tensor(x).reshape(-1, 2) for x in (rotated, reflected, moved)]
    return ObjectFeatures(torch.tensor(before), dict(zip(TRANSFORMS, tensors, strict=True)), before[0] > 0)


def test_the_summary_by_hand():
    found = [
        features([2.0, 0.0], [[1.0, 0.0], [0.0, 3.0]], [[3.0, 4.0]], [[0.0, 0.0]]),  # cosines 1 and 0; 0.6; none
        features([0.0, 1.0], [[0.0, 1.0], [0.0, 2.0]], [[0.0, 5.0]], []),  # 1 and 1; 1; its box left the image
    ]
    table = summarise(found)
    assert table[ROTATION]["cosine"] == pytest.approx(0.75) and table[ROTATION]["masks"] == 1
    assert table[ROTATION]["error"] == pytest.approx(0.25)  # of 0.5 and 1: their standard deviation / √2
    assert table[REFLECTION]["cosine"] == pytest.approx(0.8)
    assert table[REFLECTION]["error"] == pytest.approx(0.2) and table[REFLECTION]["objects"] == 2
    assert table[MOVED]["cosine"] is None and table[MOVED]["objects"] == 0
    assert table["different objects"] == {"cosine": pytest.approx(0.0, abs=1e-12), "objects": 2}
    # the mean is (1, 0.5): before (1, -0.5) and (-1, 0.5), reflected (2, 3.5) and (-1, 4.5)
    expected = [(2 - 1.75) / math.sqrt(1.25 * 16.25), (1 + 2.25) / math.sqrt(1.25 * 21.25)]
    assert table[REFLECTION]["centred"] == pytest.approx(sum(expected) / 2)
    assert table[REFLECTION]["centred_error"] == pytest.approx(abs(expected[1] - expected[0]) / 2)


def test_one_object_has_no_error_and_no_other():
    table = summarise([features([1.0, 0.0], [[1.0, 0.0]], [[1.0, 0.0]], [[1.0, 0.0]])])
    assert table[ROTATION] == {
        "cosine": 1.0, "error": None, "centred": None, "centred_error": None, "objects": 1, "masks": 1,
    }  # fmt: skip
    assert table["different objects"]["cosine"] is None


def test_what_does_not_fit(rng):
    for wrong, message in (
        ({"repeats": 0}, "repeats must be at least 1"),
        ({"angle": 181}, "0 to 180, not 181"),
        ({"angle": math.nan}, "0 to 180, not nan"),
        ({"scale": 0.9}, "must be at least 1, not 0.9"),
        ({"shift": -1}, "at least 0, not -1"),
        ({"seed": -1}, "seed must be at least 0"),
    ):
        with pytest.raises(ValueError, match=message):
            Draws(**wrong)
    with pytest.raises(ValueError, match="there is no object"):
        summarise([])
    model, data = SmallDetector(roikit.RoIAlign(2)), pictures(rng)
    with pytest.raises(ValueError, match="no object to look at"):
        next(invariance_features(model, Pictures(data.images[:1], [torch.zeros(0, 4)])))
    data.images[0][:] = math.nan
    with pytest.raises(ValueError, match="not finite"):
        next(invariance_features(model, data))
    del model.roi_heads.box_roi_pool
    with pytest.raises(ValueError, match="no two-stage detector"):
        next(invariance_features(model, pictures(rng)))
