"""Every extractor has a page with a picture that is drawn, and its place in the reference."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import matplotlib.image
import pytest
import torch

import roikit
from roikit.extractors import EXTRACTORS
from roikit.weights import Points, RegionWeights

DOCS = Path(__file__).parents[2] / "docs"
METHODS = DOCS / "methods"
sys.path.insert(0, str(DOCS))

from pictures.by_hand import DRAWN
from pictures.listing import page_of, table
from pictures.overview import made, read_by, view
from pictures.pages import Asked, asked_in, draw_asked
from pictures.reading import read
from pictures.rows import rows_of
from pictures.sheet import HEIGHT, WIDTH

ASKED = list(asked_in(DOCS))
REFERENCE = (DOCS / "api.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", EXTRACTORS, ids=lambda kind: kind.__name__)
def test_an_extractor_is_documented(kind):
    assert page_of(kind, METHODS), f"no page of docs/methods has {{py:class}}`roikit.{kind.__name__}`"
    assert f"roikit.{kind.__name__}\n" in REFERENCE, f"docs/api.md lacks roikit.{kind.__name__}"
    assert f"[{kind.__name__}](" in table(METHODS)


@pytest.mark.parametrize("module", [roikit.ops, roikit.weights, roikit.detection], ids=lambda module: module.__name__)
def test_the_public_names_are_in_the_reference(module):
    missing = [name for name in module.__all__ if f"{module.__name__}.{name}\n" not in REFERENCE]
    assert not missing, f"docs/api.md lacks {', '.join(missing)} of {module.__name__}"


def test_every_picture_of_a_page_is_drawn():
    drawn = {asked.name for asked in ASKED} | set(DRAWN) | {"extractors.png"}
    for page in DOCS.rglob("*.md"):
        text = page.read_text(encoding="utf-8")
        for name in re.findall(r"_pictures/([\w.-]+)", text):
            assert name in drawn, f"{page} shows {name}, which nothing draws"
        if page.parent == METHODS and page.name != "index.md":
            assert "```{picture}" in text or "_pictures/" in text, f"{page} has no picture"
            assert ">>>" in text, f"{page} has no example that runs"


@pytest.mark.parametrize("asked", ASKED, ids=lambda asked: asked.name)
def test_the_rows_of_a_picture(asked):
    rows = asked.rows()
    assert rows and all(1 <= len(row.smalls) <= 4 for row in rows)


@pytest.mark.parametrize(
    "asked", [pytest.param(asked, marks=[pytest.mark.slow] if k else []) for k, asked in enumerate(ASKED)], ids=str
)
def test_a_picture_is_drawn(asked, tmp_path):
    pixels = matplotlib.image.imread(draw_asked(asked, tmp_path))
    height, width = pixels.shape[:2]
    assert width == 1110 and height > 400
    edge = pixels[:, -6:, :3]  # nothing runs over the right border
    assert (edge == 1).all()


@pytest.mark.parametrize("kind", EXTRACTORS, ids=lambda kind: kind.__name__)
def test_the_parts_that_are_drawn_are_the_weights(kind):
    """Bins and points lie where the dense weights are, for the centre of a region far from the borders."""
    extractor = made(kind, 8)
    features = torch.rand(1, 8, HEIGHT, WIDTH)
    weights = read_by(extractor, features, torch.tensor([2.0, 2.0, 7.0, 5.0]), 1.0)
    readings = read(weights, HEIGHT, WIDTH)
    dense = weights.dense(HEIGHT, WIDTH)[0, 0].detach()
    parts = [part for reading in readings for part in reading.parts]
    assert len(parts) == dense.shape[0]
    for part, values in zip(parts, dense, strict=True):
        if not part.points or part.strength == 0:
            continue
        total = sum(share for _, _, share in part.points)
        x = sum(x * share for x, _, share in part.points) / total
        if 1 < x < WIDTH - 1 and min(x for x, _, _ in part.points) > 0.5:
            columns = values.sum(0) / values.sum()
            there = float((columns * (torch.arange(WIDTH) + 0.5)).sum())
            assert abs(there - x) < 1e-3, f"{kind.__name__}: drawn at column {x}, weights at {there}"


def test_a_kind_of_weights_that_pictures_do_not_know():
    class Mean(RegionWeights):
        def pool(self, features):
            return features.mean((2, 3), keepdim=True)

        def dense(self, height, width):
            return torch.full((1, 1, 1, height, width), 1 / (height * width))

    class MeanPool(roikit.RegionExtractor):
        def weights(self, features, boxes, spatial_scale=1.0):
            return Mean()

    (row,) = rows_of("the mean of the map", MeanPool(1))
    assert len(row.smalls) == 1 and abs(row.smalls[0].values.sum() - 1) < 1e-5


def test_a_picture_without_rows_says_where():
    with pytest.raises(ValueError, match=r"page.md, line 7: the picture empty.png has no row"):
        Asked("empty.png", "pass\n", Path("page.md"), 7).rows()


def test_further_arguments_reach_the_picture():
    box = torch.tensor([0.0, 0.0, 40.0, 40.0])
    assert view(roikit.MaskedRoIPool, torch.rand(1, 4, 6, 6), box).weights[0, 0].sum() == 0  # a corner: off the mask
    weights = read_by(roikit.RotatedRoIAlign(2), torch.rand(1, 4, 6, 6), box, 0.125)
    assert isinstance(weights, Points) and float(weights.rotated[0, 4]) != 0
