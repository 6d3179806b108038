"""Region pooling as functions, with the signatures of ``torchvision.ops``.

Boxes are ``Tensor[R, 5]`` with rows (batch index, x1, y1, x2, y2) or a list of ``Tensor[N_i, 4]``, in image pixels;
``spatial_scale`` (feature cells per pixel, 1 / stride) is a float or a (y, x) pair. All return ``Tensor[R, C, h, w]``
and raise ``ValueError`` for boxes or features of a wrong shape, dtype or value.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ..boxes import Rois, Scale
from . import geometry
from .grid_pool import pool
from .maps import as_maps, geometry_dtype
from .max_pool import max_pool

Boxes = Tensor | Sequence[Tensor]


def pair(output_size: int | Sequence[int]) -> tuple[int, int]:
    """An output size as (h, w).

    Raises:
        ValueError: not one or two positive whole numbers.
    """
    size = (output_size, output_size) if isinstance(output_size, int) else tuple(output_size)
    if len(size) != 2 or not all(isinstance(n, int) and n > 0 for n in size):
        raise ValueError(f"output_size must be a positive int or a pair (h, w) of them, not {output_size!r}")
    return size[0], size[1]


def roi_align(
    input: Tensor,
    boxes: Boxes,
    output_size: int | Sequence[int],
    spatial_scale: Scale = 1.0,
    sampling_ratio: int = -1,
    aligned: bool = False,
) -> Tensor:
    """RoI Align (He et al. 2017; LRF Eq. 4), the values of ``torchvision.ops.roi_align``.

    Args:
        sampling_ratio: bilinear samples per bin and axis; ≤ 0 takes ⌈bin size in cells⌉ of them.
        aligned: shift by -½ cell (the pixel model of detectron2). Without it a RoI has at least one cell.

    Differentiable in ``input`` and ``boxes``, twice.

    Example:
        >>> x = torch.arange(16.0).reshape(1, 1, 4, 4)
        >>> roi_align(x, torch.tensor([[0.0, 0.0, 0.0, 4.0, 4.0]]), 2, sampling_ratio=1, aligned=True)
        tensor([[[[ 2.5000,  4.5000],
                  [10.5000, 12.5000]]]])
    """
    size = pair(output_size)
    maps, rois, cells = _read(input, boxes, spatial_scale)
    return pool(maps, rois, *geometry.axes(geometry.aligned(cells, aligned), size, "hat", sampling_ratio))


def prroi_pool(input: Tensor, boxes: Boxes, output_size: int | Sequence[int], spatial_scale: Scale = 1.0) -> Tensor:
    """Precise RoI Pooling (Jiang et al. 2018): the exact mean of the bilinear interpolant over each bin.

    Differentiable in ``input`` and, exactly, in ``boxes``, twice. A RoI of no area gives 0.

    Example:
        >>> x = torch.arange(16.0).reshape(1, 1, 4, 4)
        >>> prroi_pool(x, torch.tensor([[0.0, 0.0, 0.0, 2.0, 2.0]]), 1)
        tensor([[[[5.]]]])
    """
    size = pair(output_size)
    maps, rois, cells = _read(input, boxes, spatial_scale)
    return pool(maps, rois, *geometry.axes(geometry.corners(cells), size, "integral"))


def roi_pool(input: Tensor, boxes: Boxes, output_size: int | Sequence[int], spatial_scale: Scale = 1.0) -> Tensor:
    """RoI Pooling (Girshick 2015): the maximum over the cells of each rounded bin, as ``torchvision.ops.roi_pool``.

    Differentiable in ``input``, twice. An empty bin gives 0; ties go to the first cell in raster order.

    Example:
        >>> x = torch.arange(16.0).reshape(1, 1, 4, 4)
        >>> roi_pool(x, torch.tensor([[0.0, 0.0, 0.0, 3.0, 3.0]]), 2)
        tensor([[[[ 5.,  7.],
                  [13., 15.]]]])
    """
    size = pair(output_size)
    maps, rois, cells = _read(input, boxes, spatial_scale)
    rows, cols = geometry.axes(geometry.rounded(cells.detach()), size, "cells")
    return max_pool(maps, rois, rows, cols)[0]


def _read(input: Tensor, boxes: Boxes, spatial_scale: Scale) -> tuple[list[Tensor], Rois, Tensor]:
    """Maps, checked RoIs, and the boxes in feature cells."""
    if not isinstance(input, Tensor):
        raise ValueError(f"input must be a Tensor[B, C, H, W], not {type(input).__name__}")
    maps = as_maps(input)
    rois = Rois.of(boxes, input.shape[0]).in_dtype(geometry_dtype(input), input.device)
    return maps, rois, rois.on_maps([spatial_scale])
