"""`python -m experiments.complexity lrf`: Tables 1 and 3 of the paper, counted; `… sra`: Tables 1, 4 and 5 of that
paper; `… dcnv2`: Table 1 of that one."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from roikit.cli import run
from roikit.data import open_dataset
from roikit.train.datasets import show_progress
from roikit.train.errors import RunError
from roikit.train.parse import Parser

from . import dcnv2, lrf, sra

PROGRAM = "python -m experiments.complexity"
METHODS: dict[str, Any] = {"lrf": lrf, "sra": sra, "dcnv2": dcnv2}


def make_parser() -> Parser:
    parser = Parser(prog=PROGRAM, description="Multiply-adds of a method, beside its paper's.")
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


def main(arguments: Sequence[str] | None = None) -> int:
    return run(PROGRAM, lambda: tables(make_parser().parse_args(arguments)))


def tables(options: Any) -> None:
    """Count, print and write what was asked for."""
    if options.method not in METHODS:
        raise RunError(f"no complexity of {options.method!r}; known: {', '.join(METHODS)}")
    if options.method == "dcnv2" and options.data is not None:
        raise RunError("--data: the costs of dcnv2 do not depend on boxes")
    if options.json is not None and not options.json.absolute().parent.is_dir():
        raise RunError(f"--json: the folder {options.json.absolute().parent} does not exist")
    if min(options.size) < 1:
        raise RunError(f"--size: both sides must be positive, not {list(options.size)}")
    method = METHODS[options.method]
    images = lrf.made_boxes() if options.data is None else boxes_of(options.data, options.split, options.size)
    found = method.count(images)
    method.show(found, "made boxes" if options.data is None else f"{options.data}, {options.split} split")
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        print(f"written to {options.json}")


def boxes_of(path: str, split: str, size: tuple[int, int]) -> list[Any]:
    """(boxes, (height, width)) of every image as the detector sees it."""
    import torch

    images = []
    for record in open_dataset(path, split, progress=show_progress).records:
        factor = min(size[0] / min(record.width, record.height), size[1] / max(record.width, record.height))
        sides = (round(record.height * factor), round(record.width * factor))
        images.append((torch.from_numpy(record.boxes.copy()) * factor, sides))
    if not sum(boxes.shape[0] for boxes, _ in images):
        raise RunError(f"--data: {path} has no box in its {split} split")
    return images


if __name__ == "__main__":
    sys.exit(main())
