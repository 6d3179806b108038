"""Attention pooling a chunk of RoIs at a time: weights are made, used and forgotten, R × K × H × W is never stored.

The sums are matrix products, which the linear algebra library of the device does best; what is not one is gathering.
The RoIs of a chunk share their image, so the cells outside them (or the whole map) are read once for all of them; the
cells inside, where a support is sampled, are gathered for each RoI. Which RoIs share what is decided by Python, so a
call waits for a GPU once, when it reads their numbers (``plan``).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ...boxes import constant
from .. import indices

BUDGET, BUDGET_ELSEWHERE = 1 << 19, 1 << 27  # weights of a chunk: on a CPU few enough to stay in its cache
SIDES = (1, 2, 3, 4, 6, 8, 11, 14, 16)  # and multiples of 8: own grids are padded to these, and chunks share one size


def _padded(count: int) -> int:
    return next((side for side in SIDES if count <= side), -(-count // 8) * 8)


@dataclasses.dataclass(frozen=True)
class Own:
    """The cells inside each of r RoIs: a grid of n × m places, of which some are padding."""

    rows: Tensor  # [r, n] int64: the row of the map of each place
    cols: Tensor  # [r, m]
    row_pads: Tensor  # [r, n] bool: no such row
    col_pads: Tensor
    cells: Tensor  # [r, n·m]: v·W + u
    ranges: list[tuple[int, ...]]  # of each RoI: rows from, to, columns from, to, steps


@dataclasses.dataclass(frozen=True)
class Chunk:
    """Some RoIs ``which`` of one image and one level.

    Args:
        step: of the grid of cells that they share; 0: they share none.
        hole: bool [r, places of that grid], what is left out of it for each RoI; ``None`` leaves out nothing.
        own: the cells that they do not share.

    A list of "sides" below has the shared cells first, if there are any, then the own ones.
    """

    level: int
    image: int
    which: Tensor
    step: int
    hole: Tensor | None
    own: Own | None

    def logits(self, rows: Tensor, cols: Tensor, bias: Tensor | None, masked: bool = True) -> Tensor:
        """rows [R, K, H] + columns [R, K, W] + bias [K, H, W] at the chunk's cells: [r, K, P]."""
        mine, across = rows[self.which], cols[self.which]
        parts = []
        if self.step:
            s = self.step
            part = mine[:, :, ::s, None] + across[:, :, None, ::s]
            if bias is not None:
                part += bias[:, ::s, ::s]
            part = part.flatten(2)
            parts.append(
                part.masked_fill_(self.hole[:, None], -torch.inf) if masked and self.hole is not None else part
            )
        if self.own is not None:
            own, parts_of = self.own, rows.shape[1]
            down = mine.gather(2, own.rows[:, None].expand(-1, parts_of, -1))
            right = across.gather(2, own.cols[:, None].expand(-1, parts_of, -1))
            if masked:
                down.masked_fill_(own.row_pads[:, None], -torch.inf)
                right.masked_fill_(own.col_pads[:, None], -torch.inf)
            part = (down[:, :, :, None] + right[:, :, None, :]).flatten(2)
            if bias is not None:
                part += bias.flatten(1)[:, self.own.cells].transpose(0, 1)
            parts.append(part)
        return parts[0] if len(parts) == 1 else torch.cat(parts, 2)

    def weights(self, rows: Tensor, cols: Tensor, bias: Tensor | None) -> Tensor:
        """The softmax over the chunk's cells: [r, K, P]; 0 where no cell is left."""
        logits = self.logits(rows, cols, bias)
        w = torch.softmax(logits, -1)
        if self.own is not None or self.hole is not None or self.bounded(rows, cols):
            w.masked_fill_(logits.amax(-1, keepdim=True) == -torch.inf, 0)
        return w

    def bounded(self, rows: Tensor, cols: Tensor) -> bool:
        """Some logits may be -∞."""
        if rows.device.type != "cpu":
            return True  # looking would wait for the GPU
        return bool((rows[self.which].amin() == -torch.inf) | (cols[self.which].amin() == -torch.inf))

    def values(self, cells: Tensor) -> list[Tensor]:
        """The features [H, W, C] at the chunk's cells: [P, C] shared, [r, P, C] of each RoI's own."""
        sides = []
        if self.step:
            sides.append(cells[:: self.step, :: self.step].flatten(0, 1))
        if self.own is not None:
            found = cells.flatten(0, 1).index_select(0, self.own.cells.flatten())
            sides.append(found.unflatten(0, self.own.cells.shape))
        return sides

    def to_values(self, w: Tensor, grad: Tensor) -> list[Tensor]:
        """The transpose of ``pooled`` and ``values``: Σ w[r,k,p] · grad[r,k,c] at the chunk's cells, for ``add``."""
        shared, own = self._split(w)
        sides = []
        if shared is not None:
            sides.append(shared.flatten(0, 1).t() @ grad.flatten(0, 1))
        if own is not None:
            sides.append(torch.bmm(own.transpose(1, 2), grad))
        return sides

    def to_logits(self, rows: Tensor, cols: Tensor, change: Tensor) -> list[Tensor]:
        """The transpose of ``logits``: writes sums of ``change`` [r, K, P] into the chunk's rows [R, K, H] and columns
        [R, K, W], and returns what the bias gets at the chunk's cells, for ``add``."""
        mine, across = rows.new_zeros(rows[self.which].shape), cols.new_zeros(cols[self.which].shape)
        shared, own = self._split(change)
        sides = []
        if shared is not None:
            s = self.step
            grid = shared.unflatten(2, (-(-rows.shape[2] // s), -1))
            mine[:, :, ::s] += grid.sum(3)
            across[:, :, ::s] += grid.sum(2)
            sides.append(shared.sum(0).t())
        if own is not None and self.own is not None:
            parts = change.shape[1]
            grid = own.unflatten(2, (self.own.rows.shape[1], -1))
            mine.scatter_add_(2, self.own.rows[:, None].expand(-1, parts, -1), grid.sum(3))
            across.scatter_add_(2, self.own.cols[:, None].expand(-1, parts, -1), grid.sum(2))
            sides.append(own.transpose(1, 2))
        rows[self.which], cols[self.which] = mine, across
        return sides

    def add(self, into: Tensor, sides: Sequence[Tensor]) -> None:
        """Add [P, C] at the shared cells and [r, P, C] at the own ones to the cells of ``into`` [H, W, C]."""
        if into.device.type != "cpu":
            self.add_at_once(into, sides)
            return
        # Many small sums, for which torch would wake its threads.
        cells, parts = into.numpy(), [side.numpy() for side in sides]
        if self.step:
            target = cells[:: self.step, :: self.step]
            target += parts[0].reshape(target.shape)
        if self.own is not None:
            n, m = self.own.rows.shape[1], self.own.cols.shape[1]
            grids = parts[-1].reshape(len(self.own.ranges), n, m, parts[-1].shape[-1])
            for grid, (v0, v1, u0, u1, step_v, step_u) in zip(grids, self.own.ranges, strict=True):
                target = cells[v0:v1:step_v, u0:u1:step_u]
                target += grid[: target.shape[0], : target.shape[1]]

    def add_at_once(self, into: Tensor, sides: Sequence[Tensor]) -> None:
        """``add`` in a few large operators; their order of sums is torch's affair (``index_add_``)."""
        if self.step:
            target = into[:: self.step, :: self.step]
            target += sides[0].reshape(target.shape)
        if self.own is not None:
            pads = (self.own.row_pads[:, :, None] | self.own.col_pads[:, None, :]).flatten(1)
            part = sides[-1].masked_fill(pads[:, :, None], 0)  # a place of padding stands on the map's last cells
            into.flatten(0, 1).index_add_(0, self.own.cells.flatten(), part.flatten(0, 1))

    def _split(self, w: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """[r, K, P] as (at the shared cells, at the own cells)."""
        if self.own is None:
            return w, None
        if not self.step:
            return None, w
        count = w.shape[2] - self.own.cells.shape[1]
        return w[:, :, :count], w[:, :, count:]


def pooled(w: Tensor, sides: Sequence[Tensor]) -> Tensor:
    """Σ_p w[r,k,p] · x[p,c]: [r, K, C]."""
    out, start = None, 0
    for x in sides:
        stop = start + x.shape[-2]
        part = w[:, :, start:stop]
        found = part.flatten(0, 1).mm(x).unflatten(0, part.shape[:2]) if x.ndim == 2 else torch.bmm(part, x)
        out, start = found if out is None else out.add_(found), stop
    assert out is not None
    return out


def against(grad: Tensor, sides: Sequence[Tensor]) -> Tensor:
    """Σ_c grad[r,k,c] · x[p,c]: [r, K, P]."""
    found = [
        grad.flatten(0, 1).mm(x.t()).unflatten(0, grad.shape[:2]) if x.ndim == 2 else torch.bmm(grad, x.transpose(1, 2))
        for x in sides
    ]
    return found[0] if len(found) == 1 else torch.cat(found, 2)


def plan(
    batch: Tensor, level: Tensor, table: Tensor | None, parts: int, images: int, sizes: Sequence[tuple[int, int]]
) -> Iterator[Chunk]:
    """All RoIs, in chunks whose weights fit the budget.

    Args:
        batch, level: the image and level of each RoI.
        table: of ``Samples``; ``None``: every RoI reads its whole map.
        parts: K.
        images: B.
        sizes: (H, W) of each level.

    Raises:
        ValueError: a RoI of an image or level that is not there.
    """
    device = batch.device
    budget = BUDGET if device.type == "cpu" else BUDGET_ELSEWHERE
    groups: dict[tuple[int, ...], list[int]] = {}
    where = torch.stack([level, batch], 1)
    if table is not None:  # where values are not checked: nothing outside the map is read
        table = torch.maximum(table, constant((0, 0, 0, 0, 1, 1, 0), torch.int64, device))
        most = max(max(size) for size in sizes)
        last = constant(tuple((h, h, w, w, most, most, most) for h, w in sizes), torch.int64, device)
        table = torch.minimum(table, last[level.clamp(0, len(sizes) - 1)])
    found = (where if table is None else torch.cat([where, table], 1)).cpu()
    indices.check(found[:, 1], found[:, 0], images, len(sizes))
    rows = found.tolist()
    for r, (at, image, *line) in enumerate(rows):
        if not line:
            key: tuple[int, ...] = (at, image, 1, 0, 0)
        else:
            v0, v1, u0, u1, step_v, step_u, step_out = line
            counts = (-(-max(v1 - v0, 0) // step_v), -(-max(u1 - u0, 0) // step_u))
            none = (0, 0) if step_out else (1, 1)  # a RoI without any cell still has a place, of padding
            key = (at, image, step_out, *(map(_padded, counts) if min(counts) else none))
        groups.setdefault(key, []).append(r)
    order = _index([r for _, members in sorted(groups.items()) for r in members], device)
    end = 0
    for (at, image, step, n, m), members in sorted(groups.items()):
        height, width = sizes[at]
        shared = -(-height // step) * -(-width // step) if step else 0
        size = max(1, budget // max(1, parts * (shared + n * m)))
        begin, end = end, end + len(members)
        for start in range(0, len(members), size):
            which = order[begin:end][start : start + size]
            if table is None:
                yield Chunk(at, image, which, 1, None, None)
            else:
                mine = table[which]
                ranges = [tuple(rows[r][2:8]) for r in members[start : start + size]]
                own = _own(mine, ranges, n, m, height, width)
                yield Chunk(at, image, which, step, _hole(mine, step, height, width), own)


def _index(values: list[int], device: torch.device) -> Tensor:
    """int64, copied without waiting for a GPU."""
    found = torch.tensor(values, dtype=torch.int64)
    return found.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else found.to(device)


def _hole(table: Tensor, step: int, height: int, width: int) -> Tensor | None:
    """The places of the shared grid that lie inside each RoI."""
    if not step:
        return None
    v0, v1, u0, u1 = table[:, :4].unsqueeze(2).unbind(1)
    v, u = (torch.arange(0, count, step, device=table.device) for count in (height, width))
    return (((v >= v0) & (v < v1))[:, :, None] & ((u >= u0) & (u < u1))[:, None, :]).flatten(1)


def _own(table: Tensor, ranges: list[tuple[int, ...]], n: int, m: int, height: int, width: int) -> Own | None:
    """The cells that each RoI keeps of its inside."""
    if not n:
        return None
    v0, v1, u0, u1, step_v, step_u = table[:, :6].unsqueeze(2).unbind(1)
    v = v0 + step_v * torch.arange(n, device=table.device)
    u = u0 + step_u * torch.arange(m, device=table.device)
    row_pads, col_pads = v >= v1, u >= u1
    v, u = v.clamp(0, height - 1), u.clamp(0, width - 1)
    return Own(v, u, row_pads, col_pads, (v[:, :, None] * width + u[:, None, :]).flatten(1), ranges)
