"""How different parts are: disjoint ones, equal ones, by loops; what is compared of which method."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from pngs import has_colour, read_png
from small_detector import Pictures, SmallDetector, pictures

import roikit
from roikit.analysis.diversity import COLOURS, diversities, draw_diversity, part_cosines, summarise, weights_of_parts
from roikit.analysis.reading import read_maps, region_weights


def test_cosines_of_all_pairs(rng):
    weights = torch.rand(5, 3, 4, generator=rng)
    expected = [
        float(torch.nn.functional.cosine_similarity(weights[a].flatten(), weights[b].flatten(), dim=0))
        for a, b in itertools.combinations(range(5), 2)
    ]
    assert part_cosines(weights).tolist() == pytest.approx(expected, abs=1e-6)
    weights[1] = 0  # outside the map
    found = part_cosines(weights)
    pairs = list(itertools.combinations(range(5), 2))
    assert [k for k, value in enumerate(found) if value.isnan()] == [k for k, pair in enumerate(pairs) if 1 in pair]


def test_bins_without_a_common_cell_and_parts_that_are_the_same(rng):
    data = pictures(rng, objects=1)
    corners = Pictures(data.images, [torch.tensor([[8.0, 8.0, 40.0, 40.0]])] * 3)
    disjoint = SmallDetector(roikit.RoIAlign(2, sampling_ratio=4))  # samples on the centres of cells: 8 × 8 of them
    for cosines in diversities(disjoint, corners):
        assert cosines.tolist() == [0] * 6
    same = SmallDetector(roikit.SemanticRoIAlign(3, 9, gamma=0.0))
    for cosines in [*diversities(same, data), *diversities(same, data, dense=True)]:
        assert cosines.tolist() == pytest.approx([1] * 36)


def test_masks_are_compared_over_sampled_cells_and_others_over_the_map(rng):
    data, box = pictures(rng), torch.tensor([8.0, 16.0, 56.0, 48.0])
    torch.manual_seed(0)
    for extractor in (roikit.SemanticRoIAlign(3, 9, 16), roikit.ConvMaskRoIAlign(3, 4), roikit.RoIAlign(3)):
        model = SmallDetector(extractor)
        maps = read_maps(model, data.images[0])
        weights = extractor.weights(torch.nn.functional.avg_pool2d(data.images[0][None], 4), [box[None]], 0.25)
        dense = weights.dense(16, 16)[0, 0].flatten(1)
        found = region_weights(model, maps, box)
        expected = weights.outer[0] if hasattr(weights, "outer") else dense
        torch.testing.assert_close(weights_of_parts(found), expected)
        torch.testing.assert_close(weights_of_parts(found, dense=True), dense)
        assert found.stride == (4.0, 4.0) and found.cells == (16, 16)


def test_self_attention_is_what_the_bins_attend_to(rng):
    """Against torch's own multi-head attention, whose weights are averaged over the heads."""
    torch.manual_seed(0)
    extractor = roikit.SelfAttentionRoIAlign(4, 3, heads=2)
    layer = torch.nn.MultiheadAttention(4, 2, batch_first=True)
    with torch.no_grad():
        extractor.attention.read.weight.mul_(4)
        layer.in_proj_weight.copy_(extractor.attention.read.weight)
        layer.in_proj_bias.copy_(extractor.attention.read.bias)
    model = SmallDetector(extractor)
    model.backbone = torch.nn.Sequential(model.backbone, torch.nn.Conv2d(3, 4, 1))
    image, box = torch.rand(3, 64, 64, generator=rng), torch.tensor([8.0, 16.0, 56.0, 48.0])
    maps = read_maps(model, image)
    found = region_weights(model, maps, box)
    with torch.no_grad():
        cells = roikit.RoIAlign(3)(model.backbone(image[None]), [box[None]], 0.25).flatten(2).transpose(1, 2)
        _, shares = layer(cells, cells, cells)
    torch.testing.assert_close(weights_of_parts(found), shares[0], atol=1e-5, rtol=1e-4)
    assert found.dense().sum((1, 2)).tolist() == pytest.approx([1] * 9, abs=1e-5)


def test_the_summary_by_hand():
    nan = float("nan")
    found = [torch.tensor([0.1, 0.5, 1.0]).double(), torch.tensor([0.29, 0.0, nan]).double()]
    table = summarise(found)
    assert table["below"] == pytest.approx(3 / 5) and table["mean"] == pytest.approx(1.89 / 5)
    assert table["below_averaged"] == pytest.approx(2 / 3)  # means 0.195, 0.25, 1
    assert table["pairs"] == 5 and table["objects"] == 2
    filled = {int(k): table["histogram"][k] for k in np.flatnonzero(table["histogram"])}
    assert filled == {k: pytest.approx(0.2) for k in (0, 5, 14, 25, 49)}  # steps of 0.02
    for empty in ([], [torch.full((3,), nan)]):
        with pytest.raises(ValueError, match="no pair of parts"):
            summarise(empty)


def test_a_single_part_has_nothing_to_differ_from(rng):
    with pytest.raises(ValueError, match="a single part"):
        next(diversities(SmallDetector(roikit.CenterPool()), pictures(rng)))
    other = SmallDetector(roikit.RoIAlign(2))
    other.roi_heads.box_roi_pool = torch.nn.Identity()
    with pytest.raises(ValueError, match="replace_roi puts one in"):
        next(diversities(other, pictures(rng)))


def test_the_picture_has_a_line_for_each_run(tmp_path):
    one = summarise([torch.tensor([0.1, 0.5, 1.0]).double()])
    path = draw_diversity(tmp_path / "x.png", {"first": one, "second": summarise([torch.tensor([0.7]).double()])})
    picture = read_png(path)
    for colour in COLOURS[:2]:
        assert has_colour(picture, colour, 0.05) > 100
    assert not has_colour(picture, COLOURS[2], 0.05)
    with pytest.raises(ValueError, match="no run"):
        draw_diversity(tmp_path / "y.png", {})
