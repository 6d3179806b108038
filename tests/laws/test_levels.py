"""Every extractor in ``MultiScale``: shared or one for each level; RoIs assigned, levels concatenated or summed."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
from listing import CHANNELS, every

import roikit
from roikit.boxes import assign_levels

STRIDES = [4, 8, (16, 32)]
NAMES = ["0", "1", "2"]
SIZES = [(40, 48), (20, 24), (10, 6)]


@pytest.fixture
def scene(rng, variant):
    maps = [variant.features(rng, height=h, width=w) for h, w in SIZES]
    # 9, 20 and 45 px go to the finest level, 130 and 150 px to the middle, 400 px to the coarsest.
    size = torch.tensor([9.0, 45, 150, 400, 20, 130], dtype=torch.float64)
    start = torch.rand(6, 2, generator=rng, dtype=torch.float64) * 60
    boxes = torch.cat([start, start + size[:, None]], 1).float().double()
    return OrderedDict(zip(NAMES, maps, strict=True)), [boxes[:4], boxes[4:]]


def different(variant):
    """One extractor for each level; those with layers have other parameters each."""
    extractors = [variant.make(given=False) for _ in STRIDES]
    with torch.no_grad():
        for factor, extractor in enumerate(extractors, 1):
            for parameter in extractor.parameters():
                parameter.mul_(factor)
    return extractors


def scale(stride):
    return (1 / stride[0], 1 / stride[1]) if isinstance(stride, tuple) else 1 / stride


def same(found, expected):
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@every
@pytest.mark.parametrize("own", [False, True], ids=["shared", "one each"])
def test_every_box_is_read_from_its_own_level(variant, own, scene):
    x, boxes = scene
    extractors = different(variant) if own else [variant.make(given=False)] * 3
    pool = roikit.MultiScale(extractors if own else extractors[0], NAMES, STRIDES)
    out = pool(x, boxes, [(160, 192)] * 2)
    level = assign_levels(torch.cat(boxes), STRIDES).tolist()
    assert set(level) == {0, 1, 2} and out.shape == (6, CHANNELS, *extractors[0].output_size)
    for row, at in enumerate(level):
        image, box = (0, boxes[0][row]) if row < 4 else (1, boxes[1][row - 4])
        alone = extractors[at](x[NAMES[at]][image : image + 1], [box[None]], scale(STRIDES[at]))
        same(out[row : row + 1], alone)


@every
@pytest.mark.parametrize("own", [False, True], ids=["shared", "one each"])
def test_concatenated_and_summed_levels(variant, own, scene):
    x, boxes = scene
    extractors = different(variant) if own else [variant.make(given=False)] * 3
    given = extractors if own else extractors[0]
    levels = [e(x[n], boxes, scale(s)) for e, n, s in zip(extractors, NAMES, STRIDES, strict=True)]
    concat = roikit.MultiScale(given, NAMES, STRIDES, aggregate="concat")
    same(concat(x, boxes), torch.cat(levels, 1))
    channels = x["0"].shape[1]
    assert concat.out_channels(channels) == 3 * CHANNELS
    total = roikit.MultiScale(given, NAMES, STRIDES, aggregate="sum")
    same(total(x, boxes), sum(levels))
    assert total.out_channels(channels) == CHANNELS


@every
def test_no_boxes_on_any_level(variant, scene):
    x, _ = scene
    none = [torch.zeros(0, 4, dtype=torch.float64)] * 2
    for aggregate, times in (("assign", 1), ("concat", 3), ("sum", 1)):
        pool = roikit.MultiScale(different(variant), NAMES, STRIDES, aggregate=aggregate)
        out = pool(x, none)
        assert out.shape == (0, times * CHANNELS, *pool.output_size)


@every
def test_further_arguments_reach_each_level(variant, scene):
    if variant.extras is None:
        return
    x, boxes = scene
    all_boxes = torch.cat(boxes)
    extractor = variant.make(given=False)
    extras = variant.extras(all_boxes, extractor.output_size)
    for aggregate in ("assign", "concat", "sum"):
        shared = roikit.MultiScale(extractor, NAMES, STRIDES, aggregate=aggregate)(x, boxes, **extras)
        own = roikit.MultiScale([extractor] * 3, NAMES, STRIDES, aggregate=aggregate)(x, boxes, **extras)
        same(shared, own)
        plain = roikit.MultiScale(extractor, NAMES, STRIDES, aggregate=aggregate)(x, boxes)
        assert not torch.equal(plain, shared)


def test_weights_of_a_shared_extractor(rng):
    """What a method keeps there: the offsets of every box, for a penalty."""
    x = OrderedDict((name, torch.rand(1, 4, *size, generator=rng)) for name, size in zip(NAMES, SIZES, strict=True))
    boxes = [torch.tensor([[0.0, 0, 9, 9], [3, 4, 160, 150]])]
    pool = roikit.MultiScale(roikit.DeformRoIPool(4, 3), NAMES, STRIDES)
    torch.nn.init.normal_(pool.extractor.offset.weight, generator=rng)
    weights = pool.weights(x, boxes)
    assert weights.offset.shape == (2, 2, 3, 3) and weights.offset.requires_grad
    torch.testing.assert_close(weights.pool(list(x.values())), pool(x, boxes))
    for other in (
        roikit.MultiScale([roikit.RoIAlign(3) for _ in NAMES], NAMES, STRIDES),
        roikit.MultiScale(roikit.RoIAlign(3), NAMES, STRIDES, aggregate="sum"),
    ):
        with pytest.raises(ValueError, match="weights are of one extractor that reads each box from one level"):
            other.weights(x, boxes)


def test_levels_of_different_kinds_get_what_they_take():
    x = OrderedDict((name, torch.rand(1, 4, *size)) for name, size in zip(NAMES, SIZES, strict=True))
    lrf = roikit.LearnedRegionFeatures(4, 3, embed_dim=8, geometry_dim=4)
    pool = roikit.MultiScale([roikit.RoIAlign(3), lrf, roikit.RoIPool(3)], NAMES, STRIDES)
    boxes = torch.tensor([[0.0, 0, 9, 9], [3, 4, 150, 160]])
    out = pool(x, [boxes], [(120, 150)])
    alone = lrf(x["1"], [boxes[1:]], 1 / 8, image_sizes=[(120, 150)])
    torch.testing.assert_close(out[1:], alone)


def test_errors():
    align = roikit.RoIAlign(7)
    with pytest.raises(ValueError, match="differ in being position-sensitive"):
        roikit.MultiScale([align, roikit.PSRoIAlign(7), align], NAMES, STRIDES)
    with pytest.raises(ValueError, match="one extractor with layers is listed for several levels"):
        roikit.MultiScale([roikit.DeformRoIPool(4)] * 3, NAMES, STRIDES)
    with pytest.raises(ValueError, match="must be a RegionExtractor such as"):
        roikit.MultiScale(roikit.RoIAlign, NAMES, STRIDES)
    with pytest.raises(ValueError, match="3 levels need one extractor, or one each, not 2"):
        roikit.MultiScale([align, align], NAMES, STRIDES)
    with pytest.raises(ValueError, match="grids of several sizes"):
        roikit.MultiScale([align, align, roikit.RoIAlign(3)], NAMES, STRIDES)
    with pytest.raises(ValueError, match="aggregate must be one of 'assign', 'concat', 'sum', not 'mean'"):
        roikit.MultiScale(align, NAMES, STRIDES, aggregate="mean")
    x = OrderedDict((name, torch.rand(1, 2, *size)) for name, size in zip(NAMES, SIZES, strict=True))
    pool = roikit.MultiScale(roikit.MaskedRoIPool(3), NAMES, STRIDES)
    with pytest.raises(ValueError, match="masks must be one tensor with a row for each of the 1 boxes"):
        pool(x, [torch.tensor([[0.0, 0, 9, 9]])], masks=torch.ones(2, 3, 3))
    with pytest.raises(TypeError, match="RoIAlign has no argument 'masks'"):
        roikit.MultiScale(align, NAMES, STRIDES)(x, [torch.tensor([[0.0, 0, 9, 9]])], masks=torch.ones(1, 7, 7))
