"""Numbers that anyone can check with a pencil: the 5×5 map of 0 … 24, whose value at (v, u) is 5v + u."""

from __future__ import annotations

import pytest
import torch

import roikit

X = torch.arange(25.0).reshape(1, 1, 5, 5)


def pooled(extractor, *box):
    return extractor(X, torch.tensor([[0.0, *box]]))[0, 0].tolist()


def near(expected):
    return [pytest.approx(row, rel=2e-7, abs=1e-6) for row in expected]  # a few roundings in float32


def test_roi_align_reads_the_plane_at_the_bins_centres():
    """Aligned: pixel p's value lies at p + ½. The box (1, 1)-(3, 3) has its 4×4 bin centres at 1¼, 1¾, 2¼, 2¾, that
    is at cells ¾, 1¼, 1¾, 2¼; there the plane 5v + u is 4.5, 5, 5.5, 6 in the first row, and 2.5 more in each next
    one."""
    expected = [[4.5, 5, 5.5, 6], [7, 7.5, 8, 8.5], [9.5, 10, 10.5, 11], [12, 12.5, 13, 13.5]]
    assert pooled(roikit.RoIAlign(4, 1), 1, 1, 3, 3) == near(expected)
    # On a plane the mean of any symmetric samples is the value in the middle.
    assert pooled(roikit.RoIAlign(4, 2), 1, 1, 3, 3) == near(expected)
    assert pooled(roikit.RoIAlign(4, 0), 1, 1, 3, 3) == near(expected)


def test_unaligned_roi_align_is_half_a_cell_too_far():
    """Without the shift the same bins are read at 1¼ …: half a cell right and down, 2.5 + ½ more."""
    expected = [[7.5, 8, 8.5, 9], [10, 10.5, 11, 11.5], [12.5, 13, 13.5, 14], [15, 15.5, 16, 16.5]]
    assert pooled(roikit.RoIAlign(4, 1, aligned=False), 1, 1, 3, 3) == near(expected)


def test_an_aligned_roi_over_the_whole_map_gives_it_back():
    assert pooled(roikit.RoIAlign(5, 1), 0, 0, 5, 5) == X[0, 0].tolist()


def test_roi_align_at_the_border_repeats_it():
    """The box (-½, -½)-(1½, 1½) has its samples at cells -½ and ½: the first is moved to cell 0."""
    assert pooled(roikit.RoIAlign(2, 1), -0.5, -0.5, 1.5, 1.5) == near([[0, 0.5], [2.5, 3]])


def test_roi_align_counts_samples_far_outside_as_zero():
    """Box (-4, 0)-(4, 2) in two columns: the left one is sampled at cell -2.5, beyond -1, and gives 0."""
    assert pooled(roikit.RoIAlign((1, 2), 1), -4, 0, 4, 2) == near([[0, 2.5 + 1.5]])


def test_caffe_pooling_includes_its_last_cell_and_overlaps():
    """Box (0, 0)-(4, 4): 5 cells a side in 2 bins of 2½, [0, 3) and [2, 5): the middle cell is in all four."""
    assert pooled(roikit.RoIPool(2), 0, 0, 4, 4) == [[12, 14], [22, 24]]
    assert pooled(roikit.RoIPool(2, "average"), 0, 0, 4, 4) == near([[6, 8], [16, 18]])


def test_floor_pooling_is_half_open_and_does_not_overlap():
    """Box (0, 0)-(5, 5): bins [0, 2) and [2, 5)."""
    assert pooled(roikit.RoIPool(2, rounding="floor"), 0, 0, 5, 5) == [[6, 9], [21, 24]]
    assert pooled(roikit.RoIPool(2, "average", "floor"), 0, 0, 5, 5) == near([[3, 5.5], [15.5, 18]])


def test_caffe_rounds_half_away_from_zero():
    """2.5 becomes 3 (half to even would make it 2) and -0.5 becomes -1."""
    assert pooled(roikit.RoIPool(1, "average"), 2.5, 0, 3, 0) == [[3]]
    assert pooled(roikit.RoIPool((1, 2), "average"), -0.5, 0, 0, 0) == [[0, 0]]


def test_an_empty_bin_gives_zero():
    assert pooled(roikit.RoIPool((1, 2)), 3, 0, 8, 0) == [[4, 0]]


def test_precise_pooling_is_the_planes_value_in_the_middle():
    assert pooled(roikit.PrRoIPool(2), 0, 0, 4, 4) == near([[6, 8], [16, 18]])
    assert pooled(roikit.PrRoIPool(1), 1.25, 0.5, 2.25, 3.5) == near([[5 * 2 + 1.75]])


def test_precise_pooling_falls_to_zero_beyond_the_map():
    """Between cell 4 and where cell 5 would be the surface falls linearly from x to 0: half of it on average."""
    assert pooled(roikit.PrRoIPool(1), 4, 1, 5, 1.0001) == near([[9 / 2 + 2.5e-4 / 2]])
    assert pooled(roikit.PrRoIPool(1), 6, 1, 7, 2) == [[0]]


def test_a_scale_of_two_numbers_is_y_first():
    """Stride 2 down and 1 across: image box (1, 2)-(4, 8) is rows 1 … 4 and columns 1 … 4."""
    box = torch.tensor([[0, 1.0, 2.0, 4.0, 8.0]])
    assert torch.equal(roikit.RoIAlign(3, 1)(X, box, (0.5, 1.0)), X[:, :, 1:4, 1:4])
