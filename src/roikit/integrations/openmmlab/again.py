"""Gradients of a function that is differentiable itself, for backward operators that are called apart from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def wide(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The function in float32 where it is given half types (under autocast): positions need more than eight bits, and
    torchvision's operators do not know them all."""

    def run(*inputs: Tensor) -> Tensor:
        return function(*(x.float() if x.dtype in (torch.float16, torch.bfloat16) else x for x in inputs))

    return run


def gradients(function: Callable[..., Tensor], inputs: Sequence[Tensor], upstream: Tensor) -> tuple[Tensor, ...]:
    """Of Σ upstream · function(*inputs), by every input; the function runs again."""
    with torch.enable_grad():
        leaves = [x.detach().requires_grad_() for x in inputs]
        out = function(*leaves)
        return torch.autograd.grad(out, leaves, upstream.to(out.dtype), materialize_grads=True)
