"""Rotated boxes on a pyramid: each RoI is read from its own level, whatever the aggregation."""

from __future__ import annotations

import torch

from roikit import MultiScale, RotatedRoIAlign


def scene(rng):
    features = {"fine": torch.rand(2, 3, 32, 40, generator=rng), "coarse": torch.rand(2, 3, 16, 20, generator=rng)}
    corner = torch.rand(6, 2, generator=rng) * 60
    boxes = torch.cat([corner, corner + torch.tensor([[20.0], [90.0]]).repeat(3, 1)], 1)
    rotated = torch.cat([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], 1)
    rotated = torch.cat([rotated, torch.rand(6, 1, generator=rng) * 6], 1)
    return features, [boxes[:2], boxes[2:]], rotated


def test_every_roi_comes_from_its_own_level(rng):
    features, boxes, rotated = scene(rng)
    one = RotatedRoIAlign(3)
    pool = MultiScale(one, ["fine", "coarse"], [4, 8], canonical_scale=40, canonical_level=2)
    index = torch.tensor([0.0, 0, 1, 1, 1, 1])
    with_image = torch.cat([index[:, None], rotated], 1)
    by_level = [one(features[name], None, 1 / s, rotated_boxes=with_image) for name, s in (("fine", 4), ("coarse", 8))]
    expected = torch.where((torch.arange(6) % 2 == 0)[:, None, None, None], *by_level)
    for given in (rotated, with_image):
        torch.testing.assert_close(pool(features, boxes, rotated_boxes=given), expected, rtol=0, atol=1e-6)
    for aggregate, whole in (("sum", sum(by_level)), ("concat", torch.cat(by_level, 1))):
        found = MultiScale(one, ["fine", "coarse"], [4, 8], aggregate=aggregate)(features, boxes, rotated_boxes=rotated)
        torch.testing.assert_close(found, whole, rtol=0, atol=1e-6)
