"""Where a region's features come from: its dense weights over the image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .canvas import INK, QUIET, as_array, new_figure, panel, save_figure, write
from .regions import RegionView, check_image

SIDE, GAP, MARGIN = 3.3, 0.28, 0.3  # inches
PIXELS = 420  # of a panel
PARTS = 7  # parts shown per side
FIVE = ("#ff5a5f", "#2ec4ff", "#5be37d", "#ffb020", "#c77dff")  # corners and centre


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
        _row(figure, head + k * row, as_array(one), view)
    return save_figure(figure, path)


def _row(figure: Any, top: float, picture: np.ndarray, view: RegionView) -> None:
    """One region: four panels and the scale."""
    mean = view.mean.numpy()
    peak = float(np.abs(mean).max()) or 1.0
    parts = np.abs(mean) / peak
    window = _window(view, parts)
    h, w = view.grid
    x1, y1, x2, y2 = view.box
    write(figure, MARGIN, top + 0.02, view.title, 9.5, weight="bold")
    sy, sx = view.stride
    size = f"{x2 - x1:.0f}×{y2 - y1:.0f} px = {(x2 - x1) / sx:.1f}×{(y2 - y1) / sy:.1f} cells"
    five = {"corners and centre": [(0, 0), (0, w - 1), (h // 2, w // 2), (h - 1, 0), (h - 1, w - 1)]}
    captions = [
        f"the region: {size}",
        f"the largest weight of each cell over the {h * w} parts",
        next(iter(five)) + ", a colour each" if h * w > 1 else "the one part",
        f"every part by itself ({min(h, PARTS)}×{min(w, PARTS)}{'' if max(h, w) <= PARTS else f' of {h}×{w}'})",
    ]
    axes = []
    for k, caption in enumerate(captions):
        left = MARGIN + k * (SIDE + GAP)
        write(figure, left, top + 0.24, caption, 8.5, color=QUIET)
        axes.append(panel(figure, left, top + 0.45, SIDE, SIDE))
    _whole(axes[0], picture, view, window)
    base = _base(picture, window, PIXELS)
    heat = _cells(parts.max(0), view.stride, window, PIXELS)
    _close(axes[1], _blend(base, heat), view, window)
    layered = base
    chosen = [i * w + j for i, j in dict.fromkeys(five["corners and centre"])]
    for part, colour in zip(chosen, FIVE, strict=False):
        layered = _tint(layered, _cells(parts[part], view.stride, window, PIXELS), colour)
    _close(axes[2], layered, view, window, bins=True)
    _small(axes[3], picture, parts, view, window)
    _scale(figure, MARGIN + 4 * SIDE + 3 * GAP + 0.1, top + 0.45, peak, view.weights.shape[0])


def _window(view: RegionView, parts: np.ndarray) -> tuple[float, float, float, float]:
    """The square of the image that holds the region, with room around it, and every cell it reads."""
    sy, sx = view.stride
    x1, y1, x2, y2 = view.box
    seen = np.argwhere(parts.max(0) > 0.02)
    half = 0.53 * max(x2 - x1, y2 - y1)
    cx, cy = (x1 + x2) / 2, (y1 + y2) / 2
    if len(seen):
        (top, left), (bottom, right) = seen.min(0), seen.max(0) + 1
        half = max(half, cx - left * sx, right * sx - cx, cy - top * sy, bottom * sy - cy)
    half += 0.5 * max(sx, sy)
    return cx - half, cy - half, cx + half, cy + half


def _at(window: tuple[float, float, float, float], pixels: int) -> tuple[np.ndarray, np.ndarray]:
    """The x and y of the panel's pixels, in image pixels."""
    steps = (np.arange(pixels) + 0.5) / pixels
    return window[0] + steps * (window[2] - window[0]), window[1] + steps * (window[3] - window[1])


def _base(picture: np.ndarray, window: tuple[float, float, float, float], pixels: int) -> np.ndarray:
    """The image in the window, grey and pale, so that weights stand out; paper beyond its border."""
    height, width = picture.shape[:2]
    x, y = _at(window, pixels)
    grey = torch.from_numpy(picture @ np.array([0.299, 0.587, 0.114], np.float32))[None, None]
    grid_y, grid_x = torch.meshgrid(
        torch.from_numpy(2 * y / height - 1), torch.from_numpy(2 * x / width - 1), indexing="ij"
    )
    grid = torch.stack([grid_x, grid_y], -1)[None].float()
    sampled = torch.nn.functional.grid_sample(grey, grid, padding_mode="border", align_corners=False)[0, 0].numpy()
    out = np.repeat((0.30 + 0.66 * sampled)[..., None], 3, -1)
    outside = ((x < 0) | (x >= width))[None, :] | ((y < 0) | (y >= height))[:, None]
    out[outside] = 0.97
    return out


def _cells(
    values: np.ndarray, stride: tuple[float, float], window: tuple[float, float, float, float], pixels: int
) -> np.ndarray:
    """Cell values ``[H, W]`` over the pixels of the window they stand for; 0 beyond the map."""
    x, y = _at(window, pixels)
    u, v = np.floor(x / stride[1]).astype(int), np.floor(y / stride[0]).astype(int)
    height, width = values.shape
    inside = ((v >= 0) & (v < height))[:, None] & ((u >= 0) & (u < width))[None, :]
    return np.where(inside, values[np.clip(v, 0, height - 1)[:, None], np.clip(u, 0, width - 1)[None, :]], 0.0)


def _ramp(value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Colour and opacity of a weight as a share of the largest: small weights are seen too."""
    from matplotlib import colormaps

    return colormaps["YlOrRd"](0.12 + 0.88 * value)[..., :3], np.clip(1.7 * value**0.6, 0, 0.95)[..., None]


def _blend(base: np.ndarray, value: np.ndarray) -> np.ndarray:
    colour, opacity = _ramp(value)
    return base * (1 - opacity) + colour * opacity


def _tint(base: np.ndarray, value: np.ndarray, colour: str) -> np.ndarray:
    from matplotlib.colors import to_rgb

    opacity = np.clip(1.2 * value**0.7, 0, 0.85)[..., None]
    return base * (1 - opacity) + np.array(to_rgb(colour)) * opacity


def _outline(axes: Any, box: tuple[float, float, float, float], colour: str = "#00e5ff", width: float = 1.6) -> None:
    from matplotlib.patches import Rectangle
    from matplotlib.patheffects import withStroke

    x1, y1, x2, y2 = box
    stroke = [withStroke(linewidth=width + 1.4, foreground="#000000aa")]
    axes.add_patch(
        Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=colour, linewidth=width, path_effects=stroke)
    )


def _whole(axes: Any, picture: np.ndarray, view: RegionView, window: tuple[float, float, float, float]) -> None:
    """The whole image with the region, and the window the other panels show."""
    height, width = picture.shape[:2]
    axes.imshow(picture, extent=(0, width, height, 0), interpolation="antialiased")
    _outline(axes, view.box)
    x1, y1, x2, y2 = window
    axes.plot([x1, x2, x2, x1, x1], [y1, y1, y2, y2, y1], color="white", linewidth=0.8, linestyle=":")
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.set_anchor("NW")


def _close(axes: Any, rgb: np.ndarray, view: RegionView, window: tuple, bins: bool = False) -> None:
    """A panel of the window: what was blended, the cells' borders, the region and perhaps its bins."""
    from matplotlib.collections import LineCollection

    x1, y1, x2, y2 = window
    axes.imshow(rgb, extent=(x1, x2, y2, y1), interpolation="nearest")
    sy, sx = view.stride
    if (x2 - x1) / sx <= 48:
        upright = [[(u * sx, y1), (u * sx, y2)] for u in range(int(np.ceil(x1 / sx)), int(x2 / sx) + 1)]
        level = [[(x1, v * sy), (x2, v * sy)] for v in range(int(np.ceil(y1 / sy)), int(y2 / sy) + 1)]
        axes.add_collection(LineCollection(upright + level, colors="#ffffff", linewidths=0.4, alpha=0.55))
    if bins:
        (h, w), (a, b, c, d) = view.grid, view.box
        upright = [[(a + (c - a) * j / w, b), (a + (c - a) * j / w, d)] for j in range(1, w)]
        level = [[(a, b + (d - b) * i / h), (c, b + (d - b) * i / h)] for i in range(1, h)]
        axes.add_collection(LineCollection(upright + level, colors=INK, linewidths=0.5, alpha=0.6))
    _outline(axes, view.box)
    axes.set_xlim(x1, x2)
    axes.set_ylim(y2, y1)


def _small(axes: Any, picture: np.ndarray, parts: np.ndarray, view: RegionView, window: tuple) -> None:
    """Small multiples: the window once for every part, placed as the parts are."""
    from matplotlib.collections import LineCollection

    h, w = view.grid
    rows, columns = (np.unique(np.linspace(0, n - 1, min(n, PARTS)).round().astype(int)) for n in (h, w))
    tile = max(24, 2 * PIXELS // max(len(rows), len(columns)) - 2)
    base = _base(picture, window, tile)
    pitch = tile + 3
    sheet = np.ones((len(rows) * pitch - 3, len(columns) * pitch - 3, 3))
    frames = []
    x1, y1, x2, y2 = window
    for r, i in enumerate(rows):
        for c, j in enumerate(columns):
            value = _cells(parts[i * w + j], view.stride, window, tile)
            sheet[r * pitch : r * pitch + tile, c * pitch : c * pitch + tile] = _blend(base, value)
            corners = [(0, 0), (1, 0), (1, 1), (0, 1), (0, 0)]
            a, b, e, d = view.box
            box = [
                (
                    c * pitch + tile * ((a if not p else e) - x1) / (x2 - x1),
                    r * pitch + tile * ((b if not q else d) - y1) / (y2 - y1),
                )
                for p, q in corners
            ]
            frames.append(box)
    axes.imshow(sheet, extent=(0, sheet.shape[1], sheet.shape[0], 0), interpolation="antialiased")
    axes.add_collection(LineCollection(frames, colors="#0097a7", linewidths=0.7))
    axes.set_xlim(0, sheet.shape[1])
    axes.set_ylim(sheet.shape[0], 0)
    axes.set_anchor("NW")


def _scale(figure: Any, left: float, top: float, peak: float, channels: int) -> None:
    """The scale of the weights, over the same pale grey as in the pictures."""
    axes = panel(figure, left, top, 0.13, SIDE)
    value = np.linspace(1, 0, 128)[:, None]
    axes.imshow(_blend(np.full((128, 1, 3), 0.75), value), extent=(0, 1, 0, peak), aspect="auto")
    axes.yaxis.tick_right()
    axes.set_yticks([0, peak / 2, peak], [f"{v:.2g}" for v in (0, peak / 2, peak)], fontsize=7.5)
    axes.tick_params(length=2, pad=2)
    text = "weight of a cell" + (f", mean of {channels} channels" if channels > 1 else "")
    axes.set_ylabel(text, fontsize=8, color=QUIET, labelpad=2)
    axes.yaxis.set_label_position("right")
