"""What an extractor says: each kind of weights pools what its dense form says, of any features."""

from __future__ import annotations

import dataclasses

import pytest
import torch

import roikit
from roikit.boxes import Rois
from roikit.weights import Axis, Selection, Separable


@pytest.fixture
def scene(rng):
    x = torch.rand(2, 3, 7, 9, generator=rng, dtype=torch.float64)
    boxes = torch.tensor([[0, 1.2, 0.3, 6.1, 5.7], [1, -2, 2, 4, 9]], dtype=torch.float64)
    return x, boxes


def rois_of(boxes):
    batch = boxes[:, 0].long()
    return Rois(boxes[:, 1:], batch, torch.zeros_like(batch))


def contract(dense, x, batch):
    return torch.einsum("rckvu,rcvu->rck", dense.double().expand(-1, x.shape[1], -1, -1, -1), x[batch])


@pytest.mark.parametrize("kind", [roikit.RoIAlign(2), roikit.RoIPool(2), roikit.RoIPool(2, "average")], ids=repr)
def test_weights_pool_other_features_than_they_were_made_from(kind, scene):
    x, boxes = scene
    weights = kind.weights(x, boxes)
    other = (x * 3 - 1).flip(1)
    expected = contract(weights.dense(7, 9), other, boxes[:, 0].long())
    torch.testing.assert_close(weights.pool(other).flatten(2), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("kind", [roikit.RoIAlign(2), roikit.RoIPool(2)], ids=repr)
def test_weights_are_frozen(kind, scene):
    weights = kind.weights(*scene)
    with pytest.raises(dataclasses.FrozenInstanceError):
        weights.rois = None


class TestSeparable:
    def test_explicit_taps(self, scene, rng):
        """A rule of one's own: taps as tensors, with gradients of both orders."""
        x, boxes = scene
        rows = torch.rand(2, 4, 7, generator=rng, dtype=torch.float64, requires_grad=True)
        cols = torch.rand(2, 3, 9, generator=rng, dtype=torch.float64, requires_grad=True)
        weights = Separable(rows, cols, rois_of(boxes))
        expected = torch.einsum("riv,rju,rcvu->rcij", rows, cols, x[boxes[:, 0].long()])
        torch.testing.assert_close(weights.pool(x), expected, rtol=0, atol=1e-13)
        torch.testing.assert_close(contract(weights.dense(7, 9), x, boxes[:, 0].long()), expected.flatten(2))
        given = (x.requires_grad_(), rows, cols)

        def run(x, rows, cols):
            return Separable(rows, cols, rois_of(boxes)).pool(x)

        assert torch.autograd.gradcheck(run, given, fast_mode=True)
        assert torch.autograd.gradgradcheck(run, given, fast_mode=True)

    @pytest.mark.parametrize("backend", ["numba", "reference"])
    def test_explicit_taps_on_several_levels(self, backend, rng, monkeypatch):
        """Taps as wide as the widest map: on a smaller one the rest is not read, and has no gradient."""
        monkeypatch.setenv("ROIKIT_BACKEND", backend)
        shapes, level = [(7, 9), (3, 12), (4, 2)], torch.tensor([0, 1, 2, 1])
        maps = [torch.rand(1, 3, *shape, generator=rng, dtype=torch.float64, requires_grad=True) for shape in shapes]
        rows = torch.rand(4, 2, 7, generator=rng, dtype=torch.float64, requires_grad=True)
        cols = torch.rand(4, 3, 12, generator=rng, dtype=torch.float64, requires_grad=True)
        rois = Rois(torch.zeros(4, 4), torch.zeros(4, dtype=torch.int64), level)
        found = Separable(rows, cols, rois).pool(maps)
        parts = []
        for r, at in enumerate(level.tolist()):
            height, width = shapes[at]
            parts.append(torch.einsum("iv,ju,cvu->cij", rows[r, :, :height], cols[r, :, :width], maps[at][0]))
        expected = torch.stack(parts)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-13)
        inputs = (*maps, rows, cols)
        weight = torch.rand(found.shape, generator=rng, dtype=torch.float64)
        gradients = (torch.autograd.grad(out, inputs, weight) for out in (found, expected))
        for gradient, wanted in zip(*gradients, strict=True):
            torch.testing.assert_close(gradient, wanted, rtol=0, atol=1e-13)

    def test_taps_beside_an_axis(self, scene, rng):
        x, boxes = scene
        cols = torch.rand(2, 3, 9, generator=rng, dtype=torch.float64)
        rows = Axis(boxes[:, 2], boxes[:, 4] - boxes[:, 2], 2, "integral")
        found = Separable(rows, cols, rois_of(boxes)).pool(x)
        expected = torch.einsum("riv,rju,rcvu->rcij", rows.taps(7), cols, x[boxes[:, 0].long()])
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-13)

    def test_different_rules_on_the_two_axes(self, scene):
        x, boxes = scene
        rows = Axis(boxes[:, 2], boxes[:, 4] - boxes[:, 2], 2, "integral")
        cols = Axis(boxes[:, 1], boxes[:, 3] - boxes[:, 1], 3, "hat", samples=2)
        weights = Separable(rows, cols, rois_of(boxes))
        expected = torch.einsum("riv,rju,rcvu->rcij", rows.taps(7), cols.taps(9), x[boxes[:, 0].long()])
        torch.testing.assert_close(weights.pool(x), expected, rtol=0, atol=1e-13)

    def test_taps_that_do_not_reach_across_the_map(self, scene):
        x, boxes = scene
        short = torch.rand(2, 3, 5, dtype=torch.float64)
        with pytest.raises(ValueError, match=r"explicit taps reach 5 cells but the map has 9"):
            Separable(torch.rand(2, 3, 7, dtype=torch.float64), short, rois_of(boxes)).pool(x)


class TestAxis:
    def test_an_unknown_rule_lists_the_known_ones(self):
        with pytest.raises(ValueError, match="'cubic': choose one of hat, integral, cells, cells_floor"):
            Axis(torch.zeros(1), torch.ones(1), 2, "cubic")

    def test_no_bins(self):
        with pytest.raises(ValueError, match="at least one bin, not 0"):
            Axis(torch.zeros(1), torch.ones(1), 0, "hat")

    @pytest.mark.parametrize("rule", ["hat", "integral", "cells", "cells_floor"])
    def test_windows_hold_every_tap(self, rule, rng):
        lo = torch.rand(200, generator=rng, dtype=torch.float64) * 30 - 10
        size = torch.rand(200, generator=rng, dtype=torch.float64) * 30 - 5
        whole = lo.round()
        for start in (lo, whole):
            for samples in (0, 1, 3):
                taps, window = Axis(start, size, 4, rule, samples).windowed_taps(12)
                cell = torch.arange(12)
                outside = (cell < window[..., :1]) | (cell >= window[..., 1:])
                assert not taps[outside].any()
                assert bool(((window >= 0) & (window <= 12)).all())

    def test_a_number_of_cells_for_each_roi(self, rng):
        lo, size = torch.tensor([1.0, 2.0]), torch.tensor([5.0, 6.0])
        for rule in ("hat", "integral", "cells", "cells_floor"):
            axis = Axis(lo, size, 3, rule, 2)
            together = axis.taps(torch.tensor([5, 9]))
            for i, cells in enumerate((5, 9)):
                alone = Axis(lo[i : i + 1], size[i : i + 1], 3, rule, 2).taps(cells)
                torch.testing.assert_close(together[i : i + 1, :, :cells], alone)
                assert not together[i, :, cells:].any()


class TestSelection:
    def test_dense_weights_are_one_hot(self, scene):
        x, boxes = scene
        dense = roikit.RoIPool(2).weights(x, boxes).dense(7, 9)
        assert dense.shape == (2, 3, 4, 7, 9)
        assert set(dense.unique().tolist()) == {0.0, 1.0} and bool((dense.sum((-1, -2)) == 1).all())

    def test_a_selection_of_other_channels(self, scene):
        x, boxes = scene
        weights = roikit.RoIPool(2).weights(x, boxes)
        with pytest.raises(ValueError, match="made over 3 channels and the features have 2"):
            weights.pool(x[:, :2])

    @pytest.mark.parametrize("backend", ["numba", "reference"])
    def test_a_selection_on_a_larger_map(self, scene, backend, monkeypatch):
        monkeypatch.setenv("ROIKIT_BACKEND", backend)
        x, boxes = scene
        boxes = torch.tensor([[1, 5.0, 4, 9, 7]], dtype=torch.float64)
        weights = roikit.RoIPool(2).weights(x, boxes)
        with pytest.raises(ValueError, match="chosen on a map larger than 4×4"):
            weights.pool(x[:, :, :4, :4])

    def test_nan_never_wins_over_a_number_and_a_bin_of_nan_stays_nan(self, monkeypatch):
        x = torch.full((1, 1, 4, 4), float("nan"))
        x[0, 0, 1, 1] = -5.0
        x[0, 0, 2:, 2:] = -float("inf")
        for backend in ("numba", "reference"):
            monkeypatch.setenv("ROIKIT_BACKEND", backend)
            out = roikit.RoIPool(2, rounding="floor")(x, torch.tensor([[0.0, 0, 0, 4, 4]]))[0, 0]
            assert out[0, 0] == -5 and out[0, 1].isnan() and out[1, 0].isnan() and out[1, 1] == -float("inf")

    def test_the_index_is_used_where_it_is_given(self, scene):
        x, boxes = scene
        index = torch.tensor([5, -1, 62], dtype=torch.int32).reshape(1, 3, 1, 1)
        rois = rois_of(boxes[1:])
        found = Selection(index, rois).pool(x)
        assert found.flatten().tolist() == [x[1, 0, 0, 5].item(), 0.0, x[1, 2, 6, 8].item()]
