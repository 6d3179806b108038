"""ImageNet VID's layout: a folder of frames and a folder of XML files for each video."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element

from roikit.data.checks import Annotated, Box, Progress, counted, finish
from roikit.data.dataset import DetectionDataset, Report
from roikit.data.errors import DataError, Problems
from roikit.data.images import SUFFIXES
from roikit.data.text import is_litter, read_text
from roikit.data.voc_files import corners_of, objects_of, parse, size_of

CLASSES = {  # by WordNet's numbers, in the challenge's order
    "n02691156": "airplane",
    "n02419796": "antelope",
    "n02131653": "bear",
    "n02834778": "bicycle",
    "n01503061": "bird",
    "n02924116": "bus",
    "n02958343": "car",
    "n02402425": "cattle",
    "n02084071": "dog",
    "n02121808": "domestic cat",
    "n02503517": "elephant",
    "n02118333": "fox",
    "n02510455": "giant panda",
    "n02342885": "hamster",
    "n02374451": "horse",
    "n02129165": "lion",
    "n01674464": "lizard",
    "n02484322": "monkey",
    "n03790512": "motorcycle",
    "n02324045": "rabbit",
    "n02509815": "red panda",
    "n02411705": "sheep",
    "n01726692": "snake",
    "n02355227": "squirrel",
    "n02129604": "tiger",
    "n04468005": "train",
    "n01662784": "turtle",
    "n04530566": "watercraft",
    "n02062744": "whale",
    "n02391049": "zebra",
}


@dataclass(frozen=True)
class VidFolder:
    """A data set in this layout.

    Attributes:
        base: the folder that holds `Data/VID`, `Annotations/VID` and perhaps `ImageSets/VID`.
        sets: the lists of frames by split: `train_15frames` of `VID_train_15frames.txt`.
    """

    base: Path
    sets: dict[str, Path]

    @property
    def splits(self) -> list[str]:
        folders = [child.name for child in sorted((self.base / "Annotations" / "VID").iterdir()) if child.is_dir()]
        return [*folders, *(name for name in self.sets if name not in folders)]


def vid_folder(base: Path) -> VidFolder | None:
    """The data set of a folder; None where it is none of ImageNet VID."""
    if not (base / "Annotations" / "VID").is_dir() or not (base / "Data" / "VID").is_dir():
        return None
    lists = sorted((base / "ImageSets" / "VID").glob("VID_*.txt"))
    return VidFolder(base, {file.stem.removeprefix("VID_"): file for file in lists if not is_litter(file)})


def read_vid(data: VidFolder, split: str, *, progress: Progress | None = None) -> DetectionDataset:
    """Read one split: a folder of `Annotations/VID` with all its labelled frames, or a list of frames, such as
    `train_15frames` (of each training video 15, as FGFA is trained).

    A list has lines `train/…/VIDEO 1 30 300` (frame 30 of 300) or `val/VIDEO/000030 31`. Neighbours of a frame are all
    images of its video's folder, labelled or not. Boxes are pixels from 0 with corners inside, (xmin, ymin, xmax + 1,
    ymax + 1) in continuous coordinates. Categories are the challenge's 30; objects keep their `trackid`.

    Raises:
        DataError: no such split, or problems in its files (see `open_dataset`).
    """
    if split not in data.splits:
        raise DataError(f"{data.base}: has no split {split!r}; splits are {', '.join(data.splits)}")
    problems, report = Problems(f"{data.base} ({split})"), Report(f"{data.base} ({split})")
    labels = {number: label for label, number in enumerate(CLASSES, 1)}
    found: list[Annotated] = []
    frames: dict[str, list[Path]] = {}
    places: dict[str, dict[str, int]] = {}
    listed = _listed(data, split, problems)
    for video, stem in counted(listed, "reading annotations", progress):
        if video not in frames:
            frames[video] = _frames(data.base / "Data" / "VID" / video)
            places[video] = {path.stem: place for place, path in enumerate(frames[video])}
        place = places[video].get(stem)
        file = data.base / "Annotations" / "VID" / video / f"{stem}.xml"
        image = data.base / "Data" / "VID" / video / f"{stem}.JPEG" if place is None else frames[video][place]
        item = Annotated(image, len(found) + 1, None, str(file), video=video, frame=place or 0)
        _read(file, item, labels, problems)
        found.append(item)
    records = finish(found, problems, report, masks=False, progress=progress)
    problems.raise_if_any()
    if not records:
        raise DataError(f"{data.base}: split {split!r} has no frame")
    dataset = DetectionDataset(records, list(CLASSES.values()), report)
    dataset.videos = frames
    return dataset


def _frames(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return [file for file in sorted(folder.iterdir()) if file.suffix.lower() in SUFFIXES and not is_litter(file)]


def _listed(data: VidFolder, split: str, problems: Problems) -> list[tuple[str, str]]:
    """(video, frame) of a split: `train/ILSVRC…/VIDEO`, `000030`."""
    root = data.base / "Annotations" / "VID"
    if split not in data.sets:
        files = sorted(file for file in (root / split).rglob("*.xml") if not is_litter(file))
        return [(file.parent.relative_to(root).as_posix(), file.stem) for file in files]
    found = []
    for number, line in enumerate(read_text(data.sets[split]).splitlines(), 1):
        words = line.split()
        if not words:
            continue
        if len(words) == 4 and words[2].isdigit():
            found.append((words[0], f"{int(words[2]):06d}"))
        elif len(words) in (1, 2) and "/" in words[0]:
            found.append((words[0].rpartition("/")[0], words[0].rpartition("/")[2]))
        else:
            problems.add(
                data.sets[split],
                f"line {number}: {line.strip()[:60]!r} is neither 'VIDEO 1 FRAME FRAMES' nor 'VIDEO/FRAME NUMBER'",
            )
    return found


def _read(file: Path, item: Annotated, labels: dict[str, int], problems: Problems) -> None:
    """Add the objects of an annotation to its frame."""
    if not file.is_file():
        problems.add(file, "missing annotation: no such file")
        return
    try:
        root = parse(file)
        objects = objects_of(root)
    except DataError as error:
        problems.add(file, error.message)
        return
    item.size = size_of(root, file, problems)
    for number, element in enumerate(objects, 1):
        try:
            item.boxes.append(_box(element, f"object {number}", labels))
        except DataError as error:
            problems.add(file, error.message)


def _box(element: Element, where: str, labels: dict[str, int]) -> Box:
    name = (element.findtext("name") or "").strip()
    if name not in labels:
        raise DataError(f"{where}: unknown class {name!r}; ImageNet VID's 30 are n02691156 (airplane), …")
    x1, y1, x2, y2 = corners_of(element, f"{where} ({CLASSES[name]})")
    track = (element.findtext("trackid") or "").strip()
    return Box(
        (x1, y1, x2 + 1, y2 + 1),
        labels[name],
        f"{where}, {CLASSES[name]}",
        degenerate=x2 <= x1 or y2 <= y1,
        track=int(track) if track.isdigit() else None,
    )
