"""Law 4: RoIs are independent of each other and of how the features lie in memory."""

from __future__ import annotations

import pytest
import torch
from listing import CHANNELS, HEIGHT, SCALE, WIDTH, every, rois

from roikit import ops
from roikit.boxes import Rois


def same(found, expected):
    """Equal to the last bits: the same sums in the same order."""
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-14)


@every
def test_law_4_permuting_rois_permutes_the_output(variant, rng, poisoned):
    extractor, x, boxes = variant.make(), variant.features(rng), rois(rng)
    order = torch.randperm(len(boxes), generator=rng)
    same(extractor(x, boxes[order], SCALE), extractor(x, boxes, SCALE)[order])


@every
def test_law_4_a_roi_does_not_depend_on_the_others(variant, rng, poisoned):
    extractor, x, boxes = variant.make(), variant.features(rng), rois(rng, count=5)
    together = extractor(x, boxes, SCALE)
    alone = torch.cat([extractor(x, boxes[i : i + 1], SCALE) for i in range(len(boxes))])
    same(alone, together)


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


@pytest.mark.parametrize("name", FEW_AND_MANY)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
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
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
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


@every
def test_law_4_images_of_a_batch_do_not_mix(variant, rng, poisoned):
    extractor, x, boxes = variant.make(), variant.features(rng, batch=3), rois(rng, batch=3)
    together = extractor(x, boxes, SCALE)
    for image in range(3):
        mine = boxes[:, 0] == image
        same(extractor(x[image : image + 1], [boxes[mine, 1:]], SCALE), together[mine])


@every
def test_law_4_box_formats_mean_the_same(variant, rng):
    extractor, x, boxes = variant.make(), variant.features(rng), rois(rng)
    boxes = boxes[torch.argsort(boxes[:, 0], stable=True)]
    index = boxes[:, 0].long()
    expected = extractor(x, boxes, SCALE)
    same(extractor(x, [boxes[index == 0, 1:], boxes[index == 1, 1:]], SCALE), expected)
    same(extractor(x, Rois(boxes[:, 1:], index, torch.zeros_like(index)), SCALE), expected)
    same(extractor([x], boxes, [SCALE]), expected)


@every
@pytest.mark.parametrize("batch", [0, 1, 2])
def test_law_4_no_rois(variant, rng, batch):
    extractor, x = variant.make(), variant.features(rng, batch=batch).requires_grad_()
    coordinates = torch.zeros(0, 4, dtype=torch.float64, requires_grad=True)
    for boxes in (torch.zeros(0, 5, dtype=torch.float64), [coordinates] * batch):
        if not batch and isinstance(boxes, list):
            continue
        out = extractor(x, boxes, SCALE)
        assert out.shape == (0, CHANNELS, *extractor.output_size) and out.dtype == x.dtype
        (found,) = torch.autograd.grad(out.sum(), x)
        assert found.shape == x.shape and not found.any()
        parts = extractor.output_size[0] * extractor.output_size[1]
        assert extractor.weights(x, boxes, SCALE).dense(4, 5).shape[::2] == (0, parts, 5)


@every
def test_law_4_no_channels(variant, rng):
    extractor, x = variant.make(), torch.zeros(2, 0, 4, 5, dtype=torch.float64)
    if variant.learns:
        with pytest.raises(ValueError, match=r"was made for .* channels and the features have 0"):
            extractor(x, rois(rng), SCALE)
    else:
        assert extractor(x, rois(rng), SCALE).shape == (12, 0, *extractor.output_size)


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


@every
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


@every
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


@every
def test_law_4_channels_last_features_give_channels_last_gradients(variant, rng):
    extractor, boxes = variant.make(), rois(rng)
    x = variant.features(rng).contiguous(memory_format=torch.channels_last).requires_grad_()
    out = extractor(x, boxes, SCALE)
    out.square().sum().backward()
    assert out.is_contiguous(memory_format=torch.channels_last) or out.is_contiguous()
    assert x.grad.shape == x.shape and bool(torch.isfinite(x.grad).all())


@every
def test_law_4_boxes_may_lie_anyhow_and_be_of_another_dtype(variant, rng):
    extractor, x, boxes = variant.make(), variant.features(rng), rois(rng)
    expected = extractor(x, boxes, SCALE)
    same(extractor(x, boxes.t().contiguous().t(), SCALE), expected)
    same(extractor(x, torch.cat([boxes, boxes], 1)[:, :5], SCALE), expected)
    same(extractor(x, boxes.float(), SCALE), expected)


@every
def test_law_4_several_levels_equal_one_call_per_level(variant, rng, poisoned):
    extractor, scales = variant.make(), [SCALE, 0.125, (0.0625, 0.1)]
    shapes = [(HEIGHT, WIDTH), (5, 7), (9, 3)]
    maps = [variant.features(rng, height=h, width=w).requires_grad_() for h, w in shapes]
    boxes = rois(rng, count=15)
    index, level = boxes[:, 0].long(), torch.randint(3, (15,), generator=rng)
    coordinates = boxes[:, 1:].clone().requires_grad_()
    together = extractor(maps, Rois(coordinates, index, level), scales)
    weight = torch.randn(together.shape, generator=rng, dtype=torch.float64)
    inputs = [*maps, *([coordinates] if variant.smooth else [])]
    gradients = torch.autograd.grad(together, inputs, weight)
    box_gradient = torch.zeros_like(coordinates)
    for at, (x, scale) in enumerate(zip(maps, scales, strict=True)):
        mine = level == at
        part = Rois(coordinates.detach()[mine].requires_grad_(), index[mine], torch.zeros_like(index[mine]))
        out = extractor(x, part, scale)
        same(out, together[mine])
        own = [x, *([part.boxes] if variant.smooth else [])]
        found = torch.autograd.grad(out, own, weight[mine])
        same(found[0], gradients[at])
        if len(found) > 1:
            box_gradient[mine] = found[1]
    if variant.smooth:
        torch.testing.assert_close(gradients[-1], box_gradient, rtol=1e-12, atol=1e-13)


@every
def test_law_4_a_level_without_rois(variant, rng, poisoned):
    extractor = variant.make()
    maps = [variant.features(rng).requires_grad_(), variant.features(rng, height=5, width=7).requires_grad_()]
    boxes = rois(rng)
    index = boxes[:, 0].long()
    out = extractor(maps, Rois(boxes[:, 1:], index, torch.ones_like(index)), [SCALE, 0.125])
    unused, used = torch.autograd.grad(out.sum(), maps)
    same(out, extractor(maps[1], boxes, 0.125))
    assert not unused.any() and bool(torch.isfinite(used).all())
