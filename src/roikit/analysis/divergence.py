"""How much the parts of a region look at different places, and how much at the object (LRF section 5, Figure 3)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .canvas import QUIET, new_figure, save_figure
from .objects import images_with_objects, mask_at
from .regions import region_weights_of

SMALL, LARGE = 32**2, 96**2  # COCO's limits of size: areas in square pixels
SIZES = ("small", "medium", "large")
FLOOR = 1e-6  # added to every weight before it is normalised, so that a divergence from a zero stays finite


def as_distribution(weights: Tensor) -> Tensor:
    """``Tensor[..., P]`` of weights that are not negative, normalised over the last axis, lifted by 1e-6 and normalised
    again, in float64."""
    weights = weights.double()
    total = weights.sum(-1, keepdim=True)
    weights = weights / torch.where(total > 0, total, 1) + FLOOR
    return weights / weights.sum(-1, keepdim=True)


def divergence_between_parts(weights: Tensor) -> float:
    """The mean of KL(w_k ‖ w_l) over all ordered pairs of different parts; 0 where there is one part.

    Args:
        weights: ``Tensor[K, ...]``, the weight of every cell in every part.

    Example:
        >>> divergence_between_parts(torch.ones(4, 5, 5))
        0.0
    """
    p = as_distribution(weights.flatten(1))
    count = p.shape[0]
    if count < 2:
        return 0.0
    logs = p.log()
    # Σ_kl Σ_p w_k (log w_k - log w_l): pairs need not be made.
    total = count * (p * logs).sum() - (p.sum(0) * logs.sum(0)).sum()
    return max(0.0, float(total / (count * (count - 1))))


def divergence_from_mask(weights: Tensor, mask: Tensor, stride: tuple[float, float]) -> float:
    """KL(mask ‖ largest weight of each cell over the parts), both normalised over the cells.

    Args:
        weights: ``Tensor[K, H, W]``, cell (v, u) covers the pixels from (v·y, u·x).
        mask: ``Tensor[height, width]`` in pixels, 1 on the object.
        stride: image pixels per cell, (y, x).

    Raises:
        ValueError: the mask has no pixel on the map.
    """
    height, width = weights.shape[1:]
    rows, cols = _overlap(height, stride[0], mask.shape[0]), _overlap(width, stride[1], mask.shape[1])
    cells = rows @ mask.double() @ cols.T
    if not bool(cells.sum() > 0):
        raise ValueError("the mask is empty: it has no pixel on the map")
    p, q = as_distribution(cells.flatten()), as_distribution(weights.amax(0).flatten())
    return float((p * (p / q).log()).sum())


def _overlap(cells: int, stride: float, pixels: int) -> Tensor:
    """``Tensor[cells, pixels]``: how much of each pixel a cell covers along one axis."""
    cell, pixel = torch.arange(cells).double()[:, None] * stride, torch.arange(pixels).double()
    return (torch.minimum(cell + stride, pixel + 1) - torch.maximum(cell, pixel)).clamp(min=0)


@dataclasses.dataclass(frozen=True)
class Divergence:
    """Of one object: its size by COCO's limits, KL between its parts, KL of its mask (``None``: it has no mask)."""

    size: str
    parts: float
    mask: float | None


def divergences(model: nn.Module, dataset: Any, most: int = 100) -> Iterator[Divergence]:
    """Of the true boxes of a data set: what a detector's region features are made of there.

    Weights of sampled cells are taken on all cells of their support: a grid of zeros would hide what they look at.

    Args:
        model: a detector that `region_weights_of` takes.
        dataset: a `roikit.data.DetectionDataset`; with masks for the second number.
        most: objects; they are taken evenly over the data set, crowds left out.

    Raises:
        ValueError: a data set without an object.
    """
    for _, image, target, places in images_with_objects(dataset, most):
        for place in places:
            view = region_weights_of(model, image, target["boxes"][place], whole=True)
            area, mask = float(target["area"][place]), mask_at(target, place)
            size = SIZES[0] if area < SMALL else SIZES[1] if area < LARGE else SIZES[2]
            found = None if mask is None else divergence_from_mask(view.mean, mask, view.stride)
            yield Divergence(size, divergence_between_parts(view.mean), found)


def by_size(found: Sequence[Divergence]) -> dict[str, dict[str, float | int | None]]:
    """Means over the objects of each size, and over "all": {"parts": …, "mask": …, "objects": …}; a size without an
    object is left out."""
    table: dict[str, dict[str, float | int | None]] = {}
    for size in ("all", *SIZES):
        mine = [d for d in found if size in ("all", d.size)]
        masks = [d.mask for d in mine if d.mask is not None]
        if mine:
            table[size] = {
                "parts": sum(d.parts for d in mine) / len(mine),
                "mask": sum(masks) / len(masks) if masks else None,
                "objects": len(mine),
            }
    return table


def draw_divergence(path: str | Path, steps: Mapping[int, dict[str, dict[str, Any]]], title: str = "") -> Path:
    """Write a PNG of both divergences over training, a line for each size (the paper's Figure 3).

    Args:
        path: where to write; an existing file is replaced.
        steps: the result of ``by_size`` at each step.
        title: a line above.

    Raises:
        ValueError: there is no step.
    """
    if not steps:
        raise ValueError("there is no step to draw")
    figure = new_figure(9.0, 3.6)
    figure.suptitle(title, fontsize=9, color=QUIET)
    labels = {"parts": "mean KL between parts", "mask": "KL of the mask from the largest weights"}
    for place, (key, label) in enumerate(labels.items(), 1):
        axes = figure.add_subplot(1, 2, place)
        for size, colour in zip(("all", *SIZES), ("#1b1f24", "#2ec4ff", "#ff9f40", "#ff5a5f"), strict=True):
            points = [(s, t[size][key]) for s, t in sorted(steps.items()) if t.get(size, {}).get(key) is not None]
            if points:
                axes.plot(*zip(*points, strict=True), marker="o", markersize=3, color=colour, label=size)
        axes.set_xlabel("steps of training")
        axes.set_title(label, fontsize=10)
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend(fontsize=8)
    figure.tight_layout()
    return save_figure(figure, path)
