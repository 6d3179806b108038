"""One call for every kind of data set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from roikit.data.checks import Progress
from roikit.data.coco import coco_file, coco_splits, read_coco
from roikit.data.dataset import DetectionDataset, union
from roikit.data.errors import DataError
from roikit.data.voc import is_voc, read_voc, voc_splits


def open_dataset(
    path: str | Path,
    split: str,
    masks: bool = False,
    *,
    categories: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> DetectionDataset:
    """Open and check a data set. Nothing is trained on before every file has been read once.

    Args:
        path: one of

            - `"shapes"` or `"shapes:LEVEL"`: drawn on first use and kept in the cache folder (`roikit.data.shapes`);
              a folder of that name is `"./shapes"`
            - a COCO folder: `annotations/instances_{split}.json`, `annotations/{split}.json`, `{split}.json` or
              `{split}/_annotations.coco.json`, with COCO's own years (`instances_train2017.json`, `train2017/`) found
              for `train`; the images in `images/{split}`, `{split}`, `images` or the folder itself
            - a COCO JSON file; `{split}` in its name is replaced
            - a VOC folder: `Annotations/`, `ImageSets/Main/{split}.txt`, `JPEGImages/`
        split: `"train"`, `"val"`, ... as the files are named; `"train+val"` is both as one.
        masks: read instance masks too (COCO and Shapes).
        categories: the names to expect, in label order (VOC only; a COCO file lists its own).
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
    if "+" in split:
        options: dict[str, Any] = {"categories": categories, "progress": progress}
        return union([open_dataset(path, part, masks, **options) for part in split.split("+")])
    name = str(path)
    if name == "shapes" or name.startswith("shapes:"):
        return _open_shapes(name, split, masks, progress)
    path = Path(name.replace("{split}", split)).expanduser()
    if path.is_file():
        if path.suffix.lower() != ".json":
            raise DataError(f"{path}: not a data set; expected a folder, a COCO .json file or shapes[:LEVEL]")
        return read_coco(path, split, masks=masks, progress=progress)
    if not path.exists():
        raise DataError(f"{path}: no such file or folder")
    return _open_folder(path, split, masks, categories, progress)


def splits_of(path: str | Path) -> list[str]:
    """Names of the splits a data set has (empty for a JSON file)."""
    name = str(path)
    if name == "shapes" or name.startswith("shapes:"):
        return ["train", "val"]
    folder = Path(name).expanduser()
    return (voc_splits(folder) if is_voc(folder) else coco_splits(folder)) if folder.is_dir() else []


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
    folder: Path, split: str, masks: bool, categories: Sequence[str] | None, progress: Progress | None
) -> DetectionDataset:
    if is_voc(folder):
        if masks:
            raise DataError(f"{folder}: a VOC folder is read for its boxes only; masks need a COCO file")
        return read_voc(folder, split, categories=categories, progress=progress)
    file = coco_file(folder, split)
    if file is None:
        if not any(folder.iterdir()):
            raise DataError(f"{folder}: the folder is empty")
        have = coco_splits(folder)
        if have:
            raise DataError(f"{folder}: no annotation file for split {split!r}; splits found: {', '.join(have)}")
        raise DataError(
            f"{folder}: neither a COCO folder (annotations/instances_{split}.json or {split}.json) "
            "nor a VOC folder (Annotations/, ImageSets/Main/, JPEGImages/)"
        )
    return read_coco(file, split, masks=masks, progress=progress)
