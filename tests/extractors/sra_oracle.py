"""Semantic RoI Align written from the paper's equations: loops over RoIs, masks and cells; it shares nothing with the
library but the trained parameters."""

from __future__ import annotations

import itertools
import math

import torch
import torch.nn.functional as F

SIMPSON = 4 / 6, 1 / 6


def grid_of(height, width, most):
    """Eq. 5: of all grids of at most ``most`` cells the one whose ratio is closest, then the largest."""
    ratio = math.log(height / width)
    every = [(h, w) for h in range(1, most + 1) for w in range(1, most + 1) if h * w <= most]
    return min(every, key=lambda g: (round(abs(math.log(g[0] / g[1]) - ratio), 12), -g[0] * g[1]))


def block_weights(start, size, cells):
    """∫ of each cell's hat over [start, start + size], by Simpson's rule between the kinks, by their sum: [cells]."""
    found = []
    for u in range(cells):
        inner = [t for t in (u - 1.0, float(u), u + 1.0) if float(start) < t < float(start + size)]
        edges = [start, *(start * 0 + t for t in inner), start + size]
        total = start * 0
        for a, b in itertools.pairwise(edges):
            ends = (hat(a - u) + hat(b - u)) * SIMPSON[1]
            total = total + (b - a) * (ends + hat((a + b) / 2 - u) * SIMPSON[0])
        found.append(total)
    found = torch.stack(found)
    return found / found.sum() if float(found.sum()) > 1e-10 else found * 0


def hat(t):
    return (1 - t.abs()).clamp(min=0)


def blocks(x, box, grid):
    """F of a RoI in feature cells: [C, h, w], the averages of its blocks."""
    x1, y1, x2, y2 = (c - 0.5 for c in box)
    height, width = (y2 - y1).clamp(min=1e-3), (x2 - x1).clamp(min=1e-3)
    out = [
        [
            torch.einsum(
                "v,u,cvu->c",
                block_weights(y1 + i * height / grid[0], height / grid[0], x.shape[1]),
                block_weights(x1 + j * width / grid[1], width / grid[1], x.shape[2]),
                x,
            )
            for j in range(grid[1])
        ]
        for i in range(grid[0])
    ]
    return torch.stack([torch.stack(row, 1) for row in out], 1)


def area(r, count, length):
    """Eq. 6: the one-hot vector of r, upsampled."""
    one = F.one_hot(torch.tensor(r), count).double()[None, None]
    return F.interpolate(one, size=length, mode="linear", align_corners=False)[0, 0]


def semantic_roi_align(pool, x, boxes, scale):
    """``Tensor[R, C, N]`` of one image [C, H, W] and boxes [R, 4] in image pixels."""
    return torch.stack([one(pool, x, box * scale) for box in boxes])


def one(pool, x, box):
    layer = pool.attention
    height, width = (float((b - a).clamp(min=1e-3)) for a, b in ((box[1], box[3]), (box[0], box[2])))
    h, w = pool.fixed or grid_of(height, width, pool.max_cells)
    sampled = blocks(x, box, (h, w))
    length = max(h, w) if pool.fixed else pool.max_cells
    described = None
    if layer.descriptor is not None:
        flat = sampled.flatten(1)  # [C, cells]
        reduced = {"mean": flat.mean(1), "max": flat.max(1).values, "concat": flat.t().flatten()}[layer.reduce]
        described = F.linear(reduced, layer.descriptor.weight, layer.descriptor.bias)
    logits = []
    for r, c in itertools.product(range(h), range(w)):
        parts = []
        if described is not None:
            parts.append(described)
        if layer.semantic is not None:
            parts.append(F.linear(sampled[:, r, c], layer.semantic.weight, layer.semantic.bias))
        if pool.position == "area":
            place = torch.cat([area(r, h, length), area(c, w, length)])
        elif pool.position == "position":
            place = torch.tensor([2 * (r + 0.5) / h - 1, 2 * (c + 0.5) / w - 1], dtype=torch.float64)
        if pool.position:
            parts.append(F.linear(place, layer.position.weight, layer.position.bias))
        normed = [F.layer_norm(p, p.shape, n.weight, n.bias) for p, n in zip(parts, layer.norms, strict=True)]
        hidden = F.linear(torch.cat(normed).relu(), layer.first.weight, layer.first.bias)
        hidden = F.layer_norm(hidden, hidden.shape, layer.norm.weight, layer.norm.bias).relu()
        logits.append(F.linear(hidden, layer.last.weight))
    masks = torch.softmax(layer.gamma * torch.stack(logits), 0)  # [cells, N]
    flat = sampled.flatten(1)
    return torch.stack([sum(masks[p, i] * flat[:, p] for p in range(h * w)) for i in range(pool.masks)], 1)
