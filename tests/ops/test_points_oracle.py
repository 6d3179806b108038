"""Oracles of the poolings on free sample points: loops from the formulas, torchvision, OpenVINO."""

from __future__ import annotations

import inspect
import math

import numpy as np
import pytest
import torch
import torchvision
from formulas import on_map
from oracles import compare

from roikit import RotatedRoIAlign, ops
from roikit.boxes import Rois
from roikit.extractors import rotated_roi_align
from roikit.weights import Points

backends = pytest.mark.parametrize("backend", ["numba", "reference"])
dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-12}


def scene(rng, dtype=torch.float64, count=12, height=13, width=17, scale=0.25):
    """Maps, and rotated boxes [R, 6] about them at every angle, some of them without width or height."""
    x = torch.rand(2, 3, height, width, generator=rng, dtype=dtype)
    place = torch.rand(count, 4, generator=rng, dtype=torch.float64)
    centre = (place[:, :2] * 1.4 - 0.2) * torch.tensor([width, height]) / scale
    sides = place[:, 2:] * torch.tensor([width, height]) / scale
    sides[0, 0] = sides[1, 1] = 0
    angle = (torch.rand(count, 1, generator=rng, dtype=torch.float64) - 0.5) * 14
    index = torch.randint(2, (count, 1), generator=rng)
    return x, torch.cat([index, centre, sides, angle], 1).float().to(dtype), scale


def rotated_formula(x, box, grid, scale: float, sampling_ratio: int, aligned: bool, clockwise: bool):
    """The mean of S_y × S_x bilinear samples in each bin of the box's own frame, turned into the image."""
    shift = 0.5 if aligned else 0.0
    cx, cy, w, h = (value * scale for value in box[:4])
    cx, cy, angle = cx - shift, cy - shift, -box[4] if clockwise else box[4]
    if not aligned:
        w, h = max(w, 1.0), max(h, 1.0)
    s_y, s_x = (sampling_ratio if sampling_ratio > 0 else math.ceil(n / k) for n, k in zip((h, w), grid, strict=True))
    out = [[0.0] * grid[1] for _ in range(grid[0])]
    for i in range(grid[0]):
        for j in range(grid[1]):
            for a in range(s_y):
                for b in range(s_x):
                    v = h * ((i + (a + 0.5) / s_y) / grid[0] - 0.5)
                    u = w * ((j + (b + 0.5) / s_x) / grid[1] - 0.5)
                    y = cy + v * math.cos(angle) - u * math.sin(angle)
                    z = cx + u * math.cos(angle) + v * math.sin(angle)
                    out[i][j] += on_map(x, y, z) / (s_y * s_x)
    return out


@backends
@dtypes
@pytest.mark.parametrize("sampling", [0, 1, 2, 3])
@pytest.mark.parametrize("aligned", [True, False])
def test_rotated_formula(sampling, aligned, dtype, backend, rng, monkeypatch):
    monkeypatch.setenv("ROIKIT_BACKEND", backend)
    x, boxes, scale = scene(rng, dtype)
    for clockwise in (False, True):
        found = ops.roi_align_rotated(x, boxes, (3, 2), scale, sampling, aligned, clockwise)
        expected = torch.zeros(found.shape, dtype=torch.float64)
        for r, (index, *box) in enumerate(boxes.double().tolist()):
            for c in range(3):
                channel = x[int(index), c].double().tolist()
                one = rotated_formula(channel, box, (3, 2), scale, sampling, aligned, clockwise)
                expected[r, c] = torch.tensor(one, dtype=torch.float64)
        # In float32 a sample is placed to 1e-5 cells, and a box of 3 cells exactly has 3 samples or 4.
        compare("`ops.roi_align_rotated`", "loops over the formula", found, expected.to(dtype), TOLERANCE[dtype])


@backends
@dtypes
def test_upright_boxes_are_torchvisions_roi_align(dtype, backend, rng, monkeypatch):
    monkeypatch.setenv("ROIKIT_BACKEND", backend)
    for sampling in (-1, 1, 2, 3):
        for aligned in (True, False):
            x, boxes, scale = scene(rng, dtype)
            boxes[:, 5] = 0
            if (
                not aligned
            ):  # sides of at least a cell: a smaller box grows about its centre, an upright one from a corner
                boxes[:, 3:5] = boxes[:, 3:5].clamp(min=1 / scale)
            half = boxes[:, 3:5] / 2
            upright = torch.cat([boxes[:, :1], boxes[:, 1:3] - half, boxes[:, 1:3] + half], 1)
            mine, its = x.clone().requires_grad_(), x.clone().requires_grad_()
            found = ops.roi_align_rotated(mine, boxes, (3, 2), scale, sampling, aligned)
            expected = torchvision.ops.roi_align(its, upright, (3, 2), scale, sampling, aligned)
            compare("`ops.roi_align_rotated`, θ = 0", "torchvision", found, expected, TOLERANCE[dtype])
            weight = torch.rand(found.shape, generator=rng, dtype=dtype) - 0.5
            (gradient,), (wanted,) = (
                torch.autograd.grad(found, mine, weight),
                torch.autograd.grad(expected, its, weight),
            )
            compare("`ops.roi_align_rotated`, θ = 0, gradient", "torchvision", gradient, wanted, 20 * TOLERANCE[dtype])


@pytest.mark.parametrize("clockwise", [False, True])
@pytest.mark.parametrize("sampling", [1, 2, 3, 0])
def test_openvino(clockwise, sampling, rng):
    """OpenVINO's ROIAlignRotated, whose pixel model is the aligned one."""
    openvino = pytest.importorskip("openvino", reason="openvino, a development dependency, is not installed")
    from openvino import opset15 as opset

    x, boxes, scale = scene(rng, torch.float32, count=40)
    boxes[2:7, 5] = torch.tensor([0.0, math.pi / 2, -math.pi / 2, math.pi, 0.3])
    table, index = boxes[:, 1:].contiguous(), boxes[:, 0].to(torch.int32)
    data, rois = (opset.parameter(list(t.shape), np.float32) for t in (x, table))
    images = opset.parameter([len(boxes)], np.int32)
    node = opset.roi_align_rotated(data, rois, images, 7, 5, sampling, scale, clockwise)
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    model = openvino.Core().compile_model(openvino.Model([node], [data, rois, images]), "CPU", settings)
    expected = torch.from_numpy(model([x.numpy(), table.numpy(), index.numpy()])[0].copy())
    found = ops.roi_align_rotated(x, boxes, (7, 5), scale, sampling, True, clockwise)
    compare("`ops.roi_align_rotated`", "OpenVINO", found, expected, TOLERANCE[torch.float32])


def free_points(rng, dtype, count=6, parts=4, most=3):
    """Points on and off two maps, with weights, and RoIs of both images and levels."""
    maps = [torch.rand(2, 3, h, w, generator=rng, dtype=dtype) for h, w in ((9, 7), (1, 5))]
    points = (torch.rand(count, parts, most, 2, generator=rng, dtype=dtype) * 14 - 3).float().to(dtype)
    points[0, 0] = torch.tensor([[0.0, 0.0], [-1.0, 3.0], [9.0, 6.0]])  # cells, and samples that just count
    points[1, 0] = torch.tensor([[8.0, 6.0], [8.0, 2.5], [9.001, 3.0]])  # the last cell, and one that does not
    weights = torch.randn(count, parts, most, generator=rng, dtype=dtype)
    level = torch.tensor([0, 0, 1, 1, 0, 1])
    return maps, points, weights, Rois(torch.zeros(count, 4, dtype=dtype), torch.tensor([0, 1, 1, 0, 1, 0]), level)


@backends
@dtypes
def test_free_points_on_several_levels(dtype, backend, rng, monkeypatch, poisoned):
    monkeypatch.setenv("ROIKIT_BACKEND", backend)
    maps, points, weights, rois = free_points(rng, dtype)
    expected = torch.zeros(6, 3, 4, dtype=torch.float64)
    for r, (index, level) in enumerate(zip(rois.batch, rois.level, strict=True)):
        for c in range(3):
            channel = maps[level][index, c].double().tolist()
            for k in range(4):
                pairs = zip(points[r, k].tolist(), weights[r, k].tolist(), strict=True)
                expected[r, c, k] = sum(w * on_map(channel, y, z) for (y, z), w in pairs)
    expected = expected.to(dtype).unflatten(2, (2, 2))
    for moving in (False, True):
        for layout in (torch.contiguous_format, torch.channels_last):
            given = [x.to(memory_format=layout) for x in maps]
            found = Points(points.clone().requires_grad_(moving), weights, rois, (2, 2)).pool(given)
            compare(
                "`weights.Points`",
                "loops over the formula",
                found,
                expected,
                {torch.float32: 2e-6, torch.float64: 1e-14}[dtype],
            )


@backends
def test_derivatives_to_second_order(backend, rng, monkeypatch):
    monkeypatch.setenv("ROIKIT_BACKEND", backend)
    torch.manual_seed(int(torch.randint(2**31, (), generator=rng)))
    maps, points, weights, rois = free_points(rng, torch.float64)
    points[:2, 0] += 0.4  # off the kinks
    inputs = [t.requires_grad_() for t in (*maps, points, weights)]

    def free(fine, coarse, points, weights):
        return Points(points, weights, rois, (4, 1)).pool([fine, coarse])

    x, boxes, scale = scene(rng, height=6, width=7, count=3)
    boxes[:, 3:5] += 1.0  # a side of 0 would become negative in a difference
    numbers = boxes[:, 1:].requires_grad_()

    def turned(x, numbers):
        return ops.roi_align_rotated(x, torch.cat([boxes[:, :1].detach(), numbers], 1), 2, scale, 2)

    for function, given in ((free, inputs), (turned, [x.requires_grad_(), numbers])):
        assert torch.autograd.gradcheck(function, given, fast_mode=True)
        assert torch.autograd.gradgradcheck(function, given, fast_mode=True)


@backends
def test_adaptive_gradients_reach_the_boxes(backend, rng, monkeypatch):
    monkeypatch.setenv("ROIKIT_BACKEND", backend)
    torch.manual_seed(int(torch.randint(2**31, (), generator=rng)))
    x = torch.rand(1, 2, 6, 7, generator=rng, dtype=torch.float64)
    boxes = torch.tensor([[3.1, 2.7, 5.3, 2.9, 0.4], [2.2, 4.1, 3.3, 4.7, -2.0]], dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda b: RotatedRoIAlign(2, 0)(x, None, rotated_boxes=[b]), (boxes,))


def test_a_cell_of_no_weight_is_not_read():
    x = torch.full((1, 1, 3, 3), float("inf"))
    x[0, 0, 1, 1] = 2.0
    rois = Rois(torch.zeros(1, 4), torch.zeros(1, dtype=torch.int64), torch.zeros(1, dtype=torch.int64))
    at_the_centre = Points(torch.ones(1, 1, 1, 2), torch.ones(1, 1, 1), rois, (1, 1))
    assert float(at_the_centre.pool(x)) == 2.0


@pytest.mark.parametrize("dtype", [torch.bfloat16, pytest.param(torch.float16, marks=pytest.mark.slow)], ids=str)
def test_low_precision_is_summed_in_float32(dtype, rng):
    x, boxes, scale = scene(rng, torch.float32)
    half = x.to(dtype)
    found = ops.roi_align_rotated(half, boxes, 3, scale, 2)
    assert found.dtype == dtype
    assert torch.equal(found, ops.roi_align_rotated(half.float(), boxes, 3, scale, 2).to(dtype))


def test_the_scale_may_differ_between_the_axes(rng):
    """The box is turned in image pixels: as on a map that was stretched after the fact."""
    x, boxes, _ = scene(rng)
    wide = x.repeat_interleave(2, 3)  # nearest: a bilinear sample differs, so sample both at the cells' centres
    size = torch.tensor([17.0, 13.0], dtype=x.dtype)
    centres = torch.minimum(boxes[:, 1:3].floor().clamp(min=0), size - 1) + 0.5
    point = torch.cat([boxes[:, :1], centres, torch.zeros(len(boxes), 2), boxes[:, 5:]], 1)
    left = point - point.new_tensor([0, 0.25, 0, 0, 0, 0])
    narrow = ops.roi_align_rotated(x, point, 1, 1.0, 1)
    torch.testing.assert_close(ops.roi_align_rotated(wide, left, 1, (1.0, 2.0), 1), narrow, rtol=0, atol=1e-12)
    quarter = torch.cat([boxes[:, :5], torch.full((len(boxes), 1), math.pi / 2, dtype=x.dtype)], 1)
    half = boxes[:, [4, 3]] / 2
    upright = torch.cat([boxes[:, :1], boxes[:, 1:3] - half, boxes[:, 1:3] + half], 1)
    for sampling in (0, 2):  # a quarter turn: the width lies along y, and counts its samples with y's scale
        found = ops.roi_align_rotated(x, quarter, (3, 2), (0.25, 0.5), sampling)
        expected = RotatedRoIAlign((2, 3), sampling)(x, upright, (0.25, 0.5))
        torch.testing.assert_close(found, expected.flip(2).transpose(2, 3), rtol=0, atol=1e-10)


def test_adaptive_samples_of_a_huge_box_are_made_only_on_the_map(rng):
    x = torch.rand(1, 2, 9, 7, generator=rng, dtype=torch.float64)
    for side in (200.0, 3000.0):
        box = torch.tensor([[0.0, 30.0, -20.0, side, side * 0.7, 0.6]], dtype=torch.float64)
        weights = RotatedRoIAlign(2, 0).weights(x, None, rotated_boxes=box)
        assert weights.points.shape[2] < 600
        if side < 1000:
            expected = [rotated_formula(c.tolist(), box[0, 1:].tolist(), (2, 2), 1.0, 0, True, False) for c in x[0]]
            found = weights.pool(x)[0]
            torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-12)


def test_more_adaptive_samples_than_memory_holds_are_an_error_that_names_the_roi():
    x = torch.zeros(1, 1, 1, 1).expand(1, 1, 5000, 5000)
    boxes = torch.tensor([[0, 5.0, 5, 8, 8, 0], [0, 2500.0, 2500, 4900, 4900, 0.3], [0, 9.0, 9, 8, 8, 0]])
    for call in (ops.roi_align_rotated, lambda x, boxes, size: RotatedRoIAlign(size, 0)(x, None, rotated_boxes=boxes)):
        with pytest.raises(ValueError, match=r"RoI 1: .* samples per bin .*memory holds: give a sampling_ratio > 0"):
            call(x, boxes, 1)
    many = boxes[1:2].repeat(3, 1) * 0.6
    with pytest.raises(ValueError, match=r"too many beside 2 other RoIs: give a sampling_ratio > 0, or large RoIs"):
        RotatedRoIAlign(1, 0).weights(x, None, rotated_boxes=many)
    assert ops.roi_align_rotated(x, boxes, 1, sampling_ratio=2).shape == (3, 1, 1, 1)


def test_a_large_roi_with_adaptive_samples_does_not_depend_on_the_others(rng):
    x = torch.rand(2, 2, 160, 210, generator=rng)
    boxes = torch.rand(1000, 6, generator=rng) * torch.tensor([2, 800.0, 600, 20, 20, 6])
    boxes[:, 0].floor_()
    boxes[:, 3:5] += torch.tensor([60.0, 40])
    boxes[371, 1:5] = torch.tensor([400.0, 300, 800, 600])  # 638 samples a bin
    boxes[500:520, 3:5] *= 3
    some = [0, 371, 505, 510, 999]
    for call in (
        lambda rows: ops.roi_align_rotated(x, rows, 7, 0.25),
        lambda rows: RotatedRoIAlign(7, 0)(x, None, 0.25, rotated_boxes=rows),
    ):
        found = call(boxes)
        alone = torch.cat([call(boxes[i : i + 1]) for i in some])
        torch.testing.assert_close(found[some], alone, rtol=0, atol=1e-6)


def test_gradients_of_groups_are_those_of_one(rng, monkeypatch):
    x, boxes, scale = scene(rng)
    boxes = boxes.repeat(8, 1)
    found, groups = [], []
    whole = rotated_roi_align.in_groups
    monkeypatch.setattr(rotated_roi_align, "in_groups", lambda *a: groups.append(whole(*a)) or groups[-1])
    for most in (2**24, 2000):
        monkeypatch.setattr("roikit.geometry.rotated_adaptive.MOST", most)
        live, rows = x.clone().requires_grad_(), boxes.clone().requires_grad_()
        pooled = ops.roi_align_rotated(live, rows, 2, scale)
        found.append((pooled, *torch.autograd.grad(pooled.square().sum(), (live, rows))))
    assert groups[0] == [] and len(groups[1]) > 1
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


def test_a_batch_of_no_images():
    x = torch.rand(0, 3, 8, 8)
    assert ops.roi_align_rotated(x, [], 2).shape == (0, 3, 2, 2)
    assert RotatedRoIAlign(2, 0)(x, None, rotated_boxes=[]).shape == (0, 3, 2, 2)


def test_adaptive_sampling_refuses_what_it_cannot_do(rng):
    x, boxes, scale = scene(rng)
    with pytest.raises(NotImplementedError, match="vmap over boxes: give all boxes to one call"):
        torch.func.vmap(lambda b: ops.roi_align_rotated(x, b, 2, scale))(torch.stack([boxes, boxes]))
    with pytest.raises(Exception, match="give a sampling_ratio > 0"):
        torch.compile(ops.roi_align_rotated, fullgraph=True, backend="aot_eager")(x, boxes, 2, scale)


def test_compiles_without_a_graph_break(rng):
    x, boxes, scale = scene(rng)
    compiled = torch.compile(ops.roi_align_rotated, fullgraph=True, backend="aot_eager")
    expected = ops.roi_align_rotated(x, boxes, 2, scale, 2)
    torch.testing.assert_close(compiled(x, boxes, 2, scale, 2), expected, rtol=0, atol=1e-14)


def test_signature_is_mmcvs():
    found = [(p.name, p.default) for p in inspect.signature(ops.roi_align_rotated).parameters.values()]
    none = inspect.Parameter.empty
    assert found == [
        ("input", none), ("boxes", none), ("output_size", none), ("spatial_scale", 1.0), ("sampling_ratio", 0),
        ("aligned", True), ("clockwise", False),
    ]  # fmt: skip
