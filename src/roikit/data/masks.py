"""Instance masks in COCO's three forms: polygons, uncompressed and compressed run lengths.

The run-length code is faster-coco-eval's, imported on first use.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def segmentation_fault(segmentation: Any, height: int, width: int) -> str | None:
    """What is wrong with an annotation's `segmentation` in an image of this size, or None."""
    if isinstance(segmentation, dict):
        size, counts = segmentation.get("size"), segmentation.get("counts")
        if size is None or counts is None:
            return "segmentation has no 'size' or no 'counts'"
        if list(size) != [height, width]:
            return f"segmentation is of size {list(size)} (height, width), the image of {[height, width]}"
        if isinstance(counts, list):
            total = sum(counts) if all(isinstance(c, int) and c >= 0 for c in counts) else None
        elif isinstance(counts, (str, bytes)):
            total = _compressed_total(counts)
        else:
            return f"segmentation counts are of type {type(counts).__name__}, not a list or a string"
        if total != height * width:
            return f"segmentation run lengths cover {total} pixels, the image has {height * width}"
        return None
    if isinstance(segmentation, list):
        if not segmentation:
            return "segmentation is empty"
        for polygon in segmentation:
            if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
                return "segmentation polygon is not a list of at least three x, y pairs"
            if not all(isinstance(v, (int, float)) and np.isfinite(v) for v in polygon):
                return "segmentation polygon holds something that is not a finite number"
        return None
    return f"segmentation is of type {type(segmentation).__name__}, not polygons or run lengths"


def decode_mask(segmentation: Any, height: int, width: int) -> np.ndarray:
    """uint8 `[height, width]`, 1 on the instance, from polygons (a list) or run lengths (a dict)."""
    from faster_coco_eval.core import mask as coco_mask

    if isinstance(segmentation, list):
        parts = coco_mask.frPyObjects(segmentation, height, width)
        return coco_mask.decode(coco_mask.merge(parts))
    if isinstance(segmentation["counts"], list):
        segmentation = coco_mask.frPyObjects(segmentation, height, width)
    return coco_mask.decode(segmentation)


def encode_mask(mask: np.ndarray) -> dict[str, Any]:
    """Compressed run lengths of a mask `[height, width]`, ready for JSON."""
    from faster_coco_eval.core import mask as coco_mask

    code = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    counts = code["counts"]
    return {
        "size": [int(n) for n in code["size"]],
        "counts": counts.decode("ascii") if isinstance(counts, bytes) else counts,
    }


def _compressed_total(counts: str | bytes) -> int | None:
    """How many pixels a compressed string covers, None where it is no such string.

    The library reads past the end of a broken string, so this is asked before it is decoded. Each number is written in
    groups of 5 bits, lowest first, bit 6 says that another follows; from the third on it is the difference to the
    number before the last.
    """
    try:
        data = counts.encode("ascii") if isinstance(counts, str) else counts
    except UnicodeEncodeError:
        return None
    numbers: list[int] = []
    position = 0
    while position < len(data):
        value = shift = 0
        more = True
        while more:
            if position >= len(data) or not 48 <= data[position] < 112 or shift > 60:
                return None
            byte = data[position] - 48
            position += 1
            value |= (byte & 31) << shift
            shift += 5
            more = bool(byte & 32)
            if not more and byte & 16:
                value -= 1 << shift
        if len(numbers) > 2:
            value += numbers[-2]
        if value < 0:
            return None
        numbers.append(value)
    return sum(numbers)
