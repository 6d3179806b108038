"""`roikit data PATH`: check a data set and describe it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from roikit.train.errors import RunError
from roikit.train.parse import Parser
from roikit.train.trained import new_file


def make_parser() -> Parser:
    parser = Parser(prog="roikit data", description="Check a data set, describe it, and draw a contact sheet.")
    parser.add_argument("path", type=str, help='A COCO folder or JSON file, a VOC folder, or "shapes:LEVEL".')
    parser.add_argument("--split", type=str | None, default=None, help="Only this split; nothing takes all.")
    parser.add_argument("--masks", type=bool, default=False, help="Check instance masks too.")
    parser.add_argument("--sheet", type=str | None, default=None, help="PNG file for a contact sheet; must not exist.")
    parser.add_argument("--images", type=int, default=24, help="Images on the sheet.")
    return parser


def main(arguments: Sequence[str]) -> int:
    options = make_parser().parse_args(list(arguments))
    sheet = new_file(options.sheet, "--sheet") if options.sheet else None
    if options.images < 1:
        raise RunError("--images must be at least 1")

    from roikit.data import open_dataset, splits_of
    from roikit.train.datasets import show_progress

    splits = [options.split] if options.split else splits_of(options.path) or ["train"]
    datasets = {split: open_dataset(options.path, split, options.masks, progress=show_progress) for split in splits}
    for split, dataset in datasets.items():
        describe(split, dataset)
    if sheet is not None:
        draw_sheet(next(iter(datasets.values())), sheet, options.images)
        print(f"wrote {sheet}")
    return 0


def describe(split: str, dataset: Any) -> None:
    """What was checked and dropped, sizes, and a row per category."""
    import numpy as np
    from rich.console import Console
    from rich.table import Table

    print("\n  ".join(dataset.report.lines()))
    records = dataset.records
    if not records:
        return
    widths, heights = [r.width for r in records], [r.height for r in records]
    print(f"  images {min(widths)}-{max(widths)} px wide, {min(heights)}-{max(heights)} px high")
    labels = np.concatenate([r.labels for r in records])
    sides = np.sqrt(np.concatenate([r.area for r in records]))
    table = Table(title=f"split {split}", title_justify="left")
    for name in ("category", "boxes", "images", "side: 5 %", "median", "95 %"):
        table.add_column(name, justify="left" if name == "category" else "right", no_wrap=True)
    for number, name in enumerate(dataset.categories, start=1):
        own = sides[labels == number]
        spread = [f"{v:.0f} px" for v in np.percentile(own, (5, 50, 95))] if own.size else ["-"] * 3
        images = sum(bool((r.labels == number).any()) for r in records)
        table.add_row(name, str(own.size), str(images), *spread)
    console = Console()
    (console if console.is_terminal else Console(width=120)).print(table)


def draw_sheet(dataset: Any, path: Path, count: int, side: int = 240, columns: int = 6) -> None:
    """The first images with their boxes and names, `side` pixels each."""
    import torch
    from torchvision.transforms.functional import resize, to_pil_image
    from torchvision.utils import draw_bounding_boxes, make_grid

    tiles = []
    for index in range(min(count, len(dataset))):
        image, target = dataset[index]
        factor = side / max(image.shape[-2:])
        small = resize(image, [max(1, round(s * factor)) for s in image.shape[-2:]], antialias=True)
        boxes = target["boxes"] * factor
        if len(boxes):
            names = [dataset.categories[int(label) - 1] for label in target["labels"]]
            small = draw_bounding_boxes(small, boxes, names, colors="#e6194b")
        tile = torch.full((3, side, side), 255, dtype=torch.uint8)
        tile[:, : small.shape[1], : small.shape[2]] = small
        tiles.append(tile)
    to_pil_image(make_grid(tiles, nrow=min(columns, len(tiles)), pad_value=255)).save(path)
