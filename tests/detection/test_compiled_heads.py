"""torch.compile of a detector's RoI head in one graph: pooling of all levels, box head and predictor."""

from __future__ import annotations

import functools

import pytest
import torch
from torch import nn

import roikit


@pytest.fixture(autouse=True)
def fresh_graphs():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


class BoxHead(nn.Module):
    """The box path of a detector's RoI heads."""

    def __init__(self, model):
        super().__init__()
        heads = model.roi_heads
        self.pool, self.head, self.predict = heads.box_roi_pool, heads.box_head, heads.box_predictor

    def forward(self, features, boxes, sizes):
        return self.predict(self.head(self.pool(features, boxes, sizes)))


def scene(module, rng, counts=(5, 7), height=128, width=192):
    """Maps of every level for two images, proposals of all sizes in each."""
    features = {}
    for name, stride in zip(module.pool.featmap_names, module.pool.strides, strict=True):
        size = (len(counts), 16, height // stride, width // stride)
        features[name] = torch.rand(size, generator=rng).requires_grad_()
    boxes = []
    for count in counts:
        ends = torch.rand(count, 2, 2, generator=rng) * torch.tensor([float(width), height])
        boxes.append(torch.cat([ends.amin(1), ends.amax(1) + 1], 1))
    return features, boxes, [(height, width)] * len(counts)


def agree(module, function, given, atol):
    """Values, and gradients to every map and parameter."""
    features = given[0]
    wrt = [*features.values(), *module.parameters()]
    results = []
    for call in (function, module):
        out = call(*given)
        loss = sum((o * torch.linspace(-1, 1, o.numel()).reshape(o.shape)).sum() for o in out)
        results.append([*out, *torch.autograd.grad(loss, wrt, allow_unused=True)])
    for found, expected in zip(*results, strict=True):
        if expected is None:
            assert found is None or not bool(found.any())
        else:
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=atol)


EXTRACTORS = {
    "RoIAlign": (roikit.RoIAlign, {}),
    "RoIPool": (roikit.RoIPool, {}),
    "DeformRoIPool": (roikit.DeformRoIPool, {}),
    "LearnedRegionFeatures": (functools.partial(roikit.LearnedRegionFeatures, embed_dim=16, geometry_dim=8), {}),
    "concat": (roikit.RoIAlign, {"aggregate": "concat"}),
}


SOME = ("RoIAlign", "LearnedRegionFeatures")


@pytest.mark.parametrize(
    ("name", "neck"),
    [
        *(pytest.param(n, "fpn", marks=[] if n in SOME else [pytest.mark.slow]) for n in EXTRACTORS),
        pytest.param("RoIAlign", "c5", marks=pytest.mark.slow),
    ],
)
def test_one_graph(name, neck, tiny, rng):
    make, more = EXTRACTORS[name]
    module = BoxHead(tiny(neck=neck, extractor=make, **more))
    function = torch.compile(module, fullgraph=True, backend="aot_eager")
    agree(module, function, scene(module, rng), 1e-5)


def test_other_numbers_of_proposals_and_sizes_of_images(tiny, rng):
    module = BoxHead(tiny(neck="fpn", extractor=roikit.RoIAlign))
    function = torch.compile(module, fullgraph=True, backend="aot_eager", dynamic=True)
    function(*scene(module, rng, (9, 11), 192, 320))  # no two numbers alike: a graph takes those for one number
    with torch._dynamo.config.patch(error_on_recompile=True):
        for counts, height, width in (((3, 8), 128, 192), ((11, 6), 192, 128)):
            agree(module, function, scene(module, rng, counts, height, width), 1e-5)


@pytest.mark.slow  # law 7 compiles single extractors with it
def test_inductor(tiny, rng):
    module = BoxHead(tiny(neck="fpn", extractor=roikit.RoIAlign))
    function = torch.compile(module, fullgraph=True, backend="inductor")
    agree(module, function, scene(module, rng), 1e-4)
