"""Proposals from a file: boxes that something else has found, for a detector that does not propose any itself."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np

from roikit.data.dataset import DetectionDataset
from roikit.data.errors import DataError
from roikit.documents import load_json


def with_proposals(dataset: DetectionDataset, file: str | Path) -> DetectionDataset:
    """The same data whose targets also have `proposals`, float32 `[N, 4]` xyxy in image pixels, best first.

    Args:
        dataset: the images.
        file: COCO's result format: a list of `{"image_id", "bbox": [x, y, width, height], "score"}`; other keys, such
            as `category_id`, are not read. `roikit proposals` writes one.

    Raises:
        DataError: no such file, no such format, or proposals for other images than these.
    """
    file = Path(file).expanduser()
    try:
        content = load_json(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{file}: proposals cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise DataError(f"{file}: is no JSON ({error})") from None
    if not isinstance(content, list):
        raise DataError(f"{file}: proposals are a list of {{image_id, bbox, score}}, not {type(content).__name__}")
    found: dict[Any, list[tuple[float, list[float]]]] = {}
    for number, entry in enumerate(content):
        try:
            x, y, width, height = (float(value) for value in entry["bbox"])
            found.setdefault(entry["image_id"], []).append((float(entry["score"]), [x, y, x + width, y + height]))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{file}: entry {number} is no {{image_id, bbox, score}} ({error!r})") from None
    known = {record.image_id for record in dataset.records}
    missing = [record for record in dataset.records if record.image_id not in found]
    if missing or not set(found) <= known:
        strange = sorted(map(str, set(found) - known))
        raise DataError(
            f"{file}: holds proposals of other images than {dataset.report.source}: none for {len(missing)} of its "
            f"{len(known)} images{f' (first {missing[0].path.name})' if missing else ''}, and "
            f"{len(strange)} for image ids that it does not have{f' (first {strange[0]})' if strange else ''}"
        )
    other = copy.copy(dataset)
    other.proposals = {}
    for image, rows in found.items():
        rows.sort(key=lambda row: -row[0])
        other.proposals[image] = np.array([box for _, box in rows], np.float32)
    return other
