"""``roikit::tap_pool`` and its three companions: explicit taps in, derivatives in everything.

T(x, rows, cols, g) = Σ g · rows · cols · x is linear in each argument. The four operators are its partial derivatives
∂T/∂g (pool), ∂T/∂x (spread), ∂T/∂rows and ∂T/∂cols; the derivative of each is the other three with its own cotangent
put in its place. So reverse mode is closed: every order, from four sums.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..maps import is_channels_last
from ..register import operator
from ..transforms import needs_plain_torch
from ..trilinear import flatten, maps_like, unflatten
from . import backend, reference
from .backend import Geometry
from .fused import fake_pooled

# What every operator is told besides T's arguments.
_FIXED = "Tensor batch, Tensor level, Tensor row_window, Tensor col_window"


def _geometry(batch, level, row_window, col_window, rows, cols):
    bins = (row_window.shape[1], col_window.shape[1])
    return Geometry(batch, level, bins, taps=(rows, row_window, cols, col_window))


def _pool(maps, rows, cols, batch, level, row_window, col_window):
    return backend.pool(maps, _geometry(batch, level, row_window, col_window, rows, cols))


def _pool_fake(maps, rows, cols, batch, level, row_window, col_window):
    return fake_pooled(maps, batch.shape[0], (row_window.shape[1], col_window.shape[1]))


def _spread(rows, cols, grad, batch, level, row_window, col_window, shapes, last):
    return backend.spread(grad, _geometry(batch, level, row_window, col_window, rows, cols), unflatten(shapes), last)


def _spread_fake(rows, cols, grad, batch, level, row_window, col_window, shapes, last):
    return maps_like(grad, unflatten(shapes), last)


def _rows(maps, cols, grad, batch, level, row_window, col_window, width):
    geometry = _geometry(batch, level, row_window, col_window, cols, cols)
    return backend.grad_taps(maps, grad, geometry, 0, width)


def _rows_fake(maps, cols, grad, batch, level, row_window, col_window, width):
    return cols.new_empty(batch.shape[0], row_window.shape[1], width)


def _cols(maps, rows, grad, batch, level, row_window, col_window, width):
    geometry = _geometry(batch, level, row_window, col_window, rows, rows)
    return backend.grad_taps(maps, grad, geometry, 1, width)


def _cols_fake(maps, rows, grad, batch, level, row_window, col_window, width):
    return rows.new_empty(batch.shape[0], col_window.shape[1], width)


def _derivative(which: str, t: dict[str, Any], fixed: Sequence[Tensor], shapes: list[int], last: bool) -> Any:
    """∂T/∂which, from the other three arguments in ``t``."""
    if which == "grad":
        return _tap_pool(t["maps"], t["rows"], t["cols"], *fixed)
    if which == "maps":
        return _tap_spread(t["rows"], t["cols"], t["grad"], *fixed, shapes, last)
    if which == "rows":
        return _tap_rows(t["maps"], t["cols"], t["grad"], *fixed, max(shapes[2::4]))
    return _tap_cols(t["maps"], t["rows"], t["grad"], *fixed, max(shapes[3::4]))


def _differentiation(own: str, names: tuple[str, str, str]) -> tuple[Any, Any]:
    """(backward, save) of ∂T/∂own, an operator whose first three inputs are ``names``."""

    def save(ctx, inputs, output):
        given = dict(zip(names, inputs, strict=False))
        ctx.fixed_count, ctx.extra = 4, len(inputs) - 7
        if own == "maps":
            ctx.shapes, ctx.last = list(inputs[7]), inputs[8]
        else:
            ctx.shapes, ctx.last = flatten(given["maps"]), is_channels_last(given["maps"][0])
        ctx.levels = len(given["maps"]) if "maps" in given else 0
        flat = [t for name in names for t in (given[name] if name == "maps" else [given[name]])]
        ctx.save_for_backward(*inputs[3:7], *flat)

    def backward(ctx, cotangent):
        fixed, flat = ctx.saved_tensors[:4], list(ctx.saved_tensors[4:])
        t: dict[str, Any] = {own: list(cotangent) if own == "maps" else cotangent}
        for name in names:
            t[name] = [flat.pop(0) for _ in range(ctx.levels)] if name == "maps" else flat.pop(0)
        wanted = ctx.needs_input_grad
        found: list[Any] = []
        for i, name in enumerate(names):
            if name == "maps" and not any(wanted[i]):
                found.append([None] * ctx.levels)  # torch wants a list where a list was given
            else:
                found.append(_derivative(name, t, fixed, ctx.shapes, ctx.last) if wanted[i] else None)
        return (*found, *[None] * (4 + ctx.extra))

    return backward, save


_tap_pool = operator(
    f"tap_pool(Tensor[] maps, Tensor rows, Tensor cols, {_FIXED}) -> Tensor",
    _pool, _pool_fake, *_differentiation("grad", ("maps", "rows", "cols")),
)  # fmt: skip
_tap_spread = operator(
    f"tap_spread(Tensor rows, Tensor cols, Tensor grad, {_FIXED}, SymInt[] shapes, bool last) -> Tensor[]",
    _spread, _spread_fake, *_differentiation("maps", ("rows", "cols", "grad")),
)  # fmt: skip
_tap_rows = operator(
    f"tap_rows(Tensor[] maps, Tensor cols, Tensor grad, {_FIXED}, SymInt width) -> Tensor",
    _rows, _rows_fake, *_differentiation("rows", ("maps", "cols", "grad")),
)  # fmt: skip
_tap_cols = operator(
    f"tap_cols(Tensor[] maps, Tensor rows, Tensor grad, {_FIXED}, SymInt width) -> Tensor",
    _cols, _cols_fake, *_differentiation("cols", ("maps", "rows", "grad")),
)  # fmt: skip


def tap_pool(
    maps: Sequence[Tensor],
    batch: Tensor,
    level: Tensor,
    rows: Tensor,
    row_window: Tensor,
    cols: Tensor,
    col_window: Tensor,
) -> Tensor:
    """Pool RoIs whose taps are given.

    Args:
        maps: one ``Tensor[B, C, H_l, W_l]`` per level.
        batch, level: ``Tensor[R]`` int64.
        rows, cols: ``Tensor[R, h, N]`` and ``Tensor[R, w, M]``, N ≥ every H_l and M ≥ every W_l.
        row_window, col_window: ``Tensor[R, h, 2]`` and ``Tensor[R, w, 2]`` int32: taps count only in [first, stop), and
            have a gradient only there.

    Returns:
        ``Tensor[R, C, h, w]`` in the maps' dtype.
    """
    if needs_plain_torch():
        taps = (reference.windowed(rows, row_window), reference.windowed(cols, col_window))
        return reference.pool(maps, batch, level, *(t.to(maps[0].dtype) for t in taps))
    # The taps' gradients are as wide as the largest map.
    height, width = max(x.shape[2] for x in maps), max(x.shape[3] for x in maps)
    return _tap_pool(list(maps), rows[..., :height], cols[..., :width], batch, level, row_window, col_window)


def full_window(taps: Tensor) -> Tensor:
    """A window over all cells, for taps of which nothing is known."""
    first = torch.zeros((), dtype=torch.int32, device=taps.device)
    return torch.stack([first, first + taps.shape[-1]]).expand(*taps.shape[:2], 2)
