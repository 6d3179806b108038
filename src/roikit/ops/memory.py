"""Where large outputs come from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

# Half types as their bits: NumPy has no bfloat16, and Numba no float16 on the CPU (see vector.py).
NUMPY = {
    torch.float32: np.float32,
    torch.float64: np.float64,
    torch.int32: np.int32,
    torch.bfloat16: np.uint16,
    torch.float16: np.int16,
}
BITS = {torch.bfloat16: torch.uint16, torch.float16: torch.int16}


def empty(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """An uninitialised tensor on the CPU.

    NumPy asks the system for huge pages and torch does not: the page faults of a 50 MB output cost 12 ms one way and
    3.5 ms the other.
    """
    found = torch.from_numpy(np.empty(tuple(shape), NUMPY[dtype]))
    return found.view(dtype) if dtype in BITS else found
