"""RoIs: formats, checks, projection, expansion, level assignment."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
import torch
from torchvision.ops.poolers import LevelMapper

from roikit import ops
from roikit.boxes import Rois, assign_levels, scale_pair
from roikit.modes import readable

BOXES = torch.tensor([[1.0, 2.0, 5.0, 9.0], [3.0, 3.0, 4.0, 4.0], [0.0, 0.0, 8.0, 2.0]])


def test_a_list_of_boxes_says_the_images():
    rois = Rois.of([BOXES[:2], torch.zeros(0, 4), BOXES[2:]], batch_size=3)
    assert len(rois) == 3 and torch.equal(rois.boxes, BOXES)
    assert rois.batch.tolist() == [0, 0, 2] and rois.batch.dtype == torch.int64
    assert rois.level.tolist() == [0, 0, 0]


def test_rows_with_a_batch_index():
    rois = Rois.of(torch.cat([torch.tensor([[1.0], [0.0], [1.0]]), BOXES], 1), batch_size=2)
    assert torch.equal(rois.boxes, BOXES) and rois.batch.tolist() == [1, 0, 1]


def test_a_tuple_of_tensors_is_a_list_of_boxes():
    assert Rois.of((BOXES, BOXES), batch_size=2).batch.tolist() == [0, 0, 0, 1, 1, 1]


def test_boxes_keep_their_gradient():
    boxes = BOXES.clone().requires_grad_()
    Rois.of([boxes], 1).expand(2.0).on_maps([0.5]).sum().backward()
    assert bool(boxes.grad.any())


def test_the_message_names_the_first_wrong_roi_and_counts_them():
    wrong = BOXES.clone()
    wrong[1, 2] = wrong[2, 0] = float("nan")
    with pytest.raises(ValueError, match=r"RoI 1: \[3.0, 3.0, nan, 4.0\] has a NaN .* \(2 such RoIs\)"):
        Rois.of([wrong], 1)
    with pytest.raises(ValueError, match=r"RoI 2: 2 is its batch index, but the features have 2 \(0 to 1\)"):
        Rois.of(torch.cat([torch.tensor([[0.0], [1.0], [2.0]]), BOXES], 1), 2)


def test_projection_onto_each_rois_own_level():
    rois = Rois(BOXES, torch.zeros(3, dtype=torch.int64), torch.tensor([0, 1, 0]))
    found = rois.on_maps([0.5, (0.25, 0.125)])
    expected = BOXES * torch.tensor([[0.5] * 4, [0.125, 0.25, 0.125, 0.25], [0.5] * 4])
    assert torch.equal(found, expected)
    assert torch.equal(rois.on_maps([(0.5, 0.25)]), BOXES * torch.tensor([0.25, 0.5, 0.25, 0.5]))


@pytest.mark.parametrize("area", [2.0, 0.5, 1.0])
def test_expand_multiplies_the_area_and_keeps_the_centre(area):
    rois = Rois.of([BOXES], 1)
    grown = rois.expand(area).boxes
    sides, before = (grown[:, 2:] - grown[:, :2]), (BOXES[:, 2:] - BOXES[:, :2])
    torch.testing.assert_close(sides.prod(1), area * before.prod(1))
    torch.testing.assert_close(sides[:, 0] / sides[:, 1], before[:, 0] / before[:, 1])
    torch.testing.assert_close(grown[:, :2] + grown[:, 2:], BOXES[:, :2] + BOXES[:, 2:])


def test_scale_pairs():
    assert scale_pair(0.5) == (0.5, 0.5) and scale_pair((0.5, 0.25)) == (0.5, 0.25) and scale_pair([1, 2]) == (1.0, 2.0)


def test_values_are_not_read_where_that_would_stop_the_device_or_the_graph(monkeypatch):
    assert readable(BOXES)
    assert not readable(BOXES.to("meta"))
    with torch._subclasses.fake_tensor.FakeTensorMode():
        assert not readable(torch.zeros(2, 4))
    torch.func.vmap(lambda b: None if not readable(b) else pytest.fail("read under vmap"), out_dims=None)(BOXES)
    assert readable(torch.nn.Parameter(BOXES))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_batch_indices_are_whole_numbers(dtype):
    table = torch.cat([torch.tensor([[0.0], [1.0], [0.0]]), BOXES[:1].expand(3, 4)], 1).to(dtype)
    assert Rois.of(table, 2).batch.tolist() == [0, 1, 0]
    for image, message in ((0.7, "not a whole number"), (-1.0, "is its batch index, but the features have 2")):
        table[2, 0] = image
        with pytest.raises(ValueError, match=f"RoI 2: .*{message}"):
            Rois.of(table, 2)


class TestLevels:
    """FPN's Eq. 1 as torchvision computes it."""

    @pytest.mark.parametrize("levels", [(2, 5), (3, 5), (2, 2), (4, 6)])
    @pytest.mark.parametrize("canonical", [(224, 4), (112, 3), (320, 5)])
    def test_they_are_torchvisions(self, levels, canonical, rng):
        low, high = levels
        mapper = LevelMapper(low, high, *canonical)
        strides = [2**k for k in range(low, high + 1)]
        start = torch.rand(2000, 2, generator=rng) * 300
        size = torch.exp(torch.rand(2000, 2, generator=rng) * 8)  # 1 … 3000 px
        boxes = torch.cat([start, start + size], 1)
        assert torch.equal(assign_levels(boxes, strides, *canonical), mapper([boxes]))

    def test_borderline_sizes(self):
        """√area just below, at and just above 112, 224 and 448, in float32's own neighbours."""
        sides = []
        for edge in (112.0, 224.0, 448.0):
            near = torch.tensor(edge)
            for _ in range(40):
                sides.append(near.item())
                near = torch.nextafter(near, torch.tensor(0.0))
            sides += [edge * (1 + t) for t in (-1e-4, -1e-5, -1e-6, 1e-6, 1e-5, 1e-4)]
        side = torch.tensor(sides)
        boxes = torch.stack([torch.zeros_like(side), torch.zeros_like(side), side, side], 1)
        thin = torch.stack([torch.zeros_like(side), torch.zeros_like(side), side * 4, side / 4], 1)
        for given in (boxes, thin, boxes + 17.3):
            found = assign_levels(given, [4, 8, 16, 32])
            assert torch.equal(found, LevelMapper(2, 5)([given]))
        assert assign_levels(
            torch.tensor([[0.0, 0, 112, 112], [0, 0, 224, 224], [0, 0, 448, 448]]), [4, 8, 16, 32]
        ).tolist() == [1, 2, 3]

    def test_degenerate_boxes_go_to_the_finest_level(self):
        boxes = torch.tensor([[5.0, 5, 5, 9], [5, 5, 5, 5], [9, 9, 5, 12]])
        assert assign_levels(boxes, [4, 8]).tolist() == [0, 0, 0]

    def test_strides_that_are_no_powers_of_two(self):
        """Level l takes boxes of √area ≥ 14 · stride_l."""
        strides = [3, 10, 25]
        side = torch.tensor([20.0, 139.9, 140.1, 349.9, 350.1, 2000.0])
        boxes = torch.stack([torch.zeros(6), torch.zeros(6), side, side], 1)
        assert assign_levels(boxes, strides).tolist() == [0, 0, 1, 1, 2, 2]

    def test_a_pair_of_strides_counts_as_its_geometric_mean(self):
        boxes = torch.tensor([[0.0, 0, 111, 111], [0, 0, 113, 113]])
        assert assign_levels(boxes, [(4, 4), (4, 16)]).tolist() == [0, 1] == assign_levels(boxes, [4, 8]).tolist()

    def test_strides_must_grow(self):
        with pytest.raises(ValueError, match=r"strides must grow from the finest level to the coarsest.*\[8, 4\]"):
            assign_levels(BOXES, [8, 4])

    def test_of_equal_strides_the_first_is_taken(self):
        """torchvision's MobileNet pyramid has two maps of stride 32 and reads RoIs from the first."""
        boxes = torch.tensor([[0.0, 0, 50, 50], [0, 0, 300, 300], [0, 0, 900, 900]])
        assert assign_levels(boxes, [32, 32]).tolist() == [0, 0, 0] == LevelMapper(5, 5)([boxes]).tolist()
        assert assign_levels(boxes, [8, 16, 16, 32]).tolist() == [0, 1, 3]

    def test_one_level_takes_all(self):
        assert assign_levels(BOXES, [16]).tolist() == [0, 0, 0]

    def test_no_boxes(self):
        assert assign_levels(torch.zeros(0, 4), [4, 8]).shape == (0,)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
    def test_other_dtypes(self, dtype):
        boxes = torch.tensor([[0, 0, 100, 100], [0, 0, 300, 300], [0, 0, 640, 640]], dtype=dtype)
        assert assign_levels(boxes, [4, 8, 16, 32]).tolist() == [0, 2, 3]
        assert math.isfinite(float(boxes.sum()))


def test_no_images_have_no_boxes():
    assert Rois.of([], 0).boxes.shape == (0, 4)


@pytest.mark.parametrize("name", ["layers", "weights"])  # each in a process that has loaded nothing else
def test_packages_are_reached_from_the_package(name):
    done = subprocess.run(
        [sys.executable, "-c", f"import roikit; roikit.{name}"], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("scale", [1e20, (0.5, 1e20)])
def test_a_box_that_is_too_large_in_cells_is_refused(scale):
    boxes = torch.tensor([[0.0, 0.0, 8.0, 8.0], [1.0, 0.0, 1e30, 5.0]])
    with pytest.raises(ValueError, match=r"RoI 1: .* coordinate in feature cells"):
        ops.roi_align(torch.zeros(1, 1, 4, 4), [boxes], 2, scale)
