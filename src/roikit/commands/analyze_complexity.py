"""`roikit analyze complexity lrf`: Tables 1 and 3 of the paper, counted; `… sra`: Tables 1, 4 and 5 of that paper;
`… dcnv2`: Table 1 of that one."""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from roikit.train.errors import RunError
from roikit.train.parse import Parser

METHODS = ("lrf", "sra", "dcnv2")


def make_parser() -> Parser:
    parser = Parser(prog="roikit analyze complexity", description="Multiply-adds of a method, beside its paper's.")
    parser.add_argument("method", type=str, help=f"One of {', '.join(METHODS)}.")
    parser.add_argument(
        "--data", type=str | None, default=None, help="Average the sampled cells over this data set's boxes."
    )
    parser.add_argument("--split", type=str, default="val", help="The split of --data.")
    parser.add_argument(
        "--size",
        type=tuple[int, int],
        default=(600, 1000),
        help="Shorter side that images of --data are resized to, and the longest that the longer may get, in pixels.",
    )
    parser.add_argument("--json", type=Path | None, default=None, help="Also write the numbers to this file.")
    return parser


def main(arguments: Sequence[str]) -> int:
    options = make_parser().parse_args(list(arguments))
    if options.method not in METHODS:
        raise RunError(f"no complexity of {options.method!r}; known: {', '.join(METHODS)}")
    if options.method == "dcnv2" and options.data is not None:
        raise RunError("--data: the costs of dcnv2 do not depend on boxes")
    if options.json is not None and not options.json.absolute().parent.is_dir():
        raise RunError(f"--json: the folder {options.json.absolute().parent} does not exist")
    if min(options.size) < 1:
        raise RunError(f"--size: both sides must be positive, not {list(options.size)}")
    from roikit.analysis import complexity

    images = complexity.made_boxes() if options.data is None else boxes_of(options.data, options.split, options.size)
    if options.method == "lrf":
        count_it, show_it = count, show
    else:
        of_method = importlib.import_module(f"roikit.commands.analyze_complexity_{options.method}")
        count_it, show_it = of_method.count, of_method.show
    found = count_it(images)
    show_it(found, "made boxes" if options.data is None else f"{options.data}, {options.split} split")
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        print(f"written to {options.json}")
    return 0


def boxes_of(path: str, split: str, size: tuple[int, int]) -> list[Any]:
    """(boxes, (height, width)) of every image as the detector sees it."""
    import torch

    from roikit.data import open_dataset
    from roikit.train.datasets import show_progress

    images = []
    for record in open_dataset(path, split, progress=show_progress).records:
        factor = min(size[0] / min(record.width, record.height), size[1] / max(record.width, record.height))
        sides = (round(record.height * factor), round(record.width * factor))
        images.append((torch.from_numpy(record.boxes.copy()) * factor, sides))
    if not sum(boxes.shape[0] for boxes, _ in images):
        raise RunError(f"--data: {path} has no box in its {split} split")
    return images


def count(images: list[Any]) -> dict[str, Any]:
    """All numbers: Table 1's rows, Table 3's rows, G multiply-adds."""
    from roikit.analysis import complexity as c

    table_1 = {}
    for label, cells in (("dense", 1737 + 282), ("sampled", 114 + 86)):
        orders = {
            "paper": c.TABLE_1[label],
            "counted": c.paper_order(cells),
            "separable": c.separable_order(cells),
        }
        table_1[label] = {"cells": cells, **orders}
    table_3 = []
    for (most_out, most_in), (paper_out, paper_in), total in c.TABLE_3:
        averages = c.average_samples(images, most_out, most_in)
        row = {"max_outside": most_out, "max_inside": most_in, "paper": total}
        row |= {"counted": c.paper_order(paper_out + paper_in)["sum"]}
        row |= {"separable": c.separable_order(paper_out + paper_in)["sum"]}
        row |= {"paper outside": paper_out, "paper inside": paper_in}
        table_3.append(row | {"outside": averages.outside, "inside": averages.inside, "rois": averages.rois})
    return {"table 1": table_1, "table 3": table_3}


def show(found: dict[str, Any], source: str) -> None:
    from rich.table import Table

    from roikit.analysis.complexity import HEIGHT, MEANING, ROIS, STEPS, WIDTH
    from roikit.train.screen import wide

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
