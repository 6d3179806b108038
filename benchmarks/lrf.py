"""Speed and memory of the forms of Learned Region Features, side by side in one run.

    python -m benchmarks.lrf --json benchmarks/results/lrf.json

Four forms of the same sum, from the embedded boxes and cells on (P3 and P5 of the paper's Table 1): written out with
einsum, `scaled_dot_product_attention` with a bias, this package's dense form and its sampled form (Eqs. 10 and 11, on
cells of its own). Times are medians of runs in turn; memory is the largest resident set over what was there before,
each form in a process of its own. Linux only, and nothing else should be running.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import interpolate, scaled_dot_product_attention

from benchmarks import resident
from roikit.bench.machine import machine
from roikit.bench.measure import Times, take_turns
from roikit.bench.scenes import make_boxes
from roikit.boxes import Rois
from roikit.extractors import LearnedRegionFeatures
from roikit.sums.attention import attention_pool

ROIS, PARTS, HEIGHT, WIDTH, CHANNELS, STRIDE = 300, 49, 38, 63, 256, 16
FORMS = ("einsum", "sdpa", "dense", "sampled")


def scene() -> tuple[LearnedRegionFeatures, Tensor, Tensor, list[Tensor]]:
    """(the module, the map, the boxes, [queries [R, K, C_g], row keys [H, C_g], column keys [W, C_g], bias])."""
    torch.manual_seed(0)
    module = LearnedRegionFeatures(CHANNELS, start="paper").requires_grad_(False)
    x = torch.randn(1, CHANNELS, HEIGHT, WIDTH)
    boxes = make_boxes(ROIS, HEIGHT * STRIDE, WIDTH * STRIDE, (32.0, 512.0), torch.Generator().manual_seed(0))
    keys = [module.embed_axis(size, 1 / STRIDE, axis, x) for axis, size in enumerate((HEIGHT, WIDTH))]
    return module, x, boxes, [module.embed_boxes(boxes[:, 1:]), *keys, bias(module, x)]


def bias(module: LearnedRegionFeatures, x: Tensor) -> Tensor:
    biases = module.biases([x])
    assert biases is not None
    return biases[0]


def form(name: str, module: LearnedRegionFeatures, boxes: Tensor) -> Callable[..., Tensor]:
    """A function of (map, queries, row keys, column keys, bias) to ``Tensor[R, K, C]``."""
    rois = Rois.of(boxes, 1)
    samples = module.weights(torch.empty(1, CHANNELS, HEIGHT, WIDTH), boxes, 1 / STRIDE).samples

    def einsum(x: Tensor, queries: Tensor, by_row: Tensor, by_col: Tensor, bias: Tensor) -> Tensor:
        keys = (by_row[:, None] + by_col).flatten(0, 1)
        logits = torch.einsum("rkg,pg->rkp", queries, keys) + bias[0].flatten(1)
        return torch.einsum("rkp,cp->rkc", torch.softmax(logits, -1), x[0].flatten(1))

    def sdpa(x: Tensor, queries: Tensor, by_row: Tensor, by_col: Tensor, bias: Tensor) -> Tensor:
        keys = (by_row[:, None] + by_col).flatten(0, 1)
        mask = bias[0].flatten(1).repeat(queries.shape[0], 1)
        values = x[0].flatten(1).t().contiguous()
        out = scaled_dot_product_attention(
            queries.flatten(0, 1)[None, None], keys[None, None], values[None, None], attn_mask=mask, scale=1.0
        )
        return out[0, 0].unflatten(0, queries.shape[:2])

    def ours(chosen):
        def run(x: Tensor, queries: Tensor, by_row: Tensor, by_col: Tensor, bias: Tensor) -> Tensor:
            rows, cols = queries @ by_row.t(), queries @ by_col.t()
            return attention_pool([x], rois, rows, cols, [bias], chosen).transpose(1, 2)

        return run

    return {"einsum": einsum, "sdpa": sdpa, "dense": ours(None), "sampled": ours(samples)}[name]


def times(repeats: int) -> dict[str, dict[str, Times]]:
    module, x, boxes, rest = scene()
    functions = {name: form(name, module, boxes) for name in FORMS}
    with torch.no_grad():
        forward = take_turns({name: partial(f, x, *rest) for name, f in functions.items()}, repeats)
    leaves = [t.clone().requires_grad_() for t in (x, *rest)]
    upstream = torch.randn(ROIS, PARTS, CHANNELS)

    def both(f: Callable[..., Tensor]) -> Callable[[], object]:
        return lambda: torch.autograd.grad(f(*leaves), leaves, upstream)

    return {"forward": forward, "forward and backward": take_turns({n: both(f) for n, f in functions.items()}, repeats)}


def differences() -> dict[str, float]:
    """Largest differences of the outputs, in standard deviations of the features."""
    module, x, boxes, rest = scene()
    exact = form("einsum", module, boxes)(*(t.double() for t in (x, *rest)))
    found = {}
    for name in FORMS[:3]:
        found[f"{name} from einsum in float64"] = float((form(name, module, boxes)(x, *rest) - exact).abs().max())
    # Sampling skips neighbours: what that changes depends on how much they differ from cell to cell.
    coarse = torch.randn(1, CHANNELS, HEIGHT // 4, WIDTH // 4, generator=torch.Generator().manual_seed(1))
    for label, y in (("independent cells", x), ("a smooth map", interpolate(coarse, (HEIGHT, WIDTH), mode="bicubic"))):
        y = y / y.std()
        outs = [form(name, module, boxes)(y, *rest[:3], bias(module, y)) for name in ("sampled", "dense")]
        gap = outs[0] - outs[1]
        found[f"sampled from dense, {label}"] = float(gap.abs().max())
        found[f"sampled from dense, {label}, root mean square"] = float(gap.square().mean().sqrt())
    return found


def peak(name: str, backward: bool) -> float:
    """MB: the largest resident set while a form runs, over what was there before."""
    module, x, boxes, rest = scene()
    f, upstream = form(name, module, boxes), torch.randn(ROIS, PARTS, CHANNELS)
    for _ in range(3):  # libraries and threads are there
        few = [t.clone().requires_grad_() for t in (x, rest[0][:2], *rest[1:])]
        torch.autograd.grad(form(name, module, boxes[:2])(*few), few, upstream[:2])
    leaves = [t.clone().requires_grad_(backward) for t in (x, *rest)]
    if backward:
        return resident.peak(lambda: torch.autograd.grad(f(*leaves), leaves, upstream))
    return resident.peak(lambda: f(*leaves))


def peaks(threads: int) -> dict[str, dict[str, float]]:
    def one(name: str, backward: bool) -> float:
        command = [sys.executable, "-m", "benchmarks.lrf", "--threads", str(threads), "--peak", name]
        out = subprocess.run(
            [*command, *(["--backward"] if backward else [])], check=True, capture_output=True, text=True
        )
        return float(out.stdout)

    return {
        label: {name: one(name, backward) for name in FORMS}
        for label, backward in (("forward", False), ("forward and backward", True))
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9, help="timed runs of each form")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    parser.add_argument("--peak", choices=FORMS, help=argparse.SUPPRESS)
    parser.add_argument("--backward", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.peak:
        print(peak(options.peak, options.backward))
        return
    memory, measured, wrong = peaks(options.threads), times(options.repeats), differences()
    print(f"{ROIS} RoIs, K = {PARTS}, {HEIGHT} × {WIDTH} cells, {CHANNELS} channels, {options.threads} threads")
    for direction, rows in measured.items():
        for name, t in rows.items():
            ratios = [rows[other].median / t.median for other in ("einsum", "sdpa")]
            speed = f"speed {ratios[0]:4.2f} × einsum's, {ratios[1]:4.2f} × sdpa's"
            spread = f"{t.median:7.1f} ms ({t.low:.1f}–{t.high:.1f})"
            print(f"{direction:21} {name:8} {spread}  {memory[direction][name]:6.1f} MB  {speed}")
    for name, value in wrong.items():
        print(f"largest difference, {name}: {value:.1e}")
    if options.json is not None:
        settings = {
            "rois": ROIS,
            "parts": PARTS,
            "map": [HEIGHT, WIDTH],
            "channels": CHANNELS,
            "repeats": options.repeats,
        }
        milliseconds = {d: {n: dataclasses.asdict(t) for n, t in of.items()} for d, of in measured.items()}
        found = {
            "machine": machine(),
            "settings": settings,
            "milliseconds": milliseconds,
            "peak MB": memory,
            "differences": wrong,
        }
        options.json.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
