"""What training made of a region's weights: before against after, and by their terms alone (LRF Figure 2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_max_pool2d

from .canvas import QUIET, as_array, new_figure, panel, save_figure, text_width, write
from .inputs import check_image
from .regions import RegionView
from .weight_panels import outline

WIDTH, MARGIN = 13.2, 0.3  # of what is drawn, and around it, in inches
GAP, LINE = 0.1, 0.2  # between pictures; a line of text
BETWEEN = 0.4  # groups
TALLEST = 4.2  # of a picture
COLOURS = "inferno"
DOT = 2  # pixels of the picture that a drawn cell has at least


def draw_learned_weights(
    path: str | Path,
    image: Tensor,
    initial: Sequence[RegionView],
    final: Sequence[Mapping[str, RegionView]],
    *,
    titles: Sequence[str] = (),
    captions: tuple[str, str] = ("initial weights", "final weights"),
    title: str = "",
) -> Path:
    """Write a PNG of regions of an image before and after training (the paper's Figure 2).

    For each region: (a) the initial weights beside the final ones, and (b), where the weights have several terms, the
    final ones by each term alone. Of each, a large picture has the largest weight of every cell over the parts, and
    four small ones have single parts, the corners of the grid. In a picture the weights are divided by its own largest
    one, which stands below, coloured, and mixed half and half with the image.

    Args:
        path: where to write; an existing file is replaced.
        image: ``Tensor[3, H, W]``, uint8 or floats in 0-1.
        initial: a view of each region.
        final: by the name of each term, and "all", a view of each region (`region_terms_of`).
        titles: what each region is.
        captions: what stands above (a), left and right.
        title: a line above.

    Raises:
        ValueError: no region, not as many final as initial ones or titles, an image of a wrong form.

    Example:
        >>> import tempfile, torch, roikit
        >>> image, box = torch.rand(3, 48, 64), torch.tensor([8.0, 8.0, 40.0, 40.0])
        >>> view = roikit.analysis.view_region(roikit.RoIAlign(3), torch.rand(1, 2, 12, 16), box, 4)
        >>> draw_learned_weights(tempfile.mkdtemp() + "/x.png", image, [view], [{"all": view}]).name
        'x.png'
    """
    if not initial:
        raise ValueError("there is no region to draw: give at least one RegionView")
    titles = list(titles) or [""] * len(initial)
    if not len(initial) == len(final) == len(titles):
        raise ValueError(
            f"{len(initial)} initial views, {len(final)} final ones, {len(titles)} titles: give one of each per region"
        )
    check_image(image)
    picture = as_array(image)
    aspect = picture.shape[1] / picture.shape[0]
    pair = Group((WIDTH - BETWEEN) / 2, aspect)
    rows = [_Terms(view, aspect) for view in final]
    head = 0.75
    heights = [0.55 + LINE + pair.height + row.height + 0.2 for row in rows]
    figure = new_figure(WIDTH + 2 * MARGIN, head + sum(heights) + 0.1)
    write(figure, MARGIN, 0.12, title, 13, weight="bold")
    note = "Weights divided by the largest of their picture (the number below), mixed half and half with the image:"
    write(figure, MARGIN, 0.43, note, 9, color=QUIET)
    _scale(figure, MARGIN + text_width(note, 9) / 72 + 0.15, 0.43)
    top = head
    for view, terms, row, text, height in zip(initial, final, rows, titles, heights, strict=True):
        write(figure, MARGIN, top + 0.05, text, 10.5, weight="bold")
        _fitted(figure, MARGIN, top + 0.27, view.title, 8.5, WIDTH)
        below = top + 0.55
        for k, (one, caption) in enumerate(zip((view, terms["all"]), captions, strict=True)):
            lead = "(a) " if k == 0 else ""
            pair.draw(figure, MARGIN + k * (pair.width + BETWEEN), below, picture, one, lead + caption)
        row.draw(figure, below + LINE + pair.height, picture)
        top += height
    return save_figure(figure, path)


class Group:
    """A large picture of the largest weights over the parts, four small ones of single parts on its two sides.

    Args:
        width: of all, in inches.
        aspect: width of the image by its height.
    """

    def __init__(self, width: float, aspect: float) -> None:
        self.width = width
        large = (width - 2 * GAP) / 2  # the small ones are half as wide
        self.large = (min(large, TALLEST * aspect), min(large, TALLEST * aspect) / aspect)
        self.small = ((self.large[0] - GAP) / 2, (self.large[1] - GAP - LINE) / 2)
        # what keeps the image's shape in the small ones
        self.small = (min(self.small[0], self.small[1] * aspect), min(self.small[1], self.small[0] / aspect))
        self.height = LINE + self.large[1] + LINE

    def draw(self, figure: Any, left: float, top: float, picture: np.ndarray, view: RegionView, caption: str) -> None:
        parts = view.mean.abs().numpy()
        count = parts.shape[0]
        write(figure, left, top, caption, 9.5)
        top += LINE
        (w, h), (sw, sh) = self.large, self.small
        chosen = four_parts(view.grid) if count > 1 else []
        place = left + sw + GAP
        largest = f"largest of {count} parts" if count > 1 else "the one part"
        _matted(figure, place, top, w, h, picture, view, parts.max(0), largest)
        for k, part in enumerate(chosen):
            x = left if k % 2 == 0 else place + w + GAP
            y = top + (k // 2) * (h - sh)
            _matted(figure, x, y, sw, sh, picture, view, parts[part], f"part {part + 1}")


class _Terms:
    """(b): a group for every term, and for all of them together; nothing where there is one term."""

    def __init__(self, views: Mapping[str, RegionView], aspect: float) -> None:
        self.views = views
        self.group = Group((WIDTH - BETWEEN * (len(views) - 1)) / len(views), aspect)
        self.height = LINE + self.group.height if len(views) > 1 else 0.0

    def draw(self, figure: Any, top: float, picture: np.ndarray) -> None:
        if len(self.views) < 2:
            return
        for k, (name, view) in enumerate(self.views.items()):
            caption = f"{name} only" if name != "all" else "both" if len(self.views) == 3 else "all terms"
            lead = "(b) final weights: " if k == 0 else ""
            left = MARGIN + k * (self.group.width + BETWEEN)
            self.group.draw(figure, left, top, picture, view, lead + caption)


def four_parts(grid: tuple[int, int]) -> list[int]:
    """The parts in the corners of a grid, in raster order; four evenly spaced ones of a row or column of parts.

    Example:
        >>> four_parts((7, 7)), four_parts((21, 1)), four_parts((1, 2))
        ([0, 6, 42, 48], [0, 7, 13, 20], [0, 1])
    """
    h, w = grid
    if min(h, w) > 1:
        return [0, w - 1, (h - 1) * w, h * w - 1]
    return sorted({round(k * (h * w - 1) / 3) for k in range(4)})


def _matted(
    figure: Any,
    left: float,
    top: float,
    width: float,
    height: float,
    picture: np.ndarray,
    view: RegionView,
    weights: np.ndarray,
    caption: str,
) -> None:
    """One picture: weights ``[H, W]`` by their largest, mixed half and half with the image; its caption below."""
    axes = panel(figure, left, top, width, height)
    tall, wide = picture.shape[:2]
    rows, cols = weights.shape
    sy, sx = view.stride
    peak = float(weights.max())
    axes.imshow(picture, extent=(0, wide, tall, 0), interpolation="antialiased")
    axes.imshow(
        _drawable(weights / (peak or 1.0), int(width * figure.dpi / DOT), int(height * figure.dpi / DOT)),
        cmap=COLOURS,
        vmin=0,
        vmax=1,
        alpha=0.5,
        extent=(0, cols * sx, rows * sy, 0),
        interpolation="nearest",
    )
    outline(axes, view.box, width=1.2)
    axes.set_xlim(0, wide)
    axes.set_ylim(tall, 0)
    axes.set_aspect("auto")
    _fitted(figure, left, top + height + 0.03, f"{caption}: {peak:.2g}", 7.5, width)


def _drawable(values: np.ndarray, most_wide: int, most_tall: int) -> np.ndarray:
    """``[H, W]`` with at most so many rows and columns: the largest of the cells that share a dot, so that sampled
    ones do not vanish between the pixels."""
    rows, cols = values.shape
    size = (min(rows, max(1, most_tall)), min(cols, max(1, most_wide)))
    if size == (rows, cols):
        return values
    return adaptive_max_pool2d(torch.from_numpy(values)[None], size)[0].numpy()


def _fitted(figure: Any, left: float, top: float, text: str, size: float, width: float) -> None:
    """Quiet text, smaller where it would not fit into so many inches."""
    needed = text_width(text, size) / 72
    write(figure, left, top, text, size * min(1.0, width / needed) if needed else size, color=QUIET)


def _scale(figure: Any, left: float, top: float) -> None:
    """The colours from 0 to the largest weight."""
    write(figure, left, top, "0", 9, color=QUIET)
    axes = panel(figure, left + 0.12, top + 0.01, 1.2, 0.13)
    axes.imshow(np.linspace(0, 1, 128)[None], cmap=COLOURS, aspect="auto")
    write(figure, left + 1.38, top, "largest", 9, color=QUIET)
