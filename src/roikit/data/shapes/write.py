"""Drawing a level of Shapes once, as JPEG files and COCO JSON in the cache folder."""

from __future__ import annotations

import hashlib
import json
import math
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from PIL import Image

from roikit.data.cache import cache_folder
from roikit.data.checks import Progress
from roikit.data.errors import DataError
from roikit.data.masks import encode_mask
from roikit.data.shapes.figures import CLASSES
from roikit.data.shapes.levels import LEVELS, Level, MovingLevel
from roikit.data.shapes.moving import draw_video
from roikit.data.shapes.paint import Pose
from roikit.data.shapes.scene import SPLITS, Figure, draw

VERSION = 1
"""Counted up whenever the same configuration would be drawn differently, so that an old cache is not taken for it."""

_CHUNK = 8  # images per task: one image is too short to be worth a message between processes
_STALE = 24 * 3600.0  # seconds after which another process's unfinished folder is taken for abandoned


def level_of(name: str) -> Level:
    """The level that `"shapes"`, `"shapes:LEVEL"` or `"LEVEL"` names. DataError for an unknown one."""
    level = name.removeprefix("shapes").removeprefix(":") or "full"
    if level not in LEVELS:
        raise DataError(f"{name}: no such level of Shapes; there are {', '.join(f'shapes:{key}' for key in LEVELS)}")
    return LEVELS[level]


def shapes_folder(
    level: str | Level,
    *,
    processes: int | None = None,
    progress: Progress | None = None,
    root: Path | None = None,
) -> Path:
    """The COCO folder of a level of Shapes, drawn first if it is not in the cache.

    It is drawn into a temporary folder that is then renamed, so that the folder is there with everything in it or not
    at all; several processes may ask at once. What is there is never drawn again.

    Args:
        level: a name (`"shapes:easy"`) or a configuration of one's own.
        processes: how many draw; by default one per core (one, where processes cannot be forked). The pictures do not
            depend on it.
        progress: called with ("drawing shapes:LEVEL", done, total).
        root: the folder to put it under instead of the cache folder's `shapes`.

    Returns:
        a folder with `annotations/instances_train.json`, `annotations/instances_val.json`, `images/train`,
        `images/val`. Annotations have two keys of their own: `angle`, the figure's turn in radians, counter-clockwise
        as seen in the image, and `visible`, the share of it that is seen. Of videos images have `video_id` and
        `frame_id`, annotations `instance_id` and `pose`, the numbers a, b, c, d, x, y: a point (u, v) of the figure is
        at (a·u + b·v + x, c·u + d·v + y).
    """
    if isinstance(level, str):
        level = level_of(level)
    root = cache_folder() / "shapes" if root is None else root
    folder = root / f"{level.name}-{_key(level)}"
    if folder.is_dir():
        return folder
    try:
        root.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(root)
        temporary = Path(tempfile.mkdtemp(prefix=".drawing-", dir=root))
    except OSError as error:
        raise DataError(
            f"{root}: cannot be written ({error.strerror}); set ROIKIT_CACHE to a folder that can"
        ) from None
    try:
        _draw_all(level, temporary, processes, progress)
        temporary.chmod(0o755)  # mkdtemp makes it private; the cache may be shared
        try:
            temporary.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was first, with the same pictures
                raise
    except OSError as error:
        raise DataError(f"{root}: drawing {level.name} failed ({error.strerror or error})") from error
    except BrokenProcessPool:
        raise DataError(f"{root}: drawing {level.name} failed (one of its processes was killed)") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _key(level: Level) -> str:
    drawn = {key: value for key, value in asdict(level).items() if key != "about"}
    text = json.dumps([VERSION, drawn], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def _draw_all(level: Level, folder: Path, processes: int | None, progress: Progress | None) -> None:
    counts = {"train": level.train, "val": level.val}
    tasks = []
    for split in SPLITS:
        (folder / "images" / split).mkdir(parents=True)
        for start in range(0, counts[split], _CHUNK):
            tasks.append((level, split, range(start, min(start + _CHUNK, counts[split])), folder))
    images: dict[str, list] = {split: [] for split in SPLITS}
    annotations: dict[str, list] = {split: [] for split in SPLITS}
    done, total = 0, sum(counts.values())
    with _mapper(processes, total) as mapped:
        for (_, split, task_range, _), results in zip(tasks, mapped(_draw_some, tasks), strict=True):
            for image, found in results:
                images[split].append(image)
                for annotation in found:
                    annotations[split].append({"id": len(annotations[split]) + 1, **annotation})
            done += len(task_range)
            if progress is not None:
                progress(f"drawing shapes:{level.name}", done, total)
    (folder / "annotations").mkdir()
    for split in SPLITS:
        text = json.dumps(
            {
                "info": {"description": f"roikit Shapes, level {level.name}, {split}", "version": str(VERSION)},
                "level": asdict(level),
                "images": images[split],
                "annotations": annotations[split],
                "categories": [{"id": label, "name": name} for label, name in enumerate(CLASSES, start=1)],
            }
        )
        (folder / "annotations" / f"instances_{split}.json").write_text(text, encoding="utf-8")


def _draw_some(task: tuple[Level, str, range, Path]) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    level, split, indices, folder = task
    results = []
    for index in indices:
        for number, (pixels, found) in enumerate(_pictures(level, split, index)):
            image: dict[str, Any] = {"id": index + 1, "file_name": f"{index:06d}.jpg"}
            if isinstance(level, MovingLevel):
                image = {"id": index * level.frames + number + 1, "file_name": f"{index:06d}-{number:02d}.jpg"}
                image |= {"video_id": index + 1, "frame_id": number}
            path = folder / "images" / split / image["file_name"]
            Image.fromarray(pixels).save(path, quality=level.quality, subsampling=0)
            image |= {"width": level.width, "height": level.height}
            results.append((image, [{"image_id": image["id"], **_annotation(one), **more} for one, more in found]))
    return results


def _pictures(level: Level, split: str, index: int) -> list[tuple[Any, list[tuple[Figure, dict[str, Any]]]]]:
    """The picture of an index, or the frames of its video: pixels, and figures with what else is to be said of them."""
    if not isinstance(level, MovingLevel):
        pixels, figures = draw(level, split, index)
        return [(pixels, [(one, {}) for one in figures])]
    return [
        (pixels, [(one, {"instance_id": track, "pose": _rounded(pose)}) for track, pose, one in found])
        for pixels, found in draw_video(level, split, index)
    ]


def _rounded(pose: Pose) -> list[float]:
    return [round(value, 6) for value in (pose.a, pose.b, pose.c, pose.d, pose.x, pose.y)]


def _annotation(figure: Figure) -> dict[str, Any]:
    x1, y1, x2, y2 = figure.box
    return {
        "category_id": figure.label,
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "area": int(figure.mask.sum()),
        "iscrowd": 0,
        "segmentation": encode_mask(figure.mask),
        "angle": round(math.radians(figure.angle), 6),
        "visible": round(figure.visible, 4),
    }


@contextmanager
def _mapper(processes: int | None, total: int) -> Iterator[Any]:
    """`map`, or a process pool's. Only forked processes: others would run the caller's unguarded script again."""
    if processes is None:
        can_fork = sys.platform.startswith("linux") and not multiprocessing.current_process().daemon
        processes = (os.cpu_count() or 1) if can_fork and total > 100 else 1
    if processes <= 1:
        yield map
        return
    with warnings.catch_warnings():
        # the children run NumPy and Pillow only, neither of which holds a lock that a thread of ours could keep
        warnings.filterwarnings("ignore", message=".*multi-threaded.*fork", category=DeprecationWarning)
        with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("fork")) as pool:
            yield pool.map


def _remove_abandoned(root: Path) -> None:
    for folder in root.glob(".drawing-*"):
        try:
            if time.time() - folder.stat().st_mtime > _STALE:
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            pass  # its owner has just renamed or removed it
