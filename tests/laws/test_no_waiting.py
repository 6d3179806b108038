"""On a GPU nothing waits for it: no value of a tensor is read, and no table is copied there, forward or backward.

Tensors on the meta device stand for those of a GPU: they hold no values, so reading one is an error. A mode sees copies
from the CPU.
"""

from __future__ import annotations

import importlib.util
import sys

import pytest
import torch
from listing import SMOOTH, compiles
from torch import Tensor
from torch.overrides import TorchFunctionMode

import roikit
from roikit.boxes import Rois, assign_levels

GPU = torch.device("meta")


class NoCopies(TorchFunctionMode):
    """Refuses what moves numbers between a GPU and Python or the CPU, but for ``boxes.constant``, which is kept."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        here = args[0].device.type if args and isinstance(args[0], Tensor) else None
        there = out.device.type if isinstance(out, Tensor) else None
        name = getattr(func, "__name__", "")
        filled = name in ("tensor", "as_tensor", "new_tensor", "from_numpy")
        if (filled and there == GPU.type and not _within("constant")) or (
            name in ("to", "cpu", "cuda") and here != there
        ):
            raise AssertionError(f"{name} copies between {here} and {there}, which waits for the GPU")
        return out


def _within(name: str) -> bool:
    frame = sys._getframe()
    while frame is not None:
        if frame.f_code.co_name == name:
            return True
        frame = frame.f_back
    return False


def random(*shape: int) -> Tensor:
    return torch.empty(*shape, dtype=torch.float32, device=GPU).requires_grad_()


def differentiate_twice(out: Tensor, *inputs: Tensor) -> None:
    found = torch.autograd.grad(out.square().sum(), inputs, create_graph=True, allow_unused=True)
    assert found[0] is not None
    total = sum((g.square().sum() for g in found if g is not None), torch.zeros((), device=GPU))
    torch.autograd.grad(total, inputs, allow_unused=True)


@compiles
def test_one_map(variant):
    extractor = variant.make().float().to(GPU)
    x = random(2, 5 * variant.groups(), 13, 17)
    boxes = random(7, 5) if variant in SMOOTH else torch.empty(7, 5, device=GPU)
    with NoCopies():
        out = extractor(x, boxes, 0.5)
        assert out.device == GPU
        differentiate_twice(out, x, *([boxes] if variant in SMOOTH else []), *extractor.parameters())


def test_two_levels_and_their_assignment():
    with NoCopies():
        maps = [random(2, 5, 13, 17), random(2, 5, 7, 9)]
        boxes = [random(3, 4), random(4, 4)]
        pool = roikit.MultiScale(roikit.RoIAlign(2, sampling_ratio=0), ["0", "1"], [4, (8, 16)])
        differentiate_twice(pool(dict(zip("01", maps, strict=True)), boxes), *maps, *boxes)
        assert assign_levels(boxes[0].detach(), [4, 8, 8]).device == GPU


@pytest.mark.parametrize("taps", ["explicit", "rule"])
def test_explicit_taps(taps):
    with NoCopies():
        maps, rois = (
            [random(2, 5, 13, 17), random(2, 5, 7, 9)],
            Rois(random(3, 4), *torch.zeros(2, 3, device=GPU).long()),
        )
        rows = random(3, 2, 13) if taps == "explicit" else roikit.weights.axis.Axis(random(3), random(3), 2, "hat", 0)
        out = roikit.weights.Separable(rows, random(3, 2, 17), rois).pool(maps)
        differentiate_twice(out, *maps)


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")
@pytest.mark.parametrize("certain", [False, True])
def test_launching_the_kernels_of_grid_pooling(certain, monkeypatch):
    """What is done beside the kernels, which are left out."""
    from roikit.sums import backend, gpu
    from roikit.sums.separable import grid_pool, tap_pool

    launched = []
    monkeypatch.setattr(backend, "choose", lambda device: "triton")
    monkeypatch.setattr(gpu, "run", lambda kernel, *given, **named: launched.append(kernel))
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: certain)
    maps = [torch.empty(2, 5, 13, 17, device=GPU), torch.empty(2, 5, 7, 9, device=GPU)]
    grad, where = torch.empty(3, 5, 2, 2, device=GPU), [torch.empty(3, device=GPU).long() for _ in range(2)]
    windows = torch.empty(3, 2, 2, device=GPU).int()
    rows, cols = torch.empty(3, 2, 13, device=GPU), torch.empty(3, 2, 17, device=GPU)
    axis, flat = torch.empty(3, 2, device=GPU), [n for x in maps for n in x.shape]
    told = (*where, windows, windows, [2, 2])
    with NoCopies():
        for sums, taps, fixed in (
            (grid_pool, (), (*where, axis, axis, [2, 2, 0, 0, 0, 0])),
            (tap_pool, (rows, cols), told),
        ):
            assert sums._pool(maps, *taps, *fixed).shape == grad.shape
            found = sums._spread(*taps, grad, *fixed, flat, True)
            assert [x.shape for x in found] == [x.shape for x in maps]
        assert tap_pool._along(0)[0](maps, cols, grad, *told, 13).shape == (3, 2, 13)
        assert tap_pool._along(1)[0](maps, rows, grad, *told, 17).shape == (3, 2, 17)
    assert len(launched) == 6


def test_what_waits_is_seen():
    with NoCopies():
        x = random(3)
        with pytest.raises((RuntimeError, NotImplementedError), match="meta"):
            float(x.detach().sum())
        with pytest.raises((RuntimeError, NotImplementedError), match="no data"):
            x.cpu()
        with pytest.raises(AssertionError, match="copies between cpu and meta"):
            torch.zeros(3).to(GPU)
        with pytest.raises(AssertionError, match="copies between"):
            torch.tensor([1.0], device=GPU)
