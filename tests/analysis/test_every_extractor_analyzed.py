"""Every listed extractor goes through the analyses of invariance, diversity and turning masks."""

from __future__ import annotations

import inspect

import pytest
import torch
from small_detector import SmallDetector, pictures

from roikit.analysis.diversity import part_cosines, weights_of_parts
from roikit.analysis.following import following
from roikit.analysis.invariance import TRANSFORMS, Draws, invariance_features, summarise
from roikit.analysis.reading import read_maps, region_weights
from roikit.analysis.turned_masks import choose_parts, turn_object, turned_views
from roikit.extractors import EXTRACTORS

CHANNELS = 32


@pytest.mark.parametrize("kind", EXTRACTORS, ids=lambda kind: kind.__name__)
def test_every_extractor(kind, rng):
    torch.manual_seed(0)
    accepted = inspect.signature(kind).parameters
    extractor = kind(**{k: v for k, v in {"channels": CHANNELS, "output_size": 2}.items() if k in accepted})
    model = SmallDetector(extractor)
    model.backbone = torch.nn.Sequential(model.backbone, torch.nn.Conv2d(3, CHANNELS, 3, padding=1))
    data = pictures(rng, count=2, objects=1)
    found = list(invariance_features(model, data, 2, Draws(repeats=2)))
    height, width = extractor.output_size
    assert found[0].before.shape == (extractor.out_channels(CHANNELS) * height * width,)
    table = summarise(found)
    for name in TRANSFORMS:
        assert table[name]["objects"] == 2 and -1 <= table[name]["cosine"] <= 1 + 1e-9

    image, box = data.images[0], data.boxes[0][0]
    weights = weights_of_parts(region_weights(model, read_maps(model, image), box))
    assert len(weights) == height * width
    cosines = part_cosines(weights)
    cosines = cosines[~cosines.isnan()]
    assert bool(((cosines > -1e-6) & (cosines < 1 + 1e-6)).all())
    turned = turn_object(image, box, None, [0, 60])
    views = turned_views(model, turned, (64, 64))
    assert 1 <= len(choose_parts(views[0])) <= 5
    assert bool(((scores := following(views, [t.rotation for t in turned])) < 1 + 1e-6).all()) and len(scores)
