"""What is in a data set, in lines of text and in one picture."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from roikit.data.dataset import DetectionDataset
from roikit.data.errors import DataError
from roikit.oriented import corners

CLASS_COLOURS = (  # dark, so that white names on them can be read
    "#e6194b",
    "#3cb44b",
    "#4363d8",
    "#f58231",
    "#911eb4",
    "#008080",
    "#9a6324",
    "#800000",
    "#808000",
    "#000075",
)


def describe(dataset: DetectionDataset) -> list[str]:
    """Lines about a data set: images and boxes, boxes per class and their sizes, what was dropped.

    Sizes are the square root of a box's area, in pixels: least, median, most; small, medium and large are COCO's
    (below 32 squared, below 96 squared, above), by the annotated area.

    >>> print("\\n".join(describe(open_dataset("shapes:tiny", "val"))))  # doctest: +SKIP
    """
    records = dataset.records
    lines = dataset.report.lines()
    sizes = sorted({(record.width, record.height) for record in records})
    if len(sizes) == 1:
        lines.append(f"image size: {sizes[0][0]}x{sizes[0][1]} pixels")
    elif sizes:
        widths, heights = zip(*sizes, strict=True)
        lines.append(f"image sizes: {min(widths)}-{max(widths)} x {min(heights)}-{max(heights)} pixels")
    if records:
        counts = [len(record.boxes) for record in records]
        lines.append(f"boxes per image: {min(counts)} to {max(counts)}, {np.mean(counts):.1f} on average")
    labels = _all([record.labels for record in records])
    boxes = _all([record.boxes for record in records]).reshape(-1, 4)
    area = _all([record.area for record in records])
    side = np.sqrt((boxes[:, 2:] - boxes[:, :2]).prod(1))
    width = max([len(name) for name in dataset.categories] + [len("all classes")])
    lines.append(
        f"{'class':{width}}  {'boxes':>7}  {'images':>7}  {'size (px)':>15}  {'small':>6} {'medium':>6} {'large':>6}"
    )
    rows = [*enumerate(dataset.categories, start=1), (0, "all classes")]
    for label, name in rows:
        of_class = labels == label if label else np.ones(len(labels), bool)
        images = sum(bool((record.labels == label).any() if label else len(record.labels)) for record in records)
        size = _range(side[of_class])
        small, large = area[of_class] < 32**2, area[of_class] > 96**2
        bands = (small.sum(), (~small & ~large).sum(), large.sum())
        lines.append(
            f"{name:{width}}  {of_class.sum():7d}  {images:7d}  {size:>15}  " + " ".join(f"{n:6d}" for n in bands)
        )
    return lines


def contact_sheet(dataset: DetectionDataset, path: str | Path, n: int = 16, *, side: int = 240) -> Path:
    """Save a picture of `n` images, evenly spaced through the data set, with their boxes and class names.

    Args:
        path: where to write it; the ending says the format.
        n: how many images (fewer, where there are fewer).
        side: pixels each image is scaled to fit into.
    """
    count = min(n, len(dataset))
    if count < 1:
        raise DataError(f"{dataset.report.source}: no image to draw")
    columns = math.ceil(math.sqrt(count))
    plain = dataset.with_transform(None)
    tiles = [_tile(plain, k * len(dataset) // count, side) for k in range(count)]
    rows = [tiles[k : k + columns] for k in range(0, count, columns)]
    heights = [max(tile.height for tile in row) for row in rows]
    sheet = Image.new("RGB", (columns * side, sum(heights)), "white")
    for number, row in enumerate(rows):
        for column, tile in enumerate(row):
            sheet.paste(tile, (column * side, sum(heights[:number])))
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)
    return path


def _tile(dataset: DetectionDataset, index: int, side: int) -> Image.Image:
    image, target = dataset[index]
    factor = side / max(image.shape[1:])
    picture = Image.fromarray(image.permute(1, 2, 0).numpy())
    picture = picture.resize((max(round(picture.width * factor), 1), max(round(picture.height * factor), 1)))
    pen = ImageDraw.Draw(picture)
    turned = corners(target["oriented_boxes"]) * factor if "oriented_boxes" in target else None
    boxes = (target["boxes"] * factor).tolist()
    for place, ((x1, y1, x2, y2), label) in enumerate(zip(boxes, target["labels"].tolist(), strict=True)):
        colour, name = CLASS_COLOURS[(label - 1) % len(CLASS_COLOURS)], dataset.categories[label - 1]
        if turned is None:
            pen.rectangle((x1, y1, max(x2 - 1, x1), max(y2 - 1, y1)), outline=colour, width=2)
        else:
            pen.polygon([(x, y) for x, y in turned[place].tolist()], outline=colour, width=2)
        left, top, right, bottom = pen.textbbox((0, 0), name)
        # above the box where there is room, so that a small box is not hidden by its name
        x, y = x1, y1 - bottom - 2 if y1 > bottom + 2 else y1
        pen.rectangle((x + left, y + top - 1, x + right + 2, y + bottom + 1), fill=colour)
        pen.text((x + 1, y), name, fill="white")
    return picture


def _all(arrays: list[np.ndarray]) -> np.ndarray:
    return np.concatenate(arrays) if arrays else np.zeros(0)


def _range(values: np.ndarray) -> str:
    return f"{values.min():.0f}/{np.median(values):.0f}/{values.max():.0f}" if len(values) else "-"
