"""Calls that launch every kernel of ``sums/separable`` with every rule, for ``compile_kernels.py``."""

from __future__ import annotations

import torch

from roikit import rules
from roikit.sums.axes import Axes
from roikit.sums.separable import gpu
from roikit.sums.separable.where import Grid

SIZES = ((20, 30), (10, 15))


def make(dtype: torch.dtype) -> None:
    kind = torch.float64 if dtype == torch.float64 else torch.float32
    batch = torch.tensor([0, 0, 0])
    axes = (torch.rand(3, 2, dtype=kind), torch.rand(3, 2, dtype=kind))
    windows = torch.zeros(3, 7, 2, dtype=torch.int32)
    rows, cols = torch.rand(3, 7, 20, dtype=kind), torch.rand(3, 7, 30, dtype=kind)
    last = dtype != torch.float16  # each type in one layout: what differs is which threads are neighbours
    form = torch.channels_last if last else torch.contiguous_format
    settings = [(("hat", "hat"), (2, 0))]
    if dtype == torch.float32:
        settings += [
            (pair, (2, 2)) for pair in (("integral", "cells"), ("edge", "cells_floor"), ("adaptive", "inside"))
        ]
        assert {name for pair, _ in settings for name in pair} == set(rules.NAMES)
    for channels, sizes in ((256, SIZES), (1, SIZES[:1])) if dtype == torch.float32 else ((64, SIZES),):
        maps = [torch.empty(min(2, channels), channels, *size, dtype=dtype) for size in sizes]
        maps = [x.contiguous(memory_format=form) for x in maps]
        level = torch.tensor([0, len(maps) - 1, 0])
        taps = Grid(batch, level, Axes(rows, cols, (7, 7), windows=(windows, windows)))
        grad, shapes = torch.empty(3, channels, 7, 7, dtype=dtype), [list(x.shape) for x in maps]
        if dtype == torch.float32:
            every_sum(maps, grad, shapes, taps, last)
        if channels > 1:
            for names, samples in settings:
                numbers = tuple(rules.NUMBERS[name] for name in names)
                every_sum(maps, grad, shapes, Grid(batch, level, Axes(*axes, (7, 7), numbers, samples)), last)
        gpu.grad_taps(maps, cols, grad, taps, 0, 20)
        gpu.grad_taps(maps, rows, grad, taps, 1, 30)


def every_sum(maps, grad, shapes, where, last) -> None:
    gpu.pool(maps, where, last)
    gpu.spread(grad, where, shapes, last)
    torch.use_deterministic_algorithms(True)
    gpu.spread(grad, where, shapes, last)
    torch.use_deterministic_algorithms(False)
