"""Timing: contenders take turns, so that a machine that slows down slows all of them."""

from __future__ import annotations

import dataclasses
import math
import statistics
import time
from collections.abc import Callable, Mapping

import torch

LEAST = 3  # turns, however long they take
SHORTEST = 0.002  # seconds: faster calls are timed several at once


@dataclasses.dataclass(frozen=True)
class Times:
    """Milliseconds: the median of the turns, the range the middle half of them lies in, and how many there were."""

    median: float
    low: float
    high: float
    turns: int = 0

    @property
    def spread(self) -> float:
        """Half of that range, as a share of the median."""
        return (self.high - self.low) / 2 / self.median


def take_turns(
    contenders: Mapping[str, Callable[[], object]], repeats: int, seconds: float = math.inf, device: str = "cpu"
) -> dict[str, Times]:
    """Time each contender ``repeats`` times, in turn, after a call each to warm up.

    Args:
        seconds: after so much time no further turn begins, once there were three.
        device: "cuda" times what its stream did, between two events.
    """
    timed = _on_cuda if device == "cuda" else _on_cpu
    loops = {}
    for name, run in contenders.items():
        first = timed(run, 1)
        if first < 10 * SHORTEST:  # the first call may have loaded something
            first = timed(run, 1)
        loops[name] = min(1000, max(1, math.ceil(SHORTEST / first)))
    found: dict[str, list[float]] = {name: [] for name in contenders}
    start = time.perf_counter()
    for turn in range(repeats):
        if turn >= LEAST and time.perf_counter() - start > seconds:
            break
        for name, run in contenders.items():
            found[name].append(1000 * timed(run, loops[name]) / loops[name])
    return {name: summarise(values) for name, values in found.items()}


def _on_cpu(run: Callable[[], object], loops: int) -> float:
    start = time.perf_counter()
    for _ in range(loops):
        run()
    return time.perf_counter() - start


def _on_cuda(run: Callable[[], object], loops: int) -> float:
    first, last = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    first.record()
    for _ in range(loops):
        run()
    last.record()
    torch.cuda.synchronize()
    return first.elapsed_time(last) / 1000


def summarise(found: list[float]) -> Times:
    if len(found) < 4:
        return Times(statistics.median(found), min(found), max(found), len(found))
    low, median, high = statistics.quantiles(found, n=4, method="inclusive")
    return Times(median, low, high, len(found))
