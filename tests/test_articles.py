"""The two explainer articles as tests: the worked example, the formulas, and what readers asked under them.

"Region of interest pooling explained" (deepsense.ai, 2017) cuts an 8×8 map with a region (0, 3)-(7, 8) into 2×2
sections. "What is RoI Pooling?" gives the formulas of RoI Pooling, bilinear interpolation and RoI Align.
"""

from __future__ import annotations

import math

import pytest
import torch
import torchvision

import roikit

FEATURES = torch.tensor(
    [
        [0.88, 0.44, 0.14, 0.16, 0.37, 0.77, 0.96, 0.27],
        [0.19, 0.45, 0.57, 0.16, 0.63, 0.29, 0.71, 0.70],
        [0.66, 0.26, 0.82, 0.64, 0.54, 0.73, 0.59, 0.26],
        [0.85, 0.34, 0.76, 0.84, 0.29, 0.75, 0.62, 0.25],
        [0.32, 0.74, 0.21, 0.39, 0.34, 0.03, 0.33, 0.48],
        [0.20, 0.14, 0.16, 0.13, 0.73, 0.65, 0.96, 0.32],
        [0.19, 0.69, 0.09, 0.86, 0.88, 0.07, 0.01, 0.48],
        [0.83, 0.24, 0.97, 0.04, 0.24, 0.35, 0.50, 0.91],
    ]
)
X = FEATURES[None, None]
REGION = torch.tensor([[0.0, 0.0, 3.0, 7.0, 8.0]])


def pool(box, size=2, scale=1.0, x=X, **settings):
    return roikit.RoIPool(size, rounding="floor", **settings)(x, torch.tensor([[0.0, *box]]), scale)[0, 0]


def test_the_worked_example():
    assert torch.equal(pool((0, 3, 7, 8)), torch.tensor([[0.85, 0.84], [0.97, 0.96]]))


def test_the_sections_of_the_worked_example():
    """Neeraj asks about the sizes of the sections: floor(7/2, 5/2) = 3×2 first, "the rest adjusted to [4,2], [3,3],
    [4,3]"; no activation is left out, as it would be if all had the size 3×2."""
    selection = roikit.RoIPool(2, rounding="floor").weights(X, REGION)
    average = roikit.RoIPool(2, "average", "floor").weights(X, REGION).dense(8, 8)[0, 0]
    sections = [
        (range(3, 5), range(0, 3)),
        (range(3, 5), range(3, 7)),
        (range(5, 8), range(0, 3)),
        (range(5, 8), range(3, 7)),
    ]
    for weights, (rows, cols) in zip(average, sections, strict=True):
        expected = torch.zeros(8, 8)
        expected[rows.start : rows.stop, cols.start : cols.stop] = 1 / (len(rows) * len(cols))
        torch.testing.assert_close(weights, expected)
    assert bool((average.sum(0)[3:8, 0:7] > 0).all()), "an activation of the region was left out"
    # The maxima, and where they are: 0.85, 0.84, 0.97 and 0.96.
    assert selection.index[0, 0].tolist() == [[3 * 8 + 0, 3 * 8 + 3], [7 * 8 + 2, 5 * 8 + 6]]
    assert selection.dense(8, 8)[0, 0].flatten(1).argmax(1).tolist() == [24, 27, 58, 46]


def test_what_torchvision_and_caffe_make_of_the_example():
    """Neeraj: other implementations cut otherwise. Caffe includes the last column and row, 7 and 8: columns 0 … 3
    and 4 … 7, rows 3 … 5 and 6 … 8, of which the map has 6 and 7."""
    caffe = roikit.RoIPool(2)(X, REGION)
    assert torch.equal(caffe[0, 0], torch.tensor([[0.85, 0.96], [0.97, 0.91]]))
    assert torch.equal(caffe, torchvision.ops.roi_pool(X, REGION, 2))


def test_sizes_that_the_grid_does_not_divide():
    """ "The size of the region of interest doesn't have to be perfectly divisible by the number of pooling
    sections": every cell of a region belongs to exactly one section."""
    for width, height, grid in ((7, 5, 2), (8, 8, 3), (5, 8, 4), (7, 6, 5)):
        dense = (
            roikit.RoIPool(grid, "average", "floor").weights(X, torch.tensor([[0, 0.0, 0, width, height]])).dense(8, 8)
        )
        owners = (dense[0, 0] > 0).sum(0)
        expected = torch.zeros(8, 8, dtype=torch.int64)
        expected[:height, :width] = 1
        assert torch.equal(owners, expected)


def test_the_output_depends_on_the_grid_alone():
    """ "The dimension of the output doesn't depend on the size of the input feature map nor of the region
    proposals.\""""
    for height, width in ((8, 8), (3, 50)):
        x = torch.rand(1, 2, height, width)
        for box in ((0, 0, 1, 1), (0, 0, 7, 3), (-9, -9, 99, 99)):
            assert roikit.RoIPool(7)(x, torch.tensor([[0.0, *box]])).shape == (1, 2, 7, 7)


def test_several_regions_share_one_feature_map():
    """ "We can use the same input feature map for all of them": N RoIs give N outputs, each its own."""
    boxes = torch.tensor([[0, 0.0, 3, 7, 8], [0, 0, 0, 8, 8], [0, 4, 4, 8, 8]])
    together = roikit.RoIPool(2, rounding="floor")(X, boxes)
    for one, box in zip(together, boxes, strict=True):
        assert torch.equal(one[0], pool(box[1:].tolist()))


def test_rui_and_ryan_which_corner_and_counting_from_where():
    """Rui and Ryan: is it (x, y), counted from 0 or 1? (x1, y1, x2, y2), from 0, the last excluded: (0, 3)-(7, 8) is
    columns 0 … 6 and rows 3 … 7."""
    x = torch.zeros(1, 1, 8, 8)
    x[0, 0, 3:8, 0:7] = 1
    assert pool((0, 3, 7, 8), x=x, mode="average").tolist() == [[1, 1], [1, 1]]
    x = 1 - x
    assert pool((0, 3, 7, 8), x=x, mode="average").tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize("extractor", [roikit.RoIPool(2, rounding="floor"), roikit.RoIPool(2)], ids=repr)
def test_sunya_what_happens_if_the_rois_get_too_small_say_1x1(extractor):
    """sunya: "what happens if the rois get too small, say (1*1) in the feature map?" Its one cell fills every
    section."""
    box = [5.0, 2.0, 6.0, 3.0] if extractor.rounding == "floor" else [5.0, 2.0, 5.0, 2.0]
    out = extractor(X, torch.tensor([[0.0, *box]]))
    assert out[0, 0].tolist() == [[FEATURES[2, 5].item()] * 2] * 2


def test_avi_a_2x2_output_of_a_1x1_roi_is_it_neglected():
    """AVi: "if we want output 2x2 but our roi gets smaller than that (1x1). Do we neglect this roi?" No: it has an
    output like every other, and its gradient reaches its cell from all four sections."""
    x = X.clone().requires_grad_()
    roikit.RoIPool(2, rounding="floor")(x, torch.tensor([[0, 5.0, 2, 6, 3]])).sum().backward()
    expected = torch.zeros(8, 8)
    expected[2, 5] = 4
    assert torch.equal(x.grad[0, 0], expected)


def test_lufficc_a_region_smaller_than_the_grid():
    """lufficc: "what if region proposal size is smaller than fixed-size feature maps size??" Cells repeat: 2×3 cells
    in 4×4 sections; no section is empty."""
    out = pool((2, 1, 5, 3), size=4)
    rows, cols = [1, 1, 2, 2], [2, 2, 3, 4]  # ⌊1 + i/2⌋ and ⌊2 + 3j/4⌋, each of one cell at least
    assert torch.equal(out, FEATURES[rows][:, cols])


@pytest.mark.parametrize("extractor", [roikit.RoIAlign(7), roikit.RoIAlign(7, 0), roikit.PrRoIPool(7)], ids=repr)
def test_a_region_smaller_than_the_grid_with_interpolation(extractor):
    """The same question of RoI Align: it reads between cells, so some 49 different values come from less than a
    cell."""
    out = extractor(X, torch.tensor([[0, 3.1, 3.2, 3.9, 3.8]]))[0, 0]
    assert len(out.unique()) > 40 and bool(((out > FEATURES.min()) & (out < FEATURES.max())).all())


def test_krupa_and_alex_how_is_the_roi_mapped_to_the_feature_map():
    """Krupa: "how is the mapping from the input ROI to the feature map ROI done?" Alex: an image of 299×299 and a
    cat at (30, 30)-(50, 40), corners as the answer puts them. ``spatial_scale``, cells per image pixel, does it."""
    stride = 32
    x = torch.rand(1, 1, math.ceil(299 / stride), math.ceil(299 / stride))
    cat = [30.0, 30.0, 50.0, 40.0]
    for extractor in (roikit.RoIPool(2), roikit.RoIPool(2, rounding="floor"), roikit.RoIAlign(2), roikit.PrRoIPool(2)):
        by_scale = extractor(x, torch.tensor([[0.0, *cat]]), 1 / stride)
        by_hand = extractor(x, torch.tensor([[0.0, *(c / stride for c in cat)]]))
        assert torch.equal(by_scale, by_hand)
    # floor: columns ⌊30/32⌋ … = 0 and ⌊(30 + 10)/32⌋ = 1; the only row is 0, then 1.
    out = roikit.RoIPool(2, rounding="floor")(x, torch.tensor([[0.0, *cat]]), 1 / stride)[0, 0]
    assert torch.equal(out, x[0, 0][[0, 1]][:, [0, 1]])


def test_alex_a_box_given_as_position_and_size_is_no_roi():
    """Alex's (50, 40, 30, 30) "makes little sense" as corners: it ends before it begins. It is not an error, and
    gives 0 where a method needs an area."""
    x = torch.rand(1, 1, 10, 10)
    box = torch.tensor([[0.0, 50, 40, 30, 30]])
    assert not roikit.PrRoIPool(2)(x, box, 1 / 32).any()
    assert bool(torch.isfinite(roikit.RoIPool(2)(x, box, 1 / 32)).all())


def test_ilp_and_krzysztof_boxes_are_in_image_pixels_features_are_not():
    """Ilp: "ground truth boxes are based on images, but the rois are based on feature maps, how did they correspond?"
    Krzysztof: an image of 224×224 and VGG's 14×14 map "dividing by some factor is the most obvious way": by the stride,
    16."""
    x = torch.rand(1, 3, 14, 14)
    whole = torch.tensor([[0.0, 0.0, 0.0, 224.0, 224.0]])
    for extractor in (roikit.RoIAlign(14, 1), roikit.RoIPool(14, rounding="floor")):
        torch.testing.assert_close(extractor(x, whole, 1 / 16), x, rtol=0, atol=1e-6)
    # And where height and width are divided by different factors, a pair (y, x).
    x = torch.rand(1, 3, 14, 28)
    torch.testing.assert_close(roikit.RoIAlign((14, 28), 1)(x, whole, (1 / 16, 1 / 8)), x, rtol=0, atol=1e-6)


def test_sunya_does_it_rescale():
    """sunya: "does it perform rescale? (transform rois to the feature map)". Only by ``spatial_scale``, which is 1
    unless said: a box in image pixels without it reads far outside the map, and gives zeros."""
    assert not pool((100, 100, 200, 200)).any()
    assert pool((100, 100, 200, 200), scale=1 / 32).all()


def test_sai_another_choice_of_sections_gives_another_output():
    """Sai: "the output will differ based on the 4 rectangles we choose, right?" Yes; "stick with one": the same
    input always gives the same output."""
    floor, caffe = (roikit.RoIPool(2, rounding=r)(X, REGION) for r in ("floor", "caffe"))
    assert not torch.equal(floor, caffe)
    assert all(torch.equal(roikit.RoIPool(2, rounding="floor")(X, REGION), floor) for _ in range(3))


def test_pooling_from_several_layers_and_concatenating():
    """The last reader: "features from multiple lower-level convolution layers are ROI-pooled and concatenated. Can I
    do this?" Yes: each layer with its own scale; the outputs have one size."""
    conv3, conv5 = torch.rand(1, 8, 56, 56), torch.rand(1, 16, 14, 14)
    box = [torch.tensor([[32.0, 16.0, 160.0, 200.0]])]
    extractor = roikit.RoIAlign(7)
    both = torch.cat([extractor(conv3, box, 1 / 4), extractor(conv5, box, 1 / 16)], 1)
    assert both.shape == (1, 24, 7, 7)


def test_filip_no_ground_truth_is_needed():
    """Filip: "there seems to be a need for ground truth boxes". The layer takes any boxes; its gradient needs none
    of them to be labelled."""
    x = X.clone().requires_grad_()
    proposals = torch.tensor([[0, 0.5, 0.5, 6.2, 7.1], [0, 3.0, 1.0, 8.0, 4.0]])
    roikit.RoIPool(2)(x, proposals).sum().backward()
    assert x.grad.sum() == 8


# "What is RoI Pooling?": its formulas


def test_article_1_roi_pooling_formula():
    """output[i,j] = max(features[⌊y1 + i×h/k⌋ : ⌊y1 + (i+1)×h/k⌋, ⌊x1 + j×w/k⌋ : ⌊x1 + (j+1)×w/k⌋])"""
    for x1, y1, w, h, k in ((0, 3, 7, 5, 2), (0.5, 1.25, 7.25, 6.5, 3), (1.9, 0.1, 6.0, 7.8, 4)):
        expected = torch.empty(k, k)
        for i in range(k):
            for j in range(k):
                rows = slice(math.floor(y1 + i * h / k), math.floor(y1 + (i + 1) * h / k))
                cols = slice(math.floor(x1 + j * w / k), math.floor(x1 + (j + 1) * w / k))
                expected[i, j] = FEATURES[rows, cols].max()
        assert torch.equal(pool((x1, y1, x1 + w, y1 + h), size=k), expected)


def bilinear_interpolate(feature_map, x, y):
    """The article's four neighbours and their four weights wa … wd."""
    x0, y0 = int(x), int(y)
    x1, y1 = x0 + 1, y0 + 1
    wa, wb = (x1 - x) * (y1 - y), (x - x0) * (y1 - y)
    wc, wd = (x1 - x) * (y - y0), (x - x0) * (y - y0)
    return wa * feature_map[y0, x0] + wb * feature_map[y0, x1] + wc * feature_map[y1, x0] + wd * feature_map[y1, x1]


def test_article_1_bilinear_interpolation(rng):
    """One sample of RoI Align at a point is the article's ``bilinear_interpolate``."""
    for x, y in (torch.rand(20, 2, generator=rng) * 6.9).tolist():
        # A box about the point, half a cell further because a cell's value lies at its centre.
        box = torch.tensor([[0, x, y, x + 1, y + 1]])
        found = roikit.RoIAlign(1, 1)(X, box)[0, 0, 0, 0]
        torch.testing.assert_close(found, bilinear_interpolate(FEATURES, x, y), rtol=0, atol=1e-6)


def test_article_1_roi_align_formula():
    """output[i,j] = avg(bilinear(features, sample_points[i,j])), "typically 4 per bin"."""
    x1, y1, w, h, k = 1.3, 0.7, 4.4, 5.2, 2
    expected = torch.zeros(k, k)
    for i in range(k):
        for j in range(k):
            points = [(x1 + (j + a) * w / k, y1 + (i + b) * h / k) for a in (0.25, 0.75) for b in (0.25, 0.75)]
            expected[i, j] = sum(bilinear_interpolate(FEATURES, px, py) for px, py in points) / 4
    found = roikit.RoIAlign(k, 2, aligned=False)(X, torch.tensor([[0, x1, y1, x1 + w, y1 + h]]))[0, 0]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_article_1_a_160x96_roi_becomes_10x6_on_the_feature_map():
    """ "Scale the RoI coordinates by the stride (16 for VGG). A 160×96 RoI becomes 10×6 on the feature map.\""""
    x = torch.rand(1, 2, 20, 30)
    box = torch.tensor([[0, 64.0, 32.0, 64 + 160, 32 + 96]])
    assert torch.equal(roikit.RoIPool((6, 10), rounding="floor")(x, box, 1 / 16)[0], x[0, :, 2:8, 4:14])
    torch.testing.assert_close(roikit.RoIAlign((6, 10), 1)(x, box, 1 / 16)[0], x[0, :, 2:8, 4:14], rtol=0, atol=1e-6)


def test_article_1_quantisation_moves_pooling_in_steps_and_align_not_at_all():
    """ "Two rounds of rounding … up to 16 pixels of error": a box that moves by a pixel moves RoI Align's features
    by 1/16 of a cell, and RoI Pooling's by nothing or by a whole cell."""
    ramp = torch.arange(30.0).expand(1, 1, 20, 30)
    boxes = torch.tensor([[0, 64.0 + t, 32, 224 + t, 128] for t in range(17)])
    aligned = roikit.RoIAlign(7)(ramp, boxes, 1 / 16).mean((1, 2, 3))
    torch.testing.assert_close(aligned.diff(), torch.full((16,), 1 / 16), rtol=0, atol=1e-5)
    pooled = roikit.RoIPool(7)(ramp, boxes, 1 / 16).mean((1, 2, 3))
    assert set(pooled.diff().tolist()) == {0.0, 1.0}
