"""Law 8 of Semantic RoI Align and of what its paper compares it with."""

from __future__ import annotations

import torch
from listing import SCALE, close, rois

from roikit.extractors import (
    ConvMaskRoIAlign,
    PrRoIPool,
    RoIAlign,
    RoIAttention,
    SelfAttentionRoIAlign,
    SemanticRoIAlign,
)

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


def masks_of_one_cell_each_are_align(x, rng):
    """And equal ones its mean."""
    boxes, pool = rois(rng), ConvMaskRoIAlign(5, (3, 2)).double()
    align = RoIAlign((3, 2))(x, boxes, SCALE)
    with torch.no_grad():
        pool.masks.weight.zero_()
        pool.masks.bias.copy_(1e3 * torch.eye(6).flatten())
        close(pool(x, boxes, SCALE), align)
        pool.masks.bias.zero_()
        close(pool(x, boxes, SCALE), align.mean((2, 3), keepdim=True).expand_as(align))


def the_masks_are_a_convolution_as_large_as_the_grid(x, rng):
    boxes, pool = rois(rng), ConvMaskRoIAlign(5, (3, 2)).double()
    align = RoIAlign((3, 2))(x, boxes, SCALE)
    kernel = pool.masks.weight.detach().unflatten(1, (5, 3, 2))
    logits = torch.nn.functional.conv2d(align, kernel, pool.masks.bias.detach())
    assert logits.shape == (12, 36, 1, 1)
    masks = logits.reshape(12, 6, 6).softmax(2)
    close(pool(x, boxes, SCALE).flatten(2), torch.einsum("rnk,rck->rcn", masks, align.flatten(2)))


def untrained_roi_attention_is_align(x, rng):
    boxes = rois(rng)
    assert torch.equal(RoIAttention(5, (3, 2), heads=1).double()(x, boxes, SCALE), RoIAlign((3, 2))(x, boxes, SCALE))


def self_attention_is_torch_s(x, rng):
    boxes, pool = rois(rng), SelfAttentionRoIAlign(5, (3, 2), heads=5).double()
    theirs = torch.nn.MultiheadAttention(5, 5, batch_first=True).double()
    with torch.no_grad():
        theirs.in_proj_weight.copy_(pool.attention.read.weight)
        theirs.in_proj_bias.copy_(pool.attention.read.bias)
        theirs.out_proj.load_state_dict(pool.attention.write.state_dict())
        cells = RoIAlign((3, 2))(x, boxes, SCALE).flatten(2).transpose(1, 2)
        close(pool(x, boxes, SCALE).flatten(2), theirs(cells, cells, cells)[0].transpose(1, 2))


def each_layer_of_roi_attention_adds_torch_s_attention(x, rng):
    torch.manual_seed(0)
    boxes, pool = rois(rng), RoIAttention(5, (3, 2), layers=2, heads=1).double()
    cells = RoIAlign((3, 2))(x, boxes, SCALE).flatten(2).transpose(1, 2)
    with torch.no_grad():
        for layer in pool.layers:
            torch.nn.init.normal_(layer.attention.write.weight)
            theirs = torch.nn.MultiheadAttention(5, 1, batch_first=True).double()
            theirs.in_proj_weight.copy_(layer.attention.read.weight)
            theirs.in_proj_bias.copy_(layer.attention.read.bias)
            theirs.out_proj.load_state_dict(layer.attention.write.state_dict())
            normed = torch.nn.functional.layer_norm(cells, (5,))
            cells = cells + theirs(normed, normed, normed)[0]
        close(pool(x, boxes, SCALE).flatten(2), cells.transpose(1, 2))


CONV_CASES = [masks_of_one_cell_each_are_align, the_masks_are_a_convolution_as_large_as_the_grid]
ATTENTION_CASES = [untrained_roi_attention_is_align, each_layer_of_roi_attention_adds_torch_s_attention]
SELF_ATTENTION_CASES = [self_attention_is_torch_s]
