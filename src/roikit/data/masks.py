"""Instance masks in COCO's three forms: polygons, uncompressed and compressed run lengths.

The run-length code is faster-coco-eval's, imported on first use.
"""

from __future__ import annotations

import ast
from typing import Any

import numpy as np

from roikit.data.errors import DataError

_LIMIT = 1e12  # no image has a coordinate beyond it


def usable_segmentation(segmentation: Any, height: int, width: int) -> tuple[Any, int]:
    """An annotation's `segmentation` in an image of this size as it can be decoded, and how many of its polygons
    enclose nothing (fewer than three corners) and were dropped. None where nothing is left of it.

    Raises:
        DataError: it is neither polygons nor run lengths of the image.
    """
    if isinstance(segmentation, dict):
        return _run_lengths(segmentation, height, width), 0
    if segmentation is None:
        return None, 0
    if not isinstance(segmentation, list):
        raise DataError(f"segmentation is of type {type(segmentation).__name__}, not polygons or run lengths")
    kept = []
    for polygon in segmentation:
        if not isinstance(polygon, list) or len(polygon) % 2:
            raise DataError("segmentation polygon is not a list of x, y pairs")
        if not all(isinstance(v, (int, float)) and -_LIMIT < v < _LIMIT for v in polygon):
            raise DataError("segmentation polygon holds something that is not a finite number")
        if len(polygon) >= 6:
            kept.append(polygon)
    return kept or None, len(segmentation) - len(kept)


def _run_lengths(segmentation: dict[str, Any], height: int, width: int) -> dict[str, Any]:
    size, counts = segmentation.get("size"), segmentation.get("counts")
    if size is None or counts is None:
        raise DataError("segmentation has no 'size' or no 'counts'")
    if not isinstance(size, list | tuple) or list(size) != [height, width]:
        raise DataError(f"segmentation is of size {size} (height, width), the image of {[height, width]}")
    if isinstance(counts, str) and counts[:2] in ("b'", 'b"') and counts.endswith(counts[1]):
        # str() of what pycocotools returns, not its text: with Python's escapes
        try:
            counts = ast.literal_eval(counts)
        except (ValueError, SyntaxError):
            raise DataError("segmentation counts are no compressed run lengths") from None
    if isinstance(counts, list):
        if not all(isinstance(count, int) and count >= 0 for count in counts):
            raise DataError("segmentation counts are not whole numbers of pixels")
        total: int | None = sum(counts)
    elif isinstance(counts, (str, bytes)):
        total = _compressed_total(counts)
        if total is None:
            raise DataError("segmentation counts are no compressed run lengths")
    else:
        raise DataError(f"segmentation counts are of type {type(counts).__name__}, not a list or a string")
    if total != height * width:
        raise DataError(f"segmentation run lengths cover {total} pixels, the image has {height * width}")
    return {"size": [height, width], "counts": counts}


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
