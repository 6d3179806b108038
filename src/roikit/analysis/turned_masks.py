"""Where the parts of a region lie while its object turns, method beside method (SRA's Figures 3 and 6)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .canvas import INK, QUIET, as_array, new_figure, panel, save_figure, text_width, write
from .inputs import as_floats, box_of
from .reading import read_maps, region_weights, resize_factor
from .regions import RegionView
from .transformations import Rotation
from .weight_panels import _base, _cells, _tint, outline

COLOURS = ("#ff3b30", "#0a84ff", "#20c04a", "#ff9f0a", "#bf5af2", "#00b8c4", "#a2571b", "#ff2d92")
PIXELS = 300  # of a cell of the picture
SIDE, GAP, MARGIN, NAME = 1.75, 0.12, 0.2, 0.45  # inches; NAME: for the angle in front of a row


@dataclasses.dataclass(frozen=True)
class Turned:
    """An object at one angle.

    Args:
        rotation: of the image.
        image: ``Tensor[3, H, W]`` in 0-1, turned, on a canvas that holds all of it.
        box: float32 ``Tensor[4]``, in pixels of ``image``.
    """

    rotation: Rotation
    image: Tensor
    box: Tensor


@dataclasses.dataclass(frozen=True)
class Column:
    """A method: what it reads at every angle, and which of its parts are shown.

    Args:
        name: said above.
        views: one for each angle.
        parts: their numbers, in raster order from 0; at most eight.
    """

    name: str
    views: Sequence[RegionView]
    parts: Sequence[int]


def turn_object(image: Tensor, box: Tensor, mask: Tensor | None, angles: Sequence[float]) -> list[Turned]:
    """An object at every angle; its box is that around its turned mask, without a mask around its turned box.

    Args:
        image: ``Tensor[3, H, W]``, uint8 or floats in 0-1.
        box: ``Tensor[4]``, (x1, y1, x2, y2) in image pixels.
        mask: ``Tensor[H, W]``, or ``None``.
        angles: in degrees, counter-clockwise as seen.

    Example:
        >>> turned = turn_object(torch.zeros(3, 20, 30), torch.tensor([2.0, 4.0, 12.0, 8.0]), None, [0, 90])
        >>> [t.box.tolist() for t in turned]
        [[2.0, 4.0, 12.0, 8.0], [4.0, 18.0, 8.0, 28.0]]
    """
    floats = as_floats(image)
    rotations = [Rotation(float(angle), image.shape[1], image.shape[2]) for angle in angles]
    return [Turned(r, r.image(floats).clamp(0, 1), r.box(box, mask)) for r in rotations]


def turned_views(model: nn.Module, turned: Sequence[Turned], size: tuple[int, int]) -> list[RegionView]:
    """What a detector reads of an object at every angle, on images enlarged as that of (height, width) would be.

    Raises:
        ValueError: a detector that does not pool with a ``roikit.MultiScale``.
    """
    factor = resize_factor(model, size)
    views = []
    for one in turned:
        found = region_weights(model, read_maps(model, one.image, factor), one.box)
        grid, title = found.extractor.output_size, repr(found.extractor)
        views.append(RegionView(box_of(one.box), found.dense()[None], found.stride, grid, title))
    return views


def choose_parts(view: RegionView, most: int = 5) -> list[int]:
    """Parts that differ: first the one of the narrowest weights, then ever the one that is farthest from all chosen.

    Two parts are as far apart as 1 - the cosine of their weights, plus the distance of their weights' centres in
    diagonals of the box. Parts without a weight are left out.

    Example:
        >>> import roikit
        >>> from roikit.analysis import view_region
        >>> view = view_region(roikit.RoIAlign(3), torch.rand(1, 1, 12, 12), torch.tensor([1.5, 1.5, 10.5, 10.5]), 1)
        >>> sorted(choose_parts(view, 5))  # corners and centre
        [0, 2, 4, 6, 8]
    """
    weights = view.mean.double()
    flat = weights.flatten(1)
    total = flat.sum(1)
    there = (total > 1e-6).nonzero()[:, 0]
    if not len(there):
        return []
    flat = flat[there] / total[there][:, None]
    y, x = ((torch.arange(n) + 0.5) * s for n, s in zip(weights.shape[1:], view.stride, strict=True))
    places = torch.cartesian_prod(y, x).double()
    x1, y1, x2, y2 = view.box
    centres = flat @ places / max(float(np.hypot(x2 - x1, y2 - y1)), 1e-6)
    units = flat / flat.norm(dim=1, keepdim=True)
    apart = 1 - units @ units.T + torch.cdist(centres, centres)
    narrow = flat.square().sum(1)
    # rounded: parts that are alike but for the last bits are taken in their order
    chosen = [int((narrow * 1e4).round().argmax())]
    while len(chosen) < min(most, len(there)):
        distance = (apart[chosen].amin(0) * 1e4).round()
        distance[chosen] = -1
        chosen.append(int(distance.argmax()))
    return sorted(int(there[k]) for k in chosen)


def draw_turned(path: str | Path, turned: Sequence[Turned], columns: Sequence[Column], *, title: str = "") -> Path:
    """Write a PNG: a row for each angle, a column for each method, before them the object itself.

    In a cell the picture around the box is grey, and the weights of each part shown are laid over it in the part's
    colour, as strong as their share of the largest weight shown in that cell. A part has the same colour in all rows.

    Args:
        path: where to write; an existing file is replaced.
        turned: from `turn_object`.
        columns: with a view for each of ``turned``.
        title: a line above.

    Raises:
        ValueError: no angle, no method, or another number of views than angles; a part that does not exist.
    """
    _check(turned, columns)
    half = 0.6 * max(float(max(t.box[2] - t.box[0], t.box[3] - t.box[1])) for t in turned)
    top = (0.5 if title else 0.1) + 0.55
    width = 2 * MARGIN + NAME + (1 + len(columns)) * (SIDE + GAP) - GAP
    foot = "colour: weight of the part, as a share of the largest in its picture; frame: the region"
    width = max(width, MARGIN + NAME + 0.2 + text_width(foot, 8) / 72, 2 * MARGIN + text_width(title, 13) / 72)
    figure = new_figure(width, top + len(turned) * (SIDE + GAP) + 0.3)
    if title:
        write(figure, MARGIN, 0.14, title, 12, weight="bold")
    lefts = [MARGIN + NAME + k * (SIDE + GAP) for k in range(1 + len(columns))]
    write(figure, lefts[0], top - 0.48, "the object", 9.5, weight="bold")
    for left, column in zip(lefts[1:], columns, strict=True):
        _heading(figure, left, top - 0.48, column)
    for k, one in enumerate(turned):
        down = top + k * (SIDE + GAP)
        write(figure, MARGIN, down + SIDE / 2 - 0.08, f"{one.rotation.degrees:g}°", 10)
        cx, cy = float(one.box[0] + one.box[2]) / 2, float(one.box[1] + one.box[3]) / 2
        window = (cx - half, cy - half, cx + half, cy + half)
        picture = as_array(one.image)
        _cell(panel(figure, lefts[0], down, SIDE, SIDE), _colours(picture, window), window, one)
        for left, column in zip(lefts[1:], columns, strict=True):
            rgb = _tinted(picture, column.views[k], column.parts, window)
            _cell(panel(figure, left, down, SIDE, SIDE), rgb, window, one)
    write(figure, MARGIN + NAME, top + len(turned) * (SIDE + GAP) + 0.02, foot, 8, color=QUIET)
    return save_figure(figure, path)


def _check(turned: Sequence[Turned], columns: Sequence[Column]) -> None:
    if not turned or not columns:
        raise ValueError("there is nothing to draw: give at least one angle and one method")
    for column in columns:
        if len(column.views) != len(turned):
            raise ValueError(f"{column.name}: {len(column.views)} views for {len(turned)} angles")
        count = column.views[0].weights.shape[1]
        for part in column.parts:
            if not 0 <= part < count:
                raise ValueError(f"{column.name} has no part {part}: it has {count}, counted from 0")
        if len(column.parts) > len(COLOURS):
            raise ValueError(f"{len(column.parts)} parts, but there are colours for {len(COLOURS)}")


def _heading(figure: Any, left: float, top: float, column: Column) -> None:
    """A method's name, shrunk to its column, and its parts in their colours."""
    size = min(9.5, 9.5 * SIDE * 72 / text_width(column.name, 11.4))
    write(figure, left, top, column.name, size, weight="bold")
    write(figure, left, top + 0.22, "part", 8, color=QUIET)
    across = left + 0.29
    for part, colour in zip(column.parts, COLOURS, strict=False):
        style = {"facecolor": colour, "edgecolor": "none", "pad": 1.5}
        write(figure, across, top + 0.22, str(part), 8, color="white", weight="bold", bbox=style)
        across += text_width(str(part), 8) / 72 + 0.09


def _cell(axes: Any, rgb: np.ndarray, window: tuple[float, float, float, float], one: Turned) -> None:
    x1, y1, x2, y2 = window
    axes.imshow(rgb, extent=(x1, x2, y2, y1), interpolation="antialiased")
    box = one.box.tolist()
    outline(axes, (box[0], box[1], box[2], box[3]), INK, 1.2)
    axes.set_xlim(x1, x2)
    axes.set_ylim(y2, y1)


def _tinted(
    picture: np.ndarray, view: RegionView, parts: Sequence[int], window: tuple[float, float, float, float]
) -> np.ndarray:
    rgb = _base(picture, window, PIXELS)
    shown = view.mean.abs().numpy()[list(parts)]
    peak = float(shown.max(initial=0)) or 1.0
    for values, colour in zip(shown / peak, COLOURS, strict=False):
        rgb = _tint(rgb, _cells(values, view.stride, window, PIXELS), colour)
    return rgb


def _colours(picture: np.ndarray, window: tuple[float, float, float, float]) -> np.ndarray:
    """The picture in the window, in its colours; paper beyond its border."""
    height, width = picture.shape[:2]
    x, y = (
        window[k] + (np.arange(PIXELS) + 0.5) / PIXELS * (window[k + 2] - window[k]) for k in (0, 1)
    )  # as weight_panels places its pixels
    inside = ((y >= 0) & (y < height))[:, None] & ((x >= 0) & (x < width))[None, :]
    rows, cols = np.clip(y.astype(int), 0, height - 1), np.clip(x.astype(int), 0, width - 1)
    return np.where(inside[..., None], picture[rows[:, None], cols[None, :]], 0.97)
