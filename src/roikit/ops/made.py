"""Functions are extractors without layers, made once for each of their settings."""

from __future__ import annotations

import functools
from collections.abc import Hashable, Sequence
from typing import Any

from torch import Tensor

from .. import modes
from ..extractors import RegionExtractor
from ..geometry import pair

Boxes = Tensor | Sequence[Tensor]


def made(kind: type[RegionExtractor], output_size: int | Sequence[int], **settings: Any) -> RegionExtractor:
    """``kind(output_size, **settings)``, which holds no state."""
    size = pair(output_size)
    if modes.compiling():  # a compiler would keep the cache's entry in mind: it makes the extractor while it traces
        return kind(size, **settings)
    keys = all(isinstance(value, Hashable) for value in settings.values())  # else the constructor says what is wrong
    return _kept(kind, size, **settings) if keys else kind(size, **settings)


@functools.lru_cache(maxsize=256)
def _kept(kind: type[RegionExtractor], size: tuple[int, int], **settings: Any) -> RegionExtractor:
    return kind(size, **settings)


def one_map(input: Tensor) -> Tensor:
    if not isinstance(input, Tensor):
        raise ValueError(f"input must be a Tensor[B, C, H, W], not {type(input).__name__}")
    return input
