"""Point pooling on the GPU: values, every derivative, either layout, several levels, points that are nowhere."""

from __future__ import annotations

import math

import judged
import pytest
import torch

from roikit.boxes import Rois
from roikit.sums.points import gpu
from roikit.sums.points.where import Samples
from roikit.weights import Points

SLOW = pytest.mark.slow
CHANNELS, SIZES = 5, ((4, 6), (7, 3))
FIRST, LAST = torch.contiguous_format, torch.channels_last


def scene(rng, device, dtype=torch.float64, form=torch.contiguous_format, levels=2):
    """Maps, RoIs of every level, and 2 bins of 3 samples each, some of them beyond the map."""
    maps = [torch.randn(2, CHANNELS, *size, generator=rng).to(device, dtype) for size in SIZES[:levels]]
    maps = [x.contiguous(memory_format=form) for x in maps]
    batch, level = torch.tensor([0, 1, 1], device=device), torch.tensor([1, 0, 1], device=device) % levels
    kind = torch.float64 if dtype == torch.float64 else torch.float32
    points = (torch.rand(3, 2, 3, 2, generator=rng) * 9 - 2).to(device, kind)
    points[0, 0, 0] = torch.tensor([3.0, 2.0])  # on cells: of an edge, too
    points[1, 0, 1] = torch.tensor([-0.5, 5.5])
    weights = (torch.rand(3, 2, 3, generator=rng) - 0.3).to(device, kind)
    return maps, Rois(torch.zeros(3, 4, device=device), batch, level), points, weights


def pool(maps, rois, points, weights):
    """``Tensor[R, C, K]``."""
    return Points(points, weights, rois, (1, points.shape[1])).pool(maps).flatten(2)


def of(rois, levels=2):
    """``pool`` of maps, points and weights as separate arguments."""
    return lambda *t: pool(t[:levels], rois, t[levels], t[levels + 1])


@pytest.mark.parametrize(("form", "certain"), [(FIRST, False), (LAST, True)], ids=["atomics", "last, in order"])
def test_values_and_derivatives_of_any_order(form, certain, rng, device):
    maps, rois, points, weights = scene(rng, device, form=form)
    upstream = torch.randn(3, CHANNELS, 2, generator=rng, dtype=torch.float64).to(device)
    with judged.certain(certain):
        judged.equal(of(rois), [*maps, points, weights], upstream)
        judged.equal(lambda *x: pool(x, rois, points, weights), maps, upstream)


@pytest.mark.parametrize(
    ("form", "dtype"),
    [
        (LAST, torch.float32),
        pytest.param(FIRST, torch.float16, marks=SLOW),
        pytest.param(LAST, torch.bfloat16, marks=SLOW),
    ],
)
def test_low_types_are_no_less_exact_than_the_reference(form, dtype, rng, device):
    maps, rois, points, weights = scene(rng, device, dtype, form)
    upstream = torch.randn(3, CHANNELS, 2, generator=rng).to(device)
    judged.no_worse(of(rois), [*maps, points, weights], upstream, dtype)


def test_half_types_are_rounded_once(rng, device):
    for dtype in (torch.float16, torch.bfloat16):
        maps, rois, points, weights = scene(rng, device, dtype)
        expected = pool([x.float() for x in maps], rois, points, weights).to(dtype)
        assert torch.equal(pool(maps, rois, points, weights), expected)


def test_in_order_the_bits_are_the_same_in_any_order_of_threads(rng, device):
    """Every cell is read by several samples, and the sum in float32 depends on their order."""
    maps, rois, points, weights = scene(rng, device, torch.float32)
    leaves = [x.requires_grad_() for x in maps]
    upstream = torch.randn(3, CHANNELS, 2, generator=rng).to(device)
    with judged.certain():
        first, second = (
            torch.autograd.grad(pool(leaves, rois, points / 4, weights), leaves, upstream) for _ in range(2)
        )
        with judged.backend("reference"):
            third = torch.autograd.grad(pool(leaves, rois, points / 4, weights), leaves, upstream)
    for a, b, c in zip(first, second, third, strict=True):
        assert torch.equal(a, b)
        torch.testing.assert_close(a, c)


def test_points_that_are_not_numbers_or_far_away(rng, device):
    maps, rois, points, weights = scene(rng, device)
    points[0, 0, 1, 0] = math.nan
    points[1] = torch.tensor([1e30, -1e30])
    points[2, 0] = math.inf
    found = pool(maps, rois, points, weights)
    assert bool(torch.isnan(found[0, :, 0]).all()) and bool(torch.isfinite(found[0, :, 1]).all())
    assert bool((found[1] == 0).all()) and bool((found[2, :, 0] == 0).all())


def test_a_cell_of_no_weight_is_not_read(rng, device):
    maps, rois, points, weights = scene(rng, device, levels=1)
    points[:] = points.round().clamp(0, 3)
    expected = pool(maps, rois, points, weights)
    cells = {tuple(p) for p in points.reshape(-1, 2).int().tolist()}
    for v in range(SIZES[0][0]):
        for u in range(SIZES[0][1]):
            if (v, u) not in cells:
                maps[0][:, :, v, u] = math.inf
    assert torch.equal(pool(maps, rois, points, weights), expected)


def test_images_and_levels_that_are_not_there(rng, device):
    """Nothing may be read on a GPU to check them: their features are NaN, and they add nothing to a gradient."""
    maps, _, points, weights = scene(rng, device)
    batch, level = torch.tensor([0, 2, -1], device=device), torch.tensor([1, 0, 0], device=device)
    samples = Samples(batch, level, points=points, weights=weights)
    found = gpu.pool(maps, samples, False)
    assert bool(torch.isfinite(found[0]).all()) and bool(torch.isnan(found[1:]).all())
    gone = Samples(batch, torch.tensor([2, -1, 9], device=device), points=points, weights=weights)
    upstream, shapes = torch.ones(3, CHANNELS, 2, dtype=torch.float64, device=device), [list(x.shape) for x in maps]
    assert bool(torch.isnan(gpu.pool(maps, gone, False)).all())
    for certain in (False, True):
        with judged.certain(certain):
            assert all(bool((x == 0).all()) for x in gpu.spread(upstream, gone, shapes, False))


def test_nothing_to_pool_and_nothing_to_pool_from(rng, device):
    maps, rois, points, weights = scene(rng, device, levels=1)
    none = Rois(rois.boxes[:0], rois.batch[:0], rois.level[:0])
    leaf = maps[0].requires_grad_()
    out = pool([leaf], none, points[:0], weights[:0])
    assert out.shape == (0, CHANNELS, 2)
    assert bool((torch.autograd.grad(out.sum(), leaf)[0] == 0).all())
    pool([leaf], rois, points, weights)  # a kernel runs in this test
