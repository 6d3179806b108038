"""Oriented boxes of objects that have masks."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_STEPS = 180  # directions that are tried, over a right angle: half a degree


def oriented_boxes(masks: Tensor) -> Tensor:
    """The smallest rectangle around each mask.

    Args:
        masks: ``Tensor[N, H, W]``; not 0 on the object.

    Returns:
        float32 ``Tensor[N, 5]`` with rows (cx, cy, w, h, θ): pixels, and radians counter-clockwise as one sees the
        image. Of the four ways to name one rectangle it is the one with -45° ≤ θ < 45°, to half a degree; of equal
        areas the one nearest to upright. An empty mask has a row of zeros.

    Example:
        >>> import torch
        >>> mask = torch.zeros(1, 20, 30)
        >>> mask[0, 4:10, 5:25] = 1
        >>> oriented_boxes(mask).tolist()
        [[15.0, 7.0, 20.0, 6.0, 0.0]]
    """
    found = [_smallest(mask != 0) for mask in masks]
    return torch.stack(found) if found else masks.new_zeros(0, 5, dtype=torch.float32)


def _smallest(mask: Tensor) -> Tensor:
    rows = mask.any(1).nonzero()[:, 0]
    if not len(rows):
        return torch.zeros(5, device=mask.device)
    columns = torch.arange(mask.shape[1], device=mask.device)
    inside = mask[rows]
    first = torch.where(inside, columns, mask.shape[1]).amin(1).double()
    last = torch.where(inside, columns, -1).amax(1).double() + 1
    # The corners of each row's outermost pixels: the rectangle around them is that around all pixels.
    y = rows.double()
    x, y = torch.cat([first, first, last, last]), torch.cat([y, y + 1, y, y + 1])
    steps = torch.arange(_STEPS, device=mask.device, dtype=torch.float64) - _STEPS // 2
    angle = steps[steps.abs().argsort(stable=True)] * (math.pi / 2 / _STEPS)
    cos, sin = angle.cos()[:, None], angle.sin()[:, None]
    along, across = x * cos - y * sin, x * sin + y * cos  # in the frame of the rectangle
    left, right, top, bottom = along.amin(1), along.amax(1), across.amin(1), across.amax(1)
    best = int(((right - left) * (bottom - top)).argmin())
    u, v = (left + right)[best] / 2, (top + bottom)[best] / 2
    cos, sin = angle.cos()[best], angle.sin()[best]
    sides = (right - left)[best], (bottom - top)[best]
    return torch.stack([u * cos + v * sin, v * cos - u * sin, *sides, angle[best]]).float()
