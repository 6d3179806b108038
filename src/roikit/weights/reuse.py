"""When what choosing the weights has already pooled may stand for pooling again."""

from __future__ import annotations

import torch
from torch import Tensor

from .. import modes
from ..sums.maps import Maps


def versions(features: Maps | None) -> tuple[int, ...] | None:
    """How often each map has been written to in place; ``None`` where nobody counts (compiled, inference mode)."""
    if features is None or modes.compiling():
        return None
    maps = [features] if isinstance(features, Tensor) else list(features)
    return None if any(x.is_inference() for x in maps) else tuple(x._version for x in maps)


def still_holds(result: Tensor | None, features: Maps, source: Maps | None, before: tuple[int, ...] | None) -> bool:
    """Whether ``result``, pooled of ``source`` when its maps had the versions ``before``, is what ``features`` give.

    Not of other maps, nor of maps written to since, nor where a gradient is wanted that ``result`` does not have.
    """
    if result is None or features is not source or versions(features) != before:
        return False
    maps = [features] if isinstance(features, Tensor) else features
    wanted = torch.is_grad_enabled() and any(x.requires_grad for x in maps)
    return result.requires_grad or not wanted
