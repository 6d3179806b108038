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
    from roikit.sums import backend, gpu

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


def direct(sums, which):
    """The implementation of one of a sum's operators, which torch does not call for meta tensors."""
    return {"pool": sums._pool, "spread": sums._spread, "rows": sums._along(0)[0], "cols": sums._along(1)[0]}[which]


def everything(sums, maps, grad, taps, told, shapes, last):
    """What is pooled lies as the fake kernel says, and so do the gradients."""
    out, expected = direct(sums, "pool")(maps, *taps, *told), sums._pool_like(maps, *taps, *told)
    assert out.stride() == expected.stride() and out.dtype == expected.dtype
    flat = [n for shape in shapes for n in shape]
    assert like(direct(sums, "spread")(*taps, grad, *told, flat, last), maps)


def test_points(dtype, last, certain, launched):
    from roikit.sums.points import NUMBERS, point_pool, point_tap_pool

    maps, shapes, where = scene(dtype, last)
    taps, low, grad = empty(3, 4, 6, 2), empty(3, 4, 6, 2, dtype=torch.int32), empty(3, 5, 4, dtype=dtype)
    for sums, given, fixed in (
        (point_pool, (), (*where, empty(3, 4, 6, 2), empty(3, 4, 6))),
        (point_tap_pool, (taps, taps), (*where, low)),
    ):
        everything(sums, maps, grad, given, (*fixed, NUMBERS), shapes, last)
    for which in ("rows", "cols"):
        assert direct(sums, which)(maps, taps, grad, *fixed, NUMBERS, 17).dtype == torch.float32
    assert launched == ["_pool", "_add_up" if certain else "_spread"] * 2 + ["_grad_taps"] * 2


def test_bins(dtype, last, certain, launched):
    from roikit.sums.bins import bin_pool, bin_tap_pool

    maps, shapes, where = scene(dtype, last, 6)
    axis, window, base = empty(3, 4, 2), empty(3, 4, 2, dtype=torch.int32), empty(3, 4, dtype=torch.int64)
    rows, cols, grad = empty(3, 4, 13), empty(3, 4, 17), empty(3, 3, 4, dtype=dtype)
    for sums, given, told in (
        (bin_pool, (), (*where, axis, axis, base, [2, 3, 0, 1, 2, 0])),
        (bin_tap_pool, (rows, cols), (*where, window, window, base, [2, 3])),
    ):
        everything(sums, maps, grad, given, told, shapes, last)
    assert direct(sums, "rows")(maps, cols, grad, *told, 13).shape == (3, 4, 13)
    assert direct(sums, "cols")(maps, rows, grad, *told, 17).shape == (3, 4, 17)
    assert launched == ["_one", *(["_windows", "_gather"] if certain else ["_one"])] * 2 + ["_grad_taps"] * 2


def test_maxima(dtype, last, certain, launched):
    from roikit.sums.maximum import NUMBERS, _select, chosen_pool

    maps, shapes, where = scene(dtype, last)
    window = empty(3, 4, 2, dtype=torch.int32)
    values, index = _select(maps, *where, window, window)
    assert values.shape == index.shape == (3, 5, 4, 4) and values.dtype == dtype
    everything(chosen_pool, maps, values, (), (*where, index, NUMBERS), shapes, last)
    assert launched == ["_select", "_gather", "_add_up" if certain else "_scatter"]
