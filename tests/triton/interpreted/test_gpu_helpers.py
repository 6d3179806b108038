"""The small functions that Triton kernels share, and the order of RoIs by the maps they are read from."""

from __future__ import annotations

import math

import pytest
import torch
import triton
import triton.language as tl

from roikit.sums import gpu


@triton.jit
def _look(maps, sizes, level, out, found, LAST: tl.constexpr):
    r = tl.program_id(0)
    at = tl.load(level + r)
    size = gpu.chosen(sizes, at)
    image, row, column, channel = gpu.strides(gpu.height_of(size), gpu.width_of(size), 5, LAST)
    tl.store(out + r, tl.load(gpu.chosen(maps, at) + image + 2 * row + column + 3 * channel))
    tl.store(found + 2 * r, gpu.height_of(size))
    tl.store(found + 2 * r + 1, gpu.width_of(size))


@pytest.mark.parametrize("last", [False, True])
def test_a_cell_of_one_of_several_levels(last, device, rng):
    maps = [torch.rand(2, 5, *size, generator=rng).to(device) for size in ((3, 7), (16, 2), (5, 5))]
    level = torch.tensor([2, 0, 1, 2], device=device)
    out, sizes = torch.full((4,), float("nan"), device=device), torch.zeros(4, 2, dtype=torch.int32, device=device)
    given = gpu.per_level(maps, last)
    gpu.run(_look, (4,), level, *given, level, out, sizes, LAST=last)
    assert out.tolist() == [maps[at][1, 3, 2, 1].item() for at in level.tolist()]
    assert sizes.tolist() == [list(maps[at].shape[2:]) for at in level.tolist()]


def test_maps_in_the_right_layout_are_not_copied(triton_runs, device):
    triton_runs.append("nothing is launched here")
    plain, turned = torch.rand(2, 3, 4, 5, device=device), torch.rand(2, 3, 4, 5, device=device)
    turned = turned.contiguous(memory_format=torch.channels_last)
    for last, kept, copied in ((False, plain, turned), (True, turned, plain)):
        maps, _ = gpu.per_level([kept, copied], last)
        assert maps[0].data_ptr() == kept.data_ptr()
        assert maps[1].data_ptr() != copied.data_ptr()
        assert torch.equal(maps[1], copied)


@triton.jit
def _divide(a, b, out, finite):
    i = tl.program_id(0)
    tl.store(out + i, gpu.quotient(tl.load(a + i), tl.load(b + i)))
    tl.store(finite + i, gpu.is_finite(tl.load(a + i)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_quotients_are_correctly_rounded(dtype, device, rng):
    a, b = torch.rand(2, 40, generator=rng, dtype=dtype).to(device) + 0.1
    a[:3] = torch.tensor([math.nan, math.inf, -math.inf])
    out, finite = torch.zeros_like(a), torch.zeros(40, dtype=torch.bool, device=device)
    gpu.run(_divide, (40,), a, a, b, out, finite)
    torch.testing.assert_close(out, a / b, rtol=0, atol=0, equal_nan=True)
    assert finite.tolist() == [False] * 3 + [True] * 37


def test_rois_in_the_order_of_their_maps(triton_runs, device):
    triton_runs.append("nothing is launched here")
    batch = torch.tensor([1, 0, 7, 1, 0, 0, -1], device=device)
    level = torch.tensor([0, 1, 0, 0, 0, 1, 0], device=device)
    order, start = gpu.by_map(batch, level, 2, 2)
    assert start.tolist() == [0, 1, 3, 5, 5]
    assert order.tolist() == [4, 0, 3, 1, 5, 2, 6]
