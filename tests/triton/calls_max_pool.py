"""Calls that launch every kernel of ``ops/max_pool``, for ``compile_kernels.py``."""

from __future__ import annotations

import torch

from roikit.ops.max_pool import cuda

SIZES = ((20, 30), (10, 15))


def make(dtype: torch.dtype) -> None:
    batch, level = torch.tensor([0, 0, 0]), torch.tensor([0, 1, 0])
    windows = torch.zeros(3, 7, 2, dtype=torch.int32)
    form = torch.contiguous_format if dtype == torch.float16 else torch.channels_last
    for channels, bins in ((256, 7), (1, 1)) if dtype == torch.float32 else ((64, 7),):
        maps = [torch.empty(1, channels, *size, dtype=dtype).contiguous(memory_format=form) for size in SIZES]
        index, shapes = torch.zeros(3, channels, bins, bins, dtype=torch.int32), [list(x.shape) for x in maps]
        cuda.select(maps, batch, level, windows[:, :bins], windows[:, :bins])
        cuda.gather(maps, index, batch, level)
        grad = torch.empty(index.shape, dtype=dtype)
        cuda.scatter(grad, index, batch, level, shapes, torch.float32)
        torch.use_deterministic_algorithms(True)
        cuda.scatter(grad, index, batch, level, shapes, torch.float32)
        torch.use_deterministic_algorithms(False)
