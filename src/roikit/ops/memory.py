"""Where large outputs come from."""

from __future__ import annotations

import math
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


ALIGNED = 64  # bytes: a vector of the kernels
STREAMED = 8 << 20  # bytes of an output from which it is written past the caches: what reads it finds little there


def empty(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """An uninitialised tensor on the CPU, its start aligned for vectors.

    NumPy asks the system for huge pages and torch does not: the page faults of a 50 MB output cost 12 ms one way and
    3.5 ms the other.
    """
    kind = np.dtype(NUMPY[dtype])
    size = math.prod(shape) * kind.itemsize
    room = np.empty(size + ALIGNED, np.uint8)
    start = -room.ctypes.data % ALIGNED
    found = torch.from_numpy(room[start : start + size].view(kind).reshape(tuple(shape)))
    return found.view(dtype) if dtype in BITS else found


def streamed(x: Tensor) -> bool:
    """Whether kernels should write this output past the caches."""
    return x.numel() * x.element_size() >= STREAMED and x.data_ptr() % ALIGNED == 0
