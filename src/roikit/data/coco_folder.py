"""Where COCO JSON files and their images lie: COCO's own folders, and what export tools make of them."""

from __future__ import annotations

from pathlib import Path

from roikit.data.finding import is_file
from roikit.data.seeded_split import CALLED, SPLITS
from roikit.data.seeded_split import FILE as SPLIT_FILE
from roikit.data.text import is_litter

_FILES = (
    "annotations/instances_{split}.json",
    "annotations/instances_{split}2017.json",
    "annotations/{split}.json",
    "annotations/image_info_{split}.json",
    "annotations/{split}2017.json",
    "{split}.json",
    "instances_{split}.json",
    "{split}/_annotations.coco.json",
    "annotations/instances_{split}2014.json",
)
_IMAGES = ("images/{split}", "{split}", "images/{split}2017", "{split}2017", "images", "", "{split}2014")

_OTHER = ("captions_", "person_keypoints_", "stuff_", "panoptic_")  # beside COCO's own instances


def coco_file(folder: Path, split: str) -> Path | None:
    """The annotation file of a split in a COCO folder, None where there is none."""
    called = next((several for several in CALLED.values() if split in several), ())
    names = [name.format(split=own) for own in dict.fromkeys((split, *called)) for name in _FILES]
    return next((file for name in names if (file := folder / name).is_file()), None)


def coco_splits(folder: Path) -> list[str]:
    """Names of the splits that a COCO folder has annotation files for; train and val where one file is all it has."""
    if undivided_file(folder) is not None:
        return list(SPLITS)
    files = [file.stem.removeprefix("image_info_") for file in _files(folder)]
    # COCO's own folder has captions and keypoints beside the instances
    instances = [stem.removeprefix("instances_") for stem in files if stem.startswith("instances_")]
    return (instances or files) + [file.parent.name for file in sorted(folder.glob("*/_annotations.coco.json"))]


def undivided_file(folder: Path) -> Path | None:
    """The only annotation file of a folder, where its name is that of no split: `result.json` of Label Studio,
    `annotations/instances_default.json` of CVAT, `_annotations.coco.json`."""
    files = _files(folder)
    if len(files) != 1 or any(folder.glob("*/_annotations.coco.json")):
        return None
    name = files[0].stem.removeprefix("instances_").removeprefix("image_info_").rstrip("0123456789")
    of_a_split = {*(one for called in CALLED.values() for one in called), "trainval", "test-dev"}
    return None if name in of_a_split else files[0]


def _files(folder: Path) -> list[Path]:
    every = [file for pattern in ("annotations/*.json", "*.json") for file in sorted(folder.glob(pattern))]
    return [
        file for file in every if not is_litter(file) and file.name != SPLIT_FILE and not file.stem.startswith(_OTHER)
    ]


def image_folders(file: Path, split: str, names: list[str]) -> list[Path]:
    """The folders that images may lie in: first the one that holds the most of the first images; where none holds any,
    the one a user would expect."""
    # CVAT's images/default beside annotations/instances_default.json
    own = file.stem.removeprefix("instances_").removeprefix("image_info_")
    candidates = [
        base / pattern.format(split=name)
        for name in dict.fromkeys((split, own))
        for base in (file.parent, file.parent.parent)
        for pattern in _IMAGES
    ]
    sample = names[:50]
    held = [sum(is_file(folder / name) for name in sample) for folder in candidates]
    if any(held):
        first = candidates[held.index(max(held))]
    else:
        expected = (folder for folder in reversed(candidates) if folder.is_dir() and folder.name == split)
        first = next(expected, file.parent)
    return [first, *(folder for folder in dict.fromkeys(candidates) if folder != first and folder.is_dir())]
