"""Whether every RoI's image and level exist, asked where memory is read."""

from __future__ import annotations

from torch import Tensor

from .. import modes
from ..boxes import check_index


def readable(values: Tensor) -> bool:
    """Whether an operation may read ``values`` to check them: on a GPU it would wait for all that runs there."""
    return not modes.transformed() and modes.checked(values.device)


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
    check_index("batch", batch, images)
    check_index("level", level, levels)


def known(batch: Tensor, level: Tensor, images: int, levels: int) -> Tensor:
    """bool ``Tensor[R]``: whether a RoI's image and level exist."""
    return (batch >= 0) & (batch < images) & (level >= 0) & (level < levels)
