"""Folders in the layout of PASCAL VOC: Annotations/*.xml, ImageSets/Main/{split}.txt, JPEGImages/*."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path

from roikit.data.checks import Annotated, Box, Progress, finish
from roikit.data.dataset import DetectionDataset, Report
from roikit.data.errors import DataError, Problems
from roikit.data.images import SUFFIXES

_CORNERS = ("xmin", "ymin", "xmax", "ymax")


def is_voc(folder: Path) -> bool:
    return (folder / "Annotations").is_dir()


def voc_splits(folder: Path) -> list[str]:
    """Names of the image sets in `ImageSets/Main`."""
    return sorted(file.stem for file in (folder / "ImageSets" / "Main").glob("*.txt"))


def read_voc(
    folder: Path,
    split: str,
    *,
    categories: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> DetectionDataset:
    """Read one image set of a VOC folder.

    **Boxes.** VOC counts pixels from 1 and its corners are inside the box, so a box covers `xmax - xmin + 1` columns.
    In continuous coordinates, which start at 0 and end at the width, that is `(xmin - 1, ymin - 1, xmax, ymax)`.
    A box with `xmax <= xmin` or `ymax <= ymin` is degenerate: it is dropped and counted. (By the letter `xmax = xmin`
    is one pixel wide; in real files it is a slip of the mouse.)

    **difficult.** Such a box is kept with `iscrowd = 1`: not trained on, and in evaluation neither a miss nor, for
    detections on it, a false positive. The devkit ignores them too; it matches them by ordinary overlap, COCO's
    evaluation by the part of the detection that lies inside.

    **Categories** are the sorted names of *all* annotation files of the folder, so that every split numbers them
    alike (for VOC's own 20 that is the usual order), unless `categories` gives them; then any other name is a problem.

    Only boxes are read: masks of a VOC folder need a COCO file.

    Raises:
        DataError: no such split, or problems in its files (see `open_dataset`).
    """
    names = _image_set(folder, split)
    problems, report = Problems(f"{folder} ({split})"), Report(f"{folder} ({split})")
    trees = _parse_all(folder / "Annotations", names, problems)
    known = list(categories) if categories is not None else _names(trees)
    found = []
    for index, name in enumerate(names):
        annotation = folder / "Annotations" / f"{name}.xml"
        root = trees.get(name)
        if root is None:
            if not annotation.exists():
                problems.add(annotation, f"missing annotation of {name}, which ImageSets/Main/{split}.txt lists")
            continue
        item = Annotated(_image_path(folder, name, root), index + 1, _size(root, annotation, problems), str(annotation))
        for number, element in enumerate(root.findall("object"), start=1):
            try:
                item.boxes.append(_box(element, f"object {number}", known))
            except DataError as error:
                problems.add(annotation, error.message)
        found.append(item)
    records = finish(found, problems, report, masks=False, progress=progress)
    problems.raise_if_any()
    if not known:
        raise DataError(f"{folder}: no object in any file of Annotations/, so there is no category to learn")
    return DetectionDataset(records, known, report)


def _image_set(folder: Path, split: str) -> list[str]:
    file = folder / "ImageSets" / "Main" / f"{split}.txt"
    if not file.is_file():
        have = ", ".join(voc_splits(folder)) or "none"
        raise DataError(f"{file}: no such image set; splits in this folder: {have}")
    # class-wise sets have a second column (1, 0 or -1); the first is the image
    names = [line.split()[0] for line in file.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    if not names:
        raise DataError(f"{file}: the image set is empty")
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise DataError(f"{file}: listed more than once: {', '.join(twice[:5])}")
    return names


def _parse_all(folder: Path, names: list[str], problems: Problems) -> dict[str, ElementTree.Element]:
    trees = {}
    for file in sorted(folder.glob("*.xml")):
        try:
            trees[file.stem] = ElementTree.parse(file).getroot()
        except ElementTree.ParseError as error:
            problems.add(file, f"broken XML ({error})")
        except (OSError, ValueError) as error:
            problems.add(file, f"cannot be read ({error})")
    return trees


def _names(trees: dict[str, ElementTree.Element]) -> list[str]:
    objects = (element for root in trees.values() for element in root.findall("object"))
    return sorted({name for element in objects if (name := (element.findtext("name") or "").strip())})


def _image_path(folder: Path, name: str, root: ElementTree.Element) -> Path:
    images = folder / "JPEGImages"
    stated = (root.findtext("filename") or "").strip()
    for candidate in (*(name + suffix for suffix in SUFFIXES), *(name + suffix.upper() for suffix in SUFFIXES), stated):
        if candidate and (images / candidate).is_file():
            return images / candidate
    return images / f"{name}.jpg"


def _size(root: ElementTree.Element, file: Path, problems: Problems) -> tuple[int, int] | None:
    texts = [root.findtext(f"size/{key}") for key in ("width", "height")]
    if None in texts:
        return None
    try:
        width, height = (int(float(text or "")) for text in texts)
    except ValueError:
        problems.add(file, f"size is {texts[0]!r} x {texts[1]!r}, not two numbers")
        return None
    return (width, height) if width and height else None  # some tools write 0 for "not known"


def _box(element: ElementTree.Element, where: str, categories: list[str]) -> Box:
    name = (element.findtext("name") or "").strip()
    if not name:
        raise DataError(f"{where}: missing key 'name'")
    if name not in categories:
        raise DataError(f"{where}: unknown category {name!r}; known: {', '.join(categories)}")
    corners = []
    for key in _CORNERS:
        text = element.findtext(f"bndbox/{key}")
        if text is None:
            raise DataError(f"{where} ({name}): missing key 'bndbox/{key}'")
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not -1e12 < value < 1e12:  # also true for NaN
            raise DataError(f"{where} ({name}): {key} is {text.strip()!r}, not a number")
        corners.append(value)
    xmin, ymin, xmax, ymax = corners
    return Box(
        xyxy=(xmin - 1, ymin - 1, xmax, ymax),
        label=categories.index(name) + 1,
        where=f"{where}, {name}",
        iscrowd=int((element.findtext("difficult") or "0").strip() == "1"),
        degenerate=xmax <= xmin or ymax <= ymin,
    )
