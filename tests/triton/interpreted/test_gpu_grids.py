"""Grid pooling on the GPU: every rule and explicit taps, every derivative, either layout, several levels, odd RoIs."""

from __future__ import annotations

import math

import judged
import pytest
import torch

import roikit
from roikit import rules
from roikit.boxes import Rois
from roikit.sums import gpu
from roikit.sums.axes import full_window
from roikit.sums.separable import gpu as kernels
from roikit.sums.separable import grid_pool, tap_pool
from roikit.weights import Axis, Separable

CHANNELS, SIZES, BINS = 3, ((4, 6), (5, 3)), (2, 2)
FIRST, LAST = torch.contiguous_format, torch.channels_last
SETTINGS = [*((name, 2) for name in rules.NAMES), ("hat", 0), ("hat", 3), ("edge", 1)]


def scene(rng, device, dtype=torch.float64, form=FIRST, levels=2, lengths=5.0):
    """Maps, and RoIs of every level with their starts and sizes on both axes, some of them partly off the map."""
    maps = [torch.randn(2, CHANNELS, *size, generator=rng).to(device, dtype) for size in SIZES[:levels]]
    maps = [x.contiguous(memory_format=form) for x in maps]
    batch, level = torch.tensor([0, 1, 1], device=device), torch.tensor([1, 0, 1], device=device) % levels
    kind = torch.float64 if dtype == torch.float64 else torch.float32
    rows, cols = (
        torch.stack([torch.rand(3, generator=rng) * 5 - 1.5, torch.rand(3, generator=rng) * lengths + 0.1], 1)
        for _ in range(2)
    )
    return maps, batch, level, rows.to(device, kind), cols.to(device, kind)


def told(batch, level, rows, cols, rule, samples, bins=BINS):
    """What an operator is told: the tensors, and the numbers."""
    return (batch, level, rows, cols), [*bins, *(rules.NUMBERS[rule],) * 2, *(samples,) * 2]


def pool(maps, told):
    return grid_pool(maps, (), *told)


def spread(grad, told, shapes, last):
    fixed, numbers = told
    return grid_pool.operators["maps"](grad, *fixed, numbers, [n for shape in shapes for n in shape], last)


def of(batch, level, rows, cols, rule, samples):
    """``grid_pool`` of maps alone."""
    return lambda *x: pool(x, told(batch, level, rows, cols, rule, samples))


def whole(rule, rows, cols):
    """Rules of whole cells take whole numbers."""
    return (rows.round(), cols.round()) if rule == "cells" else (rows, cols)


@pytest.mark.parametrize(("rule", "samples"), SETTINGS)
def test_values_and_derivatives_of_every_rule(rule, samples, rng, device, triton_runs):
    """Every second of them without atomics, and channels-last."""
    certain = SETTINGS.index((rule, samples)) % 2 == 1
    maps, batch, level, *axes = scene(rng, device, form=LAST if certain else FIRST)
    upstream = torch.randn(3, CHANNELS, *BINS, generator=rng, dtype=torch.float64).to(device)
    with judged.certain(certain):
        judged.equal(of(batch, level, *whole(rule, *axes), rule, samples), maps, upstream)
    assert (kernels._gather in triton_runs) == certain


@pytest.mark.parametrize("rule", rules.NAMES)
def test_tiny_and_huge_rois(rule, rng, device):
    maps, batch, level, *axes = scene(rng, device, levels=1, lengths=0.3)
    rows, cols = whole(rule, *axes)
    rows[0, 1], cols[0, 1] = 300.0, 40.0
    if rule != "inside":  # of which a RoI of no size is none
        cols[2, 1] = -cols[2, 1]
    geometry = told(batch, 0 * level, rows, cols, rule, 0 if rule == "hat" else 2)
    found = pool(maps, geometry)
    with judged.backend("reference"):
        torch.testing.assert_close(found, pool(maps, geometry), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(("form", "certain"), [(FIRST, True), (LAST, False)], ids=["in order", "last, atomics"])
def test_explicit_taps_and_all_their_derivatives(form, certain, rng, device):
    maps, batch, level, *_ = scene(rng, device, form=form)
    rows, cols = (torch.randn(3, 2, n, generator=rng, dtype=torch.float64).to(device) for n in (5, 6))
    first = torch.randint(3, (2, 3, 2, 1), generator=rng)
    windows = torch.cat([first, first + torch.randint(4, (2, 3, 2, 1), generator=rng)], -1).int().to(device)
    upstream = torch.randn(3, CHANNELS, *BINS, generator=rng, dtype=torch.float64).to(device)

    def pooled(x, y, rows, cols):
        return tap_pool([x, y], (rows, cols), (batch, level, *windows), list(BINS))

    with judged.certain(certain):
        judged.equal(pooled, [*maps, rows, cols], upstream)


@pytest.mark.parametrize("rule", ["hat", "integral", "inside"])
def test_derivatives_in_boxes(rule, rng, device):
    maps, batch, level, rows, cols = scene(rng, device)
    rois = Rois(torch.zeros(3, 4, device=device), batch, level)
    upstream = torch.randn(3, CHANNELS, *BINS, generator=rng, dtype=torch.float64).to(device)

    def pooled(x, y, rows, cols):
        return Separable(*(Axis(a[:, 0], a[:, 1], 2, rule, 0) for a in (rows, cols)), rois).pool([x, y])

    judged.equal(pooled, [*maps, rows, cols], upstream)


@pytest.mark.parametrize(
    ("rule", "form", "dtype"),
    [
        ("hat", FIRST, torch.float32),
        *(
            pytest.param(rule, FIRST if i % 2 else LAST, torch.float32, marks=pytest.mark.slow)
            for i, rule in enumerate(rules.NAMES[1:])
        ),
        pytest.param("hat", FIRST, torch.float16, marks=pytest.mark.slow),
        pytest.param("inside", LAST, torch.bfloat16, marks=pytest.mark.slow),
    ],
)
def test_low_types_are_no_less_exact_than_the_reference(rule, form, dtype, rng, device):
    maps, batch, level, *axes = scene(rng, device, dtype, form)
    axes = whole(rule, *((16 * axis).round() / 16 for axis in axes))  # both types see the same cells and samples

    def pooled(*x):
        kind = torch.promote_types(x[0].dtype, torch.float32)
        return of(batch, level, *(axis.to(kind) for axis in axes), rule, 2)(*x)

    upstream = torch.randn(3, CHANNELS, *BINS, generator=rng).to(device)
    with judged.certain(dtype != torch.float32):
        judged.no_worse(pooled, maps, upstream, dtype)


@pytest.mark.slow
def test_taps_in_low_types(rng, device):
    for dtype in (torch.float32, torch.bfloat16):
        maps, batch, level, *_ = scene(rng, device, dtype)
        rows, cols = (torch.randn(3, 2, n, generator=rng).to(device) for n in (5, 6))
        windows = [full_window(t) for t in (rows, cols)]
        upstream = torch.randn(3, CHANNELS, *BINS, generator=rng).to(device)

        def pooled(x, y, rows, cols, where=(batch, level), windows=windows):
            return tap_pool([x, y], (rows, cols), (*where, *windows), list(BINS))

        judged.no_worse(pooled, [*maps, rows, cols], upstream, dtype)


@pytest.fixture
def guarded(monkeypatch):
    """Every output lies between numbers that must not change; returns the check."""
    plain, kept = gpu.empty, []

    def empty(shape, dtype, device):
        flat = plain((math.prod(shape) + 128,), dtype, device)
        if not dtype.is_floating_point:
            return plain(shape, dtype, device)
        flat[:64] = flat[-64:] = 7.0
        kept.append(flat)
        return flat[64:-64].view(tuple(shape))

    monkeypatch.setattr(gpu, "empty", empty)
    return lambda: kept and all(bool((flat[:64] == 7).all() and (flat[-64:] == 7).all()) for flat in kept)


def fenced(x):
    """The map, with NaN before and after it in memory."""
    flat = x.new_full((x.numel() + 128,), math.nan)
    flat[64:-64] = x.flatten()
    return flat[64:-64].view(x.shape)


ODD = [(math.nan, 1.0), (1.0, math.inf), (-math.inf, math.nan), (1e30, 3.0), (-1e30, 2e30), (2.0, -4.0), (0.0, 0.0)]


@pytest.mark.parametrize("rule", rules.NAMES)
def test_odd_rois_read_and_write_the_map_alone(rule, rng, device, guarded):
    """All of them on both axes, with adaptive samples too; a number that is none gives NaN, and never takes long."""
    maps = [fenced(torch.randn(1, 2, 3, 2, generator=rng, dtype=torch.float32).to(device))]
    axis = torch.tensor(ODD, device=device)
    none = torch.zeros(len(ODD), dtype=torch.int64, device=device)
    geometry = told(none, none, axis, axis, rule, 0 if rule == "hat" else 2, (1, 1))
    out = pool(maps, geometry)
    assert bool(torch.isnan(out[:3]).all()) and bool(torch.isfinite(out[3:]).all())
    for certain in (False, True):
        with judged.certain(certain):
            grad = torch.ones_like(out)
            (found,) = spread(grad, geometry, [maps[0].shape], False)
            assert bool(torch.isnan(found[0, :, 0, 0]).all())
            assert bool(torch.isfinite(found.flatten(2)[..., 1:]).all())
    assert guarded()


def test_images_and_levels_that_are_not_there(rng, device, guarded, monkeypatch):
    """Unchecked, as on a GPU: NaN, and no gradient."""
    monkeypatch.setattr("roikit.sums.indices.check", lambda *given: None)
    maps, _, _, rows, cols = scene(rng, device)
    for batch, level in ((torch.tensor([0, 2, -1]), torch.zeros(3).long()), (torch.zeros(3).long(), [0, 2, -1])):
        where = batch.to(device), torch.as_tensor(level, device=device)
        geometry = told(*where, rows.abs(), cols.abs(), "integral", 2)
        out = pool(maps, geometry)
        assert bool(torch.isfinite(out[0]).all()) and bool(torch.isnan(out[1:]).all())
        for certain in (False, True):
            with judged.certain(certain):
                found = spread(torch.ones_like(out), geometry, [x.shape for x in maps], False)
                assert all(bool(torch.isfinite(x).all()) for x in found)
                assert all(bool((x[1] == 0).all()) for x in found)
    assert guarded()


def test_in_order_the_bits_are_the_same(rng, device, monkeypatch):
    """RoIs that overlap, in float32, in both layouts: each cell sums in the RoIs' order. No memory but the result's."""
    asked, plain = [], gpu.empty
    monkeypatch.setattr(gpu, "empty", lambda shape, *given: asked.append(math.prod(shape)) or plain(shape, *given))
    maps, batch, level, rows, cols = scene(rng, device, torch.float32)
    geometry = told(0 * batch, 0 * level, rows.abs(), cols, "integral", 2)
    grad, shapes = torch.randn(3, CHANNELS, *BINS, generator=rng).to(device), [x.shape for x in maps]
    with judged.certain():
        first, second = (spread(grad, geometry, shapes, last) for last in (False, True))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert sum(asked) == 2 * sum(x.numel() for x in maps)


def test_nothing_to_do(rng, device, triton_runs):
    triton_runs.append("nothing is launched here")
    for count, channels in ((0, 3), (2, 0)):
        maps = [torch.randn(1, channels, 3, 4, device=device)]
        none, axis = torch.zeros(count, dtype=torch.int64, device=device), torch.ones(count, 2, device=device)
        geometry = told(none, none, axis, axis, "hat", 2)
        out = pool(maps, geometry)
        assert out.shape == (count, channels, *BINS)
        for certain in (False, True):
            with judged.certain(certain):
                (found,) = spread(out, geometry, [maps[0].shape], False)
                assert torch.equal(found, torch.zeros_like(maps[0]))


def test_an_extractor_over_a_pyramid(rng, device):
    """From boxes to features: the level of each RoI, and gradients in features and boxes."""
    maps = [torch.randn(1, CHANNELS, *size, generator=rng, dtype=torch.float64).to(device) for size in SIZES]
    boxes = torch.tensor([[1.0, 2.0, 15.0, 14.0], [3.0, 0.0, 40.0, 35.0]], dtype=torch.float64, device=device)
    pool = roikit.MultiScale(roikit.RoIAlign(2), ["fine", "coarse"], [4, 8], canonical_scale=32, canonical_level=3)
    upstream = torch.randn(2, CHANNELS, 2, 2, generator=rng, dtype=torch.float64).to(device)
    judged.equal(lambda x, y, b: pool({"fine": x, "coarse": y}, [b]), [*maps, boxes], upstream)
