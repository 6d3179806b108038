"""A split of data that comes without one: drawn once, said aloud, kept in a file."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from roikit.data.cache import cache_folder, write_atomically
from roikit.data.errors import DataError
from roikit.documents import load_json

SPLITS = ("train", "val")
# what tools call the splits of a data set that they write
CALLED = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}
FILE = "roikit-split.json"
_SHARE = 0.8


def seeded_split(folder: Path, names: Sequence[str], split: str) -> tuple[set[str], str]:
    """The images of a split of a folder without one, and a line that says so.

    The first call draws it, 80% of the images to train and 20% to val, with a seed that depends on their number alone,
    and writes it to `roikit-split.json` in the folder (in the cache folder where that cannot be written). Later calls
    read it; images that came since go to train.

    Args:
        folder: of the data.
        names: of all its images.
        split: "train" or "val".

    Raises:
        DataError: another split, a file of it that cannot be read or names images that are gone.
    """
    if split not in SPLITS:
        raise DataError(f"{folder}: comes without splits, so there are train and val (drawn here), and no {split!r}")
    file = folder / FILE
    elsewhere = cache_folder() / "splits" / f"{hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:16]}.json"
    if not file.exists() and elsewhere.exists():
        file = elsewhere
    kept = _read(file) if file.exists() else None
    known = {name for part in (kept or {}).values() for name in part}
    gone = sorted(known - set(names))
    if gone:
        raise DataError(
            f"{file}: names {len(gone)} images that are not there (first {gone[0]}); remove it to draw anew"
        )
    if kept is None:
        order = np.random.default_rng(len(names)).permutation(len(names))
        count = len(names) - max(1, round(len(names) * (1 - _SHARE))) if len(names) > 1 else 1
        ordered = sorted(names)
        kept = {"train": sorted(ordered[i] for i in order[:count]), "val": sorted(ordered[i] for i in order[count:])}
        file = _write(file, elsewhere, kept)
    elif new := sorted(set(names) - known):
        kept["train"] = sorted([*kept["train"], *new])
        file = _write(file, elsewhere, kept)
    counts = f"{len(kept['train'])} images to train on, {len(kept['val'])} to evaluate on"
    return set(kept[split]), f"the data comes without splits: {counts}, drawn by roikit, kept in {file}"


def _read(file: Path) -> dict[str, list[str]]:
    try:
        content = load_json(file.read_text(encoding="utf-8"))
        return {split: [str(name) for name in content[split]] for split in SPLITS}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{file}: is no split of train and val ({error!r}); remove it to draw anew") from None


def _write(file: Path, elsewhere: Path, content: dict[str, list[str]]) -> Path:
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    for place in (file, elsewhere):
        try:
            write_atomically(place, text)
            return place
        except OSError:
            continue
    return file
