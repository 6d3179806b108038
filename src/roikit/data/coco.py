"""COCO JSON files: boxes, polygons and run lengths, in the folder layouts people use."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from roikit.data.checks import Annotated, Box, Progress, finish
from roikit.data.dataset import DetectionDataset, Report
from roikit.data.errors import DataError, Problems
from roikit.data.masks import segmentation_fault

_LIMIT = 1e12

_FILES = (
    "annotations/instances_{split}.json",
    "annotations/instances_{split}2017.json",
    "annotations/{split}.json",
    "annotations/{split}2017.json",
    "{split}.json",
    "instances_{split}.json",
    "{split}/_annotations.coco.json",
    "annotations/instances_{split}2014.json",
)
_IMAGES = ("images/{split}", "{split}", "images/{split}2017", "{split}2017", "images", "", "{split}2014")


def coco_file(folder: Path, split: str) -> Path | None:
    """The annotation file of a split in a COCO folder, None where there is none."""
    return next((file for name in _FILES if (file := folder / name.format(split=split)).is_file()), None)


def coco_splits(folder: Path) -> list[str]:
    """Names of the splits that a COCO folder has annotation files for."""
    files = [file.stem for pattern in ("annotations/*.json", "*.json") for file in sorted(folder.glob(pattern))]
    # COCO's own folder has captions and keypoints beside the instances
    instances = [stem.removeprefix("instances_") for stem in files if stem.startswith("instances_")]
    return (instances or files) + [file.parent.name for file in sorted(folder.glob("*/_annotations.coco.json"))]


def read_coco(file: Path, split: str, *, masks: bool = False, progress: Progress | None = None) -> DetectionDataset:
    """Read one COCO JSON file.

    Category ids may have gaps; labels 1..n follow the order of the ids. Boxes are `[x, y, width, height]` with the
    image's corner at (0, 0), so xyxy is `(x, y, x + width, y + height)`. `iscrowd` is kept in the targets.

    Images are looked for in `images/{split}`, `{split}`, `images` and the folder itself (with COCO's years too),
    beside the JSON file and one folder up.

    Raises:
        DataError: broken JSON, or problems in the file or its images (see `open_dataset`).
    """
    data = _load(file)
    problems, report = Problems(str(file)), Report(f"{file}")
    categories = _categories(data["categories"], file, problems)
    labels = {number: label for label, number in enumerate(categories, start=1)}
    images = _images(data["images"], file, split, problems)
    seen: set[Any] = set()
    no_area = 0
    for position, annotation in enumerate(data["annotations"]):
        where = f"annotations[{position}]"
        try:
            if not isinstance(annotation, dict):
                raise DataError(f"{where}: {type(annotation).__name__}, not an object")
            if "id" in annotation:
                where = f"annotation id {annotation['id']!r}"
                if str(annotation["id"]) in seen:
                    raise DataError(f"{where}: the id is used more than once")
                seen.add(str(annotation["id"]))
            item, box = _box(annotation, where, images, labels, masks)
            item.boxes.append(box)
            no_area += box.area is None
        except DataError as error:
            problems.add(file, error.message)
    if no_area:
        report.notes.append(f"{no_area} annotations have no area: the area of the box is used")
    records = finish(images.values(), problems, report, masks=masks, progress=progress)
    problems.raise_if_any()
    return DetectionDataset(
        records, list(categories.values()), report, has_masks=masks, category_ids=list(categories.keys())
    )


def _load(file: Path) -> dict[str, list]:
    try:
        data = json.loads(file.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: not UTF-8 text ({error.reason} at byte {error.start})") from None
    except json.JSONDecodeError as error:
        raise DataError(f"{file}: broken JSON ({error.msg} at line {error.lineno}, column {error.colno})") from None
    except RecursionError:
        raise DataError(f"{file}: broken JSON (nested too deeply)") from None
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror})") from None
    if not isinstance(data, dict):
        raise DataError(f"{file}: holds a {type(data).__name__}, not COCO's object of images, annotations, categories")
    for key in ("images", "annotations", "categories"):
        if not isinstance(data.get(key), list):
            what = "no" if key not in data else "no list under"
            raise DataError(f"{file}: {what} '{key}': not a COCO file of labelled images")
    for key in ("images", "categories"):
        if not data[key]:
            raise DataError(f"{file}: '{key}' is empty")
    return data


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _categories(entries: list, file: Path, problems: Problems) -> dict[int, str]:
    found: dict[int, str] = {}
    for position, entry in enumerate(entries):
        where = f"categories[{position}]"
        if not isinstance(entry, dict):
            problems.add(file, f"{where}: {type(entry).__name__}, not an object")
            continue
        missing = [key for key in ("id", "name") if key not in entry]
        if missing:
            problems.add(file, f"{where}: missing key '{missing[0]}'")
        elif not _is_id(entry["id"]):
            problems.add(file, f"{where}: id {entry['id']!r} is not an integer")
        elif entry["id"] in found:
            problems.add(file, f"{where}: id {entry['id']} is used more than once")
        elif str(entry["name"]) in found.values():
            problems.add(file, f"{where}: name {entry['name']!r} is used more than once")
        else:
            found[entry["id"]] = str(entry["name"])
    return dict(sorted(found.items()))


def _images(entries: list, file: Path, split: str, problems: Problems) -> dict[int, Annotated]:
    names: dict[int, tuple[str, tuple[int, int] | None]] = {}
    for position, entry in enumerate(entries):
        where = f"images[{position}]"
        if not isinstance(entry, dict):
            problems.add(file, f"{where}: {type(entry).__name__}, not an object")
            continue
        missing = [key for key in ("id", "file_name") if key not in entry]
        if missing:
            problems.add(file, f"{where}: missing key '{missing[0]}'")
        elif not _is_id(entry["id"]):
            problems.add(file, f"{where}: id {entry['id']!r} is not an integer")
        elif not isinstance(entry["file_name"], str) or not entry["file_name"]:
            problems.add(file, f"{where}: file_name {entry['file_name']!r} is not a name")
        elif entry["id"] in names:
            problems.add(file, f"{where}: id {entry['id']} is used more than once")
        else:
            width, height = entry.get("width"), entry.get("height")
            if width is None or height is None:
                names[entry["id"]] = (entry["file_name"], None)
            elif _is_id(width) and _is_id(height) and width > 0 and height > 0:
                names[entry["id"]] = (entry["file_name"], (width, height))
            else:
                problems.add(file, f"{where}: size {width!r} x {height!r} is not two positive integers")
    folder = _image_folder(file, split, [name for name, _ in names.values()])
    return {number: Annotated(folder / name, number, size, str(file)) for number, (name, size) in sorted(names.items())}


def _image_folder(file: Path, split: str, names: list[str]) -> Path:
    """The folder that holds the most of the first images; where none holds any, the one a user would expect."""
    candidates = [
        base / pattern.format(split=split) for base in (file.parent, file.parent.parent) for pattern in _IMAGES
    ]
    sample = names[:50]
    held = [sum((folder / name).is_file() for name in sample) for folder in candidates]
    if any(held):
        return candidates[held.index(max(held))]
    return next((folder for folder in reversed(candidates) if folder.is_dir() and folder.name == split), file.parent)


def _box(
    annotation: dict, where: str, images: dict[int, Annotated], labels: dict[int, int], masks: bool
) -> tuple[Annotated, Box]:
    for key in ("image_id", "category_id", "bbox"):
        if key not in annotation:
            raise DataError(f"{where}: missing key '{key}'")
    item = images.get(annotation["image_id"]) if _is_id(annotation["image_id"]) else None
    if item is None:
        raise DataError(f"{where}: image_id {annotation['image_id']!r} is not among the images")
    category = annotation["category_id"]
    if not _is_id(category) or category not in labels:
        known = ", ".join(str(number) for number in list(labels)[:20])
        raise DataError(f"{where}: unknown category_id {category!r}; known: {known}{', ...' * (len(labels) > 20)}")
    bbox = annotation["bbox"]
    if not isinstance(bbox, list) or len(bbox) != 4 or not all(_is_number(value) for value in bbox):
        raise DataError(f"{where}: bbox {str(bbox)[:60]} is not four finite numbers [x, y, width, height]")
    x, y, width, height = bbox
    degenerate = width <= 0 or height <= 0  # dropped whatever else it says
    area = annotation.get("area")
    if not degenerate and area is not None and not (_is_number(area) and area >= 0):
        raise DataError(f"{where}: area {area!r} is not a number of at least 0")
    crowd = annotation.get("iscrowd", 0)
    if crowd not in (0, 1):
        raise DataError(f"{where}: iscrowd {crowd!r} is not 0 or 1")
    segmentation = annotation.get("segmentation") if masks else None
    if masks and not degenerate:
        if segmentation is None:
            raise DataError(f"{where}: missing key 'segmentation', and masks were asked for")
        if item.size is None:
            raise DataError(f"{where}: masks need the width and height of image {item.path.name}, which it lacks")
        fault = segmentation_fault(segmentation, item.size[1], item.size[0])
        if fault:
            raise DataError(f"{where}: {fault}")
    box = Box(
        xyxy=(x, y, x + width, y + height),
        label=labels[category],
        where=where,
        area=area,
        iscrowd=int(crowd),
        segmentation=segmentation,
        degenerate=degenerate,
    )
    return item, box


def _is_number(value: Any) -> bool:
    # also false for NaN and infinities; no image has a coordinate beyond the limit
    return isinstance(value, (int, float)) and not isinstance(value, bool) and -_LIMIT < value < _LIMIT
