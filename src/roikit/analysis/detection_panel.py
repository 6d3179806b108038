"""One image with boxes, masks and names."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from .canvas import INK, class_colour, panel, text_width

FONT = 7.5  # points
DASHES = (0, (3.2, 1.6))
MANY = 12  # boxes; above, lines are thinner and names smaller, or left out


@dataclasses.dataclass(frozen=True)
class Shown:
    """The boxes of one panel."""

    boxes: np.ndarray  # [N, 4]
    labels: list[int]
    texts: list[str]
    good: list[bool]  # solid, not dashed
    quiet: list[bool]  # crowds: thin and dotted
    masks: np.ndarray | None  # bool [N, H, W]
    corners: np.ndarray | None = None  # [N, 4, 2], of oriented boxes, which are drawn instead of the upright ones


def draw_panel(
    figure: Any,
    picture: np.ndarray,
    shown: Shown,
    place: tuple[float, float, float, float],
    empty: str = "",
) -> None:
    """The image with masks, boxes and names.

    Args:
        picture: ``[H, W, 3]`` in 0-1.
        place: left, top, width, height in inches; the image is fitted into it, centred.
        empty: said where there is nothing to show.
    """
    from matplotlib.patches import Polygon

    left, top, width, height = place
    rows, columns = picture.shape[:2]
    scale = min(width / columns, height / rows)  # inches per image pixel
    axes = panel(figure, left + (width - columns * scale) / 2, top, columns * scale, rows * scale)
    axes.imshow(_with_masks(picture, shown), extent=(0, columns, rows, 0), interpolation="antialiased", aspect="auto")
    axes.set_xlim(0, columns)
    axes.set_ylim(rows, 0)
    order = np.argsort(-np.prod(shown.boxes[:, 2:] - shown.boxes[:, :2], axis=1), kind="stable")
    crowded = len(shown.labels) > MANY
    for i in order:  # large ones first, so that small ones lie on top
        x1, y1, x2, y2 = shown.boxes[i]
        outline = np.array([(x1, y1), (x2, y1), (x2, y2), (x1, y2)]) if shown.corners is None else shown.corners[i]
        thick = 1.5 if shown.quiet[i] else (1.2 if crowded else 1.8)
        line = ":" if shown.quiet[i] else "-" if shown.good[i] else DASHES
        # a dark line under the coloured one, which else is lost on a ground of its colour
        shade = "#00000044" if shown.quiet[i] else "#000000aa"
        axes.add_patch(Polygon(outline, fill=False, edgecolor=shade, linewidth=thick + 1.3))
        colour = class_colour(shown.labels[i])
        axes.add_patch(Polygon(outline, fill=False, edgecolor=colour, linewidth=thick, linestyle=line))
    _labels(axes, shown, 1 / scale / 72, rows, columns)
    if empty and not shown.labels:
        axes.text(
            columns / 2, rows - 8 / scale / 72, empty, ha="center", va="bottom", fontsize=8.5, color="white",
            bbox={"boxstyle": "round,pad=0.35", "facecolor": "#000000aa", "edgecolor": "none"},
        )  # fmt: skip


def _with_masks(picture: np.ndarray, shown: Shown) -> np.ndarray:
    from matplotlib.colors import to_rgb

    if shown.masks is None or not len(shown.masks):
        return picture
    picture = picture.copy()
    for mask, label in zip(shown.masks, shown.labels, strict=True):
        picture[mask] = 0.5 * picture[mask] + 0.5 * np.array(to_rgb(class_colour(label)), np.float32)
    return picture


def _labels(axes: Any, shown: Shown, point: float, rows: int, columns: int) -> None:
    """Names where there is room for them: above a box, under it or inside; shortened or left out in a crowd.

    Args:
        point: image pixels per typographic point.
    """
    from matplotlib.patches import Rectangle

    size = FONT if len(shown.labels) <= MANY else FONT - 1.5
    tall = 1.45 * size * point
    taken: list[tuple[float, float, float, float]] = []
    for i in np.argsort([shown.good[k] for k in range(len(shown.labels))], kind="stable"):
        x1, y1, x2, y2 = shown.boxes[i]
        name, _, score = shown.texts[i].rpartition(" ")
        mark = "" if shown.good[i] else "✗ "
        texts = [mark + shown.texts[i]]
        if name and score.replace(".", "").isdigit():
            texts.append(mark + score.lstrip("0"))
        place = None
        for text in texts:
            wide = (1.04 * text_width(text, size) + 0.6 * size) * point
            x = min(max(x1, 0), columns - wide)
            spots = [(x, y1 - tall), (x, y2), (x, y1)] if len(shown.labels) <= MANY else [(x, y1 - tall), (x, y1)]
            free = [
                (x, y)
                for x, y in spots
                if 0 <= y <= rows - tall and x >= 0 and not any(_meet((x, y, x + wide, y + tall), t) for t in taken)
            ]
            if free and wide <= max(3.0 * (x2 - x1), columns / 4):
                place = (*free[0], wide, text)
                break
        if place is None:
            continue
        x, y, wide, text = place
        taken.append((x, y, x + wide, y + tall))
        colour = class_colour(shown.labels[i])
        face, ink = (colour, INK) if shown.good[i] else ("#14171a", colour)
        axes.add_patch(Rectangle((x, y), wide, tall, facecolor=face, edgecolor="none", alpha=0.92, zorder=3))
        axes.text(x + 0.3 * size * point, y + tall / 2, text, fontsize=size, color=ink, va="center_baseline", zorder=4)


def _meet(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
