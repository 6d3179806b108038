"""`roikit analyze diversity RUN ...`: how different the parts of a region are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from roikit.train.checkpoint import write_atomically
from roikit.train.errors import RunError
from roikit.train.parse import Parser

from .trained_runs import add_data, add_runs, headings, open_runs, open_split, output, trained


def make_parser() -> Parser:
    parser = Parser(
        prog="roikit analyze diversity",
        description="Cosine similarity between the weights of a region's parts, over the objects of a data set (SRA's "
        "Figure 7): for any extractor, the histograms of several runs in one picture.",
    )
    add_runs(parser)
    add_data(parser)
    parser.add_argument("--objects", type=int, default=200, help="Objects, taken evenly over the split.")
    parser.add_argument(
        "--dense",
        type=bool,
        default=False,
        help="Compare weights over the map's cells for every method; by default masks over sampled cells are compared "
        "as they are, as in the paper.",
    )
    parser.add_argument(
        "--out", type=str | None, default=None, help="PNG file, with a JSON file beside it; first RUN/diversity.png."
    )
    return parser


def main(arguments: Sequence[str]) -> int:
    options = make_parser().parse_args(list(arguments))
    if options.objects < 1:
        raise RunError(f"--objects must be at least 1, not {options.objects}")
    runs = open_runs(options.runs)
    picture = output(options.out or str(Path(runs[0].path) / "diversity.png"), ".png")

    from roikit.analysis.diversity import diversities, draw_diversity, summarise
    from roikit.train.progress import Progress

    dataset, source = open_split(runs, options.data, options.split)
    found: dict[str, dict[str, Any]] = {}
    for name, (run, model) in zip(headings(runs), trained(runs, options.cpu), strict=True):
        objects = min(options.objects, sum(int((record.iscrowd == 0).sum()) for record in dataset.records))
        cosines = []
        with Progress(run.name, objects, every=objects) as bar:
            try:
                for cosine in diversities(model, dataset, options.objects, dense=options.dense):
                    cosines.append(cosine)
                    bar.update(1)
                summary = summarise(cosines)
            except ValueError as error:
                raise RunError(f"{run.path} ({run.method}): {error}") from None
        found[name] = {"run": run.name, "method": run.method} | summary
    show(found, source)
    draw_diversity(picture, found, title=f"{source}, {next(iter(found.values()))['objects']} objects")
    numbers = picture.with_suffix(".json")
    content = {"data": source, "dense": options.dense, "runs": list(found.values())}
    write_atomically(numbers, (json.dumps(content, indent=1) + "\n").encode())
    print(f"wrote {picture}, {numbers}")
    return 0


def show(found: dict[str, dict[str, Any]], source: str) -> None:
    from rich.table import Table

    from roikit.analysis.diversity import LIMIT, PAPER
    from roikit.train.screen import wide

    table = Table(
        title=f"Cosine between the weights of two parts of a region (SRA's Figure 7); {source}",
        caption=f"below {LIMIT}: of all pairs of parts of all objects; averaged: of the pairs' means over the objects.",
    )
    table.add_column("run", overflow="fold")
    table.add_column("extractor", overflow="fold")
    for name in ("mean", f"below {LIMIT}", "averaged", "objects"):
        table.add_column(name, justify="right")
    for row in found.values():
        cells = [f"{row['mean']:.3f}", f"{row['below']:.1%}", f"{row['below_averaged']:.1%}", str(row["objects"])]
        table.add_row(row["run"], row["method"], *cells)
    table.add_section()
    table.add_row("paper, COCO", "SRA", "", f"{PAPER:.0%}", "", "")
    wide().print(table)
