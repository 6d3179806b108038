"""YOLO's layout: a YAML file with the splits and the names, and a text file of fractions beside each image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from roikit.data.checks import Annotated, Box, Progress, counted, finish
from roikit.data.dataset import DetectionDataset, Report
from roikit.data.errors import DataError, Problems
from roikit.data.finding import Finder, followed, is_dir, is_file, within
from roikit.data.images import SUFFIXES
from roikit.data.seeded_split import CALLED, SPLITS, seeded_split
from roikit.data.text import is_litter, read_text
from roikit.documents import load_yaml

_NAMES = ("classes.txt", "obj.names", "labels/classes.txt")


@dataclass(frozen=True)
class YoloFolder:
    """A data set in this layout.

    Attributes:
        base: the folder that paths are relative to.
        names: of the classes, by number.
        parts: what the file gives for each split: folders and lists of images.
        source: the file that says so.
    """

    base: Path
    names: dict[int, str]
    parts: dict[str, list[str]]
    source: Path

    @property
    def splits(self) -> list[str]:
        return list(self.parts) or list(SPLITS)


def yolo_folder(path: Path) -> YoloFolder | None:
    """The data set of a YAML file, or of a folder with one, or with images/, labels/ and a list of classes; None where
    it is no such thing.

    Raises:
        DataError: several such files in the folder; a file that says what the classes are, but not so that it can be
            read.
    """
    if path.is_file():
        found = _of_yaml(path)
        if found is None:
            raise DataError(f"{path}: not YOLO's file of a data set: it needs names, and train or val")
        return found
    each = [one for pattern in ("*.yaml", "*.yml") for file in sorted(path.glob(pattern)) if (one := _of_yaml(file))]
    if len(each) > 1:
        files = ", ".join(one.source.name for one in each)
        raise DataError(f"{path}: has several YOLO files ({files}): give the one to take, such as {each[0].source}")
    if each:
        return each[0]
    listed = next((file for name in _NAMES if (file := path / name).is_file()), None)
    labels = (path / "labels").is_dir() or (path / "obj_train_data").is_dir()
    if listed is None or not labels:
        return None
    names = [line.strip() for line in read_text(listed).splitlines()]
    while names and not names[-1]:
        names.pop()
    parts = {}
    for split, keys in CALLED.items():  # CVAT's and darknet's lists beside obj.names
        lists = [file.name for key in keys if (file := path / f"{key}.txt").is_file()]
        if lists:
            parts[split] = lists
    return YoloFolder(path, dict(enumerate(names)), parts, listed)


def _of_yaml(file: Path) -> YoloFolder | None:
    import yaml

    try:
        content = load_yaml(read_text(file))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" in line {mark.line + 1}" if mark is not None else ""
        raise DataError(f"{file}: is no valid YAML{place}") from None
    if not isinstance(content, dict) or "names" not in content:
        return None
    parts = {}
    for split, keys in CALLED.items():
        given = next((content[key] for key in keys if content.get(key)), None)
        if given is not None:
            parts[split] = [str(one) for one in (given if isinstance(given, list) else [given])]
    if not parts:
        return None
    return YoloFolder(_base(file, content.get("path"), parts), _names(file, content), parts, file)


def _names(file: Path, content: dict[str, Any]) -> dict[int, str]:
    given = content["names"]
    try:
        names = dict(enumerate(given)) if isinstance(given, list) else {int(key): value for key, value in given.items()}
    except (AttributeError, TypeError, ValueError):
        raise DataError(f"{file}: names are neither a list nor numbers with names, but {str(given)[:60]}") from None
    names = {number: str(name) for number, name in sorted(names.items())}
    if not names:
        raise DataError(f"{file}: names are empty")
    if content.get("nc") not in (None, len(names)):
        raise DataError(f"{file}: nc is {content['nc']}, but there are {len(names)} names")
    return names


def _base(file: Path, stated: Any, parts: dict[str, list[str]]) -> Path:
    """The folder that the splits' paths start at: as the file says, or its own where nothing lies there."""
    own = file.parent
    wanted = [own / str(stated), own.parent / str(stated), Path(str(stated))] if stated else []
    every = [one for several in parts.values() for one in several]
    return next((base for base in (*wanted, own) if any(_place(base, one) for one in every)), own)


def _place(base: Path, given: str) -> Path | None:
    """A split's folder or list; `../train/images`, as Roboflow writes, means train/images beside the file. It lies in
    the folder of the data, or beside that, and nowhere else."""
    given = given.replace("\\", "/")
    shorter = given
    while shorter.startswith("../"):
        shorter = shorter.removeprefix("../")
    for name in dict.fromkeys((given, shorter)):
        place = followed(base / name)
        if within(base / name, base.parent) and (is_file(place) or is_dir(place)):
            return place
    return None


def read_yolo(
    data: YoloFolder, split: str, *, masks: bool = False, progress: Progress | None = None
) -> DetectionDataset:
    """Read one split.

    A line is `class cx cy width height`, fractions of the image's sides, or `class x1 y1 x2 y2 x3 y3 …`, a polygon,
    whose box is the smallest around it. An image without a label file, or with an empty one, has no object. The image
    is taken as a viewer shows it (turned as its EXIF orientation says). Equal lines of a file count once.

    Labels are looked for as YOLO does, `labels` in place of the last `images` of a path, and beside the image. Label i
    is the i-th of the names by number, whose numbers are `category_ids`.

    Raises:
        DataError: no such split, or problems in its files (see `open_dataset`).
    """
    problems, report = Problems(f"{data.source} ({split})"), Report(f"{data.source} ({split})")
    images, notes = _images(data, split, problems)
    numbers = {number: label for label, number in enumerate(data.names, 1)}
    found, repeated, unlabelled = [], 0, 0
    for position, (image, labels) in enumerate(counted(images, "reading labels", progress), 1):
        item = Annotated(image, position, None, str(labels or image), relative=True)
        if labels is None:
            unlabelled += 1
        else:
            repeated += _read_labels(labels, item, numbers, data, masks, problems)
        found.append(item)
    report.notes += notes
    if unlabelled:
        report.notes.append(f"{unlabelled} images have no label file: taken as images without an object")
    if repeated:
        report.notes.append(f"{repeated} lines repeat another of their file: counted once")
    records = finish(found, problems, report, masks=masks, progress=progress)
    problems.raise_if_any()
    if not records:
        raise DataError(f"{data.source}: split {split!r} has no image")
    return DetectionDataset(
        records, list(data.names.values()), report, has_masks=masks, category_ids=list(data.names.keys())
    )


def _images(data: YoloFolder, split: str, problems: Problems) -> tuple[list[tuple[Path, Path | None]], list[str]]:
    """The split's images, each with its label file if there is one, and lines for the report."""
    if not data.parts:
        folder = followed(data.base / "images")
        every = _with_labels(folder if folder.is_dir() else data.base, data.base)
        start = folder if folder.is_dir() else data.base
        names = {image.relative_to(start).as_posix(): (image, own) for image, own in every}
        chosen, note = seeded_split(data.base, list(names), split)
        return [names[name] for name in sorted(chosen)], [note]
    if split not in data.parts:
        raise DataError(f"{data.source}: has no split {split!r}; splits are {', '.join(data.parts)}")
    found: list[tuple[Path, Path | None]] = []
    notes: list[str] = []
    for given in data.parts[split]:
        place = _place(data.base, given)
        if place is None:
            raise DataError(f"{data.source}: {split} is {given!r}, which is not there (looked in {data.base})")
        if place.is_dir():
            found += _with_labels(place, data.base / given)
            continue
        finder = Finder([data.base, place.parent], data.base)
        for number, line in enumerate(read_text(place).splitlines(), 1):
            name = line.strip().strip('"')
            if not name:
                continue
            image = finder.find(name)
            if image is None and within(Path(name), data.base) and is_file(Path(name)):  # as seen from here
                image = Path(name)
            if image is None:
                problems.add(place, f"line {number}: no image {name}{finder.hint(name)}")
            else:
                stated = data.base / name
                found.append((image, _label_file(image, stated if within(stated, data.base) else image)))
        notes += finder.notes()
    twice = len(found) - len({image for image, _ in found})
    if twice:
        notes.append(f"{twice} images are listed more than once: taken once")
    return list(dict(found).items()), notes


def _with_labels(folder: Path, stated: Path) -> list[tuple[Path, Path | None]]:
    """The images below a folder, which the file calls `stated` (a link may lead elsewhere)."""
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES and not is_litter(file))
    return [(file, _label_file(file, stated / file.relative_to(folder))) for file in files]


def _label_file(image: Path, stated: Path) -> Path | None:
    candidates: list[Path] = []
    for path in dict.fromkeys((stated, image)):
        parts = path.parts
        at = max((i for i, part in enumerate(parts[:-1]) if part.lower() == "images"), default=None)
        if at is not None:
            candidates.append(Path(*parts[:at], "labels", *parts[at + 1 :]).with_suffix(".txt"))
        candidates.append(path.with_suffix(".txt"))
    return next((file for file in candidates if is_file(file)), None)


def _read_labels(
    file: Path, item: Annotated, numbers: dict[int, int], data: YoloFolder, masks: bool, problems: Problems
) -> int:
    """Add the boxes of a label file to its image, in fractions; how many lines repeat another."""
    seen: set[str] = set()
    repeated = 0
    for number, line in enumerate(read_text(file).splitlines(), 1):
        words = line.split()
        if not words:
            continue
        if line.strip() in seen:
            repeated += 1
            continue
        seen.add(line.strip())
        try:
            item.boxes.append(_box(words, f"line {number}", numbers, data, masks))
        except DataError as error:
            problems.add(file, error.message)
    return repeated


def _box(words: Sequence[str], where: str, numbers: dict[int, int], data: YoloFolder, masks: bool) -> Box:
    try:
        values = [float(word) for word in words]
    except ValueError:
        raise DataError(f"{where}: {' '.join(words)[:60]!r} is not a row of numbers") from None
    kind, *values = values
    if not kind.is_integer() or int(kind) not in numbers:  # not a number, infinite, a fraction
        last = max(numbers)
        raise DataError(
            f"{where}: unknown class {words[0]}; {data.source.name} has names for {len(numbers)} (to {last})"
        )
    if len(values) != 4 and (len(values) < 6 or len(values) % 2):
        more = " (six numbers are predictions, with a score: not labels)" if len(values) == 5 else ""
        raise DataError(f"{where}: {len(words)} numbers, neither a box (5) nor a polygon (7, 9, …){more}")
    if not all(-1 <= value <= 2 for value in values):  # also of NaN
        raise DataError(f"{where}: {' '.join(words[1:])[:60]} are not fractions of the image's sides")
    segmentation = None
    if len(values) == 4:
        if masks:
            raise DataError(f"{where}: a box, and masks were asked for, which need polygons")
        cx, cy, width, height = values
        xyxy = (cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2)
    else:
        xs, ys = values[::2], values[1::2]
        xyxy = (min(xs), min(ys), max(xs), max(ys))
        segmentation = [values] if masks else None
    name = list(data.names.values())[numbers[int(kind)] - 1]
    empty = xyxy[2] <= xyxy[0] or xyxy[3] <= xyxy[1]
    return Box(xyxy, numbers[int(kind)], f"{where}, {name}", segmentation=segmentation, degenerate=empty)
