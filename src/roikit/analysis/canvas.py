"""Figures without a global state, colours of classes, files written whole or not at all."""

from __future__ import annotations

import colorsys
import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

INK, QUIET = "#1b1f24", "#6a737d"
# bright, so that they stand out of photographs; text on them is dark
PALETTE = (
    "#ff5a5f", "#2ec4ff", "#ffd23f", "#5be37d", "#ff8de6", "#ff9f40", "#a48bff", "#16e0bd", "#e8e8e8", "#c9e265",
)  # fmt: skip


def class_colour(label: int) -> str:
    """The colour of a class by its label (1..n), the same in every picture."""
    if label <= len(PALETTE):
        return PALETTE[(label - 1) % len(PALETTE)]
    red, green, blue = colorsys.hsv_to_rgb((label * 0.618034) % 1.0, 0.55, 1.0)
    return f"#{round(red * 255):02x}{round(green * 255):02x}{round(blue * 255):02x}"


def new_figure(width: float, height: float, dpi: int = 120) -> Any:
    """An Agg figure of so many inches, which the global state of pyplot never sees."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=dpi, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Any, path: str | Path) -> Path:
    """Write a PNG whole: an interrupted run leaves no half of one."""
    path = Path(path)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        partial.write_bytes(buffer.getvalue())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def panel(figure: Any, left: float, top: float, width: float, height: float) -> Any:
    """Axes placed in inches from the upper left corner of the figure, without ticks."""
    across, down = figure.get_size_inches()
    axes = figure.add_axes((left / across, 1 - (top + height) / down, width / across, height / down))
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    return axes


def write(figure: Any, left: float, top: float, text: str, size: float = 9, **style: Any) -> None:
    """Text in inches from the upper left corner of the figure; `top` is its upper edge."""
    across, down = figure.get_size_inches()
    style = {"va": "top", "color": INK} | style
    figure.text(left / across, 1 - top / down, text, fontsize=size, **style)


def text_width(text: str, size: float) -> float:
    """The width of a text of that font size, in typographic points."""
    from matplotlib.font_manager import findfont, get_font

    font = get_font(findfont("sans"))
    font.set_size(10 * size, 72)  # large, so that hinting does not round the widths of letters
    font.set_text(text)
    return font.get_width_height()[0] / 640


def as_array(image: Tensor) -> np.ndarray:
    """An image tensor as float32 ``[H, W, 3]`` in 0-1."""
    picture = image.detach().cpu().permute(1, 2, 0)
    return (picture.float() / 255 if image.dtype == torch.uint8 else picture.float().clamp(0, 1)).numpy()
