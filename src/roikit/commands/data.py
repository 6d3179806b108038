"""`roikit data PATH`: check a data set and describe it."""

from __future__ import annotations

from collections.abc import Sequence

from roikit.train.errors import RunError
from roikit.train.parse import Parser
from roikit.train.trained import new_file


def make_parser() -> Parser:
    parser = Parser(prog="roikit data", description="Check a data set, describe it, and draw a contact sheet.")
    parser.add_argument("path", type=str, help='A data set (docs/data.md), or "shapes:LEVEL".')
    parser.add_argument("--split", type=str | None, default=None, help="Only this split; nothing takes all.")
    parser.add_argument("--masks", type=bool, default=False, help="Check instance masks too.")
    parser.add_argument("--oriented", type=bool, default=False, help="Draw oriented boxes on the sheet.")
    parser.add_argument(
        "--coco", type=str | None, default=None, help="New folder for COCO files of the splits, with what was read."
    )
    parser.add_argument("--sheet", type=str | None, default=None, help="PNG file for a contact sheet; must not exist.")
    parser.add_argument("--images", type=int, default=24, help="Images on the sheet.")
    return parser


def main(arguments: Sequence[str]) -> int:
    options = make_parser().parse_args(list(arguments))
    sheet = new_file(options.sheet, "--sheet") if options.sheet else None
    if options.images < 1:
        raise RunError("--images must be at least 1")
    folder = new_file(options.coco, "--coco") if options.coco else None

    from roikit.data import contact_sheet, describe, open_dataset, splits_of, to_coco
    from roikit.train.datasets import show_progress

    splits = [options.split] if options.split else splits_of(options.path) or ["train"]
    kinds = {"masks": options.masks, "oriented": options.oriented, "progress": show_progress}
    datasets = [open_dataset(options.path, split, **kinds) for split in splits]
    for dataset in datasets:
        print("\n  ".join(describe(dataset)))
    if folder is not None:
        folder.mkdir()
        for split, dataset in zip(splits, datasets, strict=True):
            print(f"wrote {to_coco(dataset, folder / f'instances_{split}.json')}")
    if sheet is not None:
        print(f"wrote {contact_sheet(datasets[0], sheet, options.images)}")
    return 0
