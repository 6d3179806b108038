"""What is checked before training starts: every image decoded, every box inside its image."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from roikit.data.cache import cache_folder, write_atomically
from roikit.data.dataset import Record, Report
from roikit.data.errors import DataError, Problems
from roikit.data.images import ImageFile, inspect_image

T = TypeVar("T")
Progress = Callable[[str, int, int], None]
"""Called with (what is done, how many are done, how many there are)."""

_OFTEN = 2000  # files or entries between two calls of a Progress
_EXAMPLES = 5
_DECODED = 20_000  # new images that are decoded before a start


@dataclass
class Box:
    """A box as a file states it, in image pixels (xyxy)."""

    xyxy: tuple[float, float, float, float]
    label: int
    where: str  # which annotation, for messages
    area: float | None = None
    iscrowd: int = 0
    segmentation: Any = None
    degenerate: bool = False  # the file's own numbers enclose nothing
    oriented: tuple[float, float, float, float, float] | None = None  # cx, cy, w, h, θ
    track: int | None = None  # which object of its video it is
    pose: tuple[float, ...] | None = None  # of a drawn figure


@dataclass
class Annotated:
    """An image and its boxes as the files state them, not yet checked."""

    path: Path
    image_id: int
    size: tuple[int, int] | None  # width, height as annotated
    where: str  # the annotation file, for messages
    boxes: list[Box] = field(default_factory=list)
    relative: bool = False  # boxes and polygons are fractions of the sides of the image as a viewer shows it
    video: str | None = None
    frame: int = 0  # its place among the frames of the video


def inspect_images(paths: Sequence[Path], progress: Progress | None = None) -> list[ImageFile | str]:
    """Decode every file, in threads. The result of a file is what it holds, or the reason why it cannot be used.

    Files that were whole are remembered in the cache folder with their time of change and size, so that the next
    start only looks at those that changed. Where more than 20,000 are new, their heads and ends are looked at alone.
    """
    if not paths:
        return []
    paths = [Path(os.path.abspath(path)) for path in paths]
    known_file = _cache_file(paths)
    known = _load(known_file)
    results: list[ImageFile | str] = []
    fresh: dict[str, list[int]] = {}
    ends = sum(str(path) not in known for path in paths) > _DECODED

    def look(path: Path) -> tuple[ImageFile | str, list[int] | None]:
        try:
            status = path.stat()
            key = [status.st_mtime_ns, status.st_size]
            entry = known.get(str(path))
            if entry is not None and entry[:2] == key:
                return ImageFile(*entry[2:]), entry
            found = inspect_image(path, ends=ends)
            return found, [*key, found.width, found.height, found.orientation]
        except FileNotFoundError:
            return "missing image: no such file", None
        except DataError as error:
            return error.message.removeprefix(f"{path}: "), None
        except (OSError, ValueError) as error:  # ValueError: a name that no file can have
            return f"cannot be read ({error})", None

    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        for done, (path, (result, entry)) in enumerate(zip(paths, pool.map(look, paths), strict=True), start=1):
            results.append(result)
            if entry is not None:
                fresh[str(path)] = entry
            if progress is not None and (done % (_OFTEN // 20) == 0 or done == len(paths)):
                progress("checking images", done, len(paths))
    if any(known.get(path) != entry for path, entry in fresh.items()):
        try:
            write_atomically(known_file, json.dumps(known | fresh))
        except OSError:
            pass  # without a writable cache folder the next start decodes again; nothing else changes
    return results


def counted(items: Collection[T], what: str, progress: Progress | None) -> Iterator[T]:
    """The items, one after the other, and now and then how many of them are done."""
    for done, item in enumerate(items, 1):
        yield item
        if progress is not None and (done % _OFTEN == 0 or done == len(items)):
            progress(what, done, len(items))


def alike_names(categories: Sequence[str]) -> list[str]:
    """A line for a report where names of categories differ by letter case or spaces alone."""
    seen: dict[str, list[str]] = {}
    for name in categories:
        seen.setdefault(" ".join(name.split()).casefold(), []).append(name)
    alike = [" and ".join(map(repr, names)) for names in seen.values() if len(names) > 1]
    return (
        [f"categories that differ by letter case or spaces alone are kept apart: {'; '.join(alike)}"] if alike else []
    )


def finish(
    found: Iterable[Annotated],
    problems: Problems,
    report: Report,
    *,
    masks: bool,
    sizes: bool = True,
    progress: Progress | None = None,
) -> list[Record]:
    """Check images and boxes together; records for what can be used, `problems` and `report` for the rest.

    `sizes`: annotations of this format say the size of their image, and one that does not is noted.
    """
    found = list(found)
    inspected = inspect_images([item.path for item in found], progress)
    if len(found) > _DECODED:
        report.notes.append(f"of more than {_DECODED} new images the heads and ends are checked, not every pixel")
    records, unsized, turned = [], 0, 0
    for item, image in zip(found, inspected, strict=True):
        if isinstance(image, str):
            problems.add(item.path, image)
            continue
        stored, upright = (image.width, image.height), False
        if item.relative:
            upright = image.orientation != 1
            _to_pixels(item, *image.upright_size)
        elif item.size is None:
            unsized += 1
        elif item.size != stored:
            if item.size != image.upright_size:
                expected, actual = f"{item.size[0]}x{item.size[1]}", f"{stored[0]}x{stored[1]}"
                problems.add(item.path, f"the image is {actual} pixels, {item.where} says {expected}")
                continue
            upright = True
        turned += image.orientation != 1 and not upright
        width, height = image.upright_size if upright else stored
        records.append(_record(item, width, height, upright, problems, report, masks))
    report.images = len(records)
    report.boxes = sum(len(record.boxes) for record in records)
    report.crowd = sum(int(record.iscrowd.sum()) for record in records)
    report.empty = sum(len(record.boxes) == 0 for record in records)
    if unsized and sizes:
        report.notes.append(f"{unsized} annotations give no image size: the size was taken from the image")
    if turned:
        report.notes.append(f"{turned} images have an EXIF rotation that their annotation does not use: read as stored")
    return records


def _to_pixels(item: Annotated, width: int, height: int) -> None:
    for box in item.boxes:
        x1, y1, x2, y2 = box.xyxy
        box.xyxy = (x1 * width, y1 * height, x2 * width, y2 * height)
        if box.segmentation is not None:
            box.segmentation = [
                [value * (height if place % 2 else width) for place, value in enumerate(polygon)]
                for polygon in box.segmentation
            ]


def _record(
    item: Annotated, width: int, height: int, upright: bool, problems: Problems, report: Report, masks: bool
) -> Record:
    kept: list[Box] = []
    corners: list[tuple[float, float, float, float]] = []
    for box in item.boxes:
        # rounded first: a box that only float64 can tell from an empty one is empty to the model
        x1, y1, x2, y2 = (float(np.float32(value)) for value in box.xyxy)
        if box.degenerate or x2 <= x1 or y2 <= y1:
            report.degenerate += 1
            if len(report.examples) < _EXAMPLES:
                report.examples.append(f"{item.path.name} ({box.where})")
            continue
        if x2 <= 0 or y2 <= 0 or x1 >= width or y1 >= height:
            shown = ", ".join(f"{v:g}" for v in box.xyxy)
            problems.add(
                item.where,
                f"{box.where}: the box [{shown}] (xyxy) is outside its image {item.path.name} of {width}x{height}",
            )
            continue
        inside = (max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height)))
        # a hundredth of a pixel is how files round, not a box that reaches out
        report.clipped += max(abs(a - b) for a, b in zip(inside, (x1, y1, x2, y2), strict=True)) > 0.01
        kept.append(box)
        corners.append(inside)
    boxes = np.array(corners, np.float32).reshape(-1, 4)
    sides = boxes[:, 2:] - boxes[:, :2]
    area = np.array([np.nan if box.area is None else box.area for box in kept], np.float32)
    return Record(
        path=item.path,
        image_id=item.image_id,
        width=width,
        height=height,
        boxes=boxes,
        labels=np.array([box.label for box in kept], np.int64),
        area=np.where(np.isnan(area), sides.prod(1), area).astype(np.float32),
        iscrowd=np.array([box.iscrowd for box in kept], np.int64),
        segmentations=[box.segmentation for box in kept] if masks else [],
        oriented=_numbers([box.oriented for box in kept], np.float32),
        video=item.video,
        frame=item.frame,
        tracks=_numbers([box.track for box in kept], np.int64),
        poses=_numbers([box.pose for box in kept], np.float64),
        upright=upright,
    )


def _numbers(values: Sequence[Any], kind: type) -> np.ndarray | None:
    """A row for each box, where the files say one for all."""
    return np.array(values, kind) if values and all(value is not None for value in values) else None


def _cache_file(paths: Sequence[Path]) -> Path:
    folder = str(paths[0].parent).encode(errors="surrogateescape")
    return cache_folder() / "checked" / f"{hashlib.sha256(folder).hexdigest()[:20]}.json"


def _load(path: Path) -> dict[str, list[int]]:
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        if all(len(entry) == 5 and all(isinstance(n, int) for n in entry) for entry in known.values()):
            return known
    except (OSError, ValueError, AttributeError, TypeError):
        pass  # no cache yet, or not one of ours: everything is decoded
    return {}
