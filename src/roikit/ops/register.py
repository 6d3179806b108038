"""Registering an operation with torch: schema, implementation, shapes, derivative."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

_library = torch.library.Library("roikit", "DEF")


def operator(
    schema: str,
    implementation: Callable[..., Any],
    shapes: Callable[..., Any],
    backward: Callable[..., Any] | None = None,
    save: Callable[..., Any] | None = None,
) -> Any:
    """Define ``roikit::name`` once for all devices and return it.

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
    return getattr(torch.ops.roikit, name).default
