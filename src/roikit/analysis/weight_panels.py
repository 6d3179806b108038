"""The panels of a picture of weights, on axes of your own: what one region reads, seen four ways."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .canvas import INK, as_array
from .regions import RegionView

PIXELS = 420  # of a panel
PARTS = 7  # parts shown per side
FIVE = ("#ff5a5f", "#2ec4ff", "#5be37d", "#ffb020", "#c77dff")  # corners and centre

Window = tuple[float, float, float, float]


@dataclasses.dataclass(frozen=True)
class Seen:
    """A region over its image, ready to be drawn.

    Args:
        picture: ``[H, W, 3]`` in 0-1.
        view: the region.
        parts: ``[K, h, w]``, the size of the weights as shares of the largest.
        peak: the largest weight.
        window: the square of the image that is shown, (x1, y1, x2, y2) in image pixels.
    """

    picture: np.ndarray
    view: RegionView
    parts: np.ndarray
    peak: float
    window: Window

    @staticmethod
    def of(image: Tensor, view: RegionView) -> Seen:
        """See what ``view`` reads of ``image`` (``Tensor[3, H, W]``)."""
        mean = view.mean.abs().numpy()
        peak = float(mean.max()) or 1.0
        return Seen(as_array(image), view, mean / peak, peak, _window(view, mean / peak))


def whole_image(axes: Any, seen: Seen) -> None:
    """The whole image with the region, and the window the other panels show."""
    height, width = seen.picture.shape[:2]
    axes.imshow(seen.picture, extent=(0, width, height, 0), interpolation="antialiased")
    outline(axes, seen.view.box)
    x1, y1, x2, y2 = seen.window
    axes.plot([x1, x2, x2, x1, x1], [y1, y1, y2, y2, y1], color="white", linewidth=0.8, linestyle=":")
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.set_anchor("NW")


def largest_weights(axes: Any, seen: Seen) -> None:
    """The largest weight of every cell over the parts: what the region looks at."""
    heat = _cells(seen.parts.max(0), seen.view.stride, seen.window, PIXELS)
    _close(axes, blend(_base(seen.picture, seen.window, PIXELS), heat), seen)


def five_parts(axes: Any, seen: Seen) -> None:
    """The parts in the corners and in the centre, a colour each, and the bins of the region."""
    h, w = seen.view.grid
    chosen = dict.fromkeys([(0, 0), (0, w - 1), (h // 2, w // 2), (h - 1, 0), (h - 1, w - 1)])
    layered = _base(seen.picture, seen.window, PIXELS)
    for (i, j), colour in zip(chosen, FIVE, strict=False):
        layered = _tint(layered, _cells(seen.parts[i * w + j], seen.view.stride, seen.window, PIXELS), colour)
    _close(axes, layered, seen, bins=True)


def every_part(axes: Any, seen: Seen) -> None:
    """Small multiples: the window once for every part (at most 7 × 7 of them), placed as the parts are."""
    from matplotlib.collections import LineCollection

    picture, parts, view, window = seen.picture, seen.parts, seen.view, seen.window
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
            sheet[r * pitch : r * pitch + tile, c * pitch : c * pitch + tile] = blend(base, value)
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


def _close(axes: Any, rgb: np.ndarray, seen: Seen, bins: bool = False) -> None:
    """A panel of the window: what was blended, the cells' borders, the region and perhaps its bins."""
    from matplotlib.collections import LineCollection

    view = seen.view
    x1, y1, x2, y2 = seen.window
    axes.imshow(rgb, extent=(x1, x2, y2, y1), interpolation="nearest")
    sy, sx = view.stride
    if (x2 - x1) / sx <= 48:
        upright = [[(u * sx, y1), (u * sx, y2)] for u in range(int(np.ceil(x1 / sx)), int(x2 / sx) + 1)]
        level = [[(x1, v * sy), (x2, v * sy)] for v in range(int(np.ceil(y1 / sy)), int(y2 / sy) + 1)]
        axes.add_collection(LineCollection(upright + level, colors="#ffffff", linewidths=0.4, alpha=0.55))
    if bins and (view.grid[1] > 1 or view.grid[0] == 1):  # parts of a pyramid or of sectors follow one another
        (h, w), (a, b, c, d) = view.grid, view.box
        upright = [[(a + (c - a) * j / w, b), (a + (c - a) * j / w, d)] for j in range(1, w)]
        level = [[(a, b + (d - b) * i / h), (c, b + (d - b) * i / h)] for i in range(1, h)]
        axes.add_collection(LineCollection(upright + level, colors=INK, linewidths=0.5, alpha=0.6))
    outline(axes, view.box)
    axes.set_xlim(x1, x2)
    axes.set_ylim(y2, y1)


def _window(view: RegionView, parts: np.ndarray) -> Window:
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


def _at(window: Window, pixels: int) -> tuple[np.ndarray, np.ndarray]:
    """The x and y of the panel's pixels, in image pixels."""
    steps = (np.arange(pixels) + 0.5) / pixels
    return window[0] + steps * (window[2] - window[0]), window[1] + steps * (window[3] - window[1])


def _base(picture: np.ndarray, window: Window, pixels: int) -> np.ndarray:
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


def _cells(values: np.ndarray, stride: tuple[float, float], window: Window, pixels: int) -> np.ndarray:
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


def blend(base: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Weights, as shares of the largest, in the colours of the scale over ``base`` ``[..., 3]``."""
    colour, opacity = _ramp(value)
    return base * (1 - opacity) + colour * opacity


def _tint(base: np.ndarray, value: np.ndarray, colour: str) -> np.ndarray:
    from matplotlib.colors import to_rgb

    opacity = np.clip(1.2 * value**0.7, 0, 0.85)[..., None]
    return base * (1 - opacity) + np.array(to_rgb(colour)) * opacity


def outline(axes: Any, box: Window, colour: str = "#00e5ff", width: float = 1.6) -> None:
    """The region's border, dark around, so that it is seen on any picture."""
    from matplotlib.patches import Rectangle
    from matplotlib.patheffects import withStroke

    x1, y1, x2, y2 = box
    stroke = [withStroke(linewidth=width + 1.4, foreground="#000000aa")]
    axes.add_patch(
        Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=colour, linewidth=width, path_effects=stroke)
    )
