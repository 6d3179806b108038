"""What Learned Region Features cost: the paper's Tables 1 and 3, counted."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from rich.table import Table
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from roikit.boxes import Rois
from roikit.extractors import LearnedRegionFeatures
from roikit.layers.embeddings import sinusoidal
from roikit.train.screen import wide

from .counting import of_layers

STEPS = ("P1", "P2", "P3", "P4", "P5")
MEANING = {
    "P1": "position embeddings",
    "P2": "box embeddings",
    "P3": "inner products",
    "P4": "appearance",
    "P5": "weighted sums",
}
# The paper's setting: 300 RoIs, C_E = 512, C_g = C_f = 256, K = 49; P1 and P4 on a map of 38 × 63 cells.
ROIS, CHANNELS, HEIGHT, WIDTH = 300, 256, 38, 63
# Table 1, in G = 2³⁰ multiply-adds: of all cells, and sampled.
TABLE_1 = {
    "dense": {"P1": 0.59, "P2": 2.1, "P3": 7.2, "P4": 0.03, "P5": 7.2, "sum": 17.1},
    "sampled": {"P1": 0.59, "P2": 2.1, "P3": 0.72, "P4": 0.03, "P5": 0.72, "sum": 4.16},
}
# Table 3: (max |Ω^Out|, max |Ω^In|), None is "full"; averages over its proposals; G.
TABLE_3 = [
    ((None, 49), (1737, 32), 15.3),
    ((None, 196), (1737, 86), 15.7),
    ((None, 441), (1737, 158), 16.2),
    ((None, None), (1737, 282), 17.1),
    ((100, 196), (71, 86), 3.84),
    ((196, 196), (114, 86), 4.16),
    ((400, 196), (194, 86), 4.72),
    ((625, 196), (432, 86), 6.42),
]


def written_out(
    module: LearnedRegionFeatures,
    x: Tensor,
    boxes: Tensor,
    scale: float,
    cells: Tensor,
    step: Callable[[str], AbstractContextManager] = lambda name: contextlib.nullcontext(),
) -> Tensor:
    """LRF in the paper's own order of operations (its Table 1): ``Tensor[R, C, h, w]``.

    Args:
        module: whose parameters are used.
        x: ``Tensor[1, C, H, W]``.
        boxes: ``Tensor[R, 4]`` in image pixels.
        scale: feature cells per image pixel.
        cells: int64 ``Tensor[R, |Ω|]``, the cells v·W + u that each RoI looks at, no cell twice.
        step: called with "P1" to "P5" for a context in which that step is computed.
    """
    assert module.position is not None and module.box_shared is not None and module.box_parts is not None
    assert module.appearance is not None
    height, width = x.shape[2:]
    size, parts = module.embed_dim, module.parts
    with step("P1"):
        rows, cols = ((torch.arange(n, device=x.device).to(x.dtype) + 0.5) / scale for n in (height, width))
        by_row, by_col = sinusoidal(rows, size), sinusoidal(cols, size)
        both = (by_col[None].expand(height, -1, -1), by_row[:, None].expand(-1, width, -1))
        keys = module.position(torch.cat(both, 2).flatten(0, 1))  # [HW, C_g]
    with step("P2"):
        queries = module.box_parts(module.box_shared(sinusoidal(boxes, size).flatten(1)))
        queries = queries.unflatten(1, (parts, module.geometry_dim))  # [R, K, C_g]
    with step("P3"):
        logits = torch.bmm(queries, keys[cells].transpose(1, 2))  # [R, K, |Ω|]
    with step("P4"):
        appearance = module.appearance(x)[0].flatten(1)  # [K, HW]
    weights = torch.softmax(logits + appearance[:, cells].transpose(0, 1), 2)
    with step("P5"):
        out = torch.bmm(weights, x[0].flatten(1).t()[cells])  # [R, K, C]
    return out.transpose(1, 2).unflatten(2, module.output_size)


class Counter:
    """Multiply-adds by step, in G = 2³⁰ (the flop counter counts two for each)."""

    def __init__(self) -> None:
        self.found: dict[str, float] = {}

    @contextlib.contextmanager
    def __call__(self, name: str):
        with FlopCounterMode(display=False) as mode:
            yield
        self.found[name] = self.found.get(name, 0.0) + of_layers(mode) / 2**30


def paper_order(count: int) -> dict[str, float]:
    """Multiply-adds of P1 to P5 and their "sum", in G, where every RoI looks at ``count`` cells: the reference counted
    while it runs, on tensors without data."""
    module, x, boxes = _scene()
    counter = Counter()
    cells = torch.zeros(ROIS, count, dtype=torch.int64, device=x.device)
    with torch.no_grad():
        written_out(module, x, boxes, 1 / 16, cells, counter)
    return _with_sum(counter.found)


def separable_order(count: int) -> dict[str, float]:
    """The same of this package: embeddings of H + W coordinates, a logit for each row and column; P5 as it is."""
    module, x, boxes = _scene()
    counter, scale = Counter(), 1 / 16
    with torch.no_grad():
        with counter("P1"):
            for axis in (0, 1):
                module.embed_axis(x.shape[2 + axis], scale, axis, x)
        with counter("P2"):
            module.embed_boxes(boxes)
        with counter("P3"):
            module.logits(boxes, torch.zeros(ROIS, dtype=torch.int64, device=x.device), [x], [(scale, scale)])
        counter.found["P3"] -= counter.found["P1"] + counter.found["P2"]  # which logits() begins with
        with counter("P4"):
            module.biases([x])
    return _with_sum({**counter.found, "P5": paper_order(count)["P5"]})


def _scene() -> tuple[LearnedRegionFeatures, Tensor, Tensor]:
    with torch.device("meta"):
        return LearnedRegionFeatures(CHANNELS), torch.empty(1, CHANNELS, HEIGHT, WIDTH), torch.empty(ROIS, 4)


def _with_sum(found: dict[str, float]) -> dict[str, float]:
    ordered = {name: found[name] for name in STEPS}
    return {**ordered, "sum": sum(ordered.values())}


@dataclasses.dataclass(frozen=True)
class Averages:
    """Mean numbers of cells that a RoI looks at, over ``rois`` RoIs."""

    inside: float
    outside: float
    rois: int


def average_samples(
    images: Sequence[tuple[Tensor, tuple[int, int]]], max_outside: int | None, max_inside: int | None, stride: int = 16
) -> Averages:
    """How many cells RoIs look at: ``|Ω^In|`` and ``|Ω^Out|`` on average.

    Args:
        images: of each image the boxes ``Tensor[N, 4]`` and the (height, width), in pixels as the detector sees it.
        max_outside, max_inside: as ``LearnedRegionFeatures`` takes them.
        stride: image pixels per feature cell.

    Raises:
        ValueError: there are no boxes.
    """
    module = LearnedRegionFeatures(1, 1, 2, 1, max_inside=max_inside, max_outside=max_outside, geometry=False)
    inside = outside = 0.0
    count = 0
    for boxes, (height, width) in images:
        size = (-(-height // stride), -(-width // stride))
        weights = module.weights(torch.zeros(1, 1, *size), Rois.of([boxes.float()], 1), 1 / stride)
        if weights.samples is None:  # all cells: those inside are the samples of the RoI alone
            alone = LearnedRegionFeatures(1, 1, 2, 1, "roi", max_inside=None, geometry=False)
            samples = alone.weights(torch.zeros(1, 1, *size), Rois.of([boxes.float()], 1), 1 / stride).samples
            assert samples is not None
            mine = float(samples.inside(*size).sum())
            inside, outside = inside + mine, outside + boxes.shape[0] * size[0] * size[1] - mine
        else:
            inside += float(weights.samples.inside(*size).sum())
            outside += float(weights.samples.outside(*size).sum())
        count += boxes.shape[0]
    if not count:
        raise ValueError("there are no boxes to average over")
    return Averages(inside / count, outside / count, count)


def made_boxes(count: int = 3000, seed: int = 0) -> list[tuple[Tensor, tuple[int, int]]]:
    """Boxes somewhat like the paper's proposals, in an image of 608 × 848 pixels: √area log-uniform between 80 and 520
    pixels, sides' ratio between 1/3 and 3; chosen so that a RoI has the paper's 282 cells inside on average."""
    generator = torch.Generator().manual_seed(seed)
    a, b, c, d = torch.rand(4, count, generator=generator)
    side, ratio = 80 * (520 / 80) ** a, torch.exp(1.1 * (2 * b - 1))
    width, height = (side * ratio.sqrt()).clamp(max=848), (side / ratio.sqrt()).clamp(max=608)
    x, y = c * (848 - width), d * (608 - height)
    return [(torch.stack([x, y, x + width, y + height], 1), (608, 848))]


def count(images: list[Any]) -> dict[str, Any]:
    """All numbers: Table 1's rows, Table 3's rows, G multiply-adds."""
    table_1 = {}
    for label, cells in (("dense", 1737 + 282), ("sampled", 114 + 86)):
        orders = {
            "paper": TABLE_1[label],
            "counted": paper_order(cells),
            "separable": separable_order(cells),
        }
        table_1[label] = {"cells": cells, **orders}
    table_3 = []
    for (most_out, most_in), (paper_out, paper_in), total in TABLE_3:
        averages = average_samples(images, most_out, most_in)
        row = {"max_outside": most_out, "max_inside": most_in, "paper": total}
        row |= {"counted": paper_order(paper_out + paper_in)["sum"]}
        row |= {"separable": separable_order(paper_out + paper_in)["sum"]}
        row |= {"paper outside": paper_out, "paper inside": paper_in}
        table_3.append(row | {"outside": averages.outside, "inside": averages.inside, "rois": averages.rois})
    return {"table 1": table_1, "table 3": table_3}


def show(found: dict[str, Any], source: str) -> None:
    console = wide()
    note = (
        "paper: as printed. counted: the paper's order of operations, run under torch's flop counter. separable: this "
    )
    note += "package, one logit for each row and column."
    table = Table(
        title=f"Table 1: G = 2³⁰ multiply-adds, {ROIS} RoIs, {HEIGHT} × {WIDTH} cells, of which a RoI looks at "
        f"{found['table 1']['dense']['cells']} (dense) or {found['table 1']['sampled']['cells']} (sampled)",
        caption=note,
    )
    table.add_column("step")
    for label in ("dense", "sampled"):
        for order in ("paper", "counted", "separable"):
            table.add_column(f"{label}, {order}", justify="right")
    for step in (*STEPS, "sum"):
        cells = [found["table 1"][a][b][step] for a in ("dense", "sampled") for b in ("paper", "counted", "separable")]
        table.add_row(f"{step} {MEANING.get(step, '')}".strip(), *(f"{value:.3g}" for value in cells))
    console.print(table)
    rois = found["table 3"][0]["rois"]
    table = Table(
        title="Table 3: cost of the numbers of sampled cells",
        caption=f"|Ω|: cells that a RoI looks at on average, the paper's and over {rois} RoIs ({source})",
    )
    for column in (
        "max out",
        "max in",
        "paper",
        "counted",
        "separable",
        "|Ω out|, paper",
        "here",
        "|Ω in|, paper",
        "here",
    ):
        table.add_column(column, justify="right")
    for row in found["table 3"]:
        limits = ["full" if row[key] is None else str(row[key]) for key in ("max_outside", "max_inside")]
        costs = [f"{row[key]:.3g}" for key in ("paper", "counted", "separable")]
        sizes = [f"{row[key]:.0f}" for key in ("paper outside", "outside", "paper inside", "inside")]
        table.add_row(*limits, *costs, *sizes)
    console.print(table)
