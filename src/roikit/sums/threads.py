"""Splitting a serial kernel over threads.

The kernels are serial and release the interpreter's lock; Python threads run them side by side. Numba's own threading
layers hang in a forked child, are killed in DataLoader workers and abort under several Python threads.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch

_pool: ThreadPoolExecutor | None = None
_owner: tuple[int, int] = (0, 0)


def _executor(threads: int) -> ThreadPoolExecutor:
    """The pool of this process; a forked child has none of its parent's threads and gets its own."""
    global _pool, _owner
    if _pool is None or _owner != (os.getpid(), threads):
        _pool, _owner = ThreadPoolExecutor(threads, thread_name_prefix="roikit"), (os.getpid(), threads)
    return _pool


def split(kernel: Callable[..., None], count: int, *args: object, grain: int = 1) -> None:
    """Run ``kernel(start, stop, *args)`` over [0, count) in parts of at least ``grain``, one part running here.

    A part should be worth handing over, which takes some 70 µs: eight to sixteen regions of common sizes.
    """
    threads = torch.get_num_threads()
    parts = min(threads, count // grain) if grain > 1 else min(threads, count)
    if parts <= 1:
        if count:
            kernel(0, count, *args)
        return
    if count >= 8 * threads * grain:
        parts = 4 * threads  # smaller parts even out RoIs of different cost
    edges = [count * i // parts for i in range(parts + 1)]
    # The threads pull parts from one list: a slow part does not hold up the others.
    todo = iter(list(itertools.pairwise(edges)))

    def work() -> None:
        for start, stop in todo:
            kernel(start, stop, *args)

    others = [_executor(threads - 1).submit(work) for _ in range(threads - 1)]
    work()
    for other in others:
        other.result()
