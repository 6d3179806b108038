"""When an operation must run as plain PyTorch instead of as a registered operator."""

from __future__ import annotations

import torch


def needs_plain_torch() -> bool:
    """Forward-mode differentiation and torch.func transforms: a custom operator silently gives zeros under them."""
    if torch.compiler.is_compiling():
        return False
    return torch._C._functorch.peek_interpreter_stack() is not None or torch.autograd.forward_ad._current_level >= 0
