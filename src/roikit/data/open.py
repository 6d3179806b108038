"""One call for every kind of data set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from roikit.data.checks import Progress
from roikit.data.coco import read_coco
from roikit.data.coco_folder import coco_file, coco_splits, undivided_file
from roikit.data.dataset import DetectionDataset, union
from roikit.data.dota import DotaFolder, dota_folder, read_dota
from roikit.data.errors import DataError
from roikit.data.vid import VidFolder, read_vid, vid_folder
from roikit.data.voc import VocFolder, read_voc, voc_folder
from roikit.data.yolo import YoloFolder, read_yolo, yolo_folder

_KINDS: tuple[Callable[[Path], Any], ...] = (yolo_folder, voc_folder, dota_folder, vid_folder, coco_splits)


def open_dataset(
    path: str | Path,
    split: str,
    masks: bool = False,
    *,
    oriented: bool = False,
    categories: Sequence[str] | None = None,
    unlabelled: bool = False,
    progress: Progress | None = None,
) -> DetectionDataset:
    """Open and check a data set. Nothing is trained on before every file has been read once.

    Args:
        path: one of

            - `"shapes"` or `"shapes:LEVEL"`: drawn on first use and kept in the cache folder (`roikit.data.shapes`);
              a folder of that name is `"./shapes"`
            - a COCO folder: `annotations/instances_{split}.json`, `annotations/{split}.json`, `{split}.json` or
              `{split}/_annotations.coco.json`, with COCO's own years (`instances_train2017.json`, `train2017/`) found
              for `train`; the images in `images/{split}`, `{split}`, `images` or the folder itself; or one JSON file
              that is all
            - a COCO JSON file; `{split}` in its name is replaced
            - a VOC folder: `Annotations/`, `ImageSets/Main/{split}.txt`, `JPEGImages/`; a `VOCdevkit/` with several;
              XML files beside images, or in `annotations/` beside `images/`
            - a YOLO folder or YAML file (`train`, `val`, `names`), or `images/` and `labels/` with a `classes.txt`
            - a DOTA folder: `images/` and `labelTxt/` in a folder for each split
            - an ImageNet VID folder: `Data/VID/{split}` and `Annotations/VID/{split}`

            docs/data.md has the table. What comes without splits is split once, 80 to 20, which is said and kept.
        split: `"train"`, `"val"`, ... as the files are named; `"train+val"` is both as one.
        masks: read instance masks too (COCO, YOLO's polygons, DOTA's quadrilaterals and Shapes).
        oriented: targets have oriented boxes: DOTA's, elsewhere the smallest rectangles around the masks.
        categories: the names to expect, in label order (VOC only; a COCO file lists its own).
        unlabelled: a COCO file need not have annotations: its images alone are wanted.
        progress: called with (text, done, total) while images are drawn or checked.

    Returns:
        A `DetectionDataset`; its `report` says what was dropped or changed: boxes without width or height are dropped,
        boxes that reach beyond the border are clipped, both counted.

    Raises:
        DataError: no such data or split, or problems: a missing, cut or undecodable image, one of another size than
            annotated, a box outside its image, an unknown category, a missing key, broken JSON or XML. Every problem is
            collected; the message shows the first 20 with file and reason, `error.problems` holds all.

    >>> train = open_dataset("shapes:easy", "train")  # doctest: +SKIP
    >>> image, target = train[0]  # doctest: +SKIP
    """
    options: dict[str, Any] = {"categories": categories, "unlabelled": unlabelled, "progress": progress}
    if "+" in split:
        return union([open_dataset(path, part, masks, oriented=oriented, **options) for part in split.split("+")])
    name = str(path)
    if oriented and dota_folder(Path(name).expanduser()) is None:
        dataset = open_dataset(path, split, True, **options)
        dataset.has_masks, dataset.has_oriented = masks, True
        return dataset
    if name == "shapes" or name.startswith("shapes:"):
        return _open_shapes(name, split, masks, progress)
    path = Path(name.replace("{split}", split)).expanduser()
    if path.is_file():
        if path.suffix.lower() in (".yaml", ".yml"):
            yolo = yolo_folder(path)
            assert yolo is not None
            return read_yolo(yolo, split, masks=masks, progress=progress)
        if path.suffix.lower() != ".json":
            raise DataError(
                f"{path}: not a data set; expected a folder, a COCO .json file, a YOLO .yaml file or shapes[:LEVEL]"
            )
        return read_coco(path, split, masks=masks, unlabelled=unlabelled, progress=progress)
    if not path.exists():
        raise DataError(f"{path}: no such file or folder")
    dota = dota_folder(path)
    if oriented and dota is not None and layout_of(path) == dota:
        return read_dota(dota, split, masks=masks, oriented=True, progress=progress)
    return _open_folder(path, split, masks, categories, progress, unlabelled)


def splits_of(path: str | Path) -> list[str]:
    """Names of the splits a data set has (empty for a JSON file)."""
    name = str(path)
    if name == "shapes" or name.startswith("shapes:"):
        return ["train", "val"]
    place = Path(name).expanduser()
    if place.is_dir():
        layout = layout_of(place)
        return coco_splits(place) if layout is None else layout.splits
    yolo = yolo_folder(place) if place.suffix.lower() in (".yaml", ".yml") and place.is_file() else None
    return [] if yolo is None else yolo.splits


def _open_shapes(name: str, split: str, masks: bool, progress: Progress | None) -> DetectionDataset:
    from roikit.data.shapes import level_of, shapes_folder

    level = level_of(name)
    if split not in splits_of(name):
        raise DataError(f"{name}: no split {split!r}; Shapes has {' and '.join(splits_of(name))}")
    folder = shapes_folder(level, progress=progress)
    dataset = _open_folder(folder, split, masks, None, progress)
    dataset.report.source = f"shapes:{level.name} ({split})"
    about = f"{level.about}; " if level.about else ""
    dataset.report.notes.append(f"{about}drawn by roikit, kept in {folder}")
    return dataset


def _open_folder(
    folder: Path,
    split: str,
    masks: bool,
    categories: Sequence[str] | None,
    progress: Progress | None,
    unlabelled: bool = False,
) -> DetectionDataset:
    layout = layout_of(folder)
    if isinstance(layout, VocFolder | VidFolder):
        if masks:
            whose = "VOC's" if isinstance(layout, VocFolder) else "ImageNet VID's"
            raise DataError(
                f"{folder}: {whose} files are read for their upright boxes only; oriented boxes lie around masks, and "
                "masks need a COCO file"
            )
    if isinstance(layout, VidFolder):
        return read_vid(layout, split, progress=progress)
    if isinstance(layout, VocFolder):
        return read_voc(layout, split, categories=categories, progress=progress)
    if isinstance(layout, DotaFolder):
        return read_dota(layout, split, masks=masks, progress=progress)
    if isinstance(layout, YoloFolder):
        return read_yolo(layout, split, masks=masks, progress=progress)
    undivided = undivided_file(folder)
    if undivided is not None:
        return read_coco(undivided, split, masks=masks, progress=progress, divide=folder)
    file = coco_file(folder, split)
    if file is None:
        have = ", ".join(coco_splits(folder))
        raise DataError(f"{folder}: no annotation file for split {split!r}; splits found: {have}")
    return read_coco(file, split, masks=masks, unlabelled=unlabelled, progress=progress)


def layout_of(folder: Path) -> VocFolder | YoloFolder | DotaFolder | VidFolder | None:
    """What a folder holds; None is COCO's layout.

    Raises:
        DataError: nothing, with what there is in the folders below; or several things, with how to say which.
    """
    found: dict[str, tuple[Any, str]] = {}
    yolo, dota, vid = yolo_folder(folder), dota_folder(folder), vid_folder(folder)
    voc = voc_folder(folder) if vid is None else None  # whose XML files lie in a folder of the same name
    if yolo is not None:
        found["YOLO"] = (yolo, f"{yolo.source}")
    if voc is not None:
        found["VOC"] = (voc, "a folder with the XML files and images alone")
    if dota is not None:
        found["DOTA"] = (dota, "a folder with its images/ and labelTxt/ alone")
    if vid is not None:
        found["ImageNet VID"] = (vid, "a folder with its Data/ and Annotations/ alone")
    if coco_splits(folder):
        found["COCO"] = (None, "the JSON file")
    if len(found) == 1:
        return next(iter(found.values()))[0]
    if found:
        how = "; ".join(f"for {name} give {what}" for name, (_, what) in found.items())
        raise DataError(f"{folder}: holds files of several layouts, {' and '.join(found)}: {how}")
    if not any(folder.iterdir()):
        raise DataError(f"{folder}: the folder is empty")
    below = []
    for child in sorted(folder.iterdir()):
        if child.is_dir() and any(kind(child) for kind in _KINDS):
            below.append(child.name)
    if below:
        raise DataError(f"{folder}: no data set, but there are some in it: {', '.join(below)}")
    seen = ", ".join(sorted(child.name for child in folder.iterdir())[:8])
    raise DataError(
        f"{folder}: no data set that is known: neither COCO (annotations/instances_{{split}}.json, "
        "{split}/_annotations.coco.json, one .json file), nor VOC (Annotations/*.xml, or XML files beside images), nor "
        f"YOLO (data.yaml, or labels/ with classes.txt), nor DOTA (labelTxt/ beside images/), nor ImageNet VID "
        f"(Data/VID, Annotations/VID); there is {seen}"
    )
