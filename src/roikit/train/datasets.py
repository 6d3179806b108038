"""The two splits of a run, opened and checked before anything is trained."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from roikit.data import DetectionDataset, only, open_dataset, voc, with_proposals

from .config import TrainConfig
from .errors import RunError
from .video import with_neighbours


def show_progress(what: str, done: int, total: int) -> None:
    """`roikit.data`'s progress: a counter in a terminal, nothing elsewhere."""
    if sys.stderr.isatty():
        end = "\n" if done >= total else ""
        print(f"\r{what} {done}/{total}", end=end, file=sys.stderr, flush=True)


def is_voc(path: str) -> bool:
    """Whether it is a VOC folder, whose detections are measured in VOC's way too."""
    return voc.is_voc(Path(path).expanduser())


def open_splits(config: TrainConfig, accelerator: Any) -> tuple[DetectionDataset, DetectionDataset, Callable]:
    """Training split, evaluation split, and the random transform of the training images.

    The main process goes first: it draws Shapes and checks the images, the others find that done. What was dropped is
    printed.

    Raises:
        DataError: data that cannot be used.
        RunError: splits with different categories, or a training split without a box.
    """
    from roikit.data.transforms import train_transform

    data = config.data
    masks, oriented = config.model.masks or config.optim.oriented_loss > 0, config.model.oriented
    measured = oriented or data.oriented
    main = accelerator.is_main_process
    known = config.video.method != "none" and config.video.flow_loss > 0 and data.path.startswith("shapes:")
    with accelerator.main_process_first():
        shown = show_progress if main else None
        train_set = open_dataset(data.path, data.train_split, masks or known, oriented=oriented, progress=shown)
        eval_set = open_dataset(data.path, data.eval_split, masks, oriented=measured, progress=shown)
    train_set.has_masks = masks  # of known flow they are the figures that move
    if data.classes is not None:
        train_set, eval_set = only(train_set, data.classes), only(eval_set, data.classes)
    if data.proposals is not None:
        train_set = with_proposals(train_set, data.proposals.replace("{split}", data.train_split))
        eval_set = with_proposals(eval_set, data.proposals.replace("{split}", data.eval_split))
    if train_set.categories != eval_set.categories:
        raise RunError(
            f"{data.path}: split {data.train_split!r} has categories {', '.join(train_set.categories)}, "
            f"split {data.eval_split!r} has {', '.join(eval_set.categories)}"
        )
    if main and {r.path for r in train_set.records} == {r.path for r in eval_set.records}:
        print(f"note: {data.path}: the images to evaluate on are those that are trained on", flush=True)
    if train_set.report.boxes == 0:
        raise RunError(f"{data.path}: split {data.train_split!r} has no boxes to learn from")
    if main:
        for dataset in (train_set, eval_set):
            print("\n  ".join(dataset.report.lines()), flush=True)
    transform = train_transform(
        flip=data.flip,
        vertical_flip=data.vertical_flip,
        scale=data.scale,
        crop=data.crop,
        colour=data.colour,
    )
    return train_set, eval_set, with_neighbours(train_set, transform, config.video)
