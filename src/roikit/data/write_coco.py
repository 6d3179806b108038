"""Any data set as a COCO file, for programs that read nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from roikit.data.cache import write_atomically
from roikit.data.dataset import DetectionDataset


def to_coco(dataset: DetectionDataset, file: Path) -> Path:
    """Write a data set as it was read: what was dropped is not there, what was clipped is clipped. The images stay
    where they are, `file_name` is their whole path; ids of images and categories are the data set's own.

    >>> to_coco(open_dataset("path/to/yolo", "train"), Path("instances_train.json"))  # doctest: +SKIP
    """
    annotations: list[dict[str, Any]] = []
    for record in dataset.records:
        for place, (x1, y1, x2, y2) in enumerate(record.boxes.astype(float).round(3).tolist()):
            one: dict[str, Any] = {
                "id": len(annotations) + 1,
                "image_id": record.image_id,
                "category_id": dataset.category_ids[record.labels[place] - 1],
                "bbox": [x1, y1, round(x2 - x1, 3), round(y2 - y1, 3)],
                "area": round(float(record.area[place]), 3),
                "iscrowd": int(record.iscrowd[place]),
            }
            if dataset.has_masks:
                one["segmentation"] = record.segmentations[place]
            annotations.append(one)
    images = [
        {"id": r.image_id, "file_name": r.path.resolve().as_posix(), "width": r.width, "height": r.height}
        for r in dataset.records
    ]
    names = [{"id": i, "name": n} for i, n in zip(dataset.category_ids, dataset.categories, strict=True)]
    write_atomically(file, json.dumps({"images": images, "annotations": annotations, "categories": names}))
    return file
