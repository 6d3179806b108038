"""Registering a sum with torch, once: schema, shapes, derivatives of every order, and which backend computes it.

A pooling T(x, rows, cols, g) = Σ g · rows · cols · x is linear in each argument. Its four operators are the partial
derivatives ∂T/∂g (pool), ∂T/∂x (spread), ∂T/∂rows and ∂T/∂cols; the derivative of each is the other three with its own
cotangent put in its place: reverse mode of every order, from four sums. Where taps are not variables (a rule evaluated
inside the kernel, cells that are chosen) pool and spread alone are closed in the same way.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, Protocol

import torch
from torch import Tensor

from .. import modes
from . import backend, indices
from .maps import is_channels_last, laid, sum_dtype

Numbers = Sequence[int]
Shapes = Sequence[Sequence[int]]  # [B, C, H, W] of each level

_library = torch.library.Library("roikit", "DEF")


def define(
    schema: str,
    implementation: Callable[..., Any],
    shapes: Callable[..., Any],
    backward: Callable[..., Any] | None = None,
    save: Callable[..., Any] | None = None,
) -> Any:
    """Define ``roikit::name`` once for all devices and return what calls it.

    The implementation chooses its backend itself (``chosen``), so that derivatives, shapes and checks exist once per
    operation.

    Args:
        schema: ``"name(Tensor[] maps, …) -> Tensor"``.
        implementation: computes it, for tensors on any device.
        shapes: the same signature; returns empty tensors of the right shape, dtype and device.
        backward, save: ``torch.library.register_autograd``'s backward and setup_context; without them the result has no
            gradient.
    """
    name = schema.split("(", 1)[0]
    _library.define(schema)
    _library.impl(name, implementation, "CompositeExplicitAutograd")
    torch.library.register_fake(f"roikit::{name}", shapes, lib=_library)
    if backward is not None:
        torch.library.register_autograd(f"roikit::{name}", backward, setup_context=save, lib=_library)
    registered = getattr(torch.ops.roikit, name).default

    def call(*arguments: Any) -> Any:
        # Alone: torch's way to an operator written in Python takes longer than pooling a few RoIs does. Transformed:
        # the operator would give zeros, so its definition, in torch's own operators, runs.
        direct = modes.alone(arguments) or modes.transformed()
        return implementation(*arguments) if direct else registered(*arguments)

    return call


class Where(Protocol):
    """Which cells of its map every RoI reads, and what they weigh: what a sum is told besides maps and gradients."""

    batch: Tensor
    level: Tensor

    @property
    def fixed(self) -> tuple[Any, ...]:
        """What the definition of a gradient to taps is told besides them."""

    def definition(self, sizes: Sequence[Sequence[int]]) -> tuple[Any, ...]:
        """What the definition is told for maps of ``sizes`` [(H, W), …]: weights, if any, and what is fixed."""

    def counted(self, axis: int, taps: Tensor) -> Tensor:
        """Taps of an axis, 0 where they do not count."""

    def shape(self, channels: int) -> tuple[int, ...]:
        """Of what is pooled of maps of ``channels`` channels: (R, C, …)."""

    def taps_shape(self, axis: int, width: int) -> tuple[int, ...]:
        """Of the gradient to an axis' taps, for maps of at most ``width`` cells on it."""

    def check(self, shapes: Shapes) -> None:
        """Refuse what would read memory that is not that of maps of these shapes."""


class Sum:
    """``roikit::{name}_pool`` and ``roikit::{name}_spread``; for a sum with taps ``_rows`` and ``_cols`` too.

    Args:
        name: of the operators.
        package: with a module for each backend: ``reference`` (the definition: ``pool``, ``spread`` and, with taps,
            ``grad_taps``), ``cpu`` and ``gpu``.
        read: (taps, fixed, numbers) of an operator as a ``Where``.
        fixed: names of the tensors that say where, and have no derivative.
        taps: whether the operators take taps, and have derivatives in them.
    """

    def __init__(
        self,
        name: str,
        package: str,
        read: Callable[[Sequence[Tensor], Sequence[Tensor], Numbers], Where],
        fixed: Sequence[str],
        taps: bool = False,
    ) -> None:
        self.package, self.read, self.count = package, read, len(fixed)
        self.names = ("rows", "cols") if taps else ()
        told = ", ".join(f"Tensor {tensor}" for tensor in fixed) + ", int[] numbers"
        rows_and_cols = "".join(f"Tensor {tensor}, " for tensor in self.names)
        self.operators: dict[str, Callable[..., Any]] = {
            "grad": define(
                f"{name}_pool(Tensor[] maps, {rows_and_cols}{told}) -> Tensor",
                self._pool, self._pool_like, *self._differentiation("grad", ("maps", *self.names)),
            ),
            "maps": define(
                f"{name}_spread({rows_and_cols}Tensor grad, {told}, SymInt[] shapes, bool last) -> Tensor[]",
                self._spread, self._spread_like, *self._differentiation("maps", (*self.names, "grad")),
            ),
        }  # fmt: skip
        for axis, (own, other) in enumerate(zip(self.names, self.names[::-1], strict=True)):
            self.operators[own] = define(
                f"{name}_{own}(Tensor[] maps, Tensor {other}, Tensor grad, {told}, SymInt width) -> Tensor",
                *self._along(axis), *self._differentiation(own, ("maps", other, "grad")),
            )  # fmt: skip

    def __call__(
        self, maps: Sequence[Tensor], taps: Sequence[Tensor], fixed: Sequence[Tensor], numbers: Numbers
    ) -> Tensor:
        """What is pooled, [R, C, …] in the maps' dtype and layout, differentiable in maps and taps to any order."""
        return self.operators["grad"](list(maps), *taps, *fixed, numbers)

    @property
    def reference(self) -> ModuleType:
        return module(self.package, "reference")

    def _chosen(self, device: torch.device, where: Where, shapes: Shapes) -> ModuleType | None:
        """The backend's module after what is told has been checked, or None for the reference."""
        where.check(shapes)
        indices.check(where.batch, where.level, shapes[0][0], len(shapes))
        name = chosen(device)
        return None if name == "reference" or 0 in where.shape(shapes[0][1])[1:] else module(self.package, name)

    # The arguments of an operator after those that it is linear in: the fixed tensors, the numbers, and two more of a
    # spread (shapes and layout) or one more of a gradient to taps (their width).

    def _where(self, taps: Sequence[Tensor], rest: Sequence[Any]) -> Where:
        return self.read(taps, rest[: self.count], rest[self.count])

    def _pool(self, maps, *arguments):
        n = len(self.names)
        where, shapes = self._where(arguments[:n], arguments[n:]), [x.shape for x in maps]
        runs, last = self._chosen(maps[0].device, where, shapes), is_channels_last(maps[0])
        if runs is not None:
            return runs.pool(maps, where, last)
        wide = sum_dtype(maps[0].dtype)
        out = self.reference.pool([x.to(wide) for x in maps], *_definition(where, shapes, wide))
        return laid(out.to(maps[0].dtype), last)

    def _pool_like(self, maps, *arguments):
        n = len(self.names)
        shape = self._where(arguments[:n], arguments[n:]).shape(maps[0].shape[1])
        return laid(maps[0].new_empty(shape), is_channels_last(maps[0]))

    def _spread(self, *arguments):
        n = len(self.names)
        grad, rest = arguments[n], arguments[n + 1 :]
        where, shapes, last = self._where(arguments[:n], rest), unflatten(rest[-2]), rest[-1]
        runs = self._chosen(grad.device, where, shapes)
        if runs is not None:
            return runs.spread(grad, where, shapes, last)
        wide = sum_dtype(grad.dtype)
        maps = self.reference.spread(grad.to(wide), *_definition(where, shapes, wide), shapes)
        return [laid(x.to(grad.dtype), last) for x in maps]

    def _spread_like(self, *arguments):
        grad, shapes, last = arguments[len(self.names)], unflatten(arguments[-2]), arguments[-1]
        form = torch.channels_last if last else torch.contiguous_format
        return [torch.empty(s, dtype=grad.dtype, device=grad.device, memory_format=form) for s in shapes]

    def _along(self, axis: int) -> tuple[Callable[..., Tensor], Callable[..., Tensor]]:
        def grad_taps(maps, other, grad, *rest):
            where, width = self._where((other, other), rest), rest[-1]
            runs = self._chosen(grad.device, where, [x.shape for x in maps])
            if runs is not None:
                return runs.grad_taps(maps, other, grad, where, axis, width)
            wide = sum_dtype(grad.dtype)
            given = ([x.to(wide) for x in maps], grad.to(wide), where.batch, where.level)
            weights = where.counted(1 - axis, other).to(wide)
            return where.counted(axis, self.reference.grad_taps(*given, weights, *where.fixed, axis, width))

        def like(maps, other, grad, *rest):
            return other.new_empty(self._where((other, other), rest).taps_shape(axis, rest[-1]))

        return grad_taps, like

    def _derivative(self, which: str, t: dict[str, Any], told: Sequence[Any], shapes: list[int], last: bool) -> Any:
        """∂T/∂which, from the other arguments in ``t``."""
        if which == "grad":
            return self.operators["grad"](t["maps"], *(t[name] for name in self.names), *told)
        if which == "maps":
            return self.operators["maps"](*(t[name] for name in self.names), t["grad"], *told, shapes, last)
        other, width = ("cols", max(shapes[2::4])) if which == "rows" else ("rows", max(shapes[3::4]))
        return self.operators[which](t["maps"], t[other], t["grad"], *told, width)

    def _differentiation(self, own: str, names: Sequence[str]) -> tuple[Callable[..., Any], Callable[..., Any]]:
        """(backward, save) of ∂T/∂own, an operator whose first inputs are ``names``."""
        first, count = len(names), self.count

        def save(ctx, inputs, output):
            given = dict(zip(names, inputs, strict=False))
            ctx.numbers, ctx.extra = inputs[first + count], len(inputs) - first
            if own == "maps":
                ctx.shapes, ctx.last = list(inputs[-2]), inputs[-1]
            else:
                ctx.shapes, ctx.last = flatten(given["maps"]), is_channels_last(given["maps"][0])
            ctx.levels = len(given["maps"]) if "maps" in given else 0
            # Of a pair, whose only variable is what it is linear in, nothing but where is read again.
            flat = [t for n in names for t in (given[n] if n == "maps" else [given[n]])] if self.names else []
            ctx.save_for_backward(*inputs[first : first + count], *flat)

        def backward(ctx, cotangent):
            saved = list(ctx.saved_tensors)  # once: hooks on saved tensors may refuse to be asked again
            told, flat = (*saved[:count], ctx.numbers), saved[count:]
            t: dict[str, Any] = {own: list(cotangent) if own == "maps" else cotangent}
            if self.names:
                for name in names:
                    t[name] = [flat.pop(0) for _ in range(ctx.levels)] if name == "maps" else flat.pop(0)
            found: list[Any] = []
            for name, wanted in zip(names, ctx.needs_input_grad, strict=False):
                if name == "maps" and not any(wanted):
                    found.append([None] * ctx.levels)  # torch wants a list where a list was given
                else:
                    need = name == "maps" or wanted
                    found.append(self._derivative(name, t, told, ctx.shapes, ctx.last) if need else None)
            return (*found, *[None] * ctx.extra)

        return backward, save


MODULES = {"reference": "reference", "numba": "cpu", "triton": "gpu"}


def chosen(device: torch.device) -> str:
    """Of the modules of a sum's folder, the one that runs for tensors on ``device``."""
    return "reference" if modes.transformed() else MODULES[backend.choose(device)]


@functools.cache
def module(package: str, name: str) -> ModuleType:
    return importlib.import_module(f".{name}", package)


def unflatten(shapes: Sequence[int]) -> list[list[int]]:
    """[B, C, H, W, B, C, H, W, …] as one [B, C, H, W] per level."""
    return [list(shapes[i : i + 4]) for i in range(0, len(shapes), 4)]


def flatten(maps: Sequence[Tensor]) -> list[int]:
    return [size for x in maps for size in x.shape]


def _definition(where: Where, shapes: Shapes, wide: torch.dtype) -> list[Any]:
    """What the definition is told besides maps or gradients, with weights in the type that sums are made in."""
    told = [where.batch, where.level, *where.definition([shape[2:] for shape in shapes])]
    return [t.to(wide) if isinstance(t, Tensor) and t.is_floating_point() else t for t in told]
