"""The And-Or graph of a grid: every way to cut it into rectangles, and the best one by dynamic programming.

A node is a rectangle of cells. It is a terminal (kept whole) or an And of the two rectangles of one straight cut; the
Or between these picks the child with the best score. An And's score is the mean of its children's.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

Shape = tuple[int, int]
MOST = 1 << 24  # entries of a table of rectangles; the 784 of a 7×7 grid have 1.9 million


class Cut(NamedTuple):
    """A cut of a rectangle: the second part starts (down, across) cells from the first."""

    first: Shape
    second: Shape
    down: int
    across: int


def shapes(grid: Shape) -> list[Shape]:
    """Every rectangle's (height, width), the parts of a rectangle before it."""
    every = [(a, b) for a in range(1, grid[0] + 1) for b in range(1, grid[1] + 1)]
    return sorted(every, key=lambda shape: shape[0] * shape[1])


def cuts(shape: Shape) -> list[Cut]:
    a, b = shape
    rows = [Cut((i, b), (a - i, b), i, 0) for i in range(1, a)]
    return rows + [Cut((a, j), (a, b - j), 0, j) for j in range(1, b)]


def terminals(scores: Tensor, grid: Shape, temperature: float | None) -> dict[Shape, Tensor]:
    """How much each rectangle is a terminal of the parse tree.

    Args:
        scores: ``Tensor[R, h·w, h, w]``: how well each cell fits in a terminal of each shape, in the order of
            ``shapes``; a terminal's score is the mean over its cells.
        grid: (h, w).
        temperature: of a softmax at the Or-nodes; ``None`` takes the best child (the first of equals, a terminal
            before a cut).

    Returns:
        By shape (a, b), ``Tensor[R, h - a + 1, w - b + 1]`` by position: 1 for the best tree's terminals and 0
        otherwise, or probabilities, of which those of the rectangles around a cell sum to 1.
    """
    best: dict[Shape, Tensor] = {}
    chosen: dict[Shape, Tensor] = {}
    for number, shape in enumerate(shapes(grid)):
        whole = avg_pool2d(scores[:, number : number + 1], shape, 1)[:, 0]
        down, across = whole.shape[1:]
        children = [whole]
        for cut in cuts(shape):
            one = best[cut.first][:, :down, :across]
            other = best[cut.second][:, cut.down : cut.down + down, cut.across : cut.across + across]
            children.append((one + other) / 2)
        stacked = torch.stack(children, -1)
        if temperature is None:
            number_of = torch.arange(len(children), device=scores.device)  # one_hot would look at values
            pick = (number_of == stacked.argmax(-1, keepdim=True)).to(scores.dtype)
            best[shape] = stacked.amax(-1)
        else:
            pick = torch.softmax(stacked / temperature, -1)
            best[shape] = (pick * stacked).sum(-1)
        chosen[shape] = pick
    return _descend(chosen, grid)


def _descend(chosen: dict[Shape, Tensor], grid: Shape) -> dict[Shape, Tensor]:
    """From the whole grid down: how much each node is in the tree, of which its first child says how much is kept."""
    inside: dict[Shape, list[Tensor]] = {shape: [] for shape in chosen}
    inside[grid].append(torch.ones_like(chosen[grid][..., 0]))
    kept = {}
    for shape in reversed(shapes(grid)):
        share = torch.stack(inside[shape]).sum(0)[..., None] * chosen[shape]
        kept[shape] = share[..., 0]
        for child, cut in enumerate(cuts(shape), 1):
            part = share[..., child]
            for size, down, across in ((cut.first, 0, 0), (cut.second, cut.down, cut.across)):
                below = grid[0] - size[0] + 1 - down - part.shape[1]
                right = grid[1] - size[1] + 1 - across - part.shape[2]
                inside[size].append(pad(part, (across, right, down, below)))
    return kept


def mixing(kept: dict[Shape, Tensor], grid: Shape) -> Tensor:
    """``Tensor[R, K, K]``: each cell takes the mean of the cells of its terminal, by how much that is one."""
    h, w = grid
    totals: list[Tensor] = []
    shares: list[Tensor] = []
    tables: list[Tensor] = []  # [positions, K²]
    rows = 0
    for (a, b), share in kept.items():
        down, across = _covered(h, a, share), _covered(w, b, share)
        pairs = torch.einsum("yi,yj,xk,xl->yxikjl", down, down, across, across) / (a * b)
        tables.append(pairs.flatten(2).flatten(0, 1))
        shares.append(share.flatten(1))
        rows += tables[-1].shape[0]
        if rows * (h * w) ** 2 >= MOST or (a, b) == (1, 1):  # single cells come last
            totals.append(torch.cat(shares, 1) @ torch.cat(tables))
            shares, tables, rows = [], [], 0
    mixed = totals[0] if len(totals) == 1 else torch.stack(totals).sum(0)
    return mixed.unflatten(1, (h * w, h * w))


def _covered(cells: int, length: int, like: Tensor) -> Tensor:
    """[positions, cells]: 1 where a run of ``length`` cells covers a cell."""
    start = torch.arange(cells - length + 1, device=like.device)[:, None]
    at = torch.arange(cells, device=like.device)
    return ((at >= start) & (at < start + length)).to(like.dtype)
