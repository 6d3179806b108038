"""Semantic RoI Align: the paper's equations as loops, its parameters and its costs."""

from __future__ import annotations

import math

import pytest
import torch
from oracles import compare
from sra_oracle import area, grid_of, semantic_roi_align
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models.detection.faster_rcnn import TwoMLPHead

import roikit
from experiments.complexity.counting import of_layers
from roikit.geometry.dynamic_grid import choose, grids
from roikit.layers.area_embedding import covered

SMALL = {"masks": 4, "max_cells": 10, "descriptor_channels": 6, "position_channels": 5, "gamma": 3.0}
SETTINGS = [
    {},
    {"descriptor": "max", "position": "position"},
    {"descriptor": "concat", "sampler": (2, 3)},
    {"sampler": (3, 3), "semantic_channels": 7},
    {"descriptor": None, "semantic": False},
    {"semantic": False, "position": None},
    {"position": None, "gamma": 50.0},
]


def made(**settings):
    torch.manual_seed(0)
    pool = roikit.SemanticRoIAlign(3, **{**SMALL, **settings}).double()
    for parameter in pool.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return pool


# Inside, over a border, wider than the map, outside, of no area, narrow; no block ends at a cell's centre, where the
# quadrature has another derivative on either side.
BOXES = [
    [3.13, 2.31, 11.97, 9.22], [-4.1, 5.3, 6.17, 12.31], [-9.23, 3.29, 40.1, 9.13], [60.1, 2.1, 70.1, 9.2],
    [5.2, 5.1, 5.2, 5.1], [2.03, 1.11, 2.71, 13.07], [9.91, -6.03, 19.53, 0.71],
]  # fmt: skip


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_the_paper_s_equations_as_loops(settings, rng):
    pool = made(**settings)
    x = torch.randn(3, 7, 9, generator=rng, dtype=torch.float64).requires_grad_()
    boxes = torch.tensor(BOXES, dtype=torch.float64, requires_grad=True)
    inputs = (x, boxes, *pool.parameters())
    found, expected = pool(x[None], [boxes], 0.5).flatten(2), semantic_roi_align(pool, x, boxes, 0.5)
    compare("`SemanticRoIAlign`", "the paper's equations as loops", found, expected, 1e-12)
    weight = torch.randn(found.shape, generator=rng, dtype=torch.float64)
    gradients = [torch.autograd.grad(out, inputs, weight, allow_unused=True) for out in (found, expected)]
    for name, mine, theirs in zip(["x", "boxes", *dict(pool.named_parameters())], *gradients, strict=True):
        mine, theirs = (torch.zeros(()) if g is None else g for g in (mine, theirs))
        torch.testing.assert_close(
            mine, theirs.expand_as(mine), rtol=1e-9, atol=1e-10, msg=lambda m, n=name: f"{n}: {m}"
        )


def test_the_grid_has_the_roi_s_ratio(rng):
    """Of all grids by brute force, for every limit of Table 5."""
    for most in (1, 2, 7, 16, 32, 64, 128):
        sides = 10 ** (4 * torch.rand(60, 2, generator=rng, dtype=torch.float64) - 2)
        sides[0] = 3.0
        found = torch.stack(choose(*sides.unbind(1), grids(most)), 1)
        assert [tuple(grid) for grid in found.tolist()] == [grid_of(h, w, most) for h, w in sides.tolist()]


def test_a_tie_takes_the_larger_grid():
    """√(7/8 · 1), halfway by |log|: 7 × 8 has fewer cells than 8 × 8."""
    height = torch.tensor([math.sqrt(7 / 8)], dtype=torch.float64)
    ratios = grids(64)
    distance = (height.log() - (ratios.double()[:, 0] / ratios[:, 1]).log()).abs()
    assert sorted(distance.tolist())[1] - sorted(distance.tolist())[0] < 1e-15
    equal = torch.tensor([[8, 8], [7, 8]])
    assert [int(n) for n in choose(torch.tensor([2.0]), torch.tensor([2.0]), equal)] == [8, 8]
    # All ratios of one table differ: a grid and its multiples are one entry, the largest.
    assert len({(h / math.gcd(h, w), w / math.gcd(h, w)) for h, w in ratios.tolist()}) == len(ratios)
    assert [8, 8] in ratios.tolist() and [7, 7] not in ratios.tolist() and [5, 10] in ratios.tolist()


@pytest.mark.parametrize(("count", "length"), [(1, 1), (1, 5), (3, 8), (8, 8), (5, 64)])
def test_area_embedding_is_a_resized_one_hot_vector(count, length):
    expected = torch.stack([area(r, count, length) for r in range(count)])
    torch.testing.assert_close(covered(count, length) / (2.0 * length), expected.float(), rtol=0, atol=1e-6)


def test_masks_sum_to_one_and_their_weights_too(rng):
    """Also over the border: a cell is the mean of what lies on the map."""
    pool = made()
    x = torch.randn(1, 3, 7, 9, generator=rng, dtype=torch.float64)
    weights = pool.weights(x, [torch.tensor(BOXES, dtype=torch.float64)], 0.5)
    torch.testing.assert_close(weights.outer.sum(2), torch.ones(7, 4, dtype=torch.float64), rtol=0, atol=1e-14)
    cells = pool.cells(torch.tensor([[0.0, 8.0, 0.0, 4.0]]).unbind(1))
    exists = int(cells.height * cells.width)
    assert exists == 8 and (int(cells.height), int(cells.width)) == (4, 2)
    inside = torch.tensor([[1.0, 1, 17, 13], [-1.0, -1, 6, 5], [14.0, 2, 19, 15], [1, 1, 5, 5.0]])  # up to a cell over
    total = pool.weights(x, [inside.double()], 0.5).dense(7, 9).sum((-2, -1))
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-14)


def test_a_new_one_starts_close_to_the_mean():
    """γ = 50 would otherwise make masks of a cell or two at once, which do not learn."""
    torch.manual_seed(0)
    pool = roikit.SemanticRoIAlign(64)
    weights = pool.weights(torch.randn(1, 64, 30, 30), [torch.tensor([[2.0, 3.0, 27.0, 28.0]])])
    effective = torch.exp(-(weights.outer * weights.outer.log()).sum(2))  # of 64 cells
    assert 5 < float(effective.median()) < 60


def millions(masks: int, extractor) -> float:
    """Faster R-CNN R-50-FPN for 80 classes; scales and shifts of frozen batch norm count."""
    from torchvision.models.detection import fasterrcnn_resnet50_fpn

    with torch.device("meta"):
        model = fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=81)
        model.roi_heads.box_head = TwoMLPHead(256 * masks, 1024)
    numbers = [p.numel() for p in model.parameters()]
    numbers += [p.numel() for p in extractor.parameters()]
    numbers += [b.numel() for name, b in model.named_buffers() if name.endswith(("weight", "bias"))]
    return sum(numbers) / 1e6


@pytest.mark.parametrize(
    ("masks", "with_sra", "with_align"), [(9, 31.5, 31.3), (25, 35.7, 35.5), (49, 42.0, 41.8), (100, 55.4, 55.1)]
)
def test_parameters_of_table_4(masks, with_sra, with_align):
    with torch.device("meta"):
        sra = roikit.SemanticRoIAlign(256, masks)
    plain = millions(masks, torch.nn.Identity())
    assert plain == pytest.approx(with_align, abs=0.05)
    assert millions(masks, sra) == pytest.approx(with_sra, abs=0.05)
    if masks == 49:
        assert millions(masks, sra) - plain == pytest.approx(0.23, abs=0.005)


def giga(boxes, **settings) -> float:
    """Multiply-adds of 300 RoIs in 10⁹, matrix products of the running code (the counter counts two for each)."""
    pool = roikit.SemanticRoIAlign(256, **settings)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        pool(torch.zeros(1, 256, 4, 4), [boxes], 1 / 16)
    return of_layers(counter) / 1e9


SQUARE, DOUBLE = torch.tensor([0.0, 0, 60, 60]).expand(300, 4), torch.tensor([0.0, 0, 64, 32]).expand(300, 4)


@pytest.mark.parametrize(
    ("settings", "paper", "counted"),
    [
        ({"max_cells": 16}, 0.8, 0.82),
        ({"max_cells": 32}, 1.6, 1.65),
        ({}, 3.3, 3.35),
        ({"max_cells": 128}, 7.0, 6.94),
        ({"sampler": (8, 8)}, 3.2, 3.25),
        ({"masks": 9}, 2.9, None),
        ({"masks": 25}, 3.1, None),
        ({"masks": 100}, 3.8, None),
    ],
    ids=str,
)
def test_costs_of_tables_4_and_5(settings, paper, counted):
    boxes = DOUBLE if settings.get("max_cells") in (32, 128) else SQUARE
    found = giga(boxes, **settings)
    assert found == pytest.approx(paper, abs=0.15)
    assert counted is None or found == pytest.approx(counted, abs=0.05)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"masks": 0}, "masks must be at least 1, not 0"),
        ({"max_cells": 0}, "max_cells must be at least 1"),
        ({"semantic_channels": 0}, "semantic_channels must be at least 1"),
        ({"descriptor": "sum"}, 'descriptor must be "mean", "max", "concat" or None'),
        ({"descriptor": "concat"}, "needs a fixed grid"),
        ({"position": "sine"}, 'position must be "area", "position" or None'),
        ({"descriptor": None, "semantic": False, "position": None}, "masks need one of them"),
        ({"gamma": -1.0}, "gamma must be a number of at least 0"),
        ({"sampler": "fixed"}, r'sampler must be "dynamic" or a grid \(h, w\)'),
    ],
    ids=str,
)
def test_settings_that_make_no_sense(settings, message):
    with pytest.raises(ValueError, match=message):
        roikit.SemanticRoIAlign(8, **settings)
