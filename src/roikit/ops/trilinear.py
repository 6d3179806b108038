"""Registering a sum that is linear in features and in taps, so that reverse mode is closed.

A pooling T(x, rows, cols, g) = Σ g · rows · cols · x is linear in each argument. The four operators are its partial
derivatives ∂T/∂g (pool), ∂T/∂x (spread), ∂T/∂rows and ∂T/∂cols; the derivative of each is the other three with its own
cotangent put in its place: every order, from four sums. Where taps are not variables (a rule evaluated inside the
kernel) pool and spread alone are closed in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from .maps import is_channels_last
from .register import operator

Numbers = Sequence[int]


class Sums(Protocol):
    """What an operation computes. ``fixed`` are tensors that have no derivative, ``numbers`` settings."""

    def pool(self, maps: list[Tensor], taps: Sequence[Tensor], fixed: Sequence[Tensor], numbers: Numbers) -> Tensor: ...

    def spread(
        self,
        grad: Tensor,
        taps: Sequence[Tensor],
        fixed: Sequence[Tensor],
        numbers: Numbers,
        shapes: list[list[int]],
        last: bool,
    ) -> list[Tensor]: ...

    def grad_taps(
        self,
        maps: list[Tensor],
        other: Tensor,
        grad: Tensor,
        fixed: Sequence[Tensor],
        numbers: Numbers,
        axis: int,
        width: int,
    ) -> Tensor: ...

    def pooled_like(self, maps: list[Tensor], fixed: Sequence[Tensor], numbers: Numbers) -> Tensor: ...

    def taps_like(self, other: Tensor, fixed: Sequence[Tensor], axis: int, width: int) -> Tensor: ...


def unflatten(shapes: Sequence[int]) -> list[list[int]]:
    """[B, C, H, W, B, C, H, W, …] as one [B, C, H, W] per level."""
    return [list(shapes[i : i + 4]) for i in range(0, len(shapes), 4)]


def flatten(maps: Sequence[Tensor]) -> list[int]:
    return [size for x in maps for size in x.shape]


def maps_like(grad: Tensor, shapes: list[list[int]], last: bool) -> list[Tensor]:
    form = torch.channels_last if last else torch.contiguous_format
    return [torch.empty(s, dtype=grad.dtype, device=grad.device, memory_format=form) for s in shapes]


def register_pair(name: str, fixed: Sequence[str], sums: Sums) -> Callable[..., Tensor]:
    """``roikit::{name}_pool(maps, *fixed, numbers)`` and ``roikit::{name}_spread``, each other's derivative."""
    count = len(fixed)

    def pool(maps, *rest):
        return sums.pool(maps, (), rest[:count], rest[count])

    def pool_like(maps, *rest):
        return sums.pooled_like(maps, rest[:count], rest[count])

    def save_pool(ctx, inputs, output):
        maps, *tensors, ctx.numbers = inputs
        ctx.save_for_backward(*tensors)
        ctx.shapes, ctx.last = flatten(maps), is_channels_last(maps[0])

    def pool_backward(ctx, grad):
        found = spread_op(grad, *ctx.saved_tensors, ctx.numbers, ctx.shapes, ctx.last)
        return (found, *[None] * (count + 1))

    def spread(grad, *rest):
        numbers, shapes, last = rest[count:]
        return sums.spread(grad, (), rest[:count], numbers, unflatten(shapes), last)

    def spread_like(grad, *rest):
        return maps_like(grad, unflatten(rest[count + 1]), rest[count + 2])

    def save_spread(ctx, inputs, output):
        ctx.save_for_backward(*inputs[1 : count + 1])
        ctx.numbers = inputs[count + 1]

    def spread_backward(ctx, grads):
        return (pool_op(list(grads), *ctx.saved_tensors, ctx.numbers), *[None] * (count + 3))

    tensors = ", ".join(f"Tensor {tensor}" for tensor in fixed)
    pool_op = operator(
        f"{name}_pool(Tensor[] maps, {tensors}, int[] numbers) -> Tensor", pool, pool_like, pool_backward, save_pool
    )
    spread_op = operator(
        f"{name}_spread(Tensor grad, {tensors}, int[] numbers, SymInt[] shapes, bool last) -> Tensor[]",
        spread,
        spread_like,
        spread_backward,
        save_spread,
    )
    return pool_op


def register_four(name: str, fixed: Sequence[str], sums: Sums) -> Callable[..., Tensor]:
    """``roikit::{name}_pool(maps, rows, cols, *fixed, numbers)``, ``_spread``, ``_rows`` and ``_cols``.

    Returns:
        The pool operator, differentiable in maps, rows and cols to any order.
    """
    count = len(fixed)
    operators: dict[str, Callable[..., Any]] = {}

    def derivative(which, t, tensors, numbers, shapes, last):
        """∂T/∂which, from the other three arguments in ``t``."""
        if which == "grad":
            return operators["grad"](t["maps"], t["rows"], t["cols"], *tensors, numbers)
        if which == "maps":
            return operators["maps"](t["rows"], t["cols"], t["grad"], *tensors, numbers, shapes, last)
        other, width = ("cols", max(shapes[2::4])) if which == "rows" else ("rows", max(shapes[3::4]))
        return operators[which](t["maps"], t[other], t["grad"], *tensors, numbers, width)

    def differentiation(own: str, names: tuple[str, str, str]):
        """(backward, save) of ∂T/∂own, an operator whose first three inputs are ``names``."""

        def save(ctx, inputs, output):
            given = dict(zip(names, inputs, strict=False))
            ctx.numbers, ctx.extra = inputs[3 + count], len(inputs) - 3
            if own == "maps":
                ctx.shapes, ctx.last = list(inputs[4 + count]), inputs[5 + count]
            else:
                ctx.shapes, ctx.last = flatten(given["maps"]), is_channels_last(given["maps"][0])
            ctx.levels = len(given["maps"]) if "maps" in given else 0
            flat = [t for name in names for t in (given[name] if name == "maps" else [given[name]])]
            ctx.save_for_backward(*inputs[3 : 3 + count], *flat)

        def backward(ctx, cotangent):
            tensors, flat = ctx.saved_tensors[:count], list(ctx.saved_tensors[count:])
            t: dict[str, Any] = {own: list(cotangent) if own == "maps" else cotangent}
            for name in names:
                t[name] = [flat.pop(0) for _ in range(ctx.levels)] if name == "maps" else flat.pop(0)
            found: list[Any] = []
            for name, wanted in zip(names, ctx.needs_input_grad, strict=False):
                if name == "maps" and not any(wanted):
                    found.append([None] * ctx.levels)  # torch wants a list where a list was given
                else:
                    need = name == "maps" or wanted
                    found.append(derivative(name, t, tensors, ctx.numbers, ctx.shapes, ctx.last) if need else None)
            return (*found, *[None] * ctx.extra)

        return backward, save

    def tensors_of(rest):
        return rest[:count], rest[count]

    def pool(maps, rows, cols, *rest):
        return sums.pool(maps, (rows, cols), *tensors_of(rest))

    def pool_like(maps, rows, cols, *rest):
        return sums.pooled_like(maps, *tensors_of(rest))

    def spread(rows, cols, grad, *rest):
        tensors, numbers = tensors_of(rest)
        return sums.spread(grad, (rows, cols), tensors, numbers, unflatten(rest[count + 1]), rest[count + 2])

    def spread_like(rows, cols, grad, *rest):
        return maps_like(grad, unflatten(rest[count + 1]), rest[count + 2])

    def along(axis: int):
        def taps(maps, other, grad, *rest):
            tensors, numbers = tensors_of(rest)
            return sums.grad_taps(maps, other, grad, tensors, numbers, axis, rest[count + 1])

        def like(maps, other, grad, *rest):
            return sums.taps_like(other, rest[:count], axis, rest[count + 1])

        return taps, like

    tensors = ", ".join(f"Tensor {tensor}" for tensor in fixed) + ", int[] numbers"
    operators["grad"] = operator(
        f"{name}_pool(Tensor[] maps, Tensor rows, Tensor cols, {tensors}) -> Tensor",
        pool,
        pool_like,
        *differentiation("grad", ("maps", "rows", "cols")),
    )
    operators["maps"] = operator(
        f"{name}_spread(Tensor rows, Tensor cols, Tensor grad, {tensors}, SymInt[] shapes, bool last) -> Tensor[]",
        spread,
        spread_like,
        *differentiation("maps", ("rows", "cols", "grad")),
    )
    operators["rows"] = operator(
        f"{name}_rows(Tensor[] maps, Tensor cols, Tensor grad, {tensors}, SymInt width) -> Tensor",
        *along(0),
        *differentiation("rows", ("maps", "cols", "grad")),
    )
    operators["cols"] = operator(
        f"{name}_cols(Tensor[] maps, Tensor rows, Tensor grad, {tensors}, SymInt width) -> Tensor",
        *along(1),
        *differentiation("cols", ("maps", "rows", "grad")),
    )
    return operators["grad"]
