"""Grammar pooling's parse against all trees, written out, and its straight-through gradient."""

from __future__ import annotations

import functools

import pytest
import torch
from oracles import compare

import roikit
from roikit.layers.and_or_grid import mixing, shapes, terminals


def best_tree(score, y0, x0, y1, x1):
    """(value, terminals) of the best tree of a rectangle, by trying all; score is a terminal's."""

    @functools.cache
    def search(y0, x0, y1, x1):
        found = [(score(y0, x0, y1, x1), [(y0, x0, y1, x1)])]
        for y in range(y0 + 1, y1):
            (a, first), (b, second) = search(y0, x0, y, x1), search(y, x0, y1, x1)
            found.append(((a + b) / 2, first + second))
        for x in range(x0 + 1, x1):
            (a, first), (b, second) = search(y0, x0, y1, x), search(y0, x, y1, x1)
            found.append(((a + b) / 2, first + second))
        return max(found, key=lambda one: one[0])

    return search(y0, x0, y1, x1)


@pytest.mark.parametrize("grid", [(1, 1), (1, 4), (3, 2), (4, 5)])
def test_the_best_tree_is_the_best_of_all(grid, rng):
    scores = torch.randn(6, len(shapes(grid)), *grid, generator=rng, dtype=torch.float64)
    kept, order = terminals(scores, grid, None), shapes(grid)
    mixed = mixing(kept, grid)
    for r in range(6):

        def score(y0, x0, y1, x1, r=r):
            return float(scores[r, order.index((y1 - y0, x1 - x0)), y0:y1, x0:x1].mean())

        _, rectangles = best_tree(score, 0, 0, *grid)
        expected = torch.zeros(*grid, *grid, dtype=torch.float64)
        for y0, x0, y1, x1 in rectangles:
            assert float(kept[y1 - y0, x1 - x0][r, y0, x0]) == 1
            expected[y0:y1, x0:x1, y0:y1, x0:x1] = 1 / ((y1 - y0) * (x1 - x0))
        assert sum(float(k[r].sum()) for k in kept.values()) == len(rectangles)
        compare("`GrammarPool`", "every tree, tried", mixed[r], expected.reshape(grid[0] * grid[1], -1), 1e-14)


def test_the_soft_tree_is_a_distribution_over_trees(rng):
    """Of a 1×2 grid, by hand: kept whole with the softmax's probability, else two single cells."""
    scores = torch.tensor([[[[2.0, 4.0]], [[5.0, 3.0]]]], dtype=torch.float64)  # shapes (1, 1) and (1, 2)
    whole = torch.sigmoid(torch.tensor((4.0 - 3.0) / 0.5, dtype=torch.float64))  # scores 4 and (2 + 4) / 2
    kept = terminals(scores, (1, 2), 0.5)
    torch.testing.assert_close(kept[1, 2][0, 0, 0], whole)
    torch.testing.assert_close(kept[1, 1][0, 0], (1 - whole).expand(2))
    half = whole / 2
    expected = torch.stack([torch.stack([1 - half, half]), torch.stack([half, 1 - half])])
    torch.testing.assert_close(mixing(kept, (1, 2))[0], expected)


def test_probabilities_of_the_rectangles_around_a_cell_sum_to_1(rng):
    mixed = mixing(terminals(torch.randn(5, 20, 4, 5, generator=rng), (4, 5), 0.7), (4, 5))
    torch.testing.assert_close(mixed.sum(2), torch.ones(5, 20))


def test_scores_learn_straight_through_the_best_tree(rng):
    torch.manual_seed(0)
    best = roikit.GrammarPool(3, (3, 4)).double()
    soft = roikit.GrammarPool(3, (3, 4), "soft").double()
    for parameter in best.parameters():
        torch.nn.init.normal_(parameter)
    soft.load_state_dict(best.state_dict())
    x = torch.rand(1, 3, 9, 11, generator=rng, dtype=torch.float64)
    boxes = torch.tensor([[0.0, 1, 2, 9, 8], [0, 0, 0, 5, 6]], dtype=torch.float64)
    weight = torch.randn(2, 3, 3, 4, generator=rng, dtype=torch.float64)
    with torch.no_grad():
        plain = best(x, boxes)
    out = best(x, boxes)
    torch.testing.assert_close(out.detach(), plain, rtol=0, atol=1e-13)
    assert not torch.allclose(plain, soft(x, boxes))
    found = torch.autograd.grad(out, best.score.weight, weight)
    expected = torch.autograd.grad(soft(x, boxes), soft.score.weight, weight)
    torch.testing.assert_close(found, expected)


def test_arguments():
    with pytest.raises(ValueError, match='tree must be "best" or "soft"'):
        roikit.GrammarPool(4, tree="worst")
    with pytest.raises(ValueError, match="temperature must be positive"):
        roikit.GrammarPool(4, temperature=0)
    with pytest.raises(ValueError, match="made for 4 channels and the features have 3"):
        roikit.GrammarPool(4)(torch.rand(1, 3, 5, 5), torch.zeros(0, 5))
