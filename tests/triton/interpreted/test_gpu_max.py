"""Max pooling on the GPU: values, winners, the derivatives, either layout, several levels, boxes that are nowhere."""

from __future__ import annotations

import math

import judged
import pytest
import torch

import roikit
from roikit.sums.maximum import NUMBERS, gpu, reference
from roikit.sums.maximum.where import Chosen

SLOW = pytest.mark.slow
CHANNELS, SIZES = 5, ((4, 6), (7, 3))
FIRST, LAST = torch.contiguous_format, torch.channels_last


def scene(rng, device, dtype=torch.float64, form=FIRST):
    """Maps with equal values and a NaN, and the windows of 2 × 2 bins of three RoIs: one empty, one over all."""
    maps = [torch.randint(-3, 3, (2, CHANNELS, *size), generator=rng).to(device, dtype) for size in SIZES]
    for x in maps:
        x[:, 1] = -math.inf
        x[:, 2, :, 1] = math.nan
        x[0, 3] = math.nan
    maps = [x.contiguous(memory_format=form) for x in maps]
    rows = torch.tensor([[[0, 3], [2, 7]], [[1, 3], [3, 3]], [[-1, 2], [0, 2]]], device=device)
    cols = torch.tensor([[[0, 2], [1, 3]], [[2, 6], [0, 1]], [[0, 2], [1, 3]]], device=device)
    batch, level = torch.tensor([0, 1, 1], device=device), torch.tensor([1, 0, 1], device=device)
    return maps, batch, level, rows.int(), cols.int()


@pytest.mark.parametrize("form", [FIRST, LAST], ids=["first", "last"])
@pytest.mark.parametrize("dtype", [torch.float64, pytest.param(torch.float16, marks=SLOW), torch.bfloat16], ids=str)
def test_values_and_winners_are_the_references(dtype, form, rng, device):
    maps, batch, level, rows, cols = scene(rng, device, dtype, form)
    given = (maps, batch, level, rows, cols)
    values, index = torch.ops.roikit.max_select(*given)
    expected = reference.winners(*given)
    assert torch.equal(index, expected) and index.dtype == torch.int32
    assert index[2, 0].tolist() == [[-2, -2], expected[2, 0, 1].tolist()] and bool((index[1, :, 1] == -1).all())
    torch.testing.assert_close(values, reference.pool(maps, batch, level, expected), rtol=0, atol=0, equal_nan=True)
    again = torch.ops.roikit.chosen_pool(maps, batch, level, index, NUMBERS)
    torch.testing.assert_close(again, values, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize(("form", "certain"), [(FIRST, False), (LAST, True)], ids=["atomics", "last, in order"])
def test_derivatives_of_any_order(form, certain, rng, device):
    maps = [torch.randn(2, CHANNELS, *size, generator=rng, dtype=torch.float64).to(device) for size in SIZES]
    maps = [x.contiguous(memory_format=form) for x in maps]
    pool = roikit.MultiScale(roikit.RoIPool(2), ["fine", "coarse"], [4, 8])
    boxes = torch.tensor([[0.0, 0, 0, 20, 15], [1, 3, 2, 9, 300], [1, 30, 0, 400, 28]], device=device)
    upstream = torch.randn(3, CHANNELS, 2, 2, generator=rng, dtype=torch.float64).to(device)
    with judged.certain(certain):
        judged.equal(lambda *x: pool(dict(zip(("fine", "coarse"), x, strict=True)), boxes), maps, upstream)


@pytest.mark.parametrize("dtype", [torch.float32, pytest.param(torch.float16, marks=SLOW), torch.bfloat16], ids=str)
@pytest.mark.parametrize("certain", [False, True], ids=["atomics", "in order"])
def test_gradients_that_meet_are_added_in_float32(dtype, certain, rng, device):
    """Many bins have the same winner: its gradient is their sum, rounded once."""
    grad = torch.randn(3, 3, 7, 2, generator=rng).to(device, dtype)
    index = torch.randint(-2, 3, (3, 3, 7, 2), generator=rng, dtype=torch.int32).to(device)
    batch, level = torch.tensor([0, 1, 1], device=device), torch.tensor([1, 0, 1], device=device)
    shapes = [[2, 3, *size] for size in SIZES]
    with judged.certain(certain):
        flat = [n for s in shapes for n in s]
        found = torch.ops.roikit.chosen_spread(grad, batch, level, index, NUMBERS, flat, False)
    for mine, exact in zip(found, reference.spread(grad.double(), batch, level, index, shapes), strict=True):
        assert mine.dtype == dtype
        torch.testing.assert_close(mine.double(), exact, rtol=0.51 * torch.finfo(dtype).eps, atol=4e-6)
    assert float(found[0].abs().sum()) > 0 and float(found[1].abs().sum()) > 0


def test_images_levels_and_cells_that_are_not_there(rng, device):
    """Nothing may be read on a GPU to check them: their features are NaN, and they add nothing to a gradient."""
    maps, _, _, rows, cols = scene(rng, device)
    rows[2], cols[0] = torch.tensor([[0, 900], [0, 2]]), torch.tensor([[-5, 900], [0, 2]])
    batch, level = torch.tensor([0, 2, 1], device=device), torch.tensor([0, 0, 1], device=device)
    values, index = gpu.select(maps, batch, level, rows, cols)
    assert bool(torch.isnan(values[1]).all()) and bool((index[1] == -2).all())
    assert int(index[0].max()) < 24 and int(index[2].max()) < 21
    index = torch.full((3, CHANNELS, 1, 1), 23, dtype=torch.int32, device=device)
    assert torch.isnan(gpu.pool(maps, Chosen(batch, level, index), False))[1:].all()
    gone, ones = torch.tensor([2, 0, 1], device=device), torch.ones_like(index, dtype=torch.float64)
    shapes = [list(x.shape) for x in maps]
    for certain in (False, True):
        with judged.certain(certain):
            found = gpu.spread(ones, Chosen(batch, gone, index), shapes, False)
        assert all(bool((x == 0).all()) for x in found)
