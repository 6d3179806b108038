"""Deformable position-sensitive pooling against the written-out loops and against OpenVINO's operators."""

from __future__ import annotations

import formulas_moving
import numpy as np
import pytest
import torch
from oracles import compare

from roikit import ops

GRIDS = [  # (h, w), group_size, part_size, classes
    ((3, 3), 1, 3, 1),
    ((7, 7), 1, 7, 1),
    ((3, 3), 3, 3, 1),
    ((4, 2), 2, 2, 3),
    ((5, 3), 2, 4, 1),
]


def scene(rng, channels, classes, part, dtype=torch.float64, count=6):
    x = torch.rand(2, channels, 9, 11, generator=rng, dtype=dtype)
    ends = (torch.rand(count, 2, 2, generator=rng, dtype=torch.float64) * 1.4 - 0.2) * torch.tensor([44.0, 36.0])
    index = torch.randint(2, (count, 1), generator=rng)
    boxes = torch.cat([index, ends.amin(1), ends.amax(1)], 1).float().double()
    boxes[0, 1:] = torch.tensor([-2.5, 3.5, 8.5, 20.5])  # halves are rounded away from zero
    boxes[1, 3:] = boxes[1, 1:3] - 3  # corners exchanged
    offset = torch.randn(count, 2 * classes, part, part, generator=rng, dtype=torch.float64) * 2
    return x, boxes.to(dtype), offset.to(dtype)


@pytest.mark.parametrize(("size", "group", "part", "classes"), GRIDS)
@pytest.mark.parametrize("backend", ["numba", "reference"])
def test_formula(size, group, part, classes, backend, rng, monkeypatch):
    monkeypatch.setenv("ROIKIT_BACKEND", backend)
    x, boxes, offset = scene(rng, 2 * classes * group**2, classes, part)
    for samples, scale in ((4, 0.25), (2, 0.5)):
        found = ops.deform_ps_roi_pool(x, boxes, offset, size, scale, group, part, samples, 0.1)
        for r in range(len(boxes)):
            image, box = int(boxes[r, 0]), boxes[r, 1:].tolist()
            given = (x[image].tolist(), box, scale, offset[r].tolist(), size, group, part, samples, 0.1)
            expected = torch.tensor(formulas_moving.deform_ps(*given), dtype=torch.float64)
            compare("`ops.deform_ps_roi_pool`", "loops over the formula", found[r], expected, 1e-13)


def test_no_offset_is_an_offset_of_zero(rng):
    x, boxes, offset = scene(rng, 8, 1, 2)
    plain = ops.deform_ps_roi_pool(x, boxes, None, 2, 0.25, group_size=2)
    assert torch.equal(plain, ops.deform_ps_roi_pool(x, boxes, 0 * offset, 2, 0.25, group_size=2))


def test_gradients(rng):
    x, boxes, offset = scene(rng, 8, 2, 2, count=3)
    x, offset = x[..., :6, :7].contiguous().requires_grad_(), offset.requires_grad_()

    def run(x, offset):
        return ops.deform_ps_roi_pool(x, boxes, offset, 2, 0.25, group_size=2, sample_per_part=2)

    assert torch.autograd.gradcheck(run, (x, offset), fast_mode=True)
    assert torch.autograd.gradgradcheck(run, (x, offset), fast_mode=True)


def test_errors(rng):
    x, boxes, offset = scene(rng, 9, 1, 3)
    with pytest.raises(ValueError, match=r"offset must be a Tensor\[6, 2·classes, 3, 3\], not \[6, 2, 3, 2\]"):
        ops.deform_ps_roi_pool(x, boxes, offset[..., :2], 3, group_size=3)
    with pytest.raises(ValueError, match=r"2×2 groups and 1 classes needs a multiple of 4 channels, but .* has 9"):
        ops.deform_ps_roi_pool(x, boxes, None, 4, group_size=2)
    with pytest.raises(ValueError, match="must be positive"):
        ops.deform_ps_roi_pool(x, boxes, None, 4, group_size=0)


def run_openvino(make, *inputs: torch.Tensor) -> torch.Tensor:
    """The result of the one operator that ``make`` builds from parameters like the inputs."""
    openvino = pytest.importorskip("openvino", reason="openvino, a development dependency, is not installed")
    from openvino import opset8

    parameters = [opset8.parameter(list(t.shape), np.float32) for t in inputs]
    core = openvino.Core()
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    model = core.compile_model(openvino.Model([make(opset8, *parameters)], parameters), "CPU", settings)
    return torch.from_numpy(model([t.numpy() for t in inputs])[0].copy())


@pytest.mark.parametrize("group", [3, 7])
@pytest.mark.parametrize("classes", [1, 2])
def test_openvino_deformable(group, classes, rng):
    """OpenVINO's DeformablePSROIPooling: the same conventions, for an output as large as the group."""
    out = 2 * classes
    x, boxes, offset = scene(rng, out * group**2, classes, group, torch.float32, count=8)
    boxes[1, 3:] = boxes[1, 1:3] + 3  # a box whose corners are exchanged is not defined there

    def make(opset, data, coords, offsets):
        return opset.deformable_psroi_pooling(
            data, coords, out, 0.25, group, "bilinear_deformable", 4, 4, 0.1, group, offsets=offsets
        )

    expected = run_openvino(make, x, boxes, offset)
    found = ops.deform_ps_roi_pool(x, boxes, offset, group, 0.25, group, group, 4, 0.1)
    compare("`ops.deform_ps_roi_pool`", "OpenVINO", found, expected, 2e-6)


def test_openvino_position_sensitive(rng):
    """OpenVINO's PSROIPooling counts a box's last pixel and reads the map's last row: the same but for these."""
    x = torch.rand(1, 18, 12, 13, generator=rng)
    boxes = torch.tensor([[0, 1, 2, 7, 9], [0, 0, 0, 10, 10], [0, 3, 3, 4, 8], [0, 5, 1, 5, 1.0]])

    def make(opset, data, coords):
        return opset.psroi_pooling(data, coords, 2, 3, 1.0, 1, 1, "average")

    expected = run_openvino(make, x, boxes)
    found = ops.ps_roi_pool(x, boxes + torch.tensor([0.0, 0, 0, 1, 1]), 3)
    compare("`ops.ps_roi_pool`", "OpenVINO", found, expected, 1e-6)
