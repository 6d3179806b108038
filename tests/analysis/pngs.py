"""PNGs read back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def read_png(path: Path) -> np.ndarray:
    """float ``[H, W, 3]`` in 0-1."""
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"), np.float32) / 255


def has_colour(picture: np.ndarray, colour: str, tolerance: float = 0.02) -> int:
    """How many pixels have that colour."""
    wanted = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)]) / 255
    return int((np.abs(picture - wanted).max(-1) < tolerance).sum())
