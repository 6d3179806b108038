"""Bins that lie anywhere on the GPU: values, every derivative, channels of their own, either layout, several levels."""

from __future__ import annotations

import math

import judged
import pytest
import torch

from roikit import rules
from roikit.boxes import Rois
from roikit.sums.axes import Axes
from roikit.sums.bins import gpu
from roikit.sums.bins.where import Bins
from roikit.sums.maps import geometry_dtype
from roikit.weights import Axis, Channels, ShiftedBins

SLOW = pytest.mark.slow
CHANNELS, SIZES, BINS = 6, ((4, 6), (7, 3)), 2
FIRST, LAST = torch.contiguous_format, torch.channels_last
# Every bin reads all channels; bins read groups of neighbouring ones; position-sensitive: every second channel.
READ = {
    "all": Channels(6),
    "runs": Channels(2, 1, torch.tensor([[0, 4], [3, 1], [2, 2]])),
    "every second": Channels(3, 2, torch.tensor([1, 0])),
}


def channels_of(name, device):
    given = READ[name]
    return Channels(given.run, given.step, None if given.base is None else given.base.to(device))


def scene(rng, device, dtype=torch.float64, form=FIRST):
    """Maps, three RoIs of both levels, and (lo, size) of 2 bins of each: some reach beyond the map, one is far away."""
    maps = [torch.randn(2, CHANNELS, *size, generator=rng).to(device, dtype) for size in SIZES]
    batch, level = torch.tensor([0, 1, 1], device=device), torch.tensor([1, 0, 1], device=device)
    kind = torch.float64 if dtype == torch.float64 else torch.float32
    rows, cols = (
        torch.stack([torch.rand(6, generator=rng) * 5 - 1, torch.rand(6, generator=rng) * 3 + 0.3]) for _ in range(2)
    )
    cols[0, 5] = 40
    rois = Rois(torch.zeros(3, 4, device=device), batch, level)
    return [x.contiguous(memory_format=form) for x in maps], rois, rows.to(device, kind), cols.to(device, kind)


def of(rois, rule, samples, channels):
    """``pool`` of two maps, rows and columns as separate arguments."""

    def pool(fine, coarse, rows, cols):
        axes = (Axis(*rows, 1, rule, samples), Axis(*cols, 1, rule, samples))
        return ShiftedBins(*axes, rois, (1, BINS), channels=channels).pool([fine, coarse]).flatten(2)

    return pool


CASES = [("hat", 2, "all", FIRST), ("edge", 3, "every second", LAST), ("integral", 0, "runs", FIRST)]


@pytest.mark.parametrize("certain", [False, True], ids=["atomics", "in order"])
@pytest.mark.parametrize(("rule", "samples", "read", "form"), CASES)
def test_values_and_derivatives_with_the_rule_in_the_kernel(rule, samples, read, form, certain, rng, device):
    maps, rois, rows, cols = scene(rng, device, form=form)
    pool = of(rois, rule, samples, channels_of(read, device))
    upstream = torch.randn(3, READ[read].run, BINS, generator=rng, dtype=torch.float64).to(device)
    with judged.certain(certain):
        judged.equal(lambda *x: pool(*x, rows, cols), maps, upstream)


@pytest.mark.parametrize(("read", "form", "certain"), [("all", LAST, True), ("runs", FIRST, False)])
def test_derivatives_of_any_order_in_the_bins(read, form, certain, rng, device):
    maps, rois, rows, cols = scene(rng, device, form=form)
    upstream = torch.randn(3, READ[read].run, BINS, generator=rng, dtype=torch.float64).to(device)
    with judged.certain(certain):
        judged.equal(of(rois, "hat", 2, channels_of(read, device)), [*maps, rows, cols], upstream)


@pytest.mark.parametrize(
    ("form", "dtype"),
    [
        (LAST, torch.float32),
        pytest.param(FIRST, torch.float16, marks=SLOW),
        pytest.param(LAST, torch.bfloat16, marks=SLOW),
    ],
)
def test_low_types_are_no_less_exact_than_the_reference(form, dtype, rng, device):
    maps, rois, rows, cols = scene(rng, device, dtype, form)
    upstream = torch.randn(3, CHANNELS, BINS, generator=rng).to(device)
    pool = of(rois, "integral", 0, channels_of("all", device))  # continuous: float32 and float64 mean the same bins
    judged.no_worse(pool, [*maps, rows, cols], upstream, dtype)
    judged.no_worse(lambda *x: pool(*x, *(t.to(geometry_dtype(x[0])) for t in (rows, cols))), maps, upstream, dtype)


def test_half_types_are_rounded_once(rng, device):
    for dtype in (torch.float16, torch.bfloat16):
        maps, rois, rows, cols = scene(rng, device, dtype)
        pool = of(rois, "hat", 2, channels_of("runs", device))
        expected = pool(*(x.float() for x in maps), rows, cols).to(dtype)
        assert torch.equal(pool(*maps, rows, cols), expected)


def test_in_order_the_bits_are_the_same(rng, device, monkeypatch):
    """However many bins are looked at in one go."""
    maps, rois, rows, cols = scene(rng, device, torch.float32)
    pool = of(rois, "hat", 2, channels_of("all", device))
    upstream, found = torch.randn(3, CHANNELS, BINS, generator=rng).to(device), []
    for block in (gpu.BLOCK, 2):
        monkeypatch.setattr(gpu, "BLOCK", block)
        leaves = [x.detach().requires_grad_() for x in maps]
        with judged.certain():
            found.append(torch.autograd.grad(pool(*leaves, rows, cols), leaves, upstream))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_bins_that_are_not_numbers_or_huge(rng, device):
    maps, rois, rows, cols = scene(rng, device)
    rows[0, 0] = cols[0, 0] = math.nan  # as of a box: of one that is not a number no coordinate is
    rows[:, 2], rows[0, 4] = torch.tensor([-1e30, 2e30]), 1e30
    for rule, samples in (("hat", 0), ("cells", 0), ("hat", 2)):
        found = of(rois, rule, samples, channels_of("all", device))(*maps, rows, cols)
        assert bool(torch.isnan(found[0, :, 0]).all()) and bool(torch.isfinite(found[0, :, 1]).all())
        assert bool(torch.isfinite(found[1]).all()) and bool((found[2, :, 0] == 0).all())


def test_images_levels_and_channels_that_are_not_there(rng, device):
    """Nothing may be read on a GPU to check them: their features are NaN, and they add nothing to a gradient."""
    maps, _, rows, cols = scene(rng, device)
    batch, level = torch.tensor([0, 2, 0], device=device), torch.tensor([1, 0, -1], device=device)
    base = torch.tensor([[0, 3], [0, 0], [0, 0]], device=device)
    axes = tuple(axis.t().reshape(3, BINS, 2) for axis in (rows, cols))
    hat = rules.NUMBERS["hat"]
    both = Axes(*axes, rules=(hat, hat), samples=(2, 2))
    bins = Bins(batch, level, both, base, 1, 4)
    found = gpu.pool(maps, bins, False)
    assert bool(torch.isfinite(found[0, :, 0]).all()) and bool(torch.isnan(found[1:]).all())
    assert torch.isnan(found[0, :, 1]).tolist() == [False, False, False, True]
    gone = Bins(torch.tensor([2, 0, 0], device=device), 0 * level + 2, both, base, 1, 4)
    upstream, shapes = torch.ones(3, 4, BINS, dtype=torch.float64, device=device), [list(x.shape) for x in maps]
    for certain in (False, True):
        with judged.certain(certain):
            assert all(bool((x == 0).all()) for x in gpu.spread(upstream, gone, shapes, False))
