"""Where large outputs come from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

NUMPY = {torch.float32: np.float32, torch.float64: np.float64, torch.int32: np.int32}


def empty(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """An uninitialised tensor on the CPU.

    NumPy asks the system for huge pages and torch does not: the page faults of a 50 MB output cost 12 ms one way and
    3.5 ms the other.
    """
    return torch.from_numpy(np.empty(tuple(shape), NUMPY[dtype]))
