"""Detections in the formats that other programs read: COCO's results, PASCAL VOC's text files, YOLO's, DOTA's."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

FORMATS = ("coco", "voc", "yolo", "dota")


@dataclass(frozen=True)
class Found:
    """The detections of one image.

    Attributes:
        image_id: of the data set, or a number.
        path: of the image.
        size: (width, height) in pixels.
        detections: `boxes` [N, 4] xyxy in image pixels, `labels` [N] (1 is the first category), `scores` [N], and
            `masks`, run-length codes, and `oriented_boxes` [N, 5] where the detector predicts some.
    """

    image_id: Any
    path: Path
    size: tuple[int, int]
    detections: dict[str, Any]

    def rows(self) -> list[tuple[list[float], int, float]]:
        found = self.detections
        return list(zip(*(found[key].tolist() for key in ("boxes", "labels", "scores")), strict=True))


def distinct_names(paths: Sequence[Path]) -> list[str]:
    """A name for each image: its own without the ending, with a number where several share one."""
    names: dict[str, str] = {}  # by what a file system may take for the same
    for path in paths:
        name, number = path.stem, 2
        while name.lower() in names:
            name, number = f"{path.stem}-{number}", number + 1
        names[name.lower()] = name
    return list(names.values())


def coco_rows(found: Found, categories: Sequence[str], category_ids: Sequence[Any]) -> list[dict[str, Any]]:
    """COCO's result format (`bbox` is x, y, width, height) with the names of file and category beside the ids."""
    rows = []
    for place, ((x1, y1, x2, y2), label, score) in enumerate(found.rows()):
        row: dict[str, Any] = {
            "image_id": found.image_id,
            "file_name": str(found.path),
            "category_id": category_ids[label - 1],
            "category": categories[label - 1],
            "bbox": [round(v, 2) for v in (x1, y1)]
            + [round(round(b, 2) - round(a, 2), 2) for a, b in ((x1, x2), (y1, y2))],
            "score": round(score, 5),
        }
        if "masks" in found.detections:
            code = found.detections["masks"][place]
            row["segmentation"] = {"size": list(code["size"]), "counts": code["counts"].decode("ascii")}
        rows.append(row)
    return rows


def voc_lines(found: Found) -> list[tuple[int, str]]:
    """Each detection's label and its line of VOC's result files: the image's name, the score, and the corner pixels,
    which count from 1 and lie in the box."""
    return [
        (label, f"{found.path.stem} {score:.5f} {x1 + 1:.2f} {y1 + 1:.2f} {x2:.2f} {y2:.2f}")
        for (x1, y1, x2, y2), label, score in found.rows()
    ]


def dota_lines(found: Found) -> list[tuple[int, str]]:
    """Each detection's label and its line of DOTA's result files: the image's name, the score, and four corners."""
    import torch

    from roikit.oriented import corners

    boxes = found.detections["boxes"]
    x1, y1, x2, y2 = boxes.unbind(1)
    points = torch.stack([x1, y1, x2, y1, x2, y2, x1, y2], 1)
    if "oriented_boxes" in found.detections:
        points = corners(found.detections["oriented_boxes"]).flatten(1)
    texts = [" ".join(f"{value:.1f}" for value in row) for row in points.tolist()]
    return [
        (label, f"{found.path.stem} {score:.5f} {text}")
        for (_, label, score), text in zip(found.rows(), texts, strict=True)
    ]


def yolo_lines(found: Found, category_ids: Sequence[Any]) -> list[str]:
    """Lines of YOLO's label files with a score behind: class, centre, width and height in fractions of the sides."""
    width, height = found.size
    lines = []
    for (x1, y1, x2, y2), label, score in found.rows():
        numbers = ((x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height, score)
        lines.append(" ".join([str(category_ids[label - 1]), *(f"{number:.6f}" for number in numbers)]))
    return lines


class Results:
    """Writes detections into a folder as they come; use it with `with`.

    Args:
        folder: exists. COCO's format makes predictions.json there (and until it is complete predictions.jsonl, a row a
            line), VOC's a file det_CATEGORY.txt for each category, DOTA's Task1_CATEGORY.txt, and YOLO's a file
            labels/IMAGE.txt for each image.
        form: of FORMATS.
        categories, category_ids: by label.
    """

    def __init__(self, folder: Path, form: str, categories: Sequence[str], category_ids: Sequence[Any]) -> None:
        self.folder, self.form = folder, form
        self.categories, self.category_ids = list(categories), list(category_ids)
        self.count = 0
        self._lines = folder / "predictions.jsonl"

    @property
    def target(self) -> Path:
        """What the results are, to be named to the user."""
        names = {"coco": "predictions.json", "voc": "det_*.txt", "dota": "Task1_*.txt", "yolo": "labels"}
        return self.folder / names[self.form]

    def __enter__(self) -> Results:
        if self.form == "coco":
            self._lines.touch()
        elif self.form in ("voc", "dota"):
            for name in self.categories:
                self._of_category(name).touch()
        else:
            self.target.mkdir()
        return self

    def add(self, found: Found, name: str) -> None:
        """Detections of one image; `name` is that of its label file, different for every image."""
        self.count += len(found.detections["scores"])
        if self.form == "coco":
            rows = coco_rows(found, self.categories, self.category_ids)
            _append(self._lines, [json.dumps(row) for row in rows])
        elif self.form in ("voc", "dota"):
            lines = voc_lines(found) if self.form == "voc" else dota_lines(found)
            for label, category in enumerate(self.categories, 1):
                _append(self._of_category(category), [line for own, line in lines if own == label])
        else:
            _append(self.target / f"{name}.txt", yolo_lines(found, self.category_ids))

    def _of_category(self, category: str) -> Path:
        return self.folder / f"{'det' if self.form == 'voc' else 'Task1'}_{category.replace('/', '_')}.txt"

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self.form != "coco" or kind is not None:
            return
        part = self.folder / ".predictions.json"
        with self._lines.open(encoding="utf-8") as lines, part.open("w", encoding="utf-8") as out:
            out.write("[")
            for number, line in enumerate(lines):
                out.write((",\n " if number else "\n ") + line.rstrip("\n"))
            out.write("\n]\n")
        part.replace(self.target)
        self._lines.unlink()


def _append(file: Path, lines: Sequence[str]) -> None:
    with file.open("a", encoding="utf-8") as out:
        out.writelines(f"{line}\n" for line in lines)
