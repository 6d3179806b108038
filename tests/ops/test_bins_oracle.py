"""Oracles of the poolings whose bins have their own channels or places: torchvision, and identities."""

from __future__ import annotations

import inspect

import pytest
import torch
import torchvision
from oracles import compare
from test_torchvision_oracle import TOLERANCE, agree, integer, scene

from roikit import geometry, ops
from roikit.boxes import Rois
from roikit.weights import ShiftedBins
from roikit.weights.axis import Axis
from roikit.weights.shifted import Channels

dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
backends = pytest.mark.parametrize("backend", ["numba", "reference"])


def position_sensitive_scene(rng, dtype, positive):
    x, boxes, scale = scene(rng, dtype)
    size = (integer(rng, 1, 4), integer(rng, 1, 4))
    x = torch.rand(2, 2 * size[0] * size[1], *x.shape[2:], generator=rng, dtype=dtype)
    if positive:  # torchvision divides by a number of samples of 0 for a box with exchanged corners
        low, high = torch.minimum(boxes[:, 1:3], boxes[:, 3:]), torch.maximum(boxes[:, 1:3], boxes[:, 3:])
        boxes = torch.cat([boxes[:, :1], low, high + 0.01], 1)
    return x, boxes, scale, size


@dtypes
@backends
def test_ps_roi_align(dtype, backend, rng, monkeypatch):
    monkeypatch.setenv("ROIKIT_BACKEND", backend)
    for _ in range(40 if backend == "numba" else 5):
        sampling = integer(rng, -1, 3)
        x, boxes, scale, size = position_sensitive_scene(rng, dtype, positive=sampling <= 0)
        agree("ps_roi_align", x, rng, boxes, size, scale, sampling)


@dtypes
@backends
def test_ps_roi_pool(dtype, backend, rng, monkeypatch):
    monkeypatch.setenv("ROIKIT_BACKEND", backend)
    for _ in range(40 if backend == "numba" else 5):
        x, boxes, scale, size = position_sensitive_scene(rng, dtype, positive=False)
        found, expected = (m.ps_roi_pool(x, boxes, size, scale) for m in (ops, torchvision.ops))
        compare("`ops.ps_roi_pool`", "torchvision", found, expected, TOLERANCE[dtype])
        # torchvision's backward is the derivative of its forward only for boxes that end before the last row and column
        # (it clips to N, the forward to N - 1) and away from halves (it rounds float64 boxes in float32). Ours is
        # checked by finite differences below.
        if min(x.shape[2:]) >= 4:
            limit = torch.tensor([x.shape[3], x.shape[2]] * 2) - 2.0
            cells = torch.minimum((boxes[:, 1:] * scale).floor().clamp(min=0), limit.to(dtype))
            agree("ps_roi_pool", x, rng, torch.cat([boxes[:, :1], (cells + 0.2) / scale], 1), size, scale)


def test_a_degenerate_box_with_adaptive_sampling_is_zero_not_nan():
    x = torch.ones(1, 4, 8, 8)
    box = torch.tensor([[0, 3.0, 3.0, 3.0, 3.0]])
    assert torch.equal(ops.ps_roi_align(x, box, 2), torch.zeros(1, 1, 2, 2))


@pytest.mark.parametrize("name", ["ps_roi_align", "ps_roi_pool"])
def test_signatures_are_torchvisions(name):
    ours, theirs = (inspect.signature(getattr(m, name)).parameters for m in (ops, torchvision.ops))
    assert [(p.name, p.default) for p in ours.values()] == [(p.name, p.default) for p in theirs.values()]


def test_channels_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="needs a multiple of 4 channels, but the input has 6"):
        ops.ps_roi_pool(torch.rand(1, 6, 4, 4), torch.tensor([[0, 0.0, 0, 3, 3]]), 2)


@dtypes
@backends
def test_zero_offsets_are_roi_align(dtype, backend, rng, monkeypatch):
    monkeypatch.setenv("ROIKIT_BACKEND", backend)
    for sampling in (-1, 1, 2):
        x, boxes, scale = scene(rng, dtype)
        expected = torchvision.ops.roi_align(x, boxes, (3, 2), scale, sampling, True)
        zero = torch.zeros(len(boxes), 2, 3, 2, dtype=dtype)
        for offset in (None, zero):
            for modulation in (None, torch.ones(len(boxes), 3, 2, dtype=dtype)):
                found = ops.deform_roi_pool(x, boxes, offset, modulation, (3, 2), scale, sampling)
                tolerance = 2e-6 if dtype == torch.float32 else 1e-13
                compare("`ops.deform_roi_pool`, no offsets", "torchvision's `roi_align`", found, expected, tolerance)


@backends
def test_every_bin_is_roi_align_of_its_own_box(backend, rng, monkeypatch):
    """A moved bin is a 1×1 RoI Align of the moved bin: torchvision says its value and gradients."""
    monkeypatch.setenv("ROIKIT_BACKEND", backend)
    x = torch.rand(2, 3, 12, 15, generator=rng, dtype=torch.float64, requires_grad=True)
    boxes = torch.tensor([[0, 3.0, 5, 29, 31], [1, -4.0, 2, 40, 17], [1, 9.0, 9, 50, 44]], dtype=torch.float64)
    offset = (torch.rand(3, 2, 2, 3, generator=rng, dtype=torch.float64) - 0.5) * 4
    modulation = torch.rand(3, 2, 3, generator=rng, dtype=torch.float64)
    found = ops.deform_roi_pool(x, boxes, offset, modulation, (2, 3), 0.25, 2, 0.1)
    parts = []
    for i in range(2):
        for j in range(3):
            height, width = (boxes[:, 4] - boxes[:, 2]), (boxes[:, 3] - boxes[:, 1])
            top = boxes[:, 2] + i * height / 2 + 0.1 * offset[:, 0, i, j] * height
            left = boxes[:, 1] + j * width / 3 + 0.1 * offset[:, 1, i, j] * width
            moved = torch.stack([boxes[:, 0], left, top, left + width / 3, top + height / 2], 1)
            parts.append(torchvision.ops.roi_align(x, moved, 1, 0.25, 2, True)[..., 0, 0] * modulation[:, None, i, j])
    expected = torch.stack(parts, 2).unflatten(2, (2, 3))
    compare("`ops.deform_roi_pool`", "torchvision's `roi_align`, a bin at a time", found, expected, 1e-12)
    weight = torch.rand(found.shape, generator=rng, dtype=torch.float64)
    (gradient,), (wanted,) = torch.autograd.grad(found, x, weight), torch.autograd.grad(expected, x, weight)
    torch.testing.assert_close(gradient, wanted, rtol=0, atol=1e-11)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["nchw", "channels_last"])
def test_derivatives_to_second_order(layout, rng):
    x = torch.rand(2, 4, 7, 8, generator=rng, dtype=torch.float64).to(memory_format=layout).requires_grad_()
    boxes = torch.tensor(
        [[1.37, 0.71, 9.13, 8.93], [3.11, 2.77, 13.91, 11.23]], dtype=torch.float64, requires_grad=True
    )
    offset = ((torch.rand(2, 2, 2, 2, generator=rng, dtype=torch.float64) - 0.5) / 3).requires_grad_()
    modulation = torch.rand(2, 2, 2, generator=rng, dtype=torch.float64, requires_grad=True)

    def deform(x, boxes, offset, modulation):
        return ops.deform_roi_pool(x, [boxes[:1], boxes[1:]], offset, modulation, 2, 0.5)

    def position_sensitive(x, boxes):
        return ops.ps_roi_align(x, [boxes[:1], boxes[1:]], 2, 0.5, 2)

    def rounded(x):
        return ops.ps_roi_pool(x, [boxes[:1].detach(), boxes[1:].detach()], 2, 0.5)

    for function, inputs in (
        (deform, (x, boxes, offset, modulation)),
        (position_sensitive, (x, boxes)),
        (rounded, (x,)),
    ):
        assert torch.autograd.gradcheck(function, inputs, fast_mode=True)
        assert torch.autograd.gradgradcheck(function, inputs, fast_mode=True)


def test_forward_mode_is_not_silently_zero(rng):
    x = torch.rand(1, 4, 7, 8, generator=rng, dtype=torch.float64)
    boxes = torch.tensor([[0, 1.37, 0.71, 9.13, 8.93]], dtype=torch.float64)
    tangent = torch.rand(x.shape, generator=rng, dtype=torch.float64)
    for pool in (
        lambda v: ops.ps_roi_align(v, boxes, 2, 0.5),
        lambda v: ops.deform_roi_pool(v, boxes, None, None, 2, 0.5),
    ):
        _, found = torch.func.jvp(pool, (x,), (tangent,))
        torch.testing.assert_close(found, pool(tangent))  # linear in the features


def test_operators_are_well_registered(rng):
    """torch.library.opcheck of all six operators: schema, shapes under compilation, derivatives."""
    x = torch.rand(2, 4, 6, 5, generator=rng, dtype=torch.float64)
    batch, level = torch.tensor([0, 1, 1]), torch.zeros(3, dtype=torch.int64)
    rows, cols = (torch.rand(3, 4, 2, generator=rng, dtype=torch.float64) + 1 for _ in range(2))
    base = torch.tensor([0, 1, 2, 3]).expand(3, 4)
    calls = {
        "bin_pool": ([x.requires_grad_()], batch, level, rows, cols, base, [4, 1, 0, 0, 2, 2]),
        "bin_spread": (
            torch.rand(3, 1, 4, dtype=torch.float64, requires_grad=True),
            batch, level, rows, cols, base, [4, 1, 0, 0, 2, 2], [2, 4, 6, 5], False,
        ),
    }  # fmt: skip
    taps = [torch.rand(3, 4, n, generator=rng, dtype=torch.float64).requires_grad_() for n in (6, 5)]
    windows = [torch.tensor([1, 4], dtype=torch.int32).expand(3, 4, 2) for _ in range(2)]
    fixed = (batch, level, *windows, base, [4, 1])
    grad = torch.rand(3, 1, 4, dtype=torch.float64, requires_grad=True)
    calls["bin_tap_pool"] = ([x], *taps, *fixed)
    calls["bin_tap_spread"] = (*taps, grad, *fixed, [2, 4, 6, 5], False)
    calls["bin_tap_rows"] = ([x], taps[1], grad, *fixed, 6)
    calls["bin_tap_cols"] = ([x], taps[0], grad, *fixed, 5)
    for name, arguments in calls.items():
        torch.library.opcheck(getattr(torch.ops.roikit, name).default, arguments)


def test_compiles_without_a_graph_break(rng):
    x = torch.rand(1, 4, 7, 8, generator=rng)
    boxes = torch.tensor([[0, 1.37, 0.71, 9.13, 8.93]])
    offset = torch.rand(1, 2, 2, 2, generator=rng, requires_grad=True)
    for pool in (
        lambda x, b, o: ops.ps_roi_align(x, b, 2, 0.5, 2),
        lambda x, b, o: ops.deform_roi_pool(x, b, o, None, 2, 0.5),
    ):
        compiled = torch.compile(pool, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(x, boxes, offset), pool(x, boxes, offset))


def test_low_precision_is_summed_in_float32(rng):
    x = torch.rand(2, 8, 9, 9, generator=rng).bfloat16()
    boxes = torch.tensor([[0, 3.0, 5, 29, 31], [1, -4.0, 2, 40, 17]])
    found = ops.ps_roi_align(x, boxes, 2, 0.25)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found, ops.ps_roi_align(x.float(), boxes, 2, 0.25).bfloat16(), rtol=0, atol=0)


def test_outputs_are_written_everywhere(poisoned, rng):
    x = torch.rand(2, 8, 9, 9, generator=rng, requires_grad=True)
    boxes = torch.tensor([[0, 3.0, 5, 29, 31], [1, 400.0, 2, 440, 17]])
    for pool in (ops.ps_roi_align, ops.ps_roi_pool):
        out = pool(x, boxes, 2, 0.25)
        (gradient,) = torch.autograd.grad(out.sum(), x)
        assert bool(torch.isfinite(out).all()) and bool(torch.isfinite(gradient).all())


def test_no_rois(rng):
    x = torch.rand(1, 8, 6, 6, generator=rng, requires_grad=True)
    for pool, channels in (
        (ops.ps_roi_align, 2),
        (ops.ps_roi_pool, 2),
        (lambda *a: ops.deform_roi_pool(a[0], a[1], output_size=2), 8),
    ):
        out = pool(x, torch.zeros(0, 5), 2)
        assert out.shape == (0, channels, 2, 2)
        (gradient,) = torch.autograd.grad(out.sum(), x)
        assert not gradient.any()


def test_shifted_bins_pool_what_their_dense_form_says(rng):
    """Law 1, for bins at places of their own, with amplitudes."""
    x = torch.rand(2, 3, 9, 11, generator=rng, dtype=torch.float64)
    batch = torch.tensor([0, 1, 1, 0])
    rois = Rois(torch.zeros(4, 4, dtype=torch.float64), batch, torch.zeros_like(batch))
    low = torch.rand(2, 4 * 6, generator=rng, dtype=torch.float64) * 10 - 1
    size = torch.rand(2, 4 * 6, generator=rng, dtype=torch.float64) * 4
    rows, cols = (Axis(a, b, 1, "hat", 2) for a, b in zip(low, size, strict=True))
    amplitude = torch.rand(4, 6, generator=rng, dtype=torch.float64)
    weights = ShiftedBins(rows, cols, rois, (2, 3), amplitude)
    expected = torch.einsum("rkvu,rcvu->rck", weights.dense(9, 11)[:, 0], x[batch]).unflatten(2, (2, 3))
    torch.testing.assert_close(weights.pool(x), expected, rtol=0, atol=1e-13)


@backends
@pytest.mark.parametrize("grid", [(3, 2), (1, 3), (2, 1)])
@pytest.mark.parametrize("classes", [1, 2])
@pytest.mark.parametrize("rois", [3, 40])  # few are read from the map as it lies
def test_bins_that_share_rows_and_columns_are_bins_of_their_own(backend, grid, classes, rois, rng, monkeypatch):
    """To the bit: values and gradients to maps, in both layouts; and gradients to boxes."""
    monkeypatch.setenv("ROIKIT_BACKEND", backend)
    parts, step = grid[0] * grid[1], 2
    corner = torch.rand(rois, 2, generator=rng) * 8
    boxes = torch.cat([corner, corner + torch.rand(rois, 2, generator=rng) * 9], 1).requires_grad_()
    batch = torch.randint(0, 2, (rois,), generator=rng)
    where = Rois(boxes, batch, torch.zeros_like(batch))
    first = torch.arange(classes)[:, None] * 3 * step + torch.arange(parts) % step
    channels = Channels(3, step, first.flatten())

    def of_each_class(values):
        return values.reshape(rois, 1, parts).expand(-1, classes, -1).flatten()

    def weights(boxes, shared):
        still = None if shared else torch.zeros(rois, 2, *grid)
        axes = geometry.bins(geometry.corners(boxes, 0.5), grid, "hat", 2, still)
        if not shared:
            axes = [Axis(of_each_class(axis.lo), of_each_class(axis.size), 1, "hat", 2) for axis in axes]
        return ShiftedBins(*axes, where, grid, channels=channels, groups=classes, shared=shared)

    planes = torch.randn(2, classes * 3 * step, 13, 11, generator=rng)
    for x in (planes.requires_grad_(), planes.detach().contiguous(memory_format=torch.channels_last).requires_grad_()):
        for given in (boxes.detach(), boxes):
            outs = [weights(given, shared).pool(x) for shared in (True, False)]
            upstream = torch.randn(outs[0].shape, generator=rng)
            ours, theirs = (torch.autograd.grad(out, [x, given][: 1 + given.requires_grad], upstream) for out in outs)
            torch.testing.assert_close(outs[0], outs[1], rtol=0, atol=0)
            torch.testing.assert_close(ours[0], theirs[0], rtol=0, atol=0)
            torch.testing.assert_close(ours[1:], theirs[1:])
    shared, own = (weights(boxes.detach(), shared).dense(13, 11) for shared in (True, False))
    torch.testing.assert_close(shared, own, rtol=0, atol=0)
