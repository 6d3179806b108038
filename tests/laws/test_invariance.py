"""Law 4: RoIs are independent of each other and of how the features lie in memory."""

from __future__ import annotations

import pytest
import torch
from listing import CHANNELS, HEIGHT, SCALE, WIDTH, every, rois
from sums import sums_and_extractors

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


@sums_and_extractors
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


@every
def test_law_4_boxes_may_lie_anyhow_and_be_of_another_dtype(variant, rng):
    extractor, x, boxes = variant.make(), variant.features(rng), rois(rng)
    expected = extractor(x, boxes, SCALE)
    same(extractor(x, boxes.t().contiguous().t(), SCALE), expected)
    same(extractor(x, torch.cat([boxes, boxes], 1)[:, :5], SCALE), expected)
    same(extractor(x, boxes.float(), SCALE), expected)
