"""DOTA's layout: a text file of quadrilaterals beside each image."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from roikit.data.checks import Annotated, Box, Progress, alike_names, counted, finish
from roikit.data.dataset import DetectionDataset, Report
from roikit.data.errors import DataError, Problems
from roikit.data.images import SUFFIXES
from roikit.data.seeded_split import CALLED, SPLITS, seeded_split
from roikit.data.text import is_litter, read_text

_LABELS = ("labelTxt", "labelTxt-v1.0", "labelTxt-v1.5", "labelTxt-v2.0", "annfiles")
_HEADER = ("imagesource", "gsd", "acquisition dates")
_DIFFICULT = {"0": 0, "1": 1, "2": 1}  # 2: less than ten pixels, of DOTA 1.5 on


@dataclass(frozen=True)
class DotaFolder:
    """A data set of DOTA's files.

    Attributes:
        base: its folder.
        parts: the folder of label files of each split; of all, under "", where there are no splits.
    """

    base: Path
    parts: dict[str, Path]

    @property
    def splits(self) -> list[str]:
        return list(SPLITS) if "" in self.parts else list(self.parts)


def dota_folder(base: Path) -> DotaFolder | None:
    """The data set of a folder; None where it is none of DOTA's: `labelTxt/` (or `annfiles/`, as mmrotate's tools write
    it) beside `images/`, in a folder for each split or in one for all."""
    if not base.is_dir():
        return None
    if (own := _labels(base)) is not None:
        return DotaFolder(base, {"": own})
    parts = {}
    for split, names in CALLED.items():
        found = next((labels for name in names if (labels := _labels(base / name)) is not None), None)
        if found is not None:
            parts[split] = found
    return DotaFolder(base, parts) if parts else None


def _labels(folder: Path) -> Path | None:
    return next((folder / name for name in _LABELS if (folder / name).is_dir()), None)


def read_dota(
    data: DotaFolder, split: str, *, masks: bool = False, oriented: bool = False, progress: Progress | None = None
) -> DetectionDataset:
    """Read one split.

    A line is `x1 y1 x2 y2 x3 y3 x4 y4 category difficult`, corners in pixels in order around the object, before it
    perhaps `imagesource:…` and `gsd:…`. An object's oriented box is the smallest rectangle around its corners, as
    detectors for this data take it; its upright box is the one around them. Difficult objects are kept with
    `iscrowd = 1`: not trained on, ignored in evaluation. Categories are the sorted names of all label files.

    Every label file is an image; one without an object is an image without any. DOTA's test images have no label files
    and so make no split.

    Args:
        masks: the quadrilaterals as masks.
        oriented: targets have `oriented_boxes`.

    Raises:
        DataError: no such split, or problems in its files (see `open_dataset`).
    """
    if split not in data.splits:
        raise DataError(f"{data.base}: has no split {split!r}; splits are {', '.join(data.splits)}")
    problems, report = Problems(f"{data.base} ({split})"), Report(f"{data.base} ({split})")
    folders = set(data.parts.values())
    texts = {folder: _texts(folder) for folder in folders}
    rows: dict[Path, list[list[str]]] = {}
    for file in counted([file for folder in sorted(folders) for file in texts[folder]], "reading labels", progress):
        try:
            rows[file] = _rows(file)
        except DataError as error:
            problems.add(file, error.message)
    categories = sorted({row[8] for every in rows.values() for row in every if len(row) >= 9})
    report.notes += alike_names(categories)
    folder = data.parts.get(split, data.parts.get(""))
    assert folder is not None
    chosen = texts[folder]
    if "" in data.parts:
        names, note = seeded_split(data.base, [file.name for file in chosen], split)
        chosen = [file for file in chosen if file.name in names]
        report.notes.append(note)
    numbers = {name: label for label, name in enumerate(categories, 1)}
    images = folder.parent / "images"
    found = []
    for position, file in enumerate(chosen, 1):
        image = _image(images, file.stem)
        item = Annotated(image or images / f"{file.stem}.png", position, None, str(file))
        for number, words in enumerate(rows.get(file, ()), 1):
            try:
                item.boxes.append(_box(words, f"object {number}", numbers, masks))
            except DataError as error:
                problems.add(file, error.message)
        found.append(item)
    records = finish(found, problems, report, masks=masks, sizes=False, progress=progress)
    problems.raise_if_any()
    if not records:
        raise DataError(f"{folder}: no label file, so split {split!r} has no image")
    if not categories:
        raise DataError(f"{data.base}: no object in any label file, so there is no category to learn")
    return DetectionDataset(records, categories, report, has_masks=masks, has_oriented=oriented)


def _texts(folder: Path) -> list[Path]:
    return [file for file in sorted(folder.glob("*.txt")) if not is_litter(file)]


def _image(folder: Path, stem: str) -> Path | None:
    files = (folder / (stem + end) for suffix in SUFFIXES for end in (suffix, suffix.upper()))
    return next((file for file in files if file.is_file()), None)


def _rows(file: Path) -> list[list[str]]:
    lines = [line.strip() for line in read_text(file).splitlines()]
    return [line.split() for line in lines if line and line.partition(":")[0].lower() not in _HEADER]


def _box(words: list[str], where: str, numbers: dict[str, int], masks: bool) -> Box:
    if len(words) not in (9, 10):
        raise DataError(
            f"{where}: {len(words)} words in {' '.join(words)[:60]!r}; a line is eight numbers, a category, "
            "and whether it is difficult"
        )
    try:
        values = [float(word) for word in words[:8]]
    except ValueError:
        raise DataError(f"{where}: {' '.join(words[:8])[:60]!r} are not eight numbers (x1 y1 … x4 y4)") from None
    if not all(math.isfinite(value) for value in values):
        raise DataError(f"{where}: {' '.join(words[:8])[:60]} are not finite numbers")
    difficult = words[9] if len(words) == 10 else "0"
    if difficult not in _DIFFICULT:
        raise DataError(f"{where} ({words[8]}): difficult is {difficult!r}, not 0, 1 or 2")
    import torch

    from roikit.oriented import around_polygons

    oriented = around_polygons(torch.tensor(values).reshape(1, 4, 2))[0].tolist()
    xs, ys = values[::2], values[1::2]
    return Box(
        (min(xs), min(ys), max(xs), max(ys)),
        numbers[words[8]],
        f"{where}, {words[8]}",
        iscrowd=_DIFFICULT[difficult],
        segmentation=[values] if masks else None,
        degenerate=min(oriented[2:4]) < 1e-3,  # pixels: corners in one line, but for rounding
        oriented=(oriented[0], oriented[1], oriented[2], oriented[3], oriented[4]),
    )
