"""Where Learned Region Features look before they learn: on a Gaussian grid, by the paper's own layers or a prior."""

from __future__ import annotations

import math

import pytest
import torch

from roikit import LearnedRegionFeatures

BOXES = torch.tensor(
    [[20.0, 30.0, 90.0, 100.0], [3.0, 8.0, 60.0, 20.0], [0.0, 0.0, 124.0, 120.0], [40.0, 41.0, 46.0, 45.0]]
)
ALL = {"max_inside": None, "max_outside": None, "appearance": False}
HEIGHT, WIDTH, STRIDE = 32, 34, 4


def gaussians(box, sigma):
    """A loop over the parts: normalised Gaussians around the bins' centres, from the formula alone."""
    x1, y1, x2, y2 = box.tolist()
    found = torch.zeros(49, HEIGHT, WIDTH, dtype=torch.float64)
    for k in range(49):
        cx, cy = x1 + (k % 7 + 0.5) * (x2 - x1) / 7, y1 + (k // 7 + 0.5) * (y2 - y1) / 7
        sx, sy = sigma((x2 - x1) / 7), sigma((y2 - y1) / 7)
        for v in range(HEIGHT):
            for u in range(WIDTH):
                dx, dy = ((u + 0.5) * STRIDE - cx) / sx, ((v + 0.5) * STRIDE - cy) / sy
                found[k, v, u] = math.exp(-(dx * dx + dy * dy) / 2)
    return found / found.sum((1, 2), keepdim=True)


def dense(**settings):
    torch.manual_seed(0)
    pool = LearnedRegionFeatures(4, **ALL, **settings)
    weights = pool.weights(torch.zeros(1, 4, HEIGHT, WIDTH), [BOXES], 1 / STRIDE)
    return weights.dense(HEIGHT, WIDTH)[:, 0].detach().double()


@pytest.mark.parametrize("sizes", [{}, {"embed_dim": 256, "geometry_dim": 64}], ids=["paper", "small"])
@pytest.mark.parametrize("width", [12.0, 40.0])
def test_the_papers_layers_start_as_a_grid(sizes, width):
    """The rest of the layers is N(0, 0.01²), whose logits shake it a little."""
    found = dense(grid_width=width, **sizes)
    for mine, box in zip(found, BOXES, strict=True):
        expected = gaussians(box, lambda size: width)
        assert float((mine - expected).abs().sum((1, 2)).max()) < 0.3  # of two distributions: at most 2


def test_large_images_are_in_reach():
    torch.manual_seed(0)
    box = torch.tensor([[900.0, 500.0, 1200.0, 780.0]])
    pool = LearnedRegionFeatures(4, **ALL)
    weights = pool.weights(torch.zeros(1, 4, 50, 84), [box], 1 / 16).dense(50, 84)[0, 0].detach()
    x = (weights.sum(1) * (torch.arange(84) + 0.5) * 16).sum(1).reshape(7, 7)
    expected = 900 + (torch.arange(7) + 0.5) * 300 / 7
    torch.testing.assert_close(x, expected.expand(7, 7), rtol=0, atol=5.0)


def test_embeddings_too_small_for_a_grid_start_as_a_wide_one():
    found = dense(embed_dim=16, geometry_dim=8)
    assert bool(torch.isfinite(found).all()) and float(found.amax()) < 0.1


def test_a_prior_is_a_gaussian_around_each_bin():
    found = dense(start="paper", prior="grid")
    for mine, box in zip(found, BOXES, strict=True):
        expected = gaussians(box, lambda size: max(size / 2, STRIDE / 2))
        assert float((mine - expected).abs().sum((1, 2)).max()) < 0.3


def test_a_prior_is_learned():
    torch.manual_seed(0)
    pool = LearnedRegionFeatures(4, prior="grid")
    x = torch.rand(1, 4, HEIGHT, WIDTH)
    pool(x, [BOXES], 1 / STRIDE).square().sum().backward()
    assert all(bool(parameter.grad.any()) for parameter in pool.prior.parameters())
    assert "prior='grid'" in repr(pool) and LearnedRegionFeatures(4).prior is None


def test_both_starts_have_the_papers_parameters():
    states = [LearnedRegionFeatures(8, start=start).state_dict() for start in ("paper", "grid")]
    assert [(k, v.shape) for k, v in states[0].items()] == [(k, v.shape) for k, v in states[1].items()]


def test_it_can_be_made_without_memory():
    from roikit.layers import grid_start

    grid_start._polynomials.cache_clear()
    with torch.device("meta"):
        assert LearnedRegionFeatures(4).box_parts.weight.is_meta
    assert float(dense().sum((2, 3)).min()) > 0.99
