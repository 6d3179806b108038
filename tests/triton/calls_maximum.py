"""Calls that launch every kernel of ``sums/maximum``, for ``compile_kernels.py``."""

from __future__ import annotations

import torch

from roikit.sums.maximum import gpu
from roikit.sums.maximum.where import Chosen

SIZES = ((20, 30), (10, 15))


def make(dtype: torch.dtype) -> None:
    batch, level = torch.tensor([0, 0, 0]), torch.tensor([0, 1, 0])
    windows = torch.zeros(3, 7, 2, dtype=torch.int32)
    form = torch.contiguous_format if dtype == torch.float16 else torch.channels_last
    for channels, bins in ((256, 7), (1, 1)) if dtype == torch.float32 else ((64, 7),):
        maps = [torch.empty(1, channels, *size, dtype=dtype).contiguous(memory_format=form) for size in SIZES]
        index, shapes = torch.zeros(3, channels, bins, bins, dtype=torch.int32), [list(x.shape) for x in maps]
        gpu.select(maps, batch, level, windows[:, :bins], windows[:, :bins])
        where, grad = Chosen(batch, level, index), torch.empty(index.shape, dtype=dtype)
        gpu.pool(maps, where, False)
        gpu.spread(grad, where, shapes, False)
        torch.use_deterministic_algorithms(True)
        gpu.spread(grad, where, shapes, False)
        torch.use_deterministic_algorithms(False)
