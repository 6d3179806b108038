"""Pictures that show other things than one extractor's weights: max pooling's choice, the limit of RoI Align, a
deformable convolution's samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

import roikit
from roikit.analysis import view_region

from .deformable import deformable_convolution
from .rows import rows_of, smooth_noise
from .sheet import BOX, HEIGHT, PARTS, WIDTH, Row, Small, corners, outline, save_rows


def max_pool(path: Path) -> None:
    """Which cells win, in one channel and over many."""
    title, features = "Every channel takes the largest cell of each part", smooth_noise()
    (row,) = rows_of(title, roikit.RoIPool(2), features, "the first of 64 channels; the cells of each part")
    (bins,) = rows_of("", roikit.RoIPool(2, mode="average"))

    def draw(axes: Any) -> None:
        row.draw(axes)
        bins.draw(axes)

    save_rows([Row(row.title, row.caption, draw, row.smalls, row.outline, row.key)], path)


def limit_of_samples(path: Path) -> None:
    """Precise RoI Pooling, and RoI Align's samples on their way to it."""
    first = rows_of("Every point of a bin counts the same", roikit.PrRoIPool(2))
    x = torch.zeros(1, 1, HEIGHT, WIDTH)
    exact = view_region(roikit.PrRoIPool(2), x, torch.tensor(BOX), 1).mean[0].numpy()

    def draw(axes: Any) -> None:
        x1, y1, x2, y2 = (v + 0.5 for v in BOX)  # position v is the centre of cell v
        for samples, size, colour in ((8, 1.6, "#8a93a0"), (2, 4, PARTS[1]), (1, 6, PARTS[0])):
            steps = [(s + 0.5) / samples / 2 for s in range(samples)]
            points = [(x1 + u * (x2 - x1), y1 + v * (y2 - y1)) for u in steps for v in steps]
            axes.plot(*zip(*points, strict=True), "o", color=colour, markersize=size, zorder=3)
        outline(axes, corners((x1, y1, x2, y2)), 1.2)

    smalls = []
    for samples in (1, 2, 8, 0):
        extractor = roikit.RoIAlign(2, samples, aligned=False) if samples else roikit.PrRoIPool(2)
        values = view_region(extractor, x, torch.tensor(BOX), 1).mean[0].numpy()
        off = 50 * np.abs(values - exact).sum()
        times = f"{samples}×{samples} samples" if samples > 1 else "1 sample"
        smalls.append(Small(f"{times}: {off:.0f}% are elsewhere" if samples else "PrRoIPool", values, PARTS[0]))
    text = "samples in the upper left part: 1, 2×2, 8×8"
    save_rows([*first, Row("The limit of RoI Align's samples", text, draw, smalls)], path)


DRAWN = {
    "max-pool.png": max_pool,
    "pr-roi-pool.png": limit_of_samples,
    "deformable.png": deformable_convolution,
}
