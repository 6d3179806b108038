"""What is done beside the kernels of points, bins and maxima, which are left out: nothing in it waits for a GPU.

Tensors on the meta device stand for those of a GPU: they hold no values, so reading one is an error.
"""

from __future__ import annotations

import importlib.util

import pytest
import torch

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed"),
    pytest.mark.parametrize("certain", [False, True], ids=["atomics", "in order"]),
    pytest.mark.parametrize("last", [False, True], ids=["first", "last"]),
    pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str),
]
GPU = torch.device("meta")
SIZES = ((13, 17), (7, 9))


@pytest.fixture
def launched(monkeypatch, certain):
    from roikit.ops import backend, gpu

    kernels: list[str] = []
    monkeypatch.setattr(backend, "choose", lambda device: "triton")
    monkeypatch.setattr(gpu, "run", lambda kernel, *given, **named: kernels.append(kernel.__name__))
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: certain)
    return kernels


def empty(*shape, dtype=torch.float32):
    return torch.empty(*shape, dtype=dtype, device=GPU)


def scene(dtype, last, channels=5):
    """Maps of two levels, their shapes, and the image and level of 3 RoIs."""
    form = torch.channels_last if last else torch.contiguous_format
    maps = [empty(2, channels, *size, dtype=dtype).contiguous(memory_format=form) for size in SIZES]
    return maps, [list(x.shape) for x in maps], [empty(3, dtype=torch.int64) for _ in range(2)]


def like(found, maps):
    """Gradients lie as their maps do."""
    return all(
        (a.shape, a.dtype, a.stride()) == (b.shape, b.dtype, b.stride()) for a, b in zip(found, maps, strict=True)
    )


def test_points(dtype, last, certain, launched):
    from roikit.ops.point_pool.sums import PointSums, points_and_weights, taps_and_cells

    maps, shapes, where = scene(dtype, last)
    taps, low, grad = empty(3, 4, 6, 2), empty(3, 4, 6, 2, dtype=torch.int32), empty(3, 5, 4, dtype=dtype)
    for read, given, fixed in (
        (points_and_weights, (), (*where, empty(3, 4, 6, 2), empty(3, 4, 6))),
        (taps_and_cells, (taps, taps), (*where, low)),
    ):
        sums = PointSums(read)
        out, expected = sums.pool(maps, given, fixed, [2]), sums.pooled_like(maps, fixed, [2])
        assert out.stride() == expected.stride() and out.dtype == dtype
        assert like(sums.spread(grad, given, fixed, [2], shapes, last), maps)
    for axis in (0, 1):
        assert sums.grad_taps(maps, taps, grad, fixed, [2], axis, 17).dtype == torch.float32
    assert launched == ["_pool", "_add_up" if certain else "_spread"] * 2 + ["_grad_taps"] * 2


def test_bins(dtype, last, certain, launched):
    from roikit.ops.bin_pool.api import _explicit, _fused
    from roikit.ops.bin_pool.sums import BinSums

    maps, shapes, where = scene(dtype, last, 6)
    axis, window, base = empty(3, 4, 2), empty(3, 4, 2, dtype=torch.int32), empty(3, 4, dtype=torch.int64)
    rows, cols, grad = empty(3, 4, 13), empty(3, 4, 17), empty(3, 3, 4, dtype=dtype)
    for read, given, fixed, numbers in (
        (_fused, (), (*where, axis, axis, base), [2, 3, 0, 1, 2, 0]),
        (_explicit, (rows, cols), (*where, window, window, base), [2, 3]),
    ):
        sums = BinSums(read)
        out, expected = sums.pool(maps, given, fixed, numbers), sums.pooled_like(maps, fixed, numbers)
        assert out.stride() == expected.stride() and out.dtype == dtype
        assert like(sums.spread(grad, given, fixed, numbers, shapes, last), maps)
    assert sums.grad_taps(maps, cols, grad, fixed, numbers, 0, 13).shape == (3, 4, 13)
    assert sums.grad_taps(maps, rows, grad, fixed, numbers, 1, 17).shape == (3, 4, 17)
    assert launched == ["_one", *(["_windows", "_gather"] if certain else ["_one"])] * 2 + ["_grad_taps"] * 2


def test_maxima(dtype, last, certain, launched):
    from roikit.ops.max_pool import api

    maps, shapes, where = scene(dtype, last)
    window = empty(3, 4, 2, dtype=torch.int32)
    values, index = api._pool(maps, *where, window, window)
    assert values.shape == index.shape == (3, 5, 4, 4) and values.dtype == dtype
    assert api._gather(maps, index, *where).dtype == dtype
    flat = [n for shape in shapes for n in shape]
    assert like(api._scatter(values, index, *where, flat), [x.contiguous() for x in maps])
    assert launched == ["_select", "_gather", "_add_up" if certain else "_scatter"]
