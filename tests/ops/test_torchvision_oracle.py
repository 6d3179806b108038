"""torchvision.ops as the oracle of roi_align and roi_pool: values and gradients, to the last borderline sample."""

from __future__ import annotations

import inspect

import pytest
import torch
import torchvision
from oracles import compare

import roikit
from roikit import ops

TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-14}


def integer(rng, low, high):
    """A whole number in [low, high]."""
    return int(torch.randint(low, high + 1, (), generator=rng))


def scene(rng, dtype):
    """Maps of any size and RoIs of four kinds: anywhere, on whole pixels, on half cells, degenerate."""
    height, width = integer(rng, 1, 30), integer(rng, 1, 30)
    x = torch.rand(2, 3, height, width, generator=rng, dtype=dtype)
    scale = [1.0, 0.5, 0.25, 1 / 16, 0.3][integer(rng, 0, 4)]
    corners = (torch.rand(16, 4, generator=rng) * 1.6 - 0.3) * torch.tensor([width, height] * 2) / scale
    kind = integer(rng, 0, 3)
    if kind == 1:
        corners = corners.round()
    elif kind == 2:
        corners = (corners * scale * 2).round() / 2 / scale
    low, high = torch.minimum(corners[:, :2], corners[:, 2:]), torch.maximum(corners[:, :2], corners[:, 2:])
    if kind == 3:
        high[::2] = low[::2] + torch.tensor([0.0, 1.0]) * integer(rng, 0, 3)  # no width
        low[1::4], high[1::4] = high[1::4], low[1::4].clone()  # corners exchanged
    boxes = torch.cat([torch.randint(2, (16, 1), generator=rng), low, high], 1).to(dtype)
    return x, boxes, scale


def agree(name, x, rng, *arguments):
    """Values and feature gradients of the function called ``name``."""
    mine, its = x.clone().requires_grad_(), x.clone().requires_grad_()
    found, expected = (getattr(m, name)(v, *arguments) for m, v in ((ops, mine), (torchvision.ops, its)))
    tolerance = TOLERANCE[x.dtype]
    compare(f"`ops.{name}`", "torchvision", found, expected, tolerance)
    weight = torch.rand(found.shape, generator=rng, dtype=x.dtype) - 0.5
    (gradient,), (wanted,) = torch.autograd.grad(found, mine, weight), torch.autograd.grad(expected, its, weight)
    # A cell under many small bins adds up thousands of terms.
    most = 20 * tolerance * (1 + float(wanted.abs().max()))
    compare(f"`ops.{name}`, gradient", "torchvision", gradient, wanted, most)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("backend", ["numba", "reference"])
def test_roi_align(dtype, backend, rng, monkeypatch):
    monkeypatch.setenv("ROIKIT_BACKEND", backend)
    for _ in range(60 if backend == "numba" else 20):
        x, boxes, scale = scene(rng, dtype)
        size = (integer(rng, 1, 8), integer(rng, 1, 8))
        sampling, aligned = integer(rng, -1, 4), bool(integer(rng, 0, 1))
        agree("roi_align", x, rng, boxes, size, scale, sampling, aligned)
        extractor = roikit.RoIAlign(size, sampling, aligned)
        assert torch.equal(extractor(x, boxes, scale), ops.roi_align(x, boxes, size, scale, sampling, aligned))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("backend", ["numba", "reference"])
def test_roi_pool(dtype, backend, rng, monkeypatch):
    monkeypatch.setenv("ROIKIT_BACKEND", backend)
    for _ in range(60 if backend == "numba" else 5):
        x, boxes, scale = scene(rng, dtype)
        size = (integer(rng, 1, 8), integer(rng, 1, 8))
        agree("roi_pool", x, rng, boxes, size, scale)
        assert torch.equal(roikit.RoIPool(size)(x, boxes, scale), torchvision.ops.roi_pool(x, boxes, size, scale))


def test_ties_of_the_maximum_send_their_gradient_where_torchvision_does(rng):
    x = torch.randint(3, (2, 3, 9, 11), generator=rng).double()  # many equal values
    boxes = torch.tensor([[0, 0.0, 0, 10, 8], [1, 2, 1, 9, 9], [1, -5, -5, 20, 20]], dtype=torch.float64)
    agree("roi_pool", x, rng, boxes, 3)


def test_equal_steps_round_as_torchvisions_do():
    """L / 7 is not exact: for these lengths i·(L/7) in float32 lies on the other side of a whole number."""
    x = torch.rand(1, 2, 130, 130)
    boxes = torch.tensor([[0, 0, 0, n - 1, n - 1] for n in (57, 114, 121, 49, 63)], dtype=torch.float32)
    assert torch.equal(ops.roi_pool(x, boxes, 7), torchvision.ops.roi_pool(x, boxes, 7))
    torch.testing.assert_close(
        ops.roi_align(x, boxes, 7), torchvision.ops.roi_align(x, boxes, 7), rtol=0, atol=TOLERANCE[torch.float32]
    )


@pytest.mark.parametrize("dtype", [pytest.param(torch.float16, marks=pytest.mark.slow), torch.bfloat16], ids=str)
def test_half_types_are_no_worse_than_torchvisions_float32(dtype, rng):
    for _ in range(10):
        x, boxes, scale = scene(rng, torch.float32)
        x = x.to(dtype)
        expected = torchvision.ops.roi_align(x.float(), boxes, 7, scale, 2, True)
        found = ops.roi_align(x, boxes, 7, scale, 2, True)
        assert found.dtype == dtype
        torch.testing.assert_close(found.float(), expected, rtol=torch.finfo(dtype).eps, atol=1e-6)


@pytest.mark.parametrize("name", ["roi_align", "roi_pool"])
def test_signatures_are_torchvisions(name):
    ours, theirs = (inspect.signature(getattr(m, name)).parameters for m in (ops, torchvision.ops))
    assert [(p.name, p.default) for p in ours.values()] == [(p.name, p.default) for p in theirs.values()]


def test_lists_of_boxes(rng):
    x = torch.rand(2, 3, 9, 11, generator=rng)
    boxes = [torch.tensor([[0.0, 1.0, 5.0, 7.0]]), torch.zeros(0, 4)]
    torch.testing.assert_close(
        ops.roi_align(x, boxes, (2, 3), 0.5), torchvision.ops.roi_align(x, boxes, (2, 3), 0.5), rtol=0, atol=1e-6
    )
    assert torch.equal(ops.roi_pool(x, boxes, (2, 3), 0.5), torchvision.ops.roi_pool(x, boxes, (2, 3), 0.5))
