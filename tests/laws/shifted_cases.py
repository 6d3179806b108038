"""The degenerate cases of the methods whose bins move or read maps of their own, for law 8."""

from __future__ import annotations

import torch
from listing import SCALE, close, rois

from roikit.extractors import (
    DeformPSRoIPool,
    DeformRoIPool,
    ModulatedDeformRoIPool,
    PartDeformRoIPool,
    PSRoIAlign,
    PSRoIPool,
    RoIAlign,
    RoIPool,
)


def untrained_deformable_pooling_is_align(x, rng):
    boxes = rois(rng)
    close(DeformRoIPool(5, 3).double()(x, boxes, SCALE), RoIAlign(3)(x, boxes, SCALE), 1e-15)


def equal_offsets_move_the_roi(x, rng):
    boxes = rois(rng, inside=True)
    pool = DeformRoIPool(5, 3).double()
    with torch.no_grad():
        pool.offset.bias.copy_(torch.tensor([0.5] * 9 + [-0.25] * 9))  # (y, x), in tenths of the RoI's size
    size = boxes[:, 3:] - boxes[:, 1:3]
    moved = boxes.clone()
    moved[:, 1:] += (size * size.new_tensor([-0.025, 0.05])).repeat(1, 2)
    close(pool(x, boxes, SCALE), RoIAlign(3)(x, moved, SCALE))


def untrained_modulated_pooling_is_half_of_align(x, rng):
    boxes = rois(rng)
    for pack in ("shared", "separate"):
        pool = ModulatedDeformRoIPool(5, 3, pack, hidden=8).double()
        close(pool(x, boxes, SCALE), RoIAlign(3)(x, boxes, SCALE) / 2, 1e-15)


def modulated_pooling_with_factors_of_one_is_the_first_version(x, rng):
    boxes = rois(rng)
    second = ModulatedDeformRoIPool(5, 3, "separate", hidden=8).double()
    first = DeformRoIPool(5, 3).double()
    offset = torch.randn(18, generator=rng, dtype=torch.float64)
    with torch.no_grad():
        second.factor[-1].bias.fill_(50.0)  # a sigmoid of 1
        second.offset[-1].bias.copy_(offset)
        first.offset.bias.copy_(offset)
    close(second(x, boxes, SCALE), first(x, boxes, SCALE))


def bins_move_and_fade_with_the_part_they_lie_in(x, rng):
    """Bin (i, j) of 6 × 4 as part (i // 2, j // 2) of 3 × 2; ``at`` is the same with the layers of a 3 × 2 grid."""
    boxes = rois(rng)
    of_parts = torch.randn(3, 3, 2, generator=rng, dtype=torch.float64)
    of_bins = torch.stack([of_parts[:, i // 2, j // 2] for i in range(6) for j in range(4)], 1)
    single = ModulatedDeformRoIPool(5, (6, 4), hidden=8).double()
    coarse = ModulatedDeformRoIPool(5, (3, 2), hidden=8).double()
    by_parts = ModulatedDeformRoIPool(5, (6, 4), hidden=8, part_size=(3, 2)).double()
    with torch.no_grad():
        single.both[-1].bias.copy_(of_bins.flatten())
        coarse.both[-1].bias.copy_(of_parts.flatten())
        by_parts.both[-1].bias.copy_(of_parts.flatten())
    expected = single(x, boxes, SCALE)
    close(by_parts(x, boxes, SCALE), expected)
    close(coarse.at((6, 4))(x, boxes, SCALE), expected)
    assert torch.equal(coarse.at((6, 4)).at((3, 2))(x, boxes, SCALE), coarse(x, boxes, SCALE))
    assert by_parts.weights(x, boxes, SCALE).offset.shape == (12, 2, 6, 4)


def parts_are_told_from_features_at_their_own_grid(x, rng):
    """With layers that are not zero: what 3 × 2 parts do is what the 3 × 2 grid's own bins do."""
    boxes, fine = rois(rng), DeformRoIPool(5, (6, 4), part_size=(3, 2)).double()
    torch.nn.init.normal_(fine.offset.weight)
    offset = fine.weights(x, boxes, SCALE).offset
    assert torch.equal(offset[:, :, ::2, ::2], fine.at((3, 2)).weights(x, boxes, SCALE).offset)


def parts_that_cannot_or_will_not_move_are_average_pooling(x, rng):
    boxes = rois(rng)
    expected = RoIPool(3, "average")(x, boxes, SCALE)
    for pool in (PartDeformRoIPool(3, reach=0), PartDeformRoIPool(3, penalty=100.0)):
        close(pool.double()(x, boxes, SCALE), expected)
    same = torch.full_like(x, 0.3)
    weights = PartDeformRoIPool(3).double().weights(same, rois(rng, inside=True), SCALE)
    assert not weights.shift.any()


def position_sensitive_align_of_equal_maps_is_align(x, rng):
    boxes = rois(rng)
    close(PSRoIAlign((3, 2))(x.repeat_interleave(6, 1), boxes, SCALE), RoIAlign((3, 2))(x, boxes, SCALE), 1e-15)


def position_sensitive_pooling_of_equal_maps_is_average_pooling(x, rng):
    """Of a box that counts its last cell, where that is not the map's last."""
    boxes = rois(rng, inside=True, scale=(1.0, 1.0)).round()
    boxes[:, 1:3] = boxes[:, 1:3].clamp(max=11)
    boxes[:, 3:] = torch.minimum(torch.maximum(boxes[:, 3:], boxes[:, 1:3] + 1), boxes.new_tensor([16, 12]))
    shorter = boxes - boxes.new_tensor([0, 0, 0, 1, 1])
    close(PSRoIPool((3, 2))(x.repeat_interleave(6, 1), boxes), RoIPool((3, 2), "average")(x, shorter))


def untrained_deformable_ps_pooling_is_align_an_eighth_of_a_bin_earlier(x, rng):
    """Of a box with its last pixel; away from the border, whose samples count otherwise."""
    boxes = torch.tensor([[0.0, 3, 2, 9, 8], [1, 4, 5, 11, 9]], dtype=torch.float64)
    eighth = (boxes[:, 3:] + 1 - boxes[:, 1:3]) / boxes.new_tensor([2.0, 3.0]) / 8
    moved = torch.cat([boxes[:, :1], boxes[:, 1:3] - eighth, boxes[:, 3:] + 1 - eighth], 1)
    close(DeformPSRoIPool(5, (3, 2)).double()(x, boxes), RoIAlign((3, 2), 4)(x, moved))


def classes_with_equal_offsets_are_one_class(x, rng):
    x, boxes = x.repeat(1, 8, 1, 1), rois(rng)
    one, two = (DeformPSRoIPool(40, (3, 2), group_size=2, part_size=2, classes=n).double() for n in (1, 2))
    offset = torch.randn(8, generator=rng, dtype=torch.float64)
    with torch.no_grad():
        one.offset.bias.copy_(offset)
        two.offset.bias.copy_(offset.repeat(2))
    assert torch.equal(one(x, boxes, SCALE), two(x, boxes, SCALE))


SHIFTED_CASES = {
    DeformRoIPool: [
        untrained_deformable_pooling_is_align,
        equal_offsets_move_the_roi,
        parts_are_told_from_features_at_their_own_grid,
    ],
    ModulatedDeformRoIPool: [
        untrained_modulated_pooling_is_half_of_align,
        modulated_pooling_with_factors_of_one_is_the_first_version,
        bins_move_and_fade_with_the_part_they_lie_in,
    ],
    PartDeformRoIPool: [parts_that_cannot_or_will_not_move_are_average_pooling],
    PSRoIAlign: [position_sensitive_align_of_equal_maps_is_align],
    PSRoIPool: [position_sensitive_pooling_of_equal_maps_is_average_pooling],
    DeformPSRoIPool: [
        untrained_deformable_ps_pooling_is_align_an_eighth_of_a_bin_earlier,
        classes_with_equal_offsets_are_one_class,
    ],
}
