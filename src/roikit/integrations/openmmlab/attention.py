"""Multi-scale deformable attention (Zhu et al., Deformable DETR, ICLR 2021), by grid_sample."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from .again import gradients


def ms_deform_attn_forward(
    value: Tensor, shapes: Tensor, starts: Tensor, locations: Tensor, weights: Tensor, **how: Any
) -> Tensor:
    """`[B, Q, heads · C]` from `value` `[B, cells, heads, C]`, `locations` `[B, Q, heads, levels, points, 2]` (x, y of
    each level's map from 0 to 1) and `weights` `[B, Q, heads, levels, points]`."""
    return _attend(shapes)(value, locations, weights)


def ms_deform_attn_backward(
    value: Tensor, shapes: Tensor, starts: Tensor, locations: Tensor, weights: Tensor, grad_output: Tensor,
    grad_value: Tensor, grad_locations: Tensor, grad_weights: Tensor, **how: Any,
) -> None:  # fmt: skip
    found = gradients(_attend(shapes), [value, locations, weights], grad_output)
    for target, gradient in zip((grad_value, grad_locations, grad_weights), found, strict=True):
        target.copy_(gradient)


def _attend(shapes: Tensor) -> Any:
    sizes = [(int(h), int(w)) for h, w in shapes.tolist()]

    def attend(value: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
        batch, _, heads, channels = value.shape
        queries = locations.shape[1]
        read = []
        for level, part in enumerate(value.split([h * w for h, w in sizes], 1)):
            maps = part.permute(0, 2, 3, 1).reshape(batch * heads, channels, *sizes[level])
            grid = (2 * locations[:, :, :, level] - 1).transpose(1, 2).flatten(0, 1)  # [B·heads, Q, points, 2]
            read.append(grid_sample(maps, grid, align_corners=False))
        shares = weights.transpose(1, 2).reshape(batch * heads, 1, queries, -1)
        out = (torch.cat(read, -1) * shares).sum(-1)
        return out.view(batch, heads * channels, queries).transpose(1, 2).contiguous()

    return attend


OPERATORS = {function.__name__: function for function in (ms_deform_attn_forward, ms_deform_attn_backward)}
