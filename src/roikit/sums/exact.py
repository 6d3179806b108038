"""Sums in the type they are given."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def exact(function: Callable[..., Any]) -> Callable[..., Any]:
    """Run a reference function outside autocast, which would round boxes' taps and sums to a half type.

    Its first argument is a tensor or a list of them.
    """

    @functools.wraps(function)
    def run(*arguments):
        first = arguments[0] if isinstance(arguments[0], Tensor) else arguments[0][0]
        device = first.device.type
        if not torch.amp.is_autocast_available(device) or not torch.is_autocast_enabled(device):
            return function(*arguments)
        with torch.autocast(device, enabled=False):
            return function(*arguments)

    return run
