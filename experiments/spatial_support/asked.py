"""The nodes that were asked for, and the image that they are of."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from roikit.analysis.objects import box_at, mask_at
from roikit.commands.analyze_masks import check_box
from roikit.commands.pictured import place_of
from roikit.commands.trained_runs import OneRun, open_split
from roikit.data import read_image
from roikit.train.errors import RunError

from .nodes import BackboneNode, BoxNode

MOST = 12  # nodes: a picture of many more could not be opened


@dataclasses.dataclass(frozen=True)
class Asked:
    """A node that was asked for: what it is, and where its object lies, if that is known."""

    title: str
    node: Any
    region: Any  # a mask [H, W], or None
    where: str  # what the region is called


def find_nodes(runs: Sequence[OneRun], options: Any) -> tuple[Any, str, list[Asked]]:
    """The image, its name, and the nodes asked for.

    Raises:
        RunError: no such image or object, a place or a box that does not fit, too many nodes.
        DataError: a picture or data set that cannot be used.
    """
    nodes = [numbers_of("--node", node) for node in options.node or []]
    boxes = [numbers_of("--box", box) for box in options.box or []]
    centres, objects = list(options.centre or []), list(options.object or [])
    if len(nodes) + len(boxes) + len(centres) + len(objects) > MOST:
        raise RunError(f"{MOST} nodes at most fit in one picture")
    file = Path(options.image)
    target: Any = None
    dataset: Any = None
    if (nodes or boxes) and not (centres or objects) and file.is_file():
        image, what = read_image(file), file.name
    else:
        dataset, source = open_split(runs, options.data, options.split)
        index = place_of(dataset, options.image, source)
        image, target = dataset.with_transform(None)[index]
        what = f"{Path(dataset.file_name(index)).name} ({source})"
    if not (nodes or boxes or centres or objects):
        objects = [largest(target, what)]
    height, width = image.shape[1:]
    for x, y in nodes:
        if not (0 <= x < width and 0 <= y < height):
            raise RunError(f"--node {x:g} {y:g}: lies outside of the image of {width}×{height} pixels")
    asked = [Asked(str(node), node, None, "") for node in (BackboneNode(x, y) for x, y in nodes)]
    for number in centres:
        label, region = object_at(dataset, target, number, "--centre", what, (height, width))
        x1, y1, x2, y2 = box_at(target, number).tolist()
        node = BackboneNode(min(max((x1 + x2) / 2, 0), width - 1), min(max((y1 + y2) / 2, 0), height - 1))
        asked.append(Asked(f"{label}, {node}", node, region, "on the object"))
    for box in boxes:
        x1, y1, x2, y2 = check_box(box, image)
        boxed = BoxNode((x1, y1, x2, y2))
        asked.append(Asked(str(boxed), boxed, pixels_of(boxed.box, height, width), "in the box"))
    for number in objects:
        label, region = object_at(dataset, target, number, "--object", what, (height, width))
        x1, y1, x2, y2 = box_at(target, number).tolist()
        boxed = BoxNode((x1, y1, x2, y2))
        asked.append(Asked(f"{label}, {boxed}", boxed, region, "on the object"))
    return image, what, asked


def pixels_of(box: Sequence[float], height: int, width: int) -> Any:
    """bool ``Tensor[height, width]``: the pixels whose centres lie in a box."""
    x, y = torch.arange(width) + 0.5, torch.arange(height) + 0.5
    return ((y >= box[1]) & (y < box[3]))[:, None] & ((x >= box[0]) & (x < box[2]))


def largest(target: Any, what: str) -> int:
    """The number of the largest object."""
    if not len(target["boxes"]):
        raise RunError(f"{what}: has no object; choose with --node X Y or --box X1 Y1 X2 Y2")
    return int((target["boxes"][:, 2:] - target["boxes"][:, :2]).prod(1).argmax())


def object_at(dataset: Any, target: Any, number: int, flag: str, what: str, size: Any) -> tuple[str, Any]:
    """The category of an object, and its mask, or the pixels of its box where it has none.

    Raises:
        RunError: there is no such object.
    """
    count = len(target["boxes"])
    if not 0 <= number < count:
        raise RunError(f"{flag} {number}: {what} has {count} objects, counted from 0")
    mask = mask_at(target, number)
    label = dataset.categories[int(target["labels"][number]) - 1]
    if mask is None:
        mask = pixels_of(box_at(target, number).tolist(), *size)
    return str(label), mask


def numbers_of(flag: str, given: Sequence[str]) -> list[float]:
    """The numbers of a flag that may be given several times."""
    try:
        values = [float(v) for v in given]
    except ValueError:
        values = [math.nan]
    if not all(map(math.isfinite, values)):
        raise RunError(f"{flag} {' '.join(given)}: must be {len(given)} numbers, in pixels of the image")
    return values
