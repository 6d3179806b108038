"""Law 8 of Semantic RoI Align."""

from __future__ import annotations

import torch
from listing import SCALE, rois

from roikit.extractors import PrRoIPool, SemanticRoIAlign

SMALL = {"masks": 6, "max_cells": 12, "descriptor_channels": 4, "position_channels": 3}


def trained(**settings) -> SemanticRoIAlign:
    torch.manual_seed(0)
    pool = SemanticRoIAlign(5, **{**SMALL, **settings}).double()
    for parameter in pool.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return pool


def scene(rng):
    """RoIs, and the same half a cell further: a cell's value lies at its centre in SRA's pixel model, at its corner in
    that of PrRoI Pooling."""
    boxes = rois(rng, inside=True)
    half = boxes.new_tensor([0, 0.5 / SCALE[1], 0.5 / SCALE[0], 0.5 / SCALE[1], 0.5 / SCALE[0]])
    return boxes, boxes + half


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-13)


def equal_masks_are_the_mean_of_the_roi(x, rng):
    """Without γ, or without anything that tells cells apart: of RoIs inside the map, one bin of PrRoI Pooling."""
    corner, boxes = scene(rng)
    expected = PrRoIPool(1)(x, corner, SCALE).expand(-1, -1, 6, 1)
    for sampler in ("dynamic", (3, 2)):
        close(trained(gamma=0.0, sampler=sampler)(x, boxes, SCALE), expected)
        close(trained(semantic=False, position=None, sampler=sampler)(x, boxes, SCALE), expected)


def masks_of_one_cell_each_are_precise_pooling(x, rng):
    """Position alone and ever larger γ: mask i on cell i of a fixed grid."""
    corner, boxes = scene(rng)
    pool = trained(semantic=False, descriptor=None, sampler=(3, 2), gamma=1e4, position_channels=16)
    cells = pool.cells(torch.ones(4, 1, dtype=torch.float64).unbind())
    layer = pool.attention
    with torch.no_grad():  # solve for a last layer that gives cell i to mask i
        hidden = layer.norms[0](layer.position(layer.embed(cells, torch.float64))).relu() @ layer.first.weight.T
        hidden = layer.norm(hidden + layer.first.bias).relu()[0]  # [6, 256]
        layer.last.weight.copy_(torch.linalg.lstsq(hidden, torch.eye(6, dtype=torch.float64)).solution.T)
    expected = PrRoIPool((3, 2))(x, corner, SCALE).flatten(2)[..., None]
    close(pool(x, boxes, SCALE), expected)


def one_cell_is_the_mean(x, rng):
    corner, boxes = scene(rng)
    found = trained(max_cells=1)(x, boxes, SCALE)
    close(found, PrRoIPool(1)(x, corner, SCALE).expand_as(found))


SRA_CASES = [
    equal_masks_are_the_mean_of_the_roi,
    masks_of_one_cell_each_are_precise_pooling,
    one_cell_is_the_mean,
]
