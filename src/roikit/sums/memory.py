"""Where large outputs come from."""

from __future__ import annotations

import math
import weakref
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


LARGE = 4 << 20  # bytes of an allocation that is used again
KEPT = 256 << 20  # bytes of freed allocations that are kept for that, at most
_freed: dict[int, np.ndarray] = {}  # the oldest first; every use of it is one step for other threads


def empty(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """An uninitialised tensor on the CPU, its start aligned for vectors.

    Fresh memory is slow: its page faults cost about as much as pooling into it. NumPy asks the system for huge pages
    and torch does not (3.5 ms and 12 ms for 50 MB), and the memory of a large tensor that is gone is used again.
    """
    kind = np.dtype(NUMPY[dtype])
    size = math.prod(shape) * kind.itemsize
    if size < LARGE:
        return torch.empty(tuple(shape), dtype=dtype, device="cpu")  # aligned so, too
    room = _room(size + ALIGNED)
    start = -room.ctypes.data % ALIGNED
    array = room[start : start + size].view(kind).reshape(tuple(shape))
    # torch holds the array for as long as anything reads its memory.
    weakref.finalize(array, _give_back, room).atexit = False
    found = torch.from_numpy(array)
    return found.view(dtype) if dtype in BITS else found


def _room(size: int) -> np.ndarray:
    for key, room in list(_freed.items()):
        if size <= room.nbytes <= size + size // 2 and _freed.pop(key, None) is not None:
            return room
    return np.empty(size, np.uint8)


def _give_back(room: np.ndarray) -> None:
    if room.nbytes > KEPT:
        return
    _freed[id(room)] = room
    for key in list(_freed):
        if sum(each.nbytes for each in list(_freed.values())) <= KEPT:
            return
        _freed.pop(key, None)


def empty_cache() -> None:
    """Give the memory of freed outputs, up to 256 MB that are kept to be used again, back to the system.

    Example:
        >>> import roikit
        >>> roikit.empty_cache()
    """
    _freed.clear()


def streamed(x: Tensor) -> bool:
    """Whether kernels should write this output past the caches."""
    return x.numel() * x.element_size() >= STREAMED and x.data_ptr() % ALIGNED == 0
