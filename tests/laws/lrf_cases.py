"""The degenerate cases of Learned Region Features, for law 8."""

from __future__ import annotations

import torch
from listing import SCALE, rois

from roikit.extractors import LearnedRegionFeatures, RoIPool


def lrf(**settings) -> LearnedRegionFeatures:
    return LearnedRegionFeatures(5, (3, 2), embed_dim=8, geometry_dim=4, **settings).double()


def zeroed(extractor: LearnedRegionFeatures) -> LearnedRegionFeatures:
    for parameter in extractor.parameters():
        torch.nn.init.zeros_(parameter)
    return extractor


def equal_logits_are_the_mean_of_the_support(x, rng):
    boxes = rois(rng)
    everything = {"max_inside": None, "max_outside": None}
    found = zeroed(lrf(**everything))(x, boxes, SCALE)
    mean = x.mean((2, 3))[boxes[:, 0].long()]
    torch.testing.assert_close(found, mean[:, :, None, None].expand_as(found), rtol=0, atol=1e-14)
    # A RoI of 4 × 4 cells; of the 6 × 6 about its centre the outermost lie 2.5 away, which is less than 2·√2.
    box = torch.tensor([[0.0, 5.0, 3.0, 9.0, 7.0]], dtype=x.dtype)
    for support, crop in (("roi", x[0, :, 3:7, 5:9]), ("2x", x[0, :, 2:8, 4:10])):
        found = zeroed(lrf(support=support, **everything))(x, box)
        torch.testing.assert_close(found[0, :, 0, 0], crop.mean((1, 2)), rtol=0, atol=1e-14)
        torch.testing.assert_close(found, found[:, :, :1, :1].expand_as(found), rtol=0, atol=1e-15)
    inside = zeroed(lrf(support="roi", max_inside=None))(x, box)
    torch.testing.assert_close(inside[..., :1, :1], RoIPool(1, "average", "floor")(x, box), rtol=0, atol=1e-14)


def more_samples_than_cells_are_all_cells(x, rng):
    boxes = rois(rng)
    for support in ("image", "roi", "2x"):
        torch.manual_seed(1)
        dense = lrf(support=support, max_inside=None, max_outside=None)
        sampled = lrf(support=support, max_inside=10**6, max_outside=10**6)
        sampled.load_state_dict(dense.state_dict())
        torch.testing.assert_close(sampled(x, boxes, SCALE), dense(x, boxes, SCALE), rtol=0, atol=1e-14)


def a_strong_appearance_reads_the_cell_it_likes_best(x, rng):
    extractor = zeroed(lrf(geometry=False, max_inside=None, max_outside=None))
    with torch.no_grad():
        extractor.appearance.weight[:, 2] = 1e7  # channel 2 chooses
    best = x[0, 2].flatten().argmax()
    found = extractor(x, rois(rng, batch=1), SCALE)
    expected = x[0].flatten(1)[:, best][None, :, None, None].expand_as(found)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-14)


def an_image_that_is_not_padded_is_the_whole_map(x, rng):
    boxes, height, width = rois(rng), x.shape[2] / SCALE[0], x.shape[3] / SCALE[1]
    for extractor in (lrf(), lrf(max_inside=None, max_outside=None), lrf(support="2x")):
        found = extractor(x, boxes, SCALE, image_sizes=[(height, width)] * 2)
        torch.testing.assert_close(found, extractor(x, boxes, SCALE), rtol=0, atol=1e-14)


LRF_CASES = [
    equal_logits_are_the_mean_of_the_support,
    more_samples_than_cells_are_all_cells,
    a_strong_appearance_reads_the_cell_it_likes_best,
    an_image_that_is_not_padded_is_the_whole_map,
]
