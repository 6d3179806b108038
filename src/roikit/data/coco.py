"""COCO JSON files: boxes, polygons and run lengths."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from roikit.data.checks import Annotated, Box, Progress, alike_names, counted, finish
from roikit.data.coco_folder import image_folders
from roikit.data.dataset import DetectionDataset, Report
from roikit.data.errors import DataError, Problems
from roikit.data.finding import Finder
from roikit.data.masks import usable_segmentation
from roikit.data.seeded_split import seeded_split
from roikit.data.text import read_text
from roikit.documents import load_json

_LIMIT = 1e12


@dataclass
class _Reading:
    """What is counted and refused while a file is read."""

    file: Path
    problems: Problems
    refused: dict[str, set[Any]] = field(default_factory=lambda: {"image": set(), "category": set()})
    counts: Counter[str] = field(default_factory=Counter)

    def refuse(self, kind: str, where: str, entry: Any, reason: str) -> None:
        """An entry that cannot be used is one problem; what refers to it is none."""
        self.problems.add(self.file, f"{where}: {reason}")
        self.refused[kind].add(whole(entry.get("id")) if isinstance(entry, dict) else None)

    def is_refused(self, kind: str, number: int | None) -> bool:
        return number in self.refused[kind] or None in self.refused[kind]


def whole(value: Any) -> int | None:
    """A whole number, also one written as 64.0; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if value == value and abs(value) < _LIMIT and value == int(value) else None


def read_coco(
    file: Path,
    split: str,
    *,
    masks: bool = False,
    unlabelled: bool = False,
    progress: Progress | None = None,
    divide: Path | None = None,
) -> DetectionDataset:
    """Read one COCO JSON file.

    Category ids may have gaps; labels 1..n follow the order of the ids. Boxes are `[x, y, width, height]` with the
    image's corner at (0, 0), so xyxy is `(x, y, x + width, y + height)`. `iscrowd` is kept in the targets. A category
    that no annotation uses and that all others name as their supercategory is left out (Roboflow writes one).

    Images are looked for in `images/{split}`, `{split}`, `images` and the folder itself (with COCO's years too),
    beside the JSON file and one folder up.

    Args:
        unlabelled: annotations may be missing.
        divide: the folder of a data set whose only file this is: the split is drawn (`seeded_split`).

    Raises:
        DataError: broken JSON, or problems in the file or its images (see `open_dataset`).
    """
    data = _load(file, unlabelled)
    problems, report = Problems(str(file)), Report(f"{file}")
    reading = _Reading(file, problems)
    categories = _without_parent(_categories(data["categories"], reading), data, report)
    labels = {number: label for label, number in enumerate(categories, start=1)}
    images = _images(data["images"], split, reading, report)
    seen: set[Any] = set()
    for position, annotation in enumerate(counted(data["annotations"], "reading annotations", progress)):
        where = f"annotations[{position}]"
        try:
            if not isinstance(annotation, dict):
                raise DataError(f"{where}: {type(annotation).__name__}, not an object")
            if annotation.get("id") is not None:
                where = f"annotation id {annotation['id']!r}"
                if str(annotation["id"]) in seen:
                    raise DataError(f"{where}: the id is used more than once")
                seen.add(str(annotation["id"]))
            found = _box(annotation, where, images, labels, masks, reading)
            if found is not None:
                found[0].boxes.append(found[1])
                reading.counts["area"] += found[1].area is None
        except DataError as error:
            problems.add(file, error.message)
    if divide is not None and not problems.found:
        names = {_below(item.path, divide): number for number, item in images.items()}
        chosen, note = seeded_split(divide, list(names), split)
        images = {number: images[number] for number in sorted(names[name] for name in chosen)}
        report.notes.append(note)
    for key, text in (
        ("area", "annotations have no area: the area of the box is used"),
        ("pieces", "pieces of masks enclose nothing: dropped"),
        ("maskless", "annotations have no usable mask: left out, since masks were asked for"),
    ):
        if reading.counts[key]:
            report.notes.append(f"{reading.counts[key]} {text}")
    report.notes += alike_names(list(categories.values()))
    records = finish(images.values(), problems, report, masks=masks, progress=progress)
    problems.raise_if_any()
    return DetectionDataset(
        records, list(categories.values()), report, has_masks=masks, category_ids=list(categories.keys())
    )


def _below(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)


def _load(file: Path, unlabelled: bool = False) -> dict[str, list]:
    text = read_text(file)
    try:
        data = load_json(text)
    except ValueError as error:
        raise DataError(f"{file}: broken JSON ({error})") from None
    if not isinstance(data, dict):
        raise DataError(f"{file}: holds a {type(data).__name__}, not COCO's object of images, annotations, categories")
    if unlabelled:
        data.setdefault("annotations", [])
    for key in ("images", "annotations", "categories"):
        if not isinstance(data.get(key), list):
            what = "no" if key not in data else "no list under"
            raise DataError(f"{file}: {what} '{key}': not a COCO file of labelled images")
    for key in ("images", "categories"):
        if not data[key]:
            raise DataError(f"{file}: '{key}' is empty")
    return data


def _categories(entries: list, reading: _Reading) -> dict[int, str]:
    found: dict[int, str] = {}
    for position, entry in enumerate(entries):
        where = f"categories[{position}]"
        if not isinstance(entry, dict):
            reading.refuse("category", where, entry, f"{type(entry).__name__}, not an object")
            continue
        missing = [key for key in ("id", "name") if key not in entry]
        number = whole(entry.get("id"))
        if missing:
            reading.refuse("category", where, entry, f"missing key '{missing[0]}'")
        elif number is None:
            reading.refuse("category", where, entry, f"id {entry['id']!r} is not an integer")
        elif number in found:
            reading.refuse("category", where, entry, f"id {number} is used more than once")
        elif str(entry["name"]) in found.values():
            reading.refuse("category", where, entry, f"name {entry['name']!r} is used more than once")
        else:
            found[number] = str(entry["name"])
    return dict(sorted(found.items()))


def _without_parent(categories: dict[int, str], data: dict[str, list], report: Report) -> dict[int, str]:
    """The categories but for one that only says what the others are kinds of."""
    entries = {whole(entry["id"]): entry for entry in data["categories"] if isinstance(entry, dict) and "id" in entry}
    used = {whole(one.get("category_id")) for one in data["annotations"] if isinstance(one, dict)}
    for number, name in categories.items():
        others = [entries[other].get("supercategory") for other in categories if other != number]
        if number not in used and others and all(parent == name for parent in others):
            report.notes.append(f"category {number}, {name!r}, has no annotation and is what the others are: left out")
            return {other: own for other, own in categories.items() if other != number}
    return categories


def _images(entries: list, split: str, reading: _Reading, report: Report) -> dict[int, Annotated]:
    names: dict[int, tuple[str, tuple[int, int] | None]] = {}
    moments: dict[int, tuple[Any, int]] = {}
    for position, entry in enumerate(entries):
        where = f"images[{position}]"
        if not isinstance(entry, dict):
            reading.refuse("image", where, entry, f"{type(entry).__name__}, not an object")
            continue
        missing = [key for key in ("id", "file_name") if key not in entry]
        number = whole(entry.get("id"))
        if missing:
            reading.refuse("image", where, entry, f"missing key '{missing[0]}'")
        elif number is None:
            reading.refuse("image", where, entry, f"id {entry['id']!r} is not an integer")
        elif not isinstance(entry["file_name"], str) or not entry["file_name"]:
            reading.refuse("image", where, entry, f"file_name {entry['file_name']!r} is not a name")
        elif number in names:
            reading.refuse("image", where, entry, f"id {number} is used more than once")
        else:
            if (moment := whole(entry.get("frame_id"))) is not None and entry.get("video_id") is not None:
                moments[number] = (entry["video_id"], moment)
            stated = entry.get("width"), entry.get("height")
            width, height = whole(stated[0]), whole(stated[1])
            if None in stated:
                names[number] = (entry["file_name"], None)
            elif width is not None and height is not None and width > 0 and height > 0:
                names[number] = (entry["file_name"], (width, height))
            else:
                reason = f"size {stated[0]!r} x {stated[1]!r} is not two positive integers"
                reading.refuse("image", where, entry, reason)
    file = reading.file
    folders = image_folders(file, split, [name for name, _ in names.values()])
    # never above the data set: a file's parent may be anything, but that of annotations/ is the data set
    root = file.parent.parent if file.parent.name.lower() == "annotations" else file.parent
    finder = Finder(folders, root, [folder for folder in folders if folder == root or root in folder.parents])
    places = _places(moments)
    found: dict[int, Annotated] = {}
    numbers: dict[Path, list[int]] = {}
    for number, (name, size) in sorted(names.items()):
        path = finder.find(name)
        if path is None:
            reading.problems.add(folders[0] / name, f"missing image: no such file{finder.hint(name)}")
            reading.refused["image"].add(number)
            continue
        found[number] = Annotated(path, number, size, str(file))
        if number in moments:
            found[number].video = f"{file.stem}/{moments[number][0]}"
            found[number].frame = places[number]
        numbers.setdefault(path, []).append(number)
    report.notes += finder.notes()
    twice = [f"{path.name} ({', '.join(map(str, ids))})" for path, ids in numbers.items() if len(ids) > 1]
    if twice:
        report.notes.append(f"{len(twice)} files stand under several image ids, such as {twice[0]}: kept as several")
    return found


def _places(moments: dict[int, tuple[Any, int]]) -> dict[int, int]:
    """Of each image that is a frame its place in its video, of (video, number of the frame)."""
    videos: dict[Any, list[tuple[int, int]]] = {}
    for number, (video, frame) in moments.items():
        videos.setdefault(video, []).append((frame, number))
    return {number: place for frames in videos.values() for place, (_, number) in enumerate(sorted(frames))}


def _box(
    annotation: dict,
    where: str,
    images: dict[int, Annotated],
    labels: dict[int, int],
    masks: bool,
    reading: _Reading,
) -> tuple[Annotated, Box] | None:
    """The image and the box of an annotation; None where what it belongs to was refused, or it has no mask to use."""
    for key in ("image_id", "category_id", "bbox"):
        if key not in annotation:
            raise DataError(f"{where}: missing key '{key}'")
    number, category = whole(annotation["image_id"]), whole(annotation["category_id"])
    item = images.get(number) if number is not None else None
    if (item is None and reading.is_refused("image", number)) or (
        category not in labels and reading.is_refused("category", category)
    ):
        return None
    if item is None:
        raise DataError(f"{where}: image_id {annotation['image_id']!r} is not among the images")
    if category not in labels:
        known = ", ".join(str(one) for one in list(labels)[:20])
        raise DataError(
            f"{where}: unknown category_id {annotation['category_id']!r}; known: {known}{', ...' * (len(labels) > 20)}"
        )
    bbox = annotation["bbox"]
    if not isinstance(bbox, list) or len(bbox) != 4 or not all(_is_number(value) for value in bbox):
        raise DataError(f"{where}: bbox {str(bbox)[:60]} is not four finite numbers [x, y, width, height]")
    x, y, width, height = bbox
    degenerate = width <= 0 or height <= 0  # dropped whatever else it says
    area = annotation.get("area")
    if not degenerate and area is not None and not (_is_number(area) and area >= 0):
        raise DataError(f"{where}: area {area!r} is not a number of at least 0")
    crowd = 0 if annotation.get("iscrowd") is None else annotation["iscrowd"]
    if crowd not in (0, 1):
        raise DataError(f"{where}: iscrowd {crowd!r} is not 0 or 1")
    segmentation = annotation.get("segmentation") if masks else None
    if masks and not degenerate:
        if "segmentation" not in annotation:
            raise DataError(f"{where}: missing key 'segmentation', and masks were asked for")
        if item.size is None:
            raise DataError(f"{where}: masks need the width and height of image {item.path.name}, which it lacks")
        try:
            segmentation, dropped = usable_segmentation(segmentation, item.size[1], item.size[0])
        except DataError as error:
            raise DataError(f"{where}: {error.message}") from None
        reading.counts["pieces"] += dropped
        if segmentation is None:
            reading.counts["maskless"] += 1
            return None
    box = Box(
        xyxy=(x, y, x + width, y + height),
        label=labels[category],
        where=where,
        area=area,
        iscrowd=int(crowd),
        segmentation=segmentation,
        degenerate=degenerate,
        track=whole(annotation.get("instance_id")),
        pose=_pose(annotation.get("pose")),
    )
    return item, box


def _pose(given: Any) -> tuple[float, ...] | None:
    """A drawn figure's six numbers; other files mean other things by the word, which are not read."""
    return tuple(given) if isinstance(given, list) and len(given) == 6 and all(map(_is_number, given)) else None


def _is_number(value: Any) -> bool:
    # also false for NaN and infinities; no image has a coordinate beyond the limit
    return isinstance(value, (int, float)) and not isinstance(value, bool) and -_LIMIT < value < _LIMIT
