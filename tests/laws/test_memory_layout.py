"""Law 4, the part that belongs to sums: how features, gradients and boxes lie in memory does not matter."""

from __future__ import annotations

import pytest
import torch
from listing import SCALE, rois
from sums import every_sum

from roikit import ops


def same(found, expected):
    """Equal to the last bits: the same sums in the same order."""
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-14)


SLOW = pytest.mark.slow
one_of_each_size = pytest.mark.parametrize(
    "dtype",
    [torch.float32, torch.bfloat16, pytest.param(torch.float64, marks=SLOW), pytest.param(torch.float16, marks=SLOW)],
    ids=str,
)


def moved(x, boxes):
    offset = boxes[:, 1:2, None, None] * torch.linspace(-0.1, 0.1, 18).reshape(1, 2, 3, 3).to(boxes)
    return ops.deform_roi_pool(x, boxes, offset, output_size=3)


FEW_AND_MANY = {
    "roi_align": lambda x, boxes: ops.roi_align(x, boxes, 7, sampling_ratio=2),
    "adaptive": lambda x, boxes: ops.roi_align(x, boxes, (2, 5)),
    "prroi_pool": lambda x, boxes: ops.prroi_pool(x, boxes, 3),
    "deform_roi_pool": moved,
    "ps_roi_align": lambda x, boxes: ops.ps_roi_align(x, boxes, 2),
    "ps_roi_pool": lambda x, boxes: ops.ps_roi_pool(x, boxes, 2),
}


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        pytest.param(n, t, marks=[] if t == torch.float32 or (n, t) == ("roi_align", torch.bfloat16) else SLOW)
        for n in FEW_AND_MANY
        for t in (torch.float32, torch.bfloat16, torch.float64, torch.float16)
    ],
)
def test_law_4_few_rois_and_many_have_the_same_bits(name, dtype, rng):
    """A few RoIs are read from NCHW maps as they lie, many from maps that are turned."""
    x = torch.randn(2, 20, 61, 83, generator=rng).to(dtype)
    ends = torch.rand(300, 2, 2, generator=rng) * torch.tensor([90.0, 65.0]) - 3
    boxes = torch.cat([torch.randint(2, (300, 1), generator=rng), ends.amin(1), ends.amax(1)], 1)
    boxes = boxes.to(torch.float64 if dtype == torch.float64 else torch.float32)
    many = FEW_AND_MANY[name](x, boxes)
    few = torch.cat([FEW_AND_MANY[name](x, boxes[i : i + 2]) for i in range(0, 40, 2)])
    assert torch.equal(few, many[:40])


@pytest.mark.parametrize("size", [(61, 83), (240, 250)], ids=["near", "far"])
@one_of_each_size
def test_law_4_every_way_to_sum_channels_has_the_same_bits(size, dtype, rng):
    """In registers, or columns first where a RoI's bins share them or the map is large; by 64, 16 and 1 channels."""
    x = torch.randn(1, 64 + 16 + 3, *size, generator=rng).to(dtype)
    corner = torch.rand(60, 2, generator=rng) * torch.tensor([size[1], size[0]])
    side = torch.cat([torch.rand(30, 2, generator=rng), torch.rand(30, 2, generator=rng) * 40])  # below a cell, and not
    boxes = torch.cat([torch.zeros(60, 1), corner, corner + side], 1)
    boxes = boxes.to(torch.float64 if dtype == torch.float64 else torch.float32)
    for name in ("roi_align", "adaptive", "prroi_pool"):
        planes = torch.cat([FEW_AND_MANY[name](x, boxes[i : i + 10]) for i in range(0, 60, 10)])
        last = FEW_AND_MANY[name](x.to(memory_format=torch.channels_last), boxes)
        assert torch.equal(planes, last), name


def layouts(x: torch.Tensor) -> dict[str, torch.Tensor]:
    """The same maps, otherwise laid out in memory."""
    wide = torch.full((x.shape[0], x.shape[1] * 2, x.shape[2] + 3, x.shape[3] * 2), float("nan"), dtype=x.dtype)
    wide[:, ::2, 2:-1, ::2] = x
    flipped = torch.stack(list(x.unbind(0)[::-1]))
    return {
        "slices": wide[:, ::2, 2:-1, ::2],
        "transposed": x.transpose(2, 3).contiguous().transpose(2, 3),
        "channels-last": x.contiguous(memory_format=torch.channels_last),
        "part of channels-last": torch.cat([x, x * 2], 1).contiguous(memory_format=torch.channels_last)[
            :, : x.shape[1]
        ],
        "expanded": x[:1].expand(2, -1, -1, -1) if torch.equal(x[0], x[1]) else flipped.flip(0),
    }


@every_sum
def test_law_4_features_may_lie_anyhow_in_memory(variant, rng, poisoned):
    extractor, x, boxes = variant.make(), variant.features(rng), rois(rng)
    x = x[:1].repeat(2, 1, 1, 1)
    expected = extractor(x, boxes, SCALE)
    weight = torch.randn(expected.shape, generator=rng, dtype=x.dtype)
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(extractor(leaf, boxes, SCALE), leaf, weight)
    for name, given in layouts(x).items():
        found = extractor(given, boxes, SCALE)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-14, msg=lambda m, name=name: f"{name}: {m}")
        leaf = given.detach().requires_grad_()
        (found,) = torch.autograd.grad(extractor(leaf, boxes, SCALE), leaf, weight)
        torch.testing.assert_close(found, gradient, rtol=0, atol=1e-14, msg=lambda m, name=name: f"{name}: {m}")


@every_sum
def test_law_4_upstream_gradients_may_lie_anyhow_in_memory(variant, rng, poisoned):
    extractor, x, boxes = variant.make(), variant.features(rng).requires_grad_(), rois(rng)
    out = extractor(x, boxes, SCALE)
    weight = torch.randn(out.shape, generator=rng, dtype=x.dtype)
    (expected,) = torch.autograd.grad(out, x, weight, retain_graph=True)
    strided = weight.transpose(0, 1).contiguous().transpose(0, 1)
    for given in (strided, weight.contiguous(memory_format=torch.channels_last)):
        same(torch.autograd.grad(out, x, given, retain_graph=True)[0], expected)
    one = torch.ones((), dtype=x.dtype).expand(out.shape)  # what .sum().backward() sends
    same(torch.autograd.grad(out, x, one, retain_graph=True)[0], torch.autograd.grad(out.sum(), x)[0])


@every_sum
def test_law_4_channels_last_features_give_channels_last_gradients(variant, rng):
    extractor, boxes = variant.make(), rois(rng)
    x = variant.features(rng).contiguous(memory_format=torch.channels_last).requires_grad_()
    out = extractor(x, boxes, SCALE)
    out.square().sum().backward()
    assert out.is_contiguous(memory_format=torch.channels_last) or out.is_contiguous()
    assert x.grad.shape == x.shape and bool(torch.isfinite(x.grad).all())
