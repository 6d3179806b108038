"""Multi-scale deformable attention (Zhu et al., Deformable DETR, ICLR 2021), by grid_sample."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from roikit.layers.ms_deform_attn import attend

from .again import gradients, wide


def ms_deform_attn_forward(
    value: Tensor, shapes: Tensor, starts: Tensor, locations: Tensor, weights: Tensor, **how: Any
) -> Tensor:
    """`[B, Q, heads · C]` from `value` `[B, cells, heads, C]`, `locations` `[B, Q, heads, levels, points, 2]` (x, y of
    each level's map from 0 to 1) and `weights` `[B, Q, heads, levels, points]`."""
    return _attend(shapes)(value, locations, weights).to(value.dtype)


def ms_deform_attn_backward(
    value: Tensor, shapes: Tensor, starts: Tensor, locations: Tensor, weights: Tensor, grad_output: Tensor,
    grad_value: Tensor, grad_locations: Tensor, grad_weights: Tensor, **how: Any,
) -> None:  # fmt: skip
    found = gradients(_attend(shapes), [value, locations, weights], grad_output)
    for target, gradient in zip((grad_value, grad_locations, grad_weights), found, strict=True):
        target.copy_(gradient)


def _attend(shapes: Tensor) -> Any:
    sizes = [(int(h), int(w)) for h, w in shapes.tolist()]
    return wide(lambda value, locations, weights: attend(value, sizes, locations, weights))
