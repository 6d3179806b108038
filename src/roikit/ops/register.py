"""Registering an operation with torch: schema, implementation, shapes, derivative."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from .. import boxes

_library = torch.library.Library("roikit", "DEF")


def operator(
    schema: str,
    implementation: Callable[..., Any],
    shapes: Callable[..., Any],
    backward: Callable[..., Any] | None = None,
    save: Callable[..., Any] | None = None,
) -> Any:
    """Define ``roikit::name`` once for all devices and return what calls it.

    The implementation chooses its backend itself, so that derivatives, shapes and checks exist once per operation.

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
        # torch's way to an operator written in Python takes longer than pooling a few RoIs does.
        return implementation(*arguments) if _nobody_asks(arguments) else registered(*arguments)

    return call


def _nobody_asks(arguments: Sequence[Any]) -> bool:
    """Whether the operator's result alone is wanted: no gradient, no graph, no transform, mode or profiler watches."""
    if not boxes.eager() or torch._C._get_tracing_state() or torch.autograd._profiler_enabled():
        return False
    graph = torch.is_grad_enabled()
    for argument in arguments:
        for one in argument if isinstance(argument, list | tuple) else (argument,):
            if not isinstance(one, torch.Tensor):
                continue
            if type(one) not in boxes.PLAIN or one.is_meta or (graph and one.requires_grad):
                return False
    return True
