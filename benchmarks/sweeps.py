"""One setting varied at a time, and how times grow with the number of regions."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import Any

from roikit.bench.cases import DTYPES, Case, standard
from roikit.bench.rows import Row

from .peers import NAMES

SWEEPS = ("rois", "channels", "batch", "dtypes")


def swept(base: Case, operations: Iterable[str], names: Iterable[str]) -> list[Case]:
    """The operations with one setting varied at a time."""
    values: dict[str, tuple[str, tuple]] = {
        "rois": ("rois", (3, 10, 30) if base.quick else (10, 30, 100, 300, 1000, 3000, 10000)),
        "channels": ("channels", (8, 16) if base.quick else (64, 128, 256, 512, 1024)),
        "batch": ("batch", (1, 2) if base.quick else (1, 8)),
        "dtypes": ("dtype", DTYPES),
    }
    found = []
    for case in standard(base, operations):
        for name in names:
            field, steps = values[name]
            found += [dataclasses.replace(case, **{field: step}) for step in steps]
    return list(dict.fromkeys(found))


def growth(rows: Sequence[Row], least: int = 100) -> list[dict[str, Any]]:
    """How each contender's time grows with R: the exponent p of R^p that fits its medians from ``least`` RoIs on; 1 is
    linear."""
    found = []
    series: dict[tuple, list[Row]] = {}
    for row in rows:
        if row.case.rois >= (1 if row.case.quick else least):
            series.setdefault((dataclasses.replace(row.case, rois=0), row.direction), []).append(row)
    for (case, direction), points in series.items():
        if len(points) < 3:
            continue
        for name in NAMES:
            both = [(math.log(p.case.rois), math.log(p.times[name].median)) for p in points if name in p.times]
            if len(both) == len(points):
                middle = [sum(values) / len(both) for values in zip(*both, strict=True)]
                across = sum((x - middle[0]) ** 2 for x, _ in both)
                slope = sum((x - middle[0]) * (y - middle[1]) for x, y in both) / across
                found.append(
                    {"operation": case.operation, "map": case.maps.label, "direction": direction, "contender": name}
                    | {"from": min(p.case.rois for p in points), "exponent": slope}
                )
    return found
