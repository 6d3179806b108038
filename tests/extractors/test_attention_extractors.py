"""What the SRA paper compares with: parameters, and settings that make no sense; SRA's masks some RoIs at a time."""

from __future__ import annotations

import pytest
import torch

import roikit
from roikit.layers.semantic_masks import BLOCK


def count(kind, **settings) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in kind(256, **settings).parameters())


def test_parameters():
    """Table 1 prints 71.9M for w/ Conv. beside 41.8M; the sizes of the attention layers are not in the paper."""
    assert count(roikit.ConvMaskRoIAlign) == (7 * 7 * 256 + 1) * 49 * 49
    assert count(roikit.ConvMaskRoIAlign) / 1e6 == pytest.approx(71.9 - 41.8, abs=0.05)
    attention = 4 * 256 * (256 + 1)
    assert count(roikit.SelfAttentionRoIAlign) == attention
    assert count(roikit.RoIAttention, layers=2) == 2 * (attention + 2 * 256)
    assert count(roikit.SelfAttentionRoIAlign, heads=2) == attention


def test_settings_that_make_no_sense():
    for kind in (roikit.SelfAttentionRoIAlign, roikit.RoIAttention):
        with pytest.raises(ValueError, match="heads must divide the channels, but there are 8 heads and 12 channels"):
            kind(12)
    with pytest.raises(ValueError, match="layers must be at least 1, not 0"):
        roikit.RoIAttention(8, layers=0)
    with pytest.raises(ValueError, match="channels is the number of channels of the feature maps, not 0"):
        roikit.ConvMaskRoIAlign(0)


@pytest.mark.parametrize("settings", [{}, {"descriptor": "max", "sampler": (3, 4)}], ids=str)
def test_without_gradients_masks_are_made_some_rois_at_a_time(settings, rng):
    torch.manual_seed(0)
    pool = roikit.SemanticRoIAlign(4, 6, 12, gamma=3.0, **settings).double()
    x = torch.randn(1, 4, 20, 30, generator=rng, dtype=torch.float64)
    corners = torch.rand(BLOCK + 7, 2, 2, generator=rng, dtype=torch.float64) * torch.tensor([240.0, 160.0])
    boxes = [torch.cat([corners.amin(1), corners.amax(1)], 1)]
    whole = pool(x, boxes, 1 / 8)
    with torch.no_grad():
        torch.testing.assert_close(pool(x, boxes, 1 / 8), whole, rtol=0, atol=1e-13)
