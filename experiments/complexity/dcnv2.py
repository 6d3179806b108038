"""What Deformable ConvNets v2 costs: the parameters and multiply-adds of the paper's Table 1, counted."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import torch
from rich.table import Table
from torch import nn

from roikit.detection import faster_rcnn, mask_rcnn
from roikit.extractors import DeformRoIPool, ModulatedDeformRoIPool, RegionExtractor, RoIAlign
from roikit.train.screen import wide

from .counting import counter_of_layers, of_layers

# Faster R-CNN on one C5 map, Mask R-CNN with a pyramid; ResNet-50, 80 classes.
Detector = Literal["faster", "mask"]
DETECTORS: tuple[Detector, ...] = ("faster", "mask")
# The paper's shorter side is 800 pixels; it does not say the longer one. A picture of 3:2 is padded to this.
HEIGHT, WIDTH = 800, 1216
ROIS, CLASSES = 1000, 81


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of Table 1: a setting, and what the paper prints of it.

    Args:
        label: the paper's words.
        stages: of the backbone that have deformable convolutions.
        pooling: the extractor's class.
        modulated: the second version of both.
        parameters: in millions, by detector.
        products: multiply-adds in 10⁹, by detector.
    """

    label: str
    stages: tuple[str, ...]
    pooling: type[RegionExtractor]
    modulated: bool
    parameters: tuple[float, float]
    products: tuple[float, float]


C5, C4, C3 = ("layer4",), ("layer3", "layer4"), ("layer2", "layer3", "layer4")
ROWS = [
    Row("regular", (), RoIAlign, False, (51.3, 39.5), (196.8, 303.5)),
    Row("dconv@c5 + dpool", C5, DeformRoIPool, False, (52.7, 40.9), (198.9, 304.9)),
    Row("dconv@c5", C5, RoIAlign, False, (51.5, 39.8), (197.7, 303.7)),
    Row("dconv@c4~c5", C4, RoIAlign, False, (51.7, 40.0), (198.7, 304.7)),
    Row("dconv@c3~c5", C3, RoIAlign, False, (51.8, 40.1), (200.0, 306.0)),
    Row("dconv@c3~c5 + dpool", C3, DeformRoIPool, False, (53.0, 41.3), (201.2, 307.2)),
    Row("mdconv@c3~c5 + mdpool", C3, ModulatedDeformRoIPool, True, (65.5, 53.8), (214.7, 320.3)),
]


def build(row: Row, detector: Detector) -> Any:
    """The detector of a row, without memory (on the meta device); masks pool with the layers of the boxes."""
    settings: dict[str, Any] = {"num_classes": CLASSES, "extractor": row.pooling, "modulated": row.modulated}
    make: Callable[..., Any] = partial(faster_rcnn, neck="c5")
    if detector == "mask":
        make = mask_rcnn
        if row.pooling is not RoIAlign:
            settings["mask_extractor"] = "shared"
    with torch.device("meta"):
        return make("resnet50", deformable=row.stages, **settings)


def parameters(model: nn.Module) -> float:
    """Millions; what two heads share counts once."""
    return sum(parameter.numel() for parameter in model.parameters()) / 1e6


def multiply_adds(model: Any) -> float:
    """10⁹ matrix products of the backbone on one image and of the box head's pooling of 1000 RoIs, counted while they
    run. The heads, which are the same in every row, are left out, and so are bilinear samples."""
    image = torch.empty(1, 3, HEIGHT, WIDTH, device="meta")
    box = torch.empty(1, 256, 4, 4, device="meta")
    rois = torch.zeros(ROIS, 5, device="meta")
    extractor = model.roi_heads.box_roi_pool.extractor_at(0)
    with torch.no_grad(), counter_of_layers() as counter:
        model.backbone.body.eval()(image)
        extractor(box, rois)
    return of_layers(counter) / 1e9


def count(images: list[Any]) -> dict[str, Any]:
    """Every row and detector: what it has more than the regular one, as printed and as counted; boxes do not matter."""
    found: list[dict[str, Any]] = []
    for at, detector in enumerate(DETECTORS):
        regular = None
        for row in ROWS:
            model = build(row, detector)
            own = (parameters(model), multiply_adds(model))
            regular = regular or own
            printed = (row.parameters[at] - ROWS[0].parameters[at], row.products[at] - ROWS[0].products[at])
            found.append({"detector": detector, "row": row.label})
            for name, numbers in (("paper", printed), ("counted", (own[0] - regular[0], own[1] - regular[1]))):
                found[-1][name] = {"parameters": numbers[0], "multiply-adds": numbers[1]}
    return {"table 1": found}


def show(found: dict[str, Any], source: str) -> None:
    table = Table(
        title="Table 1: parameters in millions (M), and 10⁹ multiply-adds (G) of an image of "
        f"{HEIGHT} × {WIDTH} with {ROIS} RoIs, more than the regular detector has",
        caption="paper: differences of numbers printed with one decimal. counted: the running detectors' parameters "
        "and products. R-50.",
    )
    table.add_column("detector", no_wrap=True)
    table.add_column("row", no_wrap=True)
    for column in ("M, paper", "counted", "G, paper", "counted"):
        table.add_column(column, justify="right", no_wrap=True)
    names, before = {"faster": "Faster, C5", "mask": "Mask, FPN"}, None
    for row in found["table 1"]:
        if before not in (None, row["detector"]):
            table.add_section()
        cells = []
        for key in ("parameters", "multiply-adds"):
            cells += [f"{row['paper'][key]:.1f}", f"{row['counted'][key]:.2f}"]
        table.add_row("" if before == row["detector"] else names[row["detector"]], row["row"], *cells)
        before = row["detector"]
    wide().print(table)
