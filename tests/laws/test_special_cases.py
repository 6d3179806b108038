"""Law 8: the degenerate cases of each method, in which it must become something simpler.

The independent oracles of the methods are in ``tests/ops``.
"""

from __future__ import annotations

import inspect
from dataclasses import replace

import pytest
import torch
from listing import SCALE, close, every, features, rois
from lrf_cases import LRF_CASES
from point_cases import POINT_CASES
from shifted_cases import SHIFTED_CASES
from sra_cases import ATTENTION_CASES, CONV_CASES, SELF_ATTENTION_CASES, SRA_CASES
from torch.nn.functional import avg_pool2d, max_pool2d

from roikit.extractors import (
    EXTRACTORS,
    AdaptiveRoIAlign,
    CenterPool,
    ConvMaskRoIAlign,
    GrammarPool,
    LearnedRegionFeatures,
    MaskedRoIPool,
    PrRoIPool,
    RoIAlign,
    RoIAttention,
    RoIPool,
    RoIWarp,
    SelfAttentionRoIAlign,
    SemanticRoIAlign,
    SpatialPyramidPool,
)


def whole_cells(size: int, x1: int = 3, y1: int = 2) -> torch.Tensor:
    return torch.tensor([[0, x1, y1, x1 + size, y1 + size]], dtype=torch.float64)


def align_with_one_centred_sample_per_cell_is_a_crop(x, rng):
    assert torch.equal(RoIAlign(5, 1)(x, whole_cells(5))[0], x[0, :, 2:7, 3:8])


def align_of_bins_of_two_cells_is_average_pooling(x, rng):
    expected = avg_pool2d(x[:1, :, 2:8, 3:9], 2)
    for sampling in (2, 0):
        torch.testing.assert_close(RoIAlign(3, sampling)(x, whole_cells(6)), expected, rtol=0, atol=1e-14)


def unaligned_align_is_aligned_align_half_a_cell_further(x, rng):
    boxes = rois(rng, inside=True, scale=(1.0, 1.0))
    boxes[:, 3:] += 1  # sides of at least one cell, which the unaligned form enforces
    shifted = boxes + boxes.new_tensor([0.0, 0.5, 0.5, 0.5, 0.5])
    torch.testing.assert_close(RoIAlign(3, aligned=False)(x, boxes), RoIAlign(3)(x, shifted), rtol=0, atol=1e-12)


def unaligned_align_of_a_point_is_align_of_one_cell(x, rng):
    point, cell = whole_cells(0), whole_cells(1)
    extractor = RoIAlign(3, aligned=False)
    torch.testing.assert_close(extractor(x, point), extractor(x, cell), rtol=0, atol=1e-14)


def pooling_with_one_cell_per_bin_is_a_crop(x, rng):
    for mode in ("max", "average"):
        torch.testing.assert_close(RoIPool(5, mode)(x, whole_cells(4))[0], x[0, :, 2:7, 3:8], rtol=0, atol=1e-14)
        floor = RoIPool(5, mode, "floor")(x, whole_cells(5))
        torch.testing.assert_close(floor[0], x[0, :, 2:7, 3:8], rtol=0, atol=1e-14)


def pooling_whose_grid_divides_the_roi_is_pooling_of_a_crop(x, rng):
    crop = x[:1, :, 2:8, 3:9]
    for rounding, size in (("caffe", 5), ("floor", 6)):
        box = whole_cells(size)
        assert torch.equal(RoIPool(3, "max", rounding)(x, box), max_pool2d(crop, 2))
        found = RoIPool(3, "average", rounding)(x, box)
        torch.testing.assert_close(found, avg_pool2d(crop, 2), rtol=0, atol=1e-14)


def the_maximum_is_no_less_than_the_average(x, rng):
    boxes = rois(rng, inside=True)
    for rounding in ("caffe", "floor"):
        largest, mean = (RoIPool(3, mode, rounding)(x, boxes, SCALE) for mode in ("max", "average"))
        assert bool((largest >= mean - 1e-15).all())


def precise_pooling_of_bins_of_one_cell_is_average_pooling(x, rng):
    expected = avg_pool2d(x[:1], 2, stride=1)[:, :, 2:7, 3:8]
    torch.testing.assert_close(PrRoIPool(5)(x, whole_cells(5)), expected, rtol=0, atol=1e-15)


def precise_pooling_is_the_limit_of_align(x, rng):
    """For boxes inside [0, N-1] cells with sides of at least one: the midpoint rule with ever more points."""
    last = torch.tensor([16.0, 12.0], dtype=torch.float64)
    start = torch.rand(12, 2, generator=rng, dtype=torch.float64) * (last - 2)
    size = 1 + torch.rand(12, 2, generator=rng, dtype=torch.float64) * (last - 1 - start)
    boxes = [torch.cat([start, start + size], 1), torch.zeros(0, 4, dtype=torch.float64)]
    dense = RoIAlign((3, 2), 1024, aligned=False)(x, boxes)
    torch.testing.assert_close(PrRoIPool((3, 2))(x, boxes), dense, rtol=0, atol=1e-5)


def precise_pooling_of_a_vanishing_roi_is_the_interpolated_point(x, rng):
    point = torch.tensor([[0, 3.3, 2.6, 3.3 + 1e-7, 2.6 + 1e-7]], dtype=torch.float64)
    sample = point.clone()
    sample[:, 1:] += 0.5  # aligned: cell u's value lies at u + ½
    torch.testing.assert_close(PrRoIPool(1)(x, point), RoIAlign(1, 1)(x, sample), rtol=0, atol=1e-6)


def the_whole_image(x) -> torch.Tensor:
    return torch.tensor([[0, 0, 0, x.shape[3], x.shape[2]]], dtype=torch.float64)


def align_of_the_whole_image_at_its_own_size_is_the_image(x, rng):
    assert torch.equal(RoIAlign(x.shape[2:], 1)(x, the_whole_image(x)), x[:1])


def average_of_the_whole_image_is_global_average_pooling(x, rng):
    expected = x[:1].mean((2, 3), keepdim=True)
    close(RoIPool(1, "average", "floor")(x, the_whole_image(x)), expected)
    last = the_whole_image(x) - x.new_tensor([0.0, 0.0, 0.0, 1.0, 1.0])
    close(SpatialPyramidPool((1,), "average")(x, last), expected)
    close(MaskedRoIPool(1)(x, last), expected)


def adaptive_of_bins_of_one_cell_is_a_crop(x, rng):
    assert torch.equal(AdaptiveRoIAlign(5)(x, whole_cells(4))[0], x[0, :, 2:7, 3:8])


def adaptive_of_small_bins_is_one_bilinear_sample(x, rng):
    boxes = rois(rng, inside=True, scale=(1.0, 1.0))
    boxes[:, 1:3] = boxes[:, 1:3].clamp(max=10)
    boxes[:, 3:] = boxes[:, 1:3] + 3 * torch.rand(len(boxes), 2, generator=rng, dtype=torch.float64)  # β < 1.5
    boxes[:, 2::2] -= (boxes[:, 4:] - 11).clamp(min=0)
    longer = boxes + boxes.new_tensor([0, 0, 0, 1, 1])
    close(AdaptiveRoIAlign(3)(x, boxes), RoIWarp(3)(x, longer))


def warp_of_bins_of_one_cell_is_a_crop(x, rng):
    for rounding in (False, True):
        assert torch.equal(RoIWarp(5, rounding)(x, whole_cells(5))[0], x[0, :, 2:7, 3:8])
    near = whole_cells(5) + whole_cells(5).new_tensor([0, 0.3, -0.4, 0.49, -0.5])
    assert torch.equal(RoIWarp(5, True)(x, near)[0], x[0, :, 2:7, 3:8])


def warp_is_align_with_one_sample_half_a_bin_earlier(x, rng):
    boxes = rois(rng, inside=True, scale=(1.0, 1.0))
    half = (boxes[:, 3:] - boxes[:, 1:3]) / 6
    moved = torch.cat([boxes[:, :1], boxes[:, 1:3] + 0.5 - half, boxes[:, 3:] + 0.5 - half], 1)
    close(RoIWarp(3)(x, boxes), RoIAlign(3, 1)(x, moved))


def the_centre_is_align_with_one_sample(x, rng):
    boxes = rois(rng, inside=True)
    close(CenterPool("bilinear")(x, boxes, SCALE), RoIAlign(1, 1)(x, boxes, SCALE))


def the_nearest_centre_is_the_cell_it_lies_in(x, rng):
    boxes = rois(rng)
    at = ((boxes[:, 1:3] + boxes[:, 3:]) / 2 * boxes.new_tensor([SCALE[1], SCALE[0]])).floor().long()
    found = CenterPool()(x, boxes, SCALE)[..., 0, 0]
    for image, (u, v), value in zip(boxes[:, 0].long(), at.tolist(), found, strict=True):
        inside = 0 <= u < x.shape[3] and 0 <= v < x.shape[2]
        assert torch.equal(value, x[image, :, v, u] if inside else torch.zeros_like(value))


def a_pyramid_is_its_grids_side_by_side(x, rng):
    boxes = rois(rng)
    for rule, pool in {"max": RoIPool, "align": RoIAlign, "precise": PrRoIPool, "warp": RoIWarp}.items():
        found = SpatialPyramidPool((4, (2, 3), 1), rule)(x, boxes, SCALE)[..., 0]
        expected = [pool(grid)(x, boxes, SCALE).flatten(2) for grid in (4, (2, 3), 1)]
        assert torch.equal(found, torch.cat(expected, 2))


def a_mask_of_ones_changes_nothing_and_of_zeros_gives_nothing(x, rng):
    boxes = rois(rng)
    for rule, pool in {"average": RoIPool(3, "average"), "warp": RoIWarp(3)}.items():
        masked, whole = MaskedRoIPool(3, rule), pool(x, boxes, SCALE)
        ones = torch.ones(len(boxes), 3, 3)
        assert torch.equal(masked(x, boxes, SCALE), whole)
        assert torch.equal(masked(x, boxes, SCALE, masks=ones), whole)
        assert not masked(x, boxes, SCALE, masks=0 * ones).any()
        some = torch.rand(len(boxes), 3, 3, generator=rng) > 0.5
        lists = [some[boxes[:, 0] == i] for i in range(2)]
        by_image = [boxes[boxes[:, 0] == i, 1:] for i in range(2)]
        found = masked(x, by_image, SCALE, masks=lists)
        assert torch.equal(found, masked(x, by_image, SCALE) * torch.cat(lists)[:, None])


def a_grammar_that_prefers_one_shape_is_pooling_at_that_grid(x, rng):
    """Single cells: RoI Align itself. The whole grid: its mean. Rows: the mean of each."""
    boxes, pool = rois(rng), GrammarPool(5, (3, 2)).double()
    align = RoIAlign((3, 2))(x, boxes, SCALE)
    order = [(1, 1), (1, 2), (2, 1), (3, 1), (2, 2), (3, 2)]  # by area
    for shape, expected in {
        (1, 1): align,
        (3, 2): align.mean((2, 3), keepdim=True).expand_as(align),
        (1, 2): align.mean(3, keepdim=True).expand_as(align),
        (3, 1): align.mean(2, keepdim=True).expand_as(align),
    }.items():
        with torch.no_grad():
            pool.score.weight.zero_()
            pool.score.bias.zero_()
            pool.score.bias[order.index(shape)] = 1.0
        close(pool(x, boxes, SCALE), expected)
        cold = GrammarPool(5, (3, 2), "soft", temperature=1e-3).double()
        cold.load_state_dict(pool.state_dict())
        close(cold(x, boxes, SCALE), expected)


CASES = {
    **POINT_CASES,
    **SHIFTED_CASES,
    LearnedRegionFeatures: LRF_CASES,
    SemanticRoIAlign: SRA_CASES,
    ConvMaskRoIAlign: CONV_CASES,
    RoIAttention: ATTENTION_CASES,
    SelfAttentionRoIAlign: SELF_ATTENTION_CASES,
    GrammarPool: [a_grammar_that_prefers_one_shape_is_pooling_at_that_grid],
    AdaptiveRoIAlign: [adaptive_of_bins_of_one_cell_is_a_crop, adaptive_of_small_bins_is_one_bilinear_sample],
    RoIWarp: [warp_of_bins_of_one_cell_is_a_crop, warp_is_align_with_one_sample_half_a_bin_earlier],
    CenterPool: [the_centre_is_align_with_one_sample, the_nearest_centre_is_the_cell_it_lies_in],
    SpatialPyramidPool: [a_pyramid_is_its_grids_side_by_side, average_of_the_whole_image_is_global_average_pooling],
    MaskedRoIPool: [a_mask_of_ones_changes_nothing_and_of_zeros_gives_nothing],
    RoIAlign: [
        align_with_one_centred_sample_per_cell_is_a_crop,
        align_of_bins_of_two_cells_is_average_pooling,
        unaligned_align_is_aligned_align_half_a_cell_further,
        unaligned_align_of_a_point_is_align_of_one_cell,
        align_of_the_whole_image_at_its_own_size_is_the_image,
    ],
    RoIPool: [
        pooling_with_one_cell_per_bin_is_a_crop,
        pooling_whose_grid_divides_the_roi_is_pooling_of_a_crop,
        the_maximum_is_no_less_than_the_average,
    ],
    PrRoIPool: [
        precise_pooling_of_bins_of_one_cell_is_average_pooling,
        precise_pooling_is_the_limit_of_align,
        precise_pooling_of_a_vanishing_roi_is_the_interpolated_point,
    ],
}


@pytest.mark.parametrize("case", [case for cases in CASES.values() for case in cases], ids=lambda case: case.__name__)
def test_law_8(case, rng):
    case(features(rng), rng)


def test_law_8_every_listed_extractor_has_its_cases():
    assert set(CASES) == set(EXTRACTORS)


@every
def test_law_8_constant_features_give_that_constant(variant, rng):
    """Of a mean or maximum: for RoIs inside the map, whatever the method."""
    extractor = variant.make(trained=False)
    if not variant.sums_to_one or not variant.bounded or extractor.expand > 1:
        return
    x = torch.full_like(variant.features(rng), 0.7)
    out = extractor(x, variant.inside(rng), SCALE)
    torch.testing.assert_close(out, torch.full_like(out, 0.7), rtol=0, atol=1e-13)


@every
@pytest.mark.parametrize("factor", [2.0, 0.5])
def test_law_8_expand_is_an_area_factor_about_the_centre(variant, factor, rng):
    if "expand" not in inspect.signature(variant.kind).parameters:
        return
    x, side = variant.features(rng), factor**0.5
    box = torch.tensor([[2.0, 3.0, 8.0, 7.0]], dtype=torch.float64)
    grown = torch.tensor([[5 - 3 * side, 5 - 2 * side, 5 + 3 * side, 5 + 2 * side]], dtype=torch.float64)
    boxes, grown = ([one, torch.zeros(0, 4, dtype=torch.float64)] for one in (box, grown))
    plain, wide = (replace(variant, arguments={**variant.arguments, "expand": e}) for e in (1.0, factor))
    close(wide.make(given=False)(x, boxes), plain.make(given=False)(x, grown))
