"""Where a region's features come from: its dense weights over the image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from .canvas import QUIET, new_figure, panel, save_figure, write
from .inputs import check_image
from .regions import RegionView
from .weight_panels import PARTS, Seen, blend, every_part, five_parts, largest_weights, whole_image

SIDE, GAP, MARGIN = 3.3, 0.28, 0.3  # inches


def draw_weights(
    path: str | Path, image: Tensor | Sequence[Tensor], views: RegionView | Sequence[RegionView], *, title: str = ""
) -> Path:
    """Write a PNG of regions and the cells their features come from, one row per region.

    In a row: the image with the region; the largest weight of every cell over the parts; five parts (corners and
    centre), a colour each; every part by itself (7 × 7 of them where there are more). A cell is drawn over the pixels
    it stands for, as strong as its weight; the scale is the region's own and stands beside it.

    Args:
        path: where to write; an existing file is replaced.
        image: ``Tensor[3, H, W]``, uint8 or floats in 0-1; or one for each view.
        views: from `region_weights_of` (a detector) or `view_region` (an extractor and a feature map).
        title: a line above.

    Raises:
        ValueError: no view, an image of a wrong form, another number of images than views.
    """
    views = [views] if isinstance(views, RegionView) else list(views)
    if not views:
        raise ValueError("there is no region to draw: give at least one RegionView")
    images = [image] * len(views) if isinstance(image, Tensor) else list(image)
    if len(images) != len(views):
        raise ValueError(f"{len(images)} images for {len(views)} regions: give one image, or one per region")
    for one in images:
        check_image(one)
    head = 0.45 if title else 0.1
    row = SIDE + 0.75
    width = 2 * MARGIN + 4 * SIDE + 3 * GAP + 0.55
    figure = new_figure(width, head + len(views) * row + 0.15)
    if title:
        write(figure, MARGIN, 0.15, title, 13, weight="bold")
    for k, (one, view) in enumerate(zip(images, views, strict=True)):
        _row(figure, head + k * row, Seen.of(one, view))
    return save_figure(figure, path)


def _row(figure: Any, top: float, seen: Seen) -> None:
    """One region: four panels and the scale."""
    view = seen.view
    (h, w), (sy, sx), (x1, y1, x2, y2) = view.grid, view.stride, view.box
    write(figure, MARGIN, top + 0.02, view.title, 9.5, weight="bold")
    size = f"{x2 - x1:.0f}×{y2 - y1:.0f} px = {(x2 - x1) / sx:.1f}×{(y2 - y1) / sy:.1f} cells"
    shown = f"{min(h, PARTS)}×{min(w, PARTS)}{'' if max(h, w) <= PARTS else f' of {h}×{w}'}"
    panels = (
        (f"the region: {size}", whole_image),
        (f"the largest weight of each cell over the {h * w} parts", largest_weights),
        ("corners and centre, a colour each", five_parts),
        (f"every part by itself ({shown})", every_part),
    )
    for k, (caption, draw) in enumerate(panels):
        left = MARGIN + k * (SIDE + GAP)
        write(figure, left, top + 0.24, caption, 8.5, color=QUIET)
        draw(panel(figure, left, top + 0.45, SIDE, SIDE), seen)
    _scale(figure, MARGIN + 4 * SIDE + 3 * GAP + 0.1, top + 0.45, seen.peak, view.weights.shape[0])


def _scale(figure: Any, left: float, top: float, peak: float, channels: int) -> None:
    """The scale of the weights, over the same pale grey as in the pictures."""
    axes = panel(figure, left, top, 0.13, SIDE)
    value = np.linspace(1, 0, 128)[:, None]
    axes.imshow(blend(np.full((128, 1, 3), 0.75), value), extent=(0, 1, 0, peak), aspect="auto")
    axes.yaxis.tick_right()
    axes.set_yticks([0, peak / 2, peak], [f"{v:.2g}" for v in (0, peak / 2, peak)], fontsize=7.5)
    axes.tick_params(length=2, pad=2)
    text = "weight of a cell" + (f", mean of {channels} channels" if channels > 1 else "")
    axes.set_ylabel(text, fontsize=8, color=QUIET, labelpad=2)
    axes.yaxis.set_label_position("right")
