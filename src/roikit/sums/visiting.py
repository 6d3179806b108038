"""In which order RoIs are read, so that the cells they share are still near the core."""

from __future__ import annotations

import numpy as np

MANY = 64  # RoIs: fewer are not worth sorting
BAND = 16  # cells: RoIs are visited in bands of so many rows of the map, from left to right
TURNING = 128  # cells of a map that are turned in the time that a RoI takes longer in a map that is not


def visits(batch: np.ndarray, level: np.ndarray, levels: int, y: np.ndarray | None, x: np.ndarray | None) -> list:
    """The RoIs of each level, neighbours one after the other.

    Args:
        batch, level: [R] int64.
        levels: how many there are.
        y, x: [R], where each lies, in feature cells; None leaves the order as it is.

    Returns:
        An int64 array of RoIs for each level.
    """
    order = np.arange(len(level))
    if len(level) >= MANY and y is not None and x is not None:
        row, column = (np.nan_to_num(at).clip(0, 1 << 18).astype(np.int64) for at in (y, x))
        order = np.argsort((batch << 40) + ((row // BAND) << 20) + column, kind="stable")
    return [order] if levels == 1 else [order[level[order] == at] for at in range(levels)]
