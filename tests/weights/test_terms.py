"""Terms of weights: softmaxes of their own logits on the same cells, by hand."""

from __future__ import annotations

import math

import pytest
import torch

import roikit
from roikit.boxes import Rois
from roikit.sums.attention import Samples
from roikit.weights import Attention

INF = math.inf
BOXES = torch.tensor([[0.0, 3.0, 5.0, 40.0, 29.0], [0.0, 30.0, 2.0, 36.0, 60.0]])


def softmax(logits: dict[tuple[int, int], float]) -> dict[tuple[int, int], float]:
    total = sum(math.exp(value) for value in logits.values())
    return {cell: math.exp(value) / total for cell, value in logits.items()}


def by_hand(weights: Attention, term: str, height: int, width: int) -> torch.Tensor:
    """A loop over regions, parts and cells: the logits of one term, on the cells that the region looks at."""
    regions, parts = weights.rows.shape[:2]
    seen = torch.ones(regions, height, width, dtype=torch.bool)
    if weights.samples is not None:
        seen = weights.samples.mask(height, width)
    dense = torch.zeros(regions, 1, parts, height, width, dtype=torch.float64)
    bias = weights.bias[0] if isinstance(weights.bias, list) else weights.bias
    for r in range(regions):
        for k in range(parts):
            logits = {}
            for v in range(height):
                for u in range(width):
                    place = float(weights.rows[r, k, v]) + float(weights.cols[r, k, u])
                    if place == -INF or not seen[r, v, u]:
                        continue
                    look = float(bias[weights.rois.batch[r], k, v, u])
                    logits[v, u] = {"geometry": place, "appearance": look, "all": place + look}[term]
            for (v, u), value in softmax(logits).items():
                dense[r, 0, k, v, u] = value
    return dense


@pytest.fixture
def attention(rng) -> Attention:
    """Two regions in two images; rows and columns left out, and samples."""
    rows, cols = (3 * torch.randn(2, 3, n, generator=rng, dtype=torch.float64) for n in (6, 7))
    rows[0, :, 4:] = -INF
    cols[1, :, 0] = -INF
    index = torch.tensor([1, 0])
    samples = Samples(torch.tensor([[1, 4, 2, 6, 2, 3, 3], [0, 6, 0, 7, 1, 2, 0]]))
    bias = 3 * torch.randn(2, 3, 6, 7, generator=rng, dtype=torch.float64)
    return Attention(rows, cols, Rois(torch.zeros(2, 4), index, index * 0), (1, 3), bias, samples)


def test_terms_are_softmaxes_of_their_own_logits(attention):
    terms = attention.terms()
    assert list(terms) == ["geometry", "appearance", "all"] and terms["all"] is attention
    for name, weights in terms.items():
        torch.testing.assert_close(weights.dense(6, 7), by_hand(attention, name, 6, 7), rtol=0, atol=1e-14)


def test_logits_of_the_terms_add_up(attention):
    """On the cells looked at, log geometry + log appearance - log all is one number for each part."""
    geometry, appearance, both = (w.dense(6, 7)[:, 0].flatten(2) for w in attention.terms().values())
    assert torch.equal(geometry > 0, both > 0) and torch.equal(appearance > 0, both > 0)
    for r in range(2):
        for k in range(3):
            seen = both[r, k] > 0
            assert 1 < int(seen.sum()) < 42
            rest = geometry[r, k, seen].log() + appearance[r, k, seen].log() - both[r, k, seen].log()
            torch.testing.assert_close(rest, rest[:1].expand_as(rest), rtol=0, atol=1e-12)


def test_one_term_is_all():
    x, boxes = torch.rand(1, 4, 16, 16), BOXES
    for extractor in (
        roikit.RoIAlign(2),
        roikit.RoIPool(2),
        roikit.DeformRoIPool(4),
        roikit.SemanticRoIAlign(4),
        roikit.LearnedRegionFeatures(4, appearance=False),
        roikit.LearnedRegionFeatures(4, geometry=False, support="roi"),
    ):
        weights = extractor.weights(x, boxes, 0.25)
        terms = weights.terms()
        assert list(terms) == ["all"] and terms["all"] is weights


@pytest.mark.parametrize(
    "settings",
    [
        {"max_inside": None, "max_outside": None},
        {},
        {"max_inside": 9, "max_outside": 16, "support": "2x"},
        {"max_inside": None, "max_outside": None, "support": "roi"},
    ],
    ids=["dense", "sampled", "sampled, 2x", "roi"],
)
def test_terms_of_learned_region_features(rng, settings):
    """Appearance alone is the softmax of the 1x1 convolution on the cells looked at; geometry knows no features."""
    x = torch.rand(1, 4, 16, 16, generator=rng)
    extractor = roikit.LearnedRegionFeatures(4, 2, embed_dim=16, geometry_dim=8, start="paper", **settings)
    with torch.no_grad():
        for parameter in extractor.parameters():
            parameter.mul_(30)
    terms = extractor.weights(x, BOXES, 0.25).terms()
    seen = terms["all"].dense(16, 16) > 0
    logits = torch.einsum("chw,kc->khw", x[0], extractor.appearance.weight[:, :, 0, 0])
    logits = logits[None, None].masked_fill(~seen, -INF)
    expected = logits.flatten(3).softmax(3).unflatten(3, (16, 16))
    torch.testing.assert_close(terms["appearance"].dense(16, 16), expected, rtol=1e-4, atol=1e-7)
    other = extractor.weights(torch.rand(1, 4, 16, 16, generator=rng), BOXES, 0.25).terms()
    torch.testing.assert_close(terms["geometry"].dense(16, 16), other["geometry"].dense(16, 16), rtol=0, atol=0)
    assert not torch.equal(terms["all"].dense(16, 16), other["all"].dense(16, 16))


def test_the_whole_of_sampled_weights(attention):
    """All cells of the support: with samples outside, the map; without, the box that the samples lie in."""
    whole = attention.whole()
    height, width = 6, 7
    seen = torch.zeros(2, height, width, dtype=torch.bool)
    seen[0], seen[1] = True, True
    seen[0, 4:], seen[1, :, 0] = False, False  # rows and columns left out by the logits
    dense = whole.dense(height, width)
    assert torch.equal(dense[:, 0] > 0, seen[:, None].expand(-1, 3, -1, -1))
    everything = Attention(attention.rows, attention.cols, attention.rois, attention.grid, attention.bias)
    assert torch.allclose(dense, everything.dense(height, width), atol=1e-14)
    inside = Samples(torch.tensor([[1, 4, 2, 6, 2, 3, 0]] * 2))
    inner = Attention(attention.rows, attention.cols, attention.rois, (1, 3), attention.bias, inside).whole()
    read = inner.dense(height, width)[0, 0, 0] > 0
    assert read.nonzero().amin(0).tolist() == [1, 2] and read.nonzero().amax(0).tolist() == [3, 5] and read.sum() == 12
    assert everything.whole() is everything
    align = roikit.RoIAlign(2).weights(torch.zeros(1, 1, 4, 4), [BOXES[:, 1:]], 1 / 16)
    assert align.whole() is align
