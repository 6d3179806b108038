"""Whether every RoI's image and level exist, asked where memory is read."""

from __future__ import annotations

import os

import numpy as np
from torch import Tensor


def readable(values: Tensor) -> bool:
    """Whether an operation may read ``values`` to check them: on a GPU it would wait for all that runs there."""
    return values.device.type == "cpu" or os.environ.get("ROIKIT_CHECKS") == "1"


def check(batch: Tensor, level: Tensor, images: int, levels: int) -> None:
    """Refuse RoIs of images or levels that are not there.

    ``Rois.of`` says so earlier and where values may be read; a compiled graph only finds out here, and the kernels
    would read memory that is not theirs. On a GPU nothing is read, since that would synchronise (``ROIKIT_CHECKS=1``
    reads): the kernels there give such RoIs NaN.

    Raises:
        ValueError: naming the first such RoI.
    """
    if not readable(batch):
        return
    for name, index, size in (("batch", batch, images), ("level", level, levels)):
        values = (index if index.device.type == "cpu" else index.cpu()).numpy()
        # As unsigned numbers negative ones are too large: one pass finds both.
        if values.size and values.view(np.uint64).max() >= size:
            first = int((values.view(np.uint64) >= size).argmax())
            raise ValueError(
                f"RoI {first}: {values[first]} is its {name} index, but the features have {size} (0 to {size - 1})"
            )


def known(batch: Tensor, level: Tensor, images: int, levels: int) -> Tensor:
    """bool ``Tensor[R]``: whether a RoI's image and level exist."""
    return (batch >= 0) & (batch < images) & (level >= 0) & (level < levels)
