"""Videos: which frames are neighbours, how objects move, and training images with neighbours beside them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import box_iou

from roikit.data.dataset import DetectionDataset, Record, Target, masks_of
from roikit.data.errors import DataError
from roikit.data.images import read_image

SPEEDS = ("slow", "medium", "fast")


def videos_of(dataset: DetectionDataset) -> dict[str, list[int]]:
    """The indices of each video's labelled frames, in order."""
    found: dict[str, list[int]] = defaultdict(list)
    for index, record in enumerate(dataset.records):
        if record.video is not None:
            found[record.video].append(index)
    return {name: sorted(own, key=lambda index: dataset.records[index].frame) for name, own in found.items()}


def require_videos(dataset: DetectionDataset) -> None:
    """Raise a `DataError` unless every image is a frame of a video."""
    if any(record.video is None for record in dataset.records):
        alone = next(record for record in dataset.records if record.video is None)
        raise DataError(
            f"{dataset.report.source}: {alone.path.name} is no frame of a video: neighbouring frames need ImageNet "
            "VID's layout, a COCO file whose images have video_id and frame_id, or shapes:moving"
        )


def known_flow(first: Record, second: Record) -> Tensor:
    """Where every pixel of a drawn frame lies in another: float32 ``[2, H, W]``, (x, y) in pixels.

    Figures move as their poses say, the background stays; NaN where a figure has no pose in the second frame.

    Args:
        first, second: frames of one video with poses, the first with segmentations.
    """
    flow = np.zeros((2, first.height, first.width), np.float32)
    if first.poses is None or second.poses is None or first.tracks is None or second.tracks is None:
        return torch.from_numpy(flow if not len(first.boxes) else np.full_like(flow, np.nan))
    rows, columns = np.mgrid[: first.height, : first.width] + 0.5
    places = {int(track): place for place, track in enumerate(second.tracks)}
    masks = masks_of(first).numpy().astype(bool)
    for mask, track, (a, b, c, d, x, y) in zip(masks, first.tracks, first.poses, strict=True):
        if int(track) not in places:
            flow[:, mask] = np.nan
            continue
        dx, dy, det = columns[mask] - x, rows[mask] - y, a * d - b * c
        u, v = (d * dx - b * dy) / det, (a * dy - c * dx) / det  # in the figure's own frame
        a2, b2, c2, d2, x2, y2 = second.poses[places[int(track)]]
        flow[0, mask], flow[1, mask] = a2 * u + b2 * v + x2 - columns[mask], c2 * u + d2 * v + y2 - rows[mask]
    return torch.from_numpy(flow)


def motion(dataset: DetectionDataset, reach: int = 10) -> list[np.ndarray]:
    """How little each object of each image moves: the mean IoU of its box with its own boxes in the frames up to
    ``reach`` before and after (Zhu et al., FGFA, section 5.1); 1 where it is in none of them, or is not tracked."""
    found = [np.ones(len(record.boxes), np.float32) for record in dataset.records]
    for indices in videos_of(dataset).values():
        tracks: dict[int, list[tuple[int, int, int]]] = defaultdict(list)  # frame, index, place
        for index in indices:
            record = dataset.records[index]
            for place, track in enumerate(() if record.tracks is None else record.tracks):
                tracks[int(track)].append((record.frame, index, place))
        for seen in tracks.values():
            boxes = torch.from_numpy(np.stack([dataset.records[index].boxes[place] for _, index, place in seen]))
            frames = np.array([frame for frame, _, _ in seen])
            overlaps = box_iou(boxes, boxes).numpy()
            apart = np.abs(frames[:, None] - frames)
            near = (apart > 0) & (apart <= reach)
            for row, (_, index, place) in enumerate(seen):
                if near[row].any():
                    found[index][place] = overlaps[row, near[row]].mean()
    return found


def speed_of(overlap: np.ndarray) -> np.ndarray:
    """0 slow (above 0.9), 1 medium (0.7 to 0.9), 2 fast (below 0.7), of what `motion` returns."""
    return np.where(overlap > 0.9, 0, np.where(overlap >= 0.7, 1, 2))


class WithNeighbours:
    """A transform of (image, target) that first draws neighbouring frames, to be transformed with it.

    Targets get `support`, `[T, 3, H, W]`, and `flow`, `[T, 2, H, W]`, where it is asked for and known.

    Args:
        dataset: of which images are frames of videos.
        transform: of image and target, neighbours included.
        count: T, neighbours of each image, drawn with torch's random numbers.
        reach: how many frames away they may be, before or after.
        flow: draw from frames whose poses are known, and add the flow to them.
    """

    def __init__(
        self, dataset: DetectionDataset, transform: Callable, *, count: int = 2, reach: int = 9, flow: bool = False
    ) -> None:
        require_videos(dataset)
        self.dataset, self.transform, self.count, self.reach = dataset, transform, count, reach
        self.flow = flow and all(record.poses is not None for record in dataset.records if len(record.boxes))
        self.place = {record.image_id: index for index, record in enumerate(dataset.records)}
        self.at = {(record.video, record.frame): index for index, record in enumerate(dataset.records)}

    def neighbours(self, record: Record) -> list[int]:
        """Numbers of the frames to draw from; its own where there is no other."""
        last = len(self.dataset.videos[str(record.video)])
        near = range(max(0, record.frame - self.reach), min(last, record.frame + self.reach + 1))
        frames = [frame for frame in near if frame != record.frame]
        if self.flow:
            frames = [frame for frame in frames if (record.video, frame) in self.at]
        return frames or [record.frame]

    def __call__(self, image: Tensor, target: Target) -> tuple[Tensor, Target]:
        record = self.dataset.records[self.place[target["image_id"]]]
        frames = self.neighbours(record)
        with torch.random.fork_rng(devices=[]):  # the transform then draws what it draws without neighbours
            drawn = [frames[int(torch.randint(len(frames), ()))] for _ in range(self.count)]
        paths = self.dataset.videos[str(record.video)]
        more: dict[str, Any] = {"support": torch.stack([read_image(paths[j], upright=record.upright) for j in drawn])}
        if self.flow:
            others = [self.dataset.records[self.at[record.video, frame]] for frame in drawn]
            more["flow"] = torch.stack([known_flow(record, other) for other in others])
        return self.transform(image, {**target, **more})
