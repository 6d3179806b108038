"""The kernels on a real GPU, at real sizes, where there is one."""

from __future__ import annotations

import pytest
import torch

import roikit

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
GPU, CHANNELS = torch.device("cuda"), 98
SIZES = ((100, 152), (50, 76))
POOLS = {
    "grid": lambda: roikit.RoIAlign(7, sampling_ratio=2),
    "adaptive": lambda: roikit.RoIAlign(7, sampling_ratio=0),
    "points": lambda: roikit.RotatedRoIAlign(7, sampling_ratio=2),
    "max": lambda: roikit.RoIPool(7),
    "bins": lambda: roikit.PSRoIAlign(7),
}
pools = pytest.mark.parametrize("name", POOLS)
layouts = pytest.mark.parametrize("form", [torch.contiguous_format, torch.channels_last], ids=["first", "last"])


def scene(rng, device, dtype=torch.float32, form=torch.contiguous_format, count=600):
    """Maps of two levels and boxes on two images of 400 × 608 pixels, as leaves."""
    maps = [torch.randn(2, CHANNELS, *size, generator=rng).to(device, dtype) for size in SIZES]
    corner = torch.rand(count, 2, generator=rng) * torch.tensor([608.0, 400.0])
    boxes = torch.cat([corner, corner + torch.rand(count, 2, generator=rng) ** 2 * 300 + 1], 1).to(device)
    maps = [x.contiguous(memory_format=form).requires_grad_() for x in maps]
    return maps, [boxes[: count // 2], boxes[count // 2 :]]


def run(name, maps, boxes, upstream=None):
    """Values and the gradients of the maps."""
    pool = roikit.MultiScale(POOLS[name](), ["0", "1"], [4, 8])
    out = pool(dict(zip("01", maps, strict=True)), boxes)
    weight = torch.ones_like(out) if upstream is None else upstream[:, : out.shape[1]].to(out)
    return [out.detach(), *torch.autograd.grad(out, maps, weight)]


def upstream_of(rng, count=600):
    return torch.randn(count, CHANNELS, 7, 7, generator=rng)


@pools
@layouts
def test_it_computes_what_the_cpu_does(name, form, rng):
    (maps, boxes), upstream = scene(rng, "cpu", torch.float64, form), upstream_of(rng)
    expected = run(name, maps, boxes, upstream)
    found = run(name, [x.detach().to(GPU).requires_grad_() for x in maps], [b.to(GPU) for b in boxes], upstream.to(GPU))
    for mine, its in zip(found, expected, strict=True):
        torch.testing.assert_close(mine.cpu(), its, rtol=1e-11, atol=1e-11)
        assert mine.stride() == its.stride()


@pools
@pytest.mark.parametrize("certain", [False, True], ids=["atomics", "in order"])
def test_nothing_waits(name, certain, rng):
    maps, boxes = scene(rng, GPU)
    torch.use_deterministic_algorithms(certain)
    try:
        run(name, maps, boxes)  # compiles the kernels, and fills what is kept
        torch.cuda.set_sync_debug_mode("error")
        run(name, maps, boxes)
    finally:
        torch.cuda.set_sync_debug_mode("default")
        torch.use_deterministic_algorithms(False)


@pools
@layouts
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_in_order_every_run_gives_the_same_bits(name, form, dtype, rng):
    (maps, boxes), upstream = scene(rng, GPU, dtype, form), upstream_of(rng).to(GPU)
    torch.use_deterministic_algorithms(True)
    try:
        first, *others = (run(name, maps, boxes, upstream) for _ in range(5))
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(torch.equal(a, b) for other in others for a, b in zip(first, other, strict=True))


@pytest.mark.large
@pytest.mark.parametrize("name", ["grid", "points", "max"])
@layouts
def test_offsets_are_64_bit(name, form):
    """A map of more than 2**31 values, and a box in its last corner."""
    size = (2**11, 2**11 + 1)
    x = torch.zeros(1, 2**9, *size, dtype=torch.float16, device=GPU).contiguous(memory_format=form)
    x[:, -1, -40:, -40:] = 7.0
    box = torch.tensor([[size[1] - 30.0, size[0] - 30.0, size[1] - 10.0, size[0] - 10.0]], device=GPU)
    assert x.numel() > 2**31
    leaf = x.requires_grad_()
    out = POOLS[name]()(leaf, [box])
    assert bool((out[0, -1] == 7).all()) and bool((out[0, 0] == 0).all())
    (gradient,) = torch.autograd.grad(out.sum(), leaf)
    assert float(gradient[0, -1, -31:-9, -31:-9].sum()) > 40 and not bool(gradient[0, :, : size[0] // 4].any())
