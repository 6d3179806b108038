"""What Semantic RoI Align and what it is compared with cost: the paper's Tables 1, 4 and 5, counted."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from rich.table import Table
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from roikit.extractors import (
    ConvMaskRoIAlign,
    ModulatedDeformRoIPool,
    RegionExtractor,
    RoIAlign,
    SelfAttentionRoIAlign,
    SemanticRoIAlign,
)
from roikit.train.screen import wide

from .counting import of_layers

# The paper's setting: 300 RoIs, Faster R-CNN R-50-FPN for 80 classes.
ROIS, CHANNELS, CLASSES, LEVELS = 300, 256, 81, 4


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of a table: an extractor, and what the paper prints of it.

    Args:
        table: its number.
        label: what the row is about.
        kind, settings: the extractor; ``copies`` of it in a detector.
        parameters: of the detector, in millions.
        extra: multiply-adds that the detector has more than with RoI Align and as many parts, in 10⁹.
    """

    table: int
    label: str
    kind: type[RegionExtractor]
    settings: dict
    parameters: float
    extra: float
    copies: int = 1

    def make(self) -> RegionExtractor:
        learns = {} if self.kind is RoIAlign else {"channels": CHANNELS}
        return self.kind(**learns, **self.settings)


ROWS = [
    Row(1, "RoI Align", RoIAlign, {}, 41.8, 0.0),
    Row(1, "DRoIPooling", ModulatedDeformRoIPool, {"pack": "separate"}, 149.4, 8.1, LEVELS),
    Row(1, "w/ Conv.", ConvMaskRoIAlign, {}, 71.9, 9.2),
    Row(1, "w/ SA", SelfAttentionRoIAlign, {}, 42.7, 7.2),
    Row(1, "SRA", SemanticRoIAlign, {}, 42.0, 3.3),
    *(
        Row(4, f"N = {masks}", SemanticRoIAlign, {"masks": masks}, *printed)
        for masks, printed in {9: (31.5, 2.9), 25: (35.7, 3.1), 49: (42.0, 3.3), 100: (55.4, 3.8)}.items()
    ),
    *(
        Row(4, f"RoI Align, {side} × {side}", RoIAlign, {"output_size": side}, printed, 0.0)
        for side, printed in {3: 31.3, 5: 35.5, 7: 41.8, 10: 55.1}.items()
    ),
    Row(5, "fixed 8 × 8", SemanticRoIAlign, {"sampler": (8, 8)}, 42.0, 3.2),
    *(
        Row(5, f"S = {cells}", SemanticRoIAlign, {"max_cells": cells}, 42.0, printed)
        for cells, printed in {16: 0.8, 32: 1.6, 64: 3.3, 128: 7.0}.items()
    ),
]


def parameters(row: Row) -> float:
    """Millions of the detector with the extractor; scales and shifts of frozen batch norm count, as in the paper."""
    from torchvision.models.detection import fasterrcnn_resnet50_fpn
    from torchvision.models.detection.faster_rcnn import TwoMLPHead

    with torch.device("meta"):
        extractor = row.make()
        model = fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=CLASSES)
        parts = extractor.output_size[0] * extractor.output_size[1]
        model.roi_heads.box_head = TwoMLPHead(CHANNELS * parts, 1024)
    frozen = sum(b.numel() for name, b in model.named_buffers() if name.endswith(("weight", "bias")))
    return (_count(model) + frozen + row.copies * _count(extractor)) / 1e6


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def multiply_adds(extractor: RegionExtractor, rois: int = ROIS) -> float:
    """10⁹ of the matrix products of ``rois`` RoIs, counted while the code runs (the counter counts two for each).

    A dynamic sampler makes as many cells as it may, whatever the RoI: where there are fewer, the rest are padding.
    """
    boxes = torch.tensor([0.0, 0.0, 64.0, 64.0]).expand(rois, 4)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        extractor(torch.zeros(1, CHANNELS, 4, 4), [boxes], 1 / 16)
    return of_layers(counter) / 1e9


def average_cells(boxes: Tensor, max_cells: int) -> float:
    """How many cells the Dynamic Feature Sampler gives RoIs ``Tensor[N, 4]`` on average.

    Raises:
        ValueError: there are no boxes.
    """
    if not boxes.shape[0]:
        raise ValueError("there are no boxes to average over")
    x1, y1, x2, y2 = boxes.unbind(1)
    cells = SemanticRoIAlign(1, 1, max_cells).cells((y1, y2 - y1, x1, x2 - x1))
    return float((cells.height * cells.width).double().mean())


def count(images: Sequence[tuple[Tensor, tuple[int, int]]]) -> dict:
    """Every row, counted beside its printed numbers; and the cells sampled of these images' boxes.

    Args:
        images: of each image the boxes ``Tensor[N, 4]`` and its size.
    """
    rows = []
    for row in ROWS:
        found = {"parameters": parameters(row), "extra": multiply_adds(row.make())}
        printed = {"parameters": row.parameters, "extra": row.extra}
        rows.append({"table": row.table, "row": row.label, "paper": printed, "counted": found})
    boxes = torch.cat([boxes for boxes, _ in images]).float()
    cells = {str(most): average_cells(boxes, most) for most in (16, 32, 64, 90, 128)}
    return {"rows": rows, "cells": cells, "rois": boxes.shape[0]}


def show(found: dict[str, Any], source: str) -> None:
    console = wide()
    table = Table(
        title=f"Tables 1, 4 and 5: parameters of Faster R-CNN R-50-FPN in millions; 10⁹ multiply-adds that {ROIS} RoIs "
        "add to RoI Align's",
        caption="paper: as printed. counted: the running code's parameters and matrix products. The paper does not say "
        "the sizes of w/ SA.",
    )
    table.add_column("table")
    table.add_column("row")
    for column in ("parameters, paper", "counted", "multiply-adds, paper", "counted"):
        table.add_column(column, justify="right")
    for row in found["rows"]:
        printed, counted = row["paper"], row["counted"]
        cells = [f"{printed['parameters']:.1f}", f"{counted['parameters']:.2f}"]
        cells += [f"{printed['extra']:.1f}", f"{counted['extra']:.2f}"]
        table.add_row(str(row["table"]), row["row"], *cells)
    console.print(table)
    table = Table(title=f"Cells that the Dynamic Feature Sampler gives {found['rois']} RoIs ({source})")
    table.add_column("S, at most")
    table.add_column("on average", justify="right")
    table.add_column("of S", justify="right")
    for most, average in found["cells"].items():
        table.add_row(most, f"{average:.1f}", f"{average / int(most):.0%}")
    console.print(table)
