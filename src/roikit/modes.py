"""Who is watching: whether operators just run, or something compiles, transforms, counts or records them.

The one file that asks torch's private interfaces.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

PLAIN = (Tensor, torch.nn.Parameter)  # no subclass, which may see operators otherwise


def compiling() -> bool:
    """A graph is being made, by ``torch.compile`` or ``torch.export``."""
    return torch.compiler.is_compiling()


def transformed() -> bool:
    """Forward-mode differentiation or a ``torch.func`` transform: an operator of ours would silently give zeros under
    it, so that the plain definition runs."""
    if compiling():
        return False
    return torch._C._functorch.peek_interpreter_stack() is not None or torch.autograd.forward_ad._current_level >= 0


def batched(*tensors: Tensor) -> bool:
    """Whether ``torch.vmap`` runs over one of the tensors: its values differ from entry to entry and cannot be read."""
    return torch._C._functorch.peek_interpreter_stack() is not None and any(map(_batched, tensors))


def _batched(tensor: Tensor) -> bool:
    functorch = torch._C._functorch
    while functorch.is_functorch_wrapped_tensor(tensor):
        if functorch.is_batchedtensor(tensor):
            return True
        tensor = functorch.get_unwrapped(tensor)
    return False


def eager() -> bool:
    """Whether operators just run: nothing is compiled or transformed, and no mode looks on."""
    stack = torch._C._functorch.peek_interpreter_stack()
    return not (compiling() or stack is not None or torch._C._len_torch_dispatch_stack())


def readable(tensor: Tensor) -> bool:
    """Whether values may be read: on a GPU that would synchronise, under compilation or a transform it would break."""
    return eager() and type(tensor) in PLAIN and checked(tensor.device)


def checked(device: torch.device) -> bool:
    """Whether values on a device are read to check them; ``ROIKIT_CHECKS=1`` turns that on for a GPU too."""
    return device.type == "cpu" or os.environ.get("ROIKIT_CHECKS") == "1"


def alone(arguments: Iterable[Any]) -> bool:
    """Whether an operator's result alone is wanted: no gradient, no graph, no transform, mode or profiler watches."""
    if not eager() or torch._C._get_tracing_state() or torch.autograd._profiler_enabled():
        return False
    graph = torch.is_grad_enabled()
    for argument in arguments:
        for one in argument if isinstance(argument, list | tuple) else (argument,):
            if not isinstance(one, Tensor):
                continue
            if type(one) not in PLAIN or one.is_meta or (graph and one.requires_grad):
                return False
    return True
