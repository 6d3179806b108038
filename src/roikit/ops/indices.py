"""Whether every RoI's image and level exist, asked where memory is read."""

from __future__ import annotations

import numpy as np
from torch import Tensor


def check(batch: Tensor, level: Tensor, images: int, levels: int) -> None:
    """Refuse RoIs of images or levels that are not there.

    ``Rois.of`` says so earlier and where values may be read; a compiled graph only finds out here, and the kernels
    would read memory that is not theirs.

    Raises:
        ValueError: naming the first such RoI.
    """
    for name, index, size in (("batch", batch, images), ("level", level, levels)):
        values = (index if index.device.type == "cpu" else index.cpu()).numpy()
        # As unsigned numbers negative ones are too large: one pass finds both.
        if values.size and values.view(np.uint64).max() >= size:
            first = int((values.view(np.uint64) >= size).argmax())
            raise ValueError(
                f"RoI {first}: {values[first]} is its {name} index, but the features have {size} (0 to {size - 1})"
            )
