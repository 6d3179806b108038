"""The entries of some RoIs at a time, made once and read for every block of channels. Imports Numba."""

from __future__ import annotations

from collections import namedtuple

import numpy as np

from .. import jit
from ..entries import entries

# Arrays over the RoIs of a chunk. rows, cols: cells [M, bins, capacity]; row_weight, col_weight: the same shape;
# row_count, col_count: [M, bins].
Chunk = namedtuple("Chunk", "rows row_weight row_count cols col_weight col_count")
ROIS = 32  # more make the lists leave the nearest cache
ROOM = 1 << 15  # entries of a chunk at most: where bins reach over many cells it has fewer RoIs


@jit.helper
def new(h, w, capacity, like):
    """An empty chunk; ``like`` is an array of the sums' type."""
    count = max(1, min(ROIS, ROOM // (max(h, w) * capacity)))
    return Chunk(
        np.empty((count, h, capacity), np.int64),
        np.empty((count, h, capacity), like.dtype),
        np.empty((count, h), np.int64),
        np.empty((count, w, capacity), np.int64),
        np.empty((count, w, capacity), like.dtype),
        np.empty((count, w), np.int64),
    )


@jit.helper
def read(chunk, m, r, rows, cols, height, width):
    """Make RoI r the chunk's entry m."""
    h, w = chunk.row_count.shape[1], chunk.col_count.shape[1]
    entries(rows, r, h, height, chunk.rows[m], chunk.row_weight[m], chunk.row_count[m])
    entries(cols, r, w, width, chunk.cols[m], chunk.col_weight[m], chunk.col_count[m])
