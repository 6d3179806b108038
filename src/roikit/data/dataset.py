"""The data set object that training, evaluation and pictures see, whatever files it came from."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from roikit.data.errors import DataError
from roikit.data.images import read_image
from roikit.data.masks import decode_mask
from roikit.oriented import oriented_boxes

Target = dict[str, Any]
Transform = Callable[[Tensor, Target], tuple[Tensor, Target]]


@dataclass
class Record:
    """One image and its boxes, checked. Boxes are xyxy in pixels of the image as `__getitem__` gives it."""

    path: Path
    image_id: int
    width: int
    height: int
    boxes: np.ndarray  # float32 [N, 4]
    labels: np.ndarray  # int64 [N], 1..n
    area: np.ndarray  # float32 [N], square pixels
    iscrowd: np.ndarray  # int64 [N]
    segmentations: list[Any] = field(default_factory=list)  # N of them where masks are read, else none
    upright: bool = False  # turn the stored pixels as EXIF says
    oriented: np.ndarray | None = None  # float32 [N, 5]: cx, cy, w, h, θ; None where they are not known, or not yet
    video: str | None = None  # the video that it is a frame of
    frame: int = 0  # its place among the frames of the video
    tracks: np.ndarray | None = None  # int64 [N], which object of the video each is
    poses: np.ndarray | None = None  # float64 [N, 6], of drawn figures: a, b, c, d, x, y


@dataclass
class Report:
    """What was checked, dropped and changed when a data set was opened. `print(dataset.report)` shows it."""

    source: str
    images: int = 0
    boxes: int = 0  # kept
    degenerate: int = 0  # dropped: width or height zero or negative
    clipped: int = 0  # cut at the image border
    crowd: int = 0  # kept with iscrowd = 1
    empty: int = 0  # images without a box
    notes: list[str] = field(default_factory=list)
    examples: list[str] = field(default_factory=list)  # the first dropped boxes, with their files

    def lines(self) -> list[str]:
        """One line per fact, the counts that are zero left out."""
        lines = [f"{self.source}: {self.images} images, {self.boxes} boxes"]
        if self.degenerate:
            shown = "; ".join(self.examples)
            more = ", ..." if self.degenerate > len(self.examples) else ""
            lines.append(f"dropped {self.degenerate} degenerate boxes (no width or no height): {shown}{more}")
        if self.clipped:
            lines.append(f"clipped {self.clipped} boxes that reach beyond the image border")
        if self.crowd:
            lines.append(f"{self.crowd} boxes are crowds or difficult: not trained on, ignored in evaluation")
        if self.empty:
            lines.append(f"{self.empty} images have no box")
        return lines + self.notes

    def __str__(self) -> str:
        return "\n".join(self.lines())


class DetectionDataset(Dataset[tuple[Tensor, Target]]):
    """Images with boxes, labels and, if asked for, masks. `open_dataset` makes one.

    `dataset[i]` is `(image, target)`: a uint8 image `[3, H, W]` and torchvision's target for detectors:

    - `boxes`: float32 `[N, 4]`, xyxy, image pixels, the right and lower edge exclusive (x2 - x1 is the width)
    - `labels`: int64 `[N]`, 1..n; `categories[label - 1]` is the name; 0 is the background
    - `image_id`: int; `area`: float32 `[N]`, square pixels; `iscrowd`: int64 `[N]`
    - `masks`: uint8 `[N, H, W]`, where `has_masks`
    - `oriented_boxes`: float32 `[N, 5]` (cx, cy, w, h, θ), where `has_oriented`: as the files say, or the smallest
      rectangles around the masks
    - `proposals`: float32 `[N, 4]` xyxy, where they come from a file (`with_proposals`)

    An image without boxes has N = 0. Targets keep the crowd boxes (evaluation ignores what falls on them);
    `transforms.train_transform` removes them, since torchvision's detectors would learn them as ordinary objects.

    Attributes:
        categories: names; label i is `categories[i - 1]`.
        category_ids: the id of each category in its file (COCO), 1..n elsewhere.
        has_masks, has_oriented: whether targets have `masks`, `oriented_boxes`.
        report: what was checked, dropped and changed.
        records: one `Record` per image: sizes and boxes without reading an image.
        videos: the files of all frames of each video, in order, labelled or not.
    """

    def __init__(
        self,
        records: list[Record],
        categories: list[str],
        report: Report,
        *,
        has_masks: bool = False,
        has_oriented: bool = False,
        category_ids: list[int] | None = None,
    ) -> None:
        self.records = records
        self.categories = categories
        self.category_ids = category_ids or list(range(1, len(categories) + 1))
        self.report = report
        self.has_masks, self.has_oriented = has_masks, has_oriented
        self.proposals: dict[Any, np.ndarray] | None = None  # by image id, float32 [N, 4]: `with_proposals`
        self.videos: dict[str, list[Path]] = _videos(records)
        self.transform: Transform | None = None

    def __len__(self) -> int:
        return len(self.records)

    def file_name(self, index: int) -> str:
        """The path of an image file."""
        return str(self.records[index].path)

    def with_transform(self, transform: Transform | None) -> DetectionDataset:
        """The same data with a transform of (image, target), such as `transforms.train_transform()`."""
        other = copy.copy(self)
        other.transform = transform
        return other

    def target(self, index: int) -> Target:
        """The target of `self[index]` without reading the image and without the transform."""
        record = self.records[index]
        target: Target = {
            "boxes": torch.from_numpy(record.boxes.copy()),
            "labels": torch.from_numpy(record.labels.copy()),
            "image_id": record.image_id,
            "area": torch.from_numpy(record.area.copy()),
            "iscrowd": torch.from_numpy(record.iscrowd.copy()),
        }
        if self.proposals is not None:
            target["proposals"] = torch.from_numpy(self.proposals[record.image_id].copy())
        if self.has_masks:
            target["masks"] = masks_of(record)
        if self.has_oriented:
            if record.oriented is None:  # kept: to find them takes longer than to read the image
                record.oriented = oriented_boxes(masks_of(record)).numpy()
            target["oriented_boxes"] = torch.from_numpy(record.oriented.copy())
        return target

    def __getitem__(self, index: int) -> tuple[Tensor, Target]:
        record = self.records[index]
        image = read_image(record.path, upright=record.upright)
        if image.shape[1:] != (record.height, record.width):
            height, width = image.shape[1:]
            raise DataError(
                f"{record.path}: {width}x{height} pixels now, {record.width}x{record.height} when the data was checked"
            )
        target = self.target(index)
        return (image, target) if self.transform is None else self.transform(image, target)


def _videos(records: Sequence[Record]) -> dict[str, list[Path]]:
    """The frames of each video, where every one of them is a record."""
    found: dict[str, list[tuple[int, Path]]] = {}
    for record in records:
        if record.video is not None:
            found.setdefault(record.video, []).append((record.frame, record.path))
    return {video: [path for _, path in sorted(frames)] for video, frames in found.items()}


def masks_of(record: Record) -> Tensor:
    """uint8 `[N, H, W]` of the objects of an image whose segmentations were read."""
    masks = np.zeros((len(record.boxes), record.height, record.width), np.uint8)
    for mask, segmentation in zip(masks, record.segmentations, strict=True):
        mask[:] = decode_mask(segmentation, record.height, record.width)
    return torch.from_numpy(masks)


def union(parts: Sequence[DetectionDataset]) -> DetectionDataset:
    """Several splits as one. Where two of them use the same image ids, images are numbered anew, with a note.

    Raises:
        DataError: the splits have different categories, or an image is in two of them.
    """
    first = parts[0]
    for part in parts[1:]:
        if (part.categories, part.category_ids) != (first.categories, first.category_ids):
            raise DataError(
                f"{first.report.source} and {part.report.source} have different categories: "
                f"{', '.join(first.categories)}; {', '.join(part.categories)}"
            )
    records = [record for part in parts for record in part.records]
    seen: dict[Path, None] = {}
    for record in records:
        if record.path in seen:
            raise DataError(f"{record.path}: is in two of the splits that were asked for as one")
        seen[record.path] = None
    counts = ("images", "boxes", "degenerate", "clipped", "crowd", "empty")
    reports = [part.report for part in parts]
    report = Report(" + ".join(r.source for r in reports), **{c: sum(getattr(r, c) for r in reports) for c in counts})
    report.notes = list(dict.fromkeys(note for r in reports for note in r.notes))
    report.examples = [example for r in reports for example in r.examples]
    if len({record.image_id for record in records}) < len(records):
        records = [replace(record, image_id=number) for number, record in enumerate(records, 1)]
        report.notes.append("the splits use the same image ids: images are numbered anew")
    settings: dict[str, Any] = {key: getattr(first, key) for key in ("has_masks", "has_oriented", "category_ids")}
    whole = DetectionDataset(records, first.categories, report, **settings)
    whole.videos = {video: frames for part in parts for video, frames in part.videos.items()}
    return whole


def only(dataset: DetectionDataset, categories: Sequence[str]) -> DetectionDataset:
    """The same images with the boxes of some categories alone, which become 1..n in the order given.

    Raises:
        DataError: a category that the data does not have, or none.
    """
    for name in categories:
        if name not in dataset.categories:
            raise DataError(
                f"{dataset.report.source}: has no category {name!r}; it has {', '.join(dataset.categories)}"
            )
    if not categories or len(set(categories)) < len(categories):
        raise DataError(f"categories to take must be some, each of them once, not {list(categories)}")
    new = {dataset.categories.index(name) + 1: label for label, name in enumerate(categories, 1)}
    records = []
    for record in dataset.records:
        kept = np.array([label in new for label in record.labels], bool)
        labels = np.array([new[label] for label in record.labels[kept]], np.int64)
        pieces = [piece for piece, own in zip(record.segmentations, kept, strict=False) if own]
        per_box = {
            key: value[kept] for key in ("boxes", "area", "iscrowd", "oriented", "tracks", "poses")
            if (value := getattr(record, key)) is not None
        }  # fmt: skip
        records.append(replace(record, labels=labels, segmentations=pieces, **per_box))
    report = replace(
        dataset.report,
        boxes=sum(len(record.boxes) for record in records),
        crowd=sum(int(record.iscrowd.sum()) for record in records),
        empty=sum(len(record.boxes) == 0 for record in records),
        notes=[*dataset.report.notes, f"only boxes of {', '.join(categories)} are taken"],
    )
    ids = [dataset.category_ids[dataset.categories.index(name)] for name in categories]
    has: dict[str, Any] = {"has_masks": dataset.has_masks, "has_oriented": dataset.has_oriented}
    other = DetectionDataset(records, list(categories), report, category_ids=ids, **has)
    other.videos = dataset.videos
    return other


def collate(batch: list[tuple[Tensor, Target]]) -> tuple[list[Tensor], list[Target]]:
    """Images and targets of a batch as two lists, as torchvision's detectors take them (images may differ in size)."""
    images, targets = zip(*batch, strict=True)
    return list(images), list(targets)
