"""Spatial supports over their image, runs side by side (Deformable ConvNets v2, Figures 1 and 2)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from roikit.analysis.canvas import QUIET, as_array, new_figure, panel, save_figure, text_width, write
from roikit.analysis.inputs import check_image
from roikit.analysis.weight_panels import outline

from .located import Located
from .nodes import BackboneNode, Node
from .saliency import SaliencyRegion

MARGIN, GAP, LINE = 0.25, 0.14, 0.2  # inches; LINE: of small text
AREA = 5.6  # square inches of a picture
COLOURS = "inferno"
GREEN = "#22d35e"
LEGENDS = {
    "samples": "effective locations: a dot where features are read, larger and redder where the place counts more",
    "field": "effective receptive field: brighter where a pixel counts more (square root of its share of the largest)",
    "region": "error-bounded saliency region: in colour what the node needs; grey and dark what it can do without",
}

Support = Tensor | Located | SaliencyRegion


@dataclasses.dataclass(frozen=True)
class Row:
    """One node and one kind of support of it, for every run.

    Args:
        title: what is seen.
        image: ``Tensor[3, H, W]``, uint8 or floats in 0-1.
        node: drawn in green.
        supports: for each run a receptive field ``Tensor[H, W]``, `Located`, or a `SaliencyRegion`.
        captions: for each run what stands below its picture, in one or more lines.
    """

    title: str
    image: Tensor
    node: Node
    supports: Sequence[Support]
    captions: Sequence[str]


def draw_supports(path: str | Path, rows: Sequence[Row], names: Sequence[str], *, title: str = "") -> Path:
    """Write a PNG: a row for each node and kind of support, a column for each run, before them the image itself.

    Args:
        path: where to write; an existing file is replaced.
        rows: what is shown.
        names: of the runs.
        title: a line above.

    Raises:
        ValueError: no row, no run, a row with another number of supports or captions than there are runs, an image of a
            wrong form.

    Example:
        >>> import tempfile
        >>> row = Row("a node", torch.rand(3, 48, 64), BackboneNode(32, 24), [torch.rand(48, 64)], ["all of it"])
        >>> draw_supports(tempfile.mkdtemp() + "/x.png", [row], ["RoIAlign"]).name
        'x.png'
    """
    _check(rows, names)
    sizes = [_size(row.image) for row in rows]
    widest = max(width for _, width in sizes)
    legends = [LEGENDS[k] for k in LEGENDS if any(_kind(row.supports[0]) == k for row in rows)]
    width = 2 * MARGIN + (1 + len(names)) * (widest + GAP) - GAP
    texts = [*((row.title, 10.5) for row in rows), *((legend, 8.5) for legend in legends)]
    width = max(width, *(2 * MARGIN + 1.12 * text_width(text, size) / 72 for text, size in texts if text))
    head = 0.5 if title else 0.12
    lines = [max(text.count("\n") + 1 for text in row.captions) for row in rows]
    heights = [0.28 + LINE + height + n * LINE + 0.15 for (height, _), n in zip(sizes, lines, strict=True)]
    figure = new_figure(width, head + sum(heights) + LINE * len(legends) + 0.1)
    if title:
        # bold letters are wider than they measure
        _fitted(figure, MARGIN, 0.13, title, 13, (width - 2 * MARGIN) / 1.12, weight="bold")
    top = head
    for row, (height, across), tall in zip(rows, sizes, heights, strict=True):
        write(figure, MARGIN, top + 0.02, row.title, 10.5, weight="bold")
        below = top + 0.28 + LINE
        picture = as_array(row.image)
        for k, name in enumerate(("the image", *names)):
            left = MARGIN + k * (widest + GAP)
            _fitted(figure, left, top + 0.26, name, 9.5, across)
            axes = panel(figure, left, below, across, height)
            _picture(axes, picture, row.node, row.supports[k - 1] if k else None)
            for n, line in enumerate(row.captions[k - 1].split("\n") if k else ()):
                _fitted(figure, left, below + height + 0.04 + n * LINE, line, 8.5, across, color=QUIET)
        top += tall
    for k, legend in enumerate(legends):
        write(figure, MARGIN, top + k * LINE, legend, 8.5, color=QUIET)
    return save_figure(figure, path)


def _check(rows: Sequence[Row], names: Sequence[str]) -> None:
    if not rows or not names:
        raise ValueError("there is nothing to draw: give at least one row and one run")
    for row in rows:
        check_image(row.image)
        if not len(row.supports) == len(row.captions) == len(names):
            raise ValueError(
                f"{row.title}: {len(row.supports)} supports and {len(row.captions)} captions for {len(names)} runs"
            )


def _size(image: Tensor) -> tuple[float, float]:
    """(height, width) of a picture in inches: of one area, but no side very long."""
    height, width = image.shape[1:]
    scale = min((AREA / (height * width)) ** 0.5, 3.4 / max(height, width))
    return height * scale, width * scale


def _kind(support: Support) -> str:
    return "field" if isinstance(support, Tensor) else "samples" if isinstance(support, Located) else "region"


def _picture(axes: Any, picture: np.ndarray, node: Node, support: Support | None) -> None:
    height, width = picture.shape[:2]
    shown = picture
    grey = np.repeat((picture @ np.array([0.299, 0.587, 0.114], np.float32))[..., None], 3, -1)
    if isinstance(support, SaliencyRegion):
        kept = support.mask(height, width).numpy()[..., None]
        shown = np.where(kept, picture, 0.38 * grey)
    elif support is not None:
        shown = 0.25 + 0.6 * grey if isinstance(support, Located) else 0.8 * grey
    extent = (0, width, height, 0)
    axes.imshow(shown, extent=extent, interpolation="antialiased")
    if isinstance(support, Tensor):
        heat = field_shown(support)
        axes.imshow(heat, extent=extent, cmap=COLOURS, vmin=0, vmax=1, alpha=0.25 + 0.7 * heat, interpolation="nearest")
    if isinstance(support, Located):
        _dots(axes, support)
    _node(axes, node)
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.set_aspect("auto")


def field_shown(field: Tensor, most: int = 96) -> np.ndarray:
    """A receptive field as it is drawn, ``[h, w]`` in 0-1: means over blocks of pixels, so that the longer side has at
    most so many and single pixels do not vanish; the square root of their share of the largest.

    Example:
        >>> field_shown(torch.tensor([[0.0, 1.0], [4.0, 16.0]])).tolist()
        [[0.0, 0.25], [0.5, 1.0]]
    """
    shrink = min(1.0, most / max(field.shape))
    size = max(1, round(field.shape[0] * shrink)), max(1, round(field.shape[1] * shrink))
    means = adaptive_avg_pool2d(field[None].double(), size)[0]
    peak = means.max()
    return (means / peak).sqrt().numpy() if peak > 0 else torch.zeros(size).numpy()


def _dots(axes: Any, located: Located) -> None:
    """The strongest last, so that they lie on top."""
    from matplotlib import colormaps

    order = torch.argsort(located.strength)
    strength = located.strength[order].double()
    peak = float(strength.max()) if len(strength) else 0.0
    share = (strength / peak if peak > 0 else strength).sqrt().numpy()
    colours = colormaps["YlOrRd"](0.15 + 0.75 * share)
    colours[:, 3] = 0.25 + 0.7 * share
    x, y = located.points[order].unbind(1)
    axes.scatter(x.numpy(), y.numpy(), s=3 + 30 * share, c=colours, linewidths=0, clip_on=True)


def _node(axes: Any, node: Node) -> None:
    if isinstance(node, BackboneNode):
        axes.scatter([node.x], [node.y], s=34, c=GREEN, edgecolors="black", linewidths=1.0, zorder=5)
    else:
        outline(axes, node.box, GREEN, 1.6)


def _fitted(figure: Any, left: float, top: float, text: str, size: float, width: float, **style: Any) -> None:
    """Text, smaller where it would not fit into so many inches."""
    needed = 1.04 * text_width(text, size) / 72  # small letters are drawn a little wider than they measure
    write(figure, left, top, text, size * min(1.0, width / needed) if needed else size, **style)
