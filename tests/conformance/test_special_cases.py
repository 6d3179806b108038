"""Law 8: the degenerate cases of each method, in which it must become something simpler.

The independent oracles of the methods are in ``tests/ops``.
"""

from __future__ import annotations

import pytest
import torch
from listing import SCALE, every, features, rois
from torch.nn.functional import avg_pool2d, max_pool2d

from roikit.extractors import EXTRACTORS, PrRoIPool, RoIAlign, RoIPool


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


CASES = {
    RoIAlign: [
        align_with_one_centred_sample_per_cell_is_a_crop,
        align_of_bins_of_two_cells_is_average_pooling,
        unaligned_align_is_aligned_align_half_a_cell_further,
        unaligned_align_of_a_point_is_align_of_one_cell,
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
    if not variant.sums_to_one or variant.make().expand > 1:
        return
    x = torch.full((2, 3, 13, 17), 0.7, dtype=torch.float64)
    out = variant.make()(x, rois(rng, inside=True), SCALE)
    torch.testing.assert_close(out, torch.full_like(out, 0.7), rtol=0, atol=1e-13)
