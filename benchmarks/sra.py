"""Speed and memory of Semantic RoI Align's forward, beside RoI Align's and its own matrix products alone.

    python -m benchmarks.sra --json benchmarks/results/sra.json

1000 RoIs on the pyramid of an image of 800 × 1333 pixels, 256 channels, NCHW. "products" are the matrix products of
SRA's layers and of its masks with the sampled cells, of the same sizes, with nothing between them. Times are medians of
runs in turn; memory is the largest resident set over what was there before, each case in a process of its own, beside
R·S·C numbers of 4 bytes. Linux only, and nothing else should be running.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

import roikit
from benchmarks import resident
from roikit.bench.machine import machine
from roikit.bench.measure import Times, take_turns
from roikit.bench.scenes import make_boxes

HEIGHT, WIDTH, STRIDES = 800, 1344, (4, 8, 16, 32)
SIZES = ((1000, 64, 256), (500, 64, 256), (2000, 64, 256), (1000, 16, 256), (1000, 128, 256), (1000, 64, 64))  # R, S, C


def scene(rois: int, channels: int) -> tuple[dict[str, Tensor], list[Tensor]]:
    """The maps by name, and the boxes of one image."""
    generator = torch.Generator().manual_seed(0)
    maps = {
        str(stride): torch.randn(1, channels, HEIGHT // stride, WIDTH // stride, generator=generator)
        for stride in STRIDES
    }
    return maps, [make_boxes(rois, HEIGHT, WIDTH, (16.0, 800.0), generator)[:, 1:]]


def pooling(extractor: roikit.RegionExtractor) -> Callable[[dict[str, Tensor], list[Tensor]], Tensor]:
    pool = roikit.MultiScale(extractor, [str(s) for s in STRIDES], STRIDES)
    return lambda maps, boxes: pool(maps, boxes, [(HEIGHT, WIDTH)])


def products(rois: int, cells: int, channels: int, extractor: roikit.SemanticRoIAlign) -> Callable[[], object]:
    """The matrix products of the layers (descriptor, semantic, position, first, last) and of masks with cells."""
    layer = extractor.attention
    layers = (layer.descriptor, layer.semantic, layer.position, layer.first, layer.last)
    weights = [one.weight for one in layers if one is not None]
    sizes = [w.shape for w in weights]
    each, rows = torch.randn(rois, sizes[0][1]), rois * cells
    inputs = [torch.randn(rows, size[1]) for size in sizes[1:3]]
    first = weights[3].split([sizes[0][0], sizes[1][0], sizes[2][0]], 1)
    shapes = ((rois, sizes[0][0]), (rows, sizes[1][0]), (rows, sizes[2][0]), (rows, sizes[4][1]))
    d, s, p, hidden = (torch.randn(shape) for shape in shapes)
    masks, sampled = torch.randn(rois, extractor.masks, cells), torch.randn(rois, cells, channels)

    def run() -> None:
        each @ weights[0].t()
        for x, w in zip(inputs, weights[1:3], strict=True):
            x @ w.t()
        for x, w in zip((d, s, p), first, strict=True):
            x @ w.t()
        hidden @ weights[4].t()
        torch.bmm(masks, sampled)

    return run


def times(repeats: int) -> dict[str, Times]:
    rois, cells, channels = SIZES[0]
    maps, boxes = scene(rois, channels)
    torch.manual_seed(0)
    extractor = roikit.SemanticRoIAlign(channels, max_cells=cells)
    sra, align = pooling(extractor), pooling(roikit.RoIAlign(7))
    contenders = {
        "SemanticRoIAlign": lambda: sra(maps, boxes),
        "RoIAlign": lambda: align(maps, boxes),
        "products": products(rois, cells, channels, extractor),
    }
    with torch.no_grad():
        return take_turns(contenders, repeats)


def peak(rois: int, cells: int, channels: int) -> float:
    """MB: the largest resident set of one forward, over what was there before."""
    maps, boxes = scene(rois, channels)
    torch.manual_seed(0)
    extractor = roikit.SemanticRoIAlign(channels, max_cells=cells)
    with torch.no_grad():
        pooling(roikit.RoIAlign(7))(maps, boxes)  # libraries, threads, the turned maps are there
        pooling(extractor)(maps, [boxes[0][:8]])
        return resident.peak(lambda: pooling(extractor)(maps, boxes))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9, help="timed runs of each")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    parser.add_argument("--peak", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.peak is not None:
        print(peak(*SIZES[options.peak]))
        return
    memory = []
    for index, (rois, cells, channels) in enumerate(SIZES):
        command = [sys.executable, "-m", "benchmarks.sra", "--threads", str(options.threads), "--peak", str(index)]
        found = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        least = rois * cells * channels * 4 / 2**20
        memory.append({"rois": rois, "cells": cells, "channels": channels, "MB": found, "R·S·C MB": least})
        print(f"R = {rois:4} S = {cells:3} C = {channels:3}: {found:6.0f} MB = {found / least:.2f} × R·S·C")
    measured = times(options.repeats)
    for name, t in measured.items():
        print(f"{name:17} {t.median:7.1f} ms ({t.low:.1f}–{t.high:.1f})")
    floor = measured["RoIAlign"].median + measured["products"].median
    print(f"SemanticRoIAlign takes {measured['SemanticRoIAlign'].median / floor:.2f} × RoIAlign + products")
    if options.json is not None:
        content = {
            "machine": machine(),
            "settings": {"image": [HEIGHT, WIDTH], "strides": STRIDES, "sizes": SIZES[0], "repeats": options.repeats},
            "milliseconds": {name: dataclasses.asdict(t) for name, t in measured.items()},
            "peak": memory,
        }
        options.json.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
