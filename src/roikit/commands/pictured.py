"""The image of a data set that a command names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from roikit.train.errors import RunError


def place_of(dataset: Any, wanted: str, source: str) -> int:
    """The image of that path, name (with or without its ending, or the end of its path) or number (from 0).

    Args:
        dataset: a `roikit.data.DetectionDataset`.
        wanted: what the user gave.
        source: what the data set is called.

    Raises:
        RunError: there is none, or several have that name.
    """
    files = [Path(dataset.file_name(k)) for k in range(len(dataset))]
    path = Path(wanted)
    if path.is_file():
        found = [k for k, file in enumerate(files) if file.resolve() == path.resolve()]
        if not found:
            raise RunError(f"{wanted}: is no image of {source}, so its objects are not known; give --box X1 Y1 X2 Y2")
        return found[0]
    found = [k for k, file in enumerate(files) if wanted in (file.name, file.stem) or file.match(f"*/{wanted}")]
    if len(found) > 1:
        raise RunError(f"{wanted}: {len(found)} images have that name in {source}")
    if found:
        return found[0]
    if wanted.lstrip("-").isdigit():
        if 0 <= int(wanted) < len(files):
            return int(wanted)
        raise RunError(f"image {wanted}: {source} has {len(files)} images, numbers 0 to {len(files) - 1}")
    raise RunError(f"{wanted}: no such file, and no image of that name in {source}")
