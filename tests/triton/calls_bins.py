"""Calls that launch every kernel of ``sums/bins``, for ``compile_kernels.py``."""

from __future__ import annotations

import torch

from roikit import rules
from roikit.sums.axes import Axes
from roikit.sums.bins import gpu
from roikit.sums.bins.where import Bins

SIZES = ((20, 30), (10, 15))


def make(dtype: torch.dtype) -> None:
    batch, level = torch.tensor([0, 0, 0]), torch.tensor([0, 1, 0])
    last = dtype != torch.float16  # each type in one layout: what differs is which threads are neighbours
    form = torch.channels_last if last else torch.contiguous_format
    # All channels of every bin; position-sensitive, with as many channels as bins; a single bin of a single channel.
    settings = {"all": (256, 256, 1, 49), "every 49th": (490, 10, 49, 49), "one": (1, 1, 1, 1)}
    for name, (channels, run, step, count) in settings.items() if dtype == torch.float32 else [("", (64, 64, 1, 9))]:
        base = torch.arange(count).expand(3, -1) if step > 1 else torch.zeros(3, count, dtype=torch.int64)
        rule = rules.NUMBERS["edge" if step > 1 else "hat"]
        axes = (torch.rand(3, count, 2), torch.rand(3, count, 2))
        windows = torch.zeros(3, count, 2, dtype=torch.int32)
        taps = (torch.rand(3, count, 20), torch.rand(3, count, 30))
        maps = [torch.empty(2, channels, *size, dtype=dtype).contiguous(memory_format=form) for size in SIZES]
        grad, shapes = torch.empty(3, run, count, dtype=dtype), [list(x.shape) for x in maps]
        given = Bins(batch, level, Axes(*taps, windows=(windows, windows)), base, step, run)
        by_rule = Axes(*axes, rules=(rule, rule), samples=(2, 2))
        all_bins = [given, Bins(batch, level, by_rule, base, step, run)]
        for bins in all_bins if name != "one" else all_bins[:1]:
            gpu.pool(maps, bins, last)
            gpu.spread(grad, bins, shapes, last)
            torch.use_deterministic_algorithms(True)
            gpu.spread(grad, bins, shapes, last)
            torch.use_deterministic_algorithms(False)
        gpu.grad_taps(maps, taps[1], grad, given, 0, 20)
        gpu.grad_taps(maps, taps[0], grad, given, 1, 30)
