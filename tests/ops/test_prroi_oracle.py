"""Precise RoI Pooling: average pooling, the limit of dense sampling, and small bins."""

from __future__ import annotations

import pytest
import torch
import torchvision
from oracles import compare
from torch.nn.functional import avg_pool2d

import roikit
from roikit import ops


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_bins_of_one_cell_are_average_pooling(dtype, rng):
    """A RoI of 14×14 px at scale ½ with even corners and 7×7 bins: each bin runs from one cell's centre to the next,
    so its mean is that of four cells."""
    x = torch.rand(1, 3, 16, 20, generator=rng, dtype=dtype)
    pooled = avg_pool2d(x, 2, stride=1)
    for y1 in (0, 4, 14):
        for x1 in (0, 2, 24):
            box = torch.tensor([[0, x1, y1, x1 + 14, y1 + 14]], dtype=dtype)
            expected = pooled[:, :, y1 // 2 : y1 // 2 + 7, x1 // 2 : x1 // 2 + 7]
            found = ops.prroi_pool(x, box, 7, 0.5)
            compare("`PrRoIPool`", "`avg_pool2d`", found, expected, 2 * torch.finfo(dtype).eps)


def test_it_is_the_limit_of_dense_roi_align(rng):
    """Inside [0, N-1] cells; the error of the midpoint rule falls with the square of the number of samples."""
    x = torch.rand(1, 3, 12, 15, generator=rng, dtype=torch.float64)
    ends = torch.rand(10, 2, 2, generator=rng, dtype=torch.float64) * torch.tensor([12.0, 9.0])
    boxes = torch.cat([torch.zeros(10, 1), ends.amin(1), ends.amax(1) + 1.5], 1).double()
    exact = ops.prroi_pool(x, boxes, (3, 2))
    errors = []
    for samples in (8, 64, 512):
        dense = torchvision.ops.roi_align(x, boxes, (3, 2), sampling_ratio=samples, aligned=False)
        errors.append(float((dense - exact).abs().max()))
    assert errors[2] < 1e-5 and errors[2] < errors[1] < errors[0]
    torch.testing.assert_close(roikit.RoIAlign((3, 2), 4096, aligned=False)(x, boxes), exact, rtol=0, atol=2e-7)


@pytest.mark.parametrize("size", [1e-6, 1e-4, 1e-2, 1.0, 1e3])
def test_taps_keep_their_precision_at_any_size(size, rng):
    """The difference of two antiderivatives would be off by 0.3 at 1e-4 px in float32."""
    x = torch.rand(1, 4, 9, 9, generator=rng)
    start = torch.rand(20, 2, generator=rng) * 7
    boxes = torch.cat([torch.zeros(20, 1), start, start + size], 1)
    exact = ops.prroi_pool(x.double(), boxes.double(), 3)
    torch.testing.assert_close(ops.prroi_pool(x, boxes, 3).double(), exact, rtol=0, atol=2e-6)


def test_a_bin_without_area_gives_zero_with_zero_gradient():
    x = torch.rand(1, 2, 5, 5, dtype=torch.float64, requires_grad=True)
    for box in ([2.0, 1.0, 2.0, 4.0], [2.0, 1.0, 2.0, 1.0], [3.0, 4.0, 1.0, 2.0]):
        boxes = torch.tensor([[0.0, *box]], dtype=torch.float64, requires_grad=True)
        out = ops.prroi_pool(x, boxes, 2)
        gradients = torch.autograd.grad(out.sum(), (x, boxes))
        assert not out.any() and not any(g.any() for g in gradients)


def test_the_box_gradient_is_the_difference_of_edge_means(rng):
    """d/dx2 of a bin's mean over [x1, x2] is (the mean along its right edge - the bin's mean) / (x2 - x1)."""
    x = torch.rand(1, 1, 9, 9, generator=rng, dtype=torch.float64)
    box = torch.tensor([[0, 1.3, 2.1, 5.9, 6.4]], dtype=torch.float64, requires_grad=True)
    mean = ops.prroi_pool(x, box, 1)
    (gradient,) = torch.autograd.grad(mean.sum(), box)
    edge = torch.tensor([[0, 5.9 - 1e-9, 2.1, 5.9 + 1e-9, 6.4]], dtype=torch.float64)
    expected = (ops.prroi_pool(x, edge, 1) - mean).item() / (5.9 - 1.3)
    assert abs(float(gradient[0, 3]) - expected) < 1e-6
