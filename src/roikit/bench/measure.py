"""Timing: contenders take turns, so that a machine that slows down slows all of them."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from ..ops import memory
from .cases import Case


@dataclasses.dataclass(frozen=True)
class Times:
    """Milliseconds: the median of the repeats, and the range the middle half of them lies in."""

    median: float
    low: float
    high: float


def take_turns(contenders: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, Times]:
    """Time each contender ``repeats`` times, in turn, after one call each to warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for run in contenders.values():
        run()
    for _ in range(repeats):
        for name, run in contenders.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return {name: summarise([1000 * s for s in found]) for name, found in seconds.items()}


def summarise(found: list[float]) -> Times:
    if len(found) < 4:
        return Times(statistics.median(found), min(found), max(found))
    low, median, high = statistics.quantiles(found, n=4, method="inclusive")
    return Times(median, low, high)


def disagreement(case: Case) -> float:
    """The largest difference between roikit's output and its peer's, relative to the largest value of the output."""
    assert case.peer is not None
    ours, peer = case.ours(case.features, case.boxes), case.peer(case.features, case.boxes)
    return float((ours - peer).abs().max() / peer.abs().max())


def forward(case: Case, repeats: int) -> dict[str, Times]:
    """Times of "torchvision" (NCHW), "nchw", "last" (channels-last in and out) and "copy" of the output."""
    x, boxes = case.features, case.boxes
    last = x.to(memory_format=torch.channels_last)
    out = case.ours(x, boxes)

    def copy() -> None:
        memory.empty(out.shape, out.dtype).copy_(out)

    contenders: dict[str, Callable[[], object]] = {
        "nchw": lambda: case.ours(x, boxes),
        "last": lambda: case.ours(last, boxes),
        "copy": copy,
    }
    if case.peer is not None:
        peer = case.peer
        contenders["torchvision"] = lambda: peer(x, boxes)
    with torch.no_grad():
        return take_turns(contenders, repeats)


def backward(case: Case, repeats: int) -> dict[str, Times]:
    """The same names, for the gradient of the features alone; "copy" copies the gradient of the features."""
    x = case.features.clone().requires_grad_()
    last = case.features.to(memory_format=torch.channels_last).requires_grad_()
    grad = torch.randn(case.ours(case.features, case.boxes).shape, generator=torch.Generator().manual_seed(1))

    def gradient(out: Tensor, source: Tensor, upstream: Tensor) -> Callable[[], object]:
        return lambda: torch.autograd.grad(out, source, upstream, retain_graph=True)

    contenders: dict[str, Callable[[], object]] = {
        "nchw": gradient(case.ours(x, case.boxes), x, grad),
        "last": gradient(case.ours(last, case.boxes), last, grad.to(memory_format=torch.channels_last)),
        "copy": lambda: memory.empty(x.shape, x.dtype).copy_(x.detach()),
    }
    if case.peer is not None:
        contenders["torchvision"] = gradient(case.peer(x, case.boxes), x, grad)
    return take_turns(contenders, repeats)
