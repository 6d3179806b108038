"""How cost grows: the exponent of time against each size, beside the theory, for every sum; memory beside its formula.

    python -m benchmarks.scale --json benchmarks/results/scale.json

One size grows while the others stay; the exponent p of size^p is fitted to the upper half of the times by least
squares in logarithms. What does not grow (a call's own cost, reading the map into the kernel's layout) lies below the
theory for small sizes: an exponent is at most the theory's, within noise. Memory is the largest resident set over what
was there before (Linux), beside the bytes of the result and of a map in the kernel's layout.
Nothing else should be running; on a machine that is not quiet only the exponents say something.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import roikit
from benchmarks import resident
from roikit.bench.machine import machine

SUMS = {
    "separable": lambda channels: roikit.RoIAlign(7, 2),
    "bins": lambda channels: roikit.SpatialPyramidPool((4, 2, 1), rule="average"),
    "maximum": lambda channels: roikit.RoIPool(7),
    "points": lambda channels: roikit.RotatedRoIAlign(7, 2),
    "attention": lambda channels: roikit.LearnedRegionFeatures(channels, 7),
}
USUAL = {"rois": 300, "channels": 64, "side": 48, "batch": 1, "threads": 1}
GROWING = {
    "rois": (100, 300, 1000, 3000, 10_000, 30_000, 100_000),
    "channels": (16, 32, 64, 128, 256, 512),
    "side": (24, 48, 96, 192, 384),  # of the map; boxes keep their cells
    "batch": (1, 2, 4, 8),  # RoIs stay as many
    "threads": (1, 2),
}
THEORY = {"rois": 1.0, "channels": 1.0, "side": 2.0, "batch": 1.0, "threads": -1.0}


def scene(sizes: dict[str, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """A map, and boxes of 6 to 18 cells anywhere on it."""
    generator = torch.Generator().manual_seed(0)
    side, rois = sizes["side"], sizes["rois"]
    x = torch.rand(sizes["batch"], sizes["channels"], side, side, generator=generator)
    corner = torch.rand(rois, 2, generator=generator) * (side - 18)
    size = 6 + 12 * torch.rand(rois, 2, generator=generator)
    batch = torch.arange(rois)[:, None] % sizes["batch"]
    return x, torch.cat([batch, corner, corner + size], 1)


def call(name: str, sizes: dict[str, int], backward: bool) -> Any:
    extractor, (x, boxes) = SUMS[name](sizes["channels"]), scene(sizes)
    torch.set_num_threads(sizes["threads"])

    def forward() -> None:
        with torch.no_grad():
            extractor(x, boxes)

    def both() -> None:
        leaf = x.detach().requires_grad_()
        extractor(leaf, boxes).sum().backward()

    return both if backward else forward


def seconds(run: Any, budget: float, clock: Callable[[], float]) -> float:
    """The shortest of at least three calls: other work on the machine only adds."""
    run()
    times: list[float] = []
    begun = time.perf_counter()
    while len(times) < 3 or (time.perf_counter() - begun < budget and len(times) < 30):
        start = clock()
        run()
        times.append(clock() - start)
    return min(times)


def exponent(sizes: list[int], times: list[float]) -> float:
    """The slope of log time over log size, of the upper half."""
    half = max(2, (len(sizes) + 1) // 2)
    xs, ys = ([math.log(value) for value in values[-half:]] for values in (sizes, times))
    return statistics.linear_regression(xs, ys).slope


def growth(name: str, size: str, backward: bool, budget: float, limit: float) -> dict[str, Any]:
    """Times of one sum while one size grows, until a call takes longer than the limit."""
    tried, times = [], []
    for value in GROWING[size]:
        tried.append(value)
        clock = time.perf_counter if size == "threads" else time.process_time  # the latter is the process's own
        times.append(seconds(call(name, {**USUAL, size: value}, backward), budget, clock))
        if times[-1] > limit:
            break
    direction = "both" if backward else "forward"
    found = exponent(tried, times) if len(tried) > 1 else math.nan
    return {"sum": name, "size": size, "direction": direction, "values": tried, "seconds": times, "exponent": found}


def memory(name: str, rois: int) -> dict[str, Any]:
    """MB at the peak of a forward, in this process, beside result + map in the kernel's layout."""
    sizes = {**USUAL, "rois": rois, "channels": 256}
    run = call(name, sizes, False)
    small = call(name, {**sizes, "rois": 10}, False)
    small()
    parts = {"bins": 21}.get(name, 49)
    result = rois * 256 * parts * 4 / 1e6
    copy = 256 * sizes["side"] ** 2 * 4 / 1e6
    index = result if name == "maximum" else 0.0  # which cell won
    formula = result + copy + index
    return {"sum": name, "rois": rois, "formula_mb": formula, "peak_mb": resident.peak(run) * 1.048576}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=0.3, help="of calls for each size, about")
    parser.add_argument("--limit", type=float, default=2.0, help="no larger size after a call of so many seconds")
    parser.add_argument("--sums", default=",".join(SUMS))
    parser.add_argument("--sizes", default=",".join(GROWING))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--memory", metavar="SUM", help=argparse.SUPPRESS)  # a process of its own
    options = parser.parse_args()
    if options.memory:
        print(json.dumps(memory(options.memory, 2000)))
        return
    rows = []
    for name in options.sums.split(","):
        for size in options.sizes.split(","):
            for backward in (False, True):
                row = growth(name, size, backward, options.seconds, options.limit)
                row["theory"] = THEORY[size]
                rows.append(row)
                reach = f"{row['values'][0]} to {row['values'][-1]}"
                print(
                    f"{name:10} {size:9} {reach:15} {row['direction']:8} {row['exponent']:5.2f}  ≤ {row['theory']:.0f}"
                )
                sys.stdout.flush()
    kept = []
    if resident.available():
        for name in options.sums.split(","):
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.scale", "--memory", name], capture_output=True, text=True, check=True
            )
            kept.append(json.loads(done.stdout.splitlines()[-1]))
            print("{sum:10} memory, {rois} RoIs: {peak_mb:.0f} MB, formula {formula_mb:.0f} MB".format(**kept[-1]))
    if options.json:
        text = json.dumps({"machine": machine(), "growth": rows, "memory": kept}, indent=1)
        options.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
