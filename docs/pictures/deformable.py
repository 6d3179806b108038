"""What a deformable convolution reads: the samples of its kernel, and how much each cell counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from roikit.layers import DeformConv

from .sheet import HEIGHT, PARTS, WIDTH, Row, Small, save_rows

AT = (3, 4)  # the cell (row, column) whose output is looked at
MOVES = (  # (y, x) of the nine samples, in cells: towards a thing that leans to the right
    (-0.9, 1.6), (-1.1, 1.3), (-1.3, 0.9), (-0.2, 0.6), (0.0, 0.0), (0.2, -0.6), (1.3, -0.9), (1.1, -1.3), (0.9, -1.6),
)  # fmt: skip
LOGITS = (3.0, 3.0, -3.0, -1.0, 3.0, -1.0, -3.0, 3.0, 3.0)


def layer(moves: Any, logits: Any = None) -> DeformConv:
    """A kernel of equal weights whose offsets, and logits if it is modulated, are these everywhere."""
    conv = DeformConv(1, 1, 3, padding=1, bias=False, modulated=logits is not None)
    torch.nn.init.constant_(conv.weight, 1 / 9)
    assert conv.offset.bias is not None
    conv.offset.bias.data = torch.cat([torch.tensor(moves).flatten(), torch.tensor(logits or ())])
    return conv


def read_by(*layers: DeformConv) -> np.ndarray:
    """How much every cell counts for one output of the layers, one after another."""
    x = torch.zeros(1, 1, HEIGHT, WIDTH, requires_grad=True)
    out = x
    for conv in layers:
        out = conv(out)
    (gradient,) = torch.autograd.grad(out[0, 0, AT[0], AT[1]], x)
    return gradient[0, 0].numpy()


def row_of(title: str, caption: str, conv: DeformConv) -> Row:
    with torch.no_grad():
        offset, factor = conv.predict(torch.zeros(1, 1, HEIGHT, WIDTH))
    moves = offset[0, :, AT[0], AT[1]].view(9, 2).tolist()
    sizes = [1.0] * 9 if factor is None else factor[0, :, AT[0], AT[1]].tolist()

    def draw(axes: Any) -> None:
        for k, ((dy, dx), size) in enumerate(zip(moves, sizes, strict=True)):
            y, x = AT[0] + k // 3 - 0.5, AT[1] + k % 3 - 0.5
            if abs(dy) + abs(dx) > 0:
                axes.plot([x, x + dx], [y, y + dy], color="#9aa2ad", linewidth=1.0, zorder=2)
                axes.plot(x, y, "o", markersize=4, markerfacecolor="white", markeredgecolor="#9aa2ad", zorder=2.5)
            axes.plot(x + dx, y + dy, "o", color=PARTS[0], markersize=9 * size**0.5, zorder=3)
        axes.plot(
            AT[1] + 0.5, AT[0] + 0.5, "s", markersize=14, markerfacecolor="none", markeredgecolor=PARTS[1], zorder=2.8
        )

    smalls = [
        Small("weights of cells, one layer, %", read_by(conv), PARTS[0]),
        Small("two layers in turn, %", read_by(conv, conv), PARTS[1]),
    ]
    return Row(title, caption, draw, smalls)


def deformable_convolution(path: Path) -> None:
    """At the start, moved, and faded."""
    still = [(0.0, 0.0)] * 9
    rows = [
        row_of("A convolution, or DeformConv(modulated=False) at the start", "nine samples about a cell", layer(still)),
        row_of("First version: every sample has moved by itself", "from where, to where", layer(MOVES)),
        row_of("Second version: and is multiplied by a factor", "as large as the factor", layer(MOVES, LOGITS)),
    ]
    save_rows(rows, path)
