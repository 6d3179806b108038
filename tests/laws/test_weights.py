"""Laws 1 and 2: an extractor is its weights, and they are means."""

from __future__ import annotations

import torch
from listing import CHANNELS, HEIGHT, SCALE, WIDTH, as_rois, dtypes, every, rois
from sums import sums_and_extractors


def contract(weights, dense: torch.Tensor, x: torch.Tensor, batch: torch.Tensor) -> torch.Tensor:
    """y[r, c, k] = Σ_p w[r, g, k, p] x[b_r, channel(c, k), p], in float64; c is in group g."""
    dense, x = dense.double(), x.double()[batch]
    channels = getattr(weights, "channels", None)
    if channels is None:
        return torch.einsum("rckvu,rcvu->rck", dense.expand(-1, x.shape[1], -1, -1, -1), x)
    groups, parts = dense.shape[1:3]
    first = channels.of(1, groups * parts, x.device).reshape(groups, parts, 1)
    read = x[:, first + channels.step * torch.arange(channels.run)]  # [R, G, K, C / G, H, W]
    return torch.einsum("rgkvu,rgkcvu->rgck", dense, read).flatten(1, 2)


@sums_and_extractors
@dtypes
def test_law_1_the_output_is_the_dense_weights_contracted_with_the_features(variant, dtype, rng, poisoned):
    extractor, x, boxes = variant.make(), variant.features(rng, dtype), rois(rng)
    weights = extractor.weights(x, boxes.to(dtype), SCALE)
    pooled, dense = weights.pool(x), weights.dense(HEIGHT, WIDTH)
    parts = extractor.output_size[0] * extractor.output_size[1]
    assert dense.shape[0] == len(boxes) and dense.shape[2:] == (parts, HEIGHT, WIDTH)
    assert pooled.dtype == dtype and pooled.shape == (len(boxes), CHANNELS, *extractor.output_size)
    assert extractor.out_channels(x.shape[1]) == CHANNELS
    # Rounding of |x| ≤ ½ in a mean; a geometry that differed would differ by 1e-3 and more.
    tolerance = {torch.float32: 2e-6, torch.float64: 1e-13}[dtype]
    expected = contract(weights, dense, x, boxes[:, 0].long())
    torch.testing.assert_close(pooled.flatten(2).double(), expected, rtol=0, atol=tolerance)
    assert torch.equal(extractor.after(pooled, weights), extractor(x, boxes.to(dtype), SCALE))


@every
@dtypes
def test_law_2_weights_sum_to_1_for_rois_inside_the_map(variant, dtype, rng):
    if not variant.sums_to_one:
        return
    extractor = variant.make(trained=False)  # bins that have learned to move may leave the map
    boxes = as_rois(variant.inside(rng).to(dtype)).expand(1 / extractor.expand)  # inside also once it is expanded
    total = extractor.weights(variant.features(rng, dtype), boxes, SCALE).dense(HEIGHT, WIDTH).sum((-2, -1))
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=2e-6 if dtype == torch.float32 else 1e-13)


@sums_and_extractors
def test_law_2_no_weight_is_negative(variant, rng):
    dense = variant.make().weights(variant.features(rng), rois(rng), SCALE).dense(HEIGHT, WIDTH)
    assert float(dense.min()) >= -1e-12 and float(dense.sum((-2, -1)).max()) <= 1 + 1e-12
