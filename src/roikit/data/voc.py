"""PASCAL VOC's layout and what tools make of it: an XML file of boxes for each image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element

from roikit.data.checks import Annotated, Progress, alike_names, finish
from roikit.data.dataset import DetectionDataset, Report, union
from roikit.data.errors import DataError, Problems
from roikit.data.finding import Finder, followed, is_file
from roikit.data.images import SUFFIXES
from roikit.data.seeded_split import CALLED, SPLITS, seeded_split
from roikit.data.text import is_litter
from roikit.data.voc_files import box_of, image_set, names_of, objects_of, parse_all, size_of

_IMAGES = ("JPEGImages", "images", "Images", "jpegimages", "")


@dataclass(frozen=True)
class VocFolder:
    """A data set of XML files.

    Attributes:
        base: its folder.
        annotations: of the XML files, or of each split's where splits are folders.
        sets: the image set of each split; a folder of XML files where splits are folders; empty: no splits.
        years: the folders of a VOCdevkit, each of them such a data set.
    """

    base: Path
    annotations: Path
    sets: dict[str, Path]
    years: tuple[VocFolder, ...] = ()

    @property
    def splits(self) -> list[str]:
        if self.years:
            return sorted({split for year in self.years for split in year.splits})
        return list(self.sets) or list(SPLITS)


def voc_folder(base: Path) -> VocFolder | None:
    """The data set of a folder; None where it is none of XML files.

    Found are VOC's own (`Annotations/`, `JPEGImages/`, `ImageSets/Main/` or `ImageSets/`), a `VOCdevkit/` of several
    years, `annotations/` beside `images/`, XML files beside the images, and such a folder for each split.
    """
    annotations = next((child for child in _folders(base) if child.name.lower() == "annotations"), None)
    if annotations is not None and (_has_xml(annotations, deep=True) or (base / "ImageSets").is_dir()):
        return VocFolder(base, annotations, _sets(base))
    years = [year for child in _folders(base) if child.name.upper().startswith("VOC") and (year := voc_folder(child))]
    if years:
        return VocFolder(base, base, {}, tuple(years))
    if _has_xml(base):
        return VocFolder(base, base, {})
    parts = {}
    for split, names in CALLED.items():
        folder = next((base / name for name in names if _has_xml(base / name)), None)
        if folder is not None:
            parts[split] = folder
    return VocFolder(base, base, parts) if parts else None


def is_voc(folder: Path) -> bool:
    """Whether a folder has VOC's own layout, whose detections are measured in VOC's way too."""
    found = voc_folder(folder) if folder.is_dir() else None
    return found is not None and (bool(found.years) or (folder / "Annotations").is_dir())


def _folders(base: Path) -> list[Path]:
    return sorted(child for child in base.iterdir() if child.is_dir()) if base.is_dir() else []


def _has_xml(folder: Path, deep: bool = False) -> bool:
    files = folder.rglob("*.xml") if deep else folder.glob("*.xml")
    return any(not is_litter(file) for file in files)


def _sets(base: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for folder in (base / "ImageSets" / "Main", base / "ImageSets"):
        for file in sorted(folder.glob("*.txt")):
            if not is_litter(file):
                found.setdefault(file.stem, file)
    return found


def read_voc(
    data: VocFolder,
    split: str,
    *,
    categories: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> DetectionDataset:
    """Read one split.

    **Boxes.** VOC counts pixels from 1 and its corners are inside the box, so a box covers `xmax - xmin + 1` columns.
    In continuous coordinates, which start at 0 and end at the width, that is `(xmin - 1, ymin - 1, xmax, ymax)`.
    A box with `xmax <= xmin` or `ymax <= ymin` is degenerate: it is dropped and counted. (By the letter `xmax = xmin`
    is one pixel wide; in real files it is a slip of the mouse.)

    **difficult.** Such a box is kept with `iscrowd = 1`: not trained on, and in evaluation neither a miss nor, for
    detections on it, a false positive. The devkit ignores them too; it matches them by ordinary overlap, COCO's
    evaluation by the part of the detection that lies inside.

    **Categories** are the sorted names of *all* annotation files of the data set, so that every split numbers them
    alike (for VOC's own 20 that is the usual order), unless `categories` gives them; then any other name is a problem.

    **Splits.** Every name that an image set lists becomes a record, or a problem that names it. Of several years, those
    that have the split are one. Data without sets is split once (`seeded_split`).

    Only boxes are read: masks of a VOC folder need a COCO file.

    Raises:
        DataError: no such split, or problems in its files (see `open_dataset`).
    """
    if data.years:
        return _years(data, split, categories, progress)
    if data.sets and split not in data.sets:
        file = data.base / "ImageSets" / "Main" / f"{split}.txt"
        raise DataError(f"{file}: no such image set; splits in this folder: {', '.join(data.sets)}")
    every, problems = _parsed(data, split, progress)
    return _records(data, split, every, problems, categories, progress)


def _years(
    data: VocFolder, split: str, categories: Sequence[str] | None, progress: Progress | None
) -> DetectionDataset:
    have = [year for year in data.years if split in year.splits]
    if not have:
        raise DataError(f"{data.base}: no year has an image set {split!r}; splits are {', '.join(data.splits)}")
    read = {year.base: _parsed(year, split, progress) for year in (data.years if categories is None else have)}
    if categories is None:
        categories = sorted({name for every, _ in read.values() for name in names_of(every)})
    return union([_records(year, split, *read[year.base], categories, progress) for year in have])


def _parsed(data: VocFolder, split: str, progress: Progress | None) -> tuple[dict[str, Element], Problems]:
    """Every annotation of a folder by name, and the files that are no XML."""
    problems = Problems(f"{data.base} ({split})")
    return parse_all(data.annotations, problems, progress), problems


def _records(
    data: VocFolder,
    split: str,
    every: dict[str, Element],
    problems: Problems,
    categories: Sequence[str] | None,
    progress: Progress | None,
) -> DetectionDataset:
    report = Report(f"{data.base} ({split})")
    known = list(categories) if categories is not None else names_of(every)
    names = _names(data, split, every, report)
    finder = Finder([followed(data.base / name) for name in _IMAGES] + [data.annotations], data.base)
    found = []
    for index, name in enumerate(names, 1):
        annotation = data.annotations / f"{name}.xml"
        root = every.get(name)
        if root is None:
            if not is_file(annotation):  # broken ones are reported already
                listed = data.sets.get(split, data.base)
                problems.add(annotation, f"missing annotation of {name}, which {_short(listed, data.base)} lists")
            continue
        found.append(_item(annotation, name, index, root, known, finder, problems))
    report.notes += [*finder.notes(), *alike_names(known)]
    records = finish(found, problems, report, masks=False, progress=progress)
    problems.raise_if_any()
    if not known:
        raise DataError(f"{data.annotations}: no object in any file, so there is no category to learn")
    return DetectionDataset(records, known, report)


def _names(data: VocFolder, split: str, every: dict[str, Element], report: Report) -> list[str]:
    """The annotations of a split, by name."""
    if not data.sets:
        chosen, note = seeded_split(data.base, list(every), split)
        report.notes.append(note)
        return sorted(chosen)
    place = data.sets[split]
    if place.is_file():
        return image_set(place, every.__contains__)
    prefix = place.relative_to(data.base).as_posix()
    return sorted(name for name in every if name.startswith(f"{prefix}/"))


def _item(
    file: Path, name: str, index: int, root: Element, known: list[str], finder: Finder, problems: Problems
) -> Annotated:
    image = _image(name, (root.findtext("filename") or "").strip(), finder) or finder.folders[0] / f"{name}.jpg"
    item = Annotated(image, index, size_of(root, file, problems), str(file))
    try:
        objects = objects_of(root)
    except DataError as error:
        problems.add(file, error.message)
        return item
    for number, element in enumerate(objects, start=1):
        try:
            item.boxes.append(box_of(element, f"object {number}", known))
        except DataError as error:
            problems.add(file, error.message)
    return item


def _image(name: str, stated: str, finder: Finder) -> Path | None:
    """The image of an annotation: of its name, or else the one that it states."""
    for folder in finder.folders:
        for suffix in (*SUFFIXES, *(suffix.upper() for suffix in SUFFIXES)):
            if is_file(file := folder / (name + suffix)):
                return file
    beside = Path(name).parent / Path(stated.replace("\\", "/")).name if stated else None
    return next((found for one in (beside, stated) if one and (found := finder.find(str(one)))), None)


def _short(path: Path, base: Path) -> str:
    return path.relative_to(base).as_posix() if path.is_relative_to(base) else str(path)
