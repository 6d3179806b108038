"""One region of a picture as every listed extractor reads it."""

from __future__ import annotations

import inspect
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.colors import to_rgb
from torch import Tensor

from roikit.analysis import RegionView
from roikit.analysis.canvas import as_array, new_figure, panel, save_figure, text_width, write
from roikit.analysis.weight_panels import FIVE
from roikit.extractors import EXTRACTORS, RegionExtractor
from roikit.weights import RegionWeights

from .sheet import GAP, MARGIN, WIDE, corners, outline

COLUMNS, STRIDE, CHANNELS = 5, 8, 16
ROOM = 22.0  # image pixels around the box


def overview(path: Path) -> None:
    """Every extractor of the listing: in grey every cell that it reads, in colours five of its parts."""
    image, features, box = _scene()
    side = (WIDE - 2 * MARGIN - (COLUMNS - 1) * GAP) / COLUMNS
    x1, y1, x2, y2 = box.tolist()
    half = max(x2 - x1, y2 - y1) / 2 + ROOM
    window = ((x1 + x2) / 2 - half, (x1 + x2) / 2 + half, (y1 + y2) / 2 + half, (y1 + y2) / 2 - half)
    pitch = side + 0.36
    figure = new_figure(WIDE, math.ceil(len(EXTRACTORS) / COLUMNS) * pitch - 0.04, dpi=150)
    for k, kind in enumerate(EXTRACTORS):
        i, j = divmod(k, COLUMNS)
        left, top = MARGIN + j * (side + GAP), 0.05 + i * pitch
        size = min(8.0, 8.0 * 72 * side / text_width(kind.__name__, 8.0) / 1.22)  # bold is that much wider
        write(figure, left, top, kind.__name__, size, weight="bold")
        axes = panel(figure, left, top + 0.2, side, side)
        _show(axes, image, view(kind, features, box))
        axes.set_xlim(*window[:2])
        axes.set_ylim(*window[2:])
    save_figure(figure, path)


def _show(axes: Any, image: Tensor, seen: RegionView) -> None:
    height, width = image.shape[1:]
    grey = as_array(image) @ np.array([0.299, 0.587, 0.114], np.float32)
    axes.set_facecolor("#f7f7f7")
    axes.imshow(0.34 + 0.62 * grey, extent=(0, width, height, 0), cmap="gray", vmin=0, vmax=1)
    parts = seen.mean.numpy()
    parts = parts / (parts.max() or 1.0)
    h, w = seen.grid
    five = dict.fromkeys([(0, 0), (0, w - 1), (h // 2, w // 2), (h - 1, 0), (h - 1, w - 1)])
    layers = [(parts.max(0), "#14213d", 0.55)]
    layers += [(parts[i * w + j], colour, 0.95) for (i, j), colour in zip(five, FIVE, strict=False)]
    for values, colour, most in layers:
        rgba = np.zeros((*values.shape, 4), np.float32)
        rgba[..., :3] = to_rgb(colour)
        rgba[..., 3] = most * np.clip(values, 0, 1) ** 0.6
        extent = (0, values.shape[1] * STRIDE, values.shape[0] * STRIDE, 0)
        axes.imshow(rgba, extent=extent, interpolation="nearest")
    outline(axes, corners(seen.box), 1.2)


def view(kind: type[RegionExtractor], features: Tensor, box: Tensor) -> RegionView:
    """What a listed extractor reads, its layers at random."""
    extractor = made(kind, features.shape[1])
    for layer in extractor.modules():
        if isinstance(layer, torch.nn.Linear) and not layer.weight.any():  # starts at zero: moved by some training
            torch.nn.init.normal_(layer.weight, std=1.0 / layer.in_features**0.5)
    with torch.no_grad():
        dense = read_by(extractor, features, box, 1 / STRIDE).dense(*features.shape[-2:])[0]
    h, w = extractor.output_size
    return RegionView(tuple(box.tolist()), dense, (STRIDE, STRIDE), (h, w))


def made(kind: type[RegionExtractor], channels: int) -> RegionExtractor:
    """A listed extractor with its defaults."""
    torch.manual_seed(0)
    return kind(channels) if "channels" in inspect.signature(kind).parameters else kind()


def read_by(extractor: RegionExtractor, features: Tensor, box: Tensor, scale: float) -> RegionWeights:
    """The weights of one box, with examples of the extractor's further arguments."""
    extras: dict[str, Any] = {name: EXAMPLES[name](box, extractor) for name in extractor.extras if name in EXAMPLES}
    return extractor.weights(features.repeat(1, extractor.groups, 1, 1), [box[None]], scale, **extras)


def _disc(box: Tensor, extractor: RegionExtractor) -> Tensor:
    h, w = extractor.output_size
    y, x = (torch.arange(h) + 0.5) / h - 0.5, (torch.arange(w) + 0.5) / w - 0.5
    return (y[:, None] ** 2 + x**2 <= 0.2).float()[None]


def _turned(box: Tensor, extractor: RegionExtractor) -> list[Tensor]:
    x1, y1, x2, y2 = box.tolist()
    return [torch.tensor([[(x1 + x2) / 2, (y1 + y2) / 2, 0.55 * (x2 - x1), 0.95 * (y2 - y1), -math.pi / 6]])]


EXAMPLES = {"masks": _disc, "rotated_boxes": _turned}  # of the further arguments of a method


def _scene() -> tuple[Tensor, Tensor, Tensor]:
    """An image, features that mean something to max pooling (oriented edges), and the box of its largest figure."""
    from roikit.data.shapes import LEVELS, draw

    pixels, figures = draw(LEVELS["full"], "val", 3)
    image = torch.from_numpy(pixels).permute(2, 0, 1).contiguous()
    grey = torch.nn.functional.avg_pool2d(image.float().mean(0)[None, None] / 255, STRIDE)
    down, across = torch.gradient(grey[0, 0])
    angles = [k * math.pi / 8 for k in range(CHANNELS)]
    features = torch.stack([math.cos(a) * across + math.sin(a) * down for a in angles]).relu()[None]
    largest = max(figures, key=lambda figure: (figure.box[2] - figure.box[0]) * (figure.box[3] - figure.box[1]))
    features = features / features.square().mean().sqrt()
    return image, features, torch.tensor([float(v) for v in largest.box])
