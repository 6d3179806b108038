"""Region pooling as functions, with the signatures of ``torchvision.ops``.

Boxes are ``Tensor[R, 5]`` with rows (batch index, x1, y1, x2, y2) or a list of ``Tensor[N_i, 4]``, in image pixels;
``spatial_scale`` (feature cells per pixel, 1 / stride) is a float or a (y, x) pair. All return ``Tensor[R, C, h, w]``
and raise ``ValueError`` for boxes or features of a wrong shape, dtype or value.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from ..boxes import Rois, Scale
from . import geometry
from .bin_pool import Channels
from .bin_pool import pool as bin_pool
from .grid_pool import pool
from .maps import as_maps, cells_of, geometry_dtype
from .max_pool import max_pool
from .position_sensitive import PartGrid, deform_ps_bins, inclusive, position_sensitive

Boxes = Tensor | Sequence[Tensor]


def pair(output_size: int | Sequence[int]) -> tuple[int, int]:
    """An output size as (h, w).

    Raises:
        ValueError: not one or two positive whole numbers.
    """
    size = tuple(output_size) if isinstance(output_size, Sequence) else (output_size, output_size)
    if len(size) != 2 or not all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in size):
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


def ps_roi_align(
    input: Tensor,
    boxes: Boxes,
    output_size: int | Sequence[int],
    spatial_scale: Scale = 1.0,
    sampling_ratio: int = -1,
) -> Tensor:
    """Position-sensitive RoI Align (Light-Head R-CNN), the values of ``torchvision.ops.ps_roi_align``.

    Bin (i, j) of output channel c reads input channel c·h·w + i·w + j, with RoI Align's samples (``aligned=True``).

    Returns:
        ``Tensor[R, C / (h·w), h, w]``. Differentiable in ``input`` and ``boxes``, twice.

    Raises:
        ValueError: also where C does not divide by h·w.

    Example:
        >>> x = torch.arange(4.0).reshape(1, 4, 1, 1).expand(1, 4, 3, 3)  # channel k is k everywhere
        >>> ps_roi_align(x, torch.tensor([[0.0, 0.0, 0.0, 2.0, 2.0]]), 2)
        tensor([[[[0., 1.],
                  [2., 3.]]]])
    """
    size = pair(output_size)
    maps, rois, cells = _read(input, boxes, spatial_scale)
    rows, cols = geometry.bins(geometry.corners(cells, 0.5), size, "hat", sampling_ratio)
    channels = position_sensitive(input.shape[1], size, input.device)
    return bin_pool(maps, rois, rows, cols, size[0] * size[1], channels).unflatten(2, size)


def ps_roi_pool(input: Tensor, boxes: Boxes, output_size: int | Sequence[int], spatial_scale: Scale = 1.0) -> Tensor:
    """Position-sensitive RoI pooling (Dai et al., R-FCN 2016; LRF Eq. 6), the values of torchvision's.

    Bin (i, j) of output channel c is the mean of input channel c·h·w + i·w + j over the cells of the rounded bin.

    Returns:
        ``Tensor[R, C / (h·w), h, w]``. Differentiable in ``input``, twice; an empty bin gives 0.

    Example:
        >>> x = torch.arange(4.0).reshape(1, 4, 1, 1).expand(1, 4, 3, 3)  # channel k is k everywhere
        >>> ps_roi_pool(x, torch.tensor([[0.0, 0.0, 0.0, 2.0, 2.0]]), 2)
        tensor([[[[0., 1.],
                  [2., 3.]]]])
    """
    size = pair(output_size)
    maps, rois, cells = _read(input, boxes, spatial_scale)
    rows, cols = geometry.rounded_bins(cells.detach(), size, cells_of(maps, rois.level))
    channels = position_sensitive(input.shape[1], size, input.device)
    return bin_pool(maps, rois, rows, cols, size[0] * size[1], channels).unflatten(2, size)


def deform_roi_pool(
    input: Tensor,
    boxes: Boxes,
    offset: Tensor | None = None,
    modulation: Tensor | None = None,
    output_size: int | Sequence[int] = (7, 7),
    spatial_scale: Scale = 1.0,
    sampling_ratio: int = 2,
    gamma: float = 0.1,
) -> Tensor:
    """Deformable RoI pooling (Dai et al. 2017, LRF Eq. 5) and, with a modulation, its second version (DCNv2 Eq. 2).

    Args:
        offset: ``Tensor[R, 2, h, w]``, (y, x): RoI Align's bin (i, j) moves by γ · (RoI height · δy, RoI width · δx).
            mmcv's offsets are (x, y): ``offset.flip(1)`` converts. ``None`` is zero: RoI Align with ``aligned=True``.
        modulation: ``Tensor[R, h, w]``, a factor on each bin; ``None`` is 1.
        gamma: γ.

    Differentiable in everything but γ, twice.

    Example:
        >>> x = torch.arange(16.0).reshape(1, 1, 4, 4)
        >>> boxes = torch.tensor([[0.0, 0.0, 0.0, 2.0, 2.0]])
        >>> right = torch.tensor([0.0, 5.0]).reshape(1, 2, 1, 1)  # 0.1 · 5 · a width of 2 = 1 cell
        >>> deform_roi_pool(x, boxes, right, output_size=1)
        tensor([[[[3.5000]]]])
    """
    size = pair(output_size)
    maps, rois, cells = _read(input, boxes, spatial_scale)
    for name, given, shape in (
        ("offset", offset, (rois.batch.shape[0], 2, *size)),
        ("modulation", modulation, (rois.batch.shape[0], *size)),
    ):
        if given is not None and given.shape != shape:
            raise ValueError(f"{name} must be a Tensor{list(shape)}, one value for each bin, not {list(given.shape)}")
    box = geometry.corners(cells, 0.5)
    shift = None
    if offset is not None:
        sides = torch.stack([box[1], box[3]], 1)[..., None, None]
        shift = gamma * sides * offset.to(sides.dtype)
    rows, cols = geometry.bins(box, size, "hat", sampling_ratio, shift)
    out = bin_pool(maps, rois, rows, cols, size[0] * size[1], Channels(input.shape[1]))
    out = out.unflatten(2, size)
    return out if modulation is None else out * modulation[:, None].to(out.dtype)


def deform_ps_roi_pool(
    input: Tensor,
    boxes: Boxes,
    offset: Tensor | None = None,
    output_size: int | Sequence[int] = (7, 7),
    spatial_scale: Scale = 1.0,
    group_size: int = 1,
    part_size: int | None = None,
    sample_per_part: int = 4,
    trans_std: float = 0.1,
) -> Tensor:
    """Deformable position-sensitive RoI pooling (Dai et al. 2017), with the original operator's conventions.

    The box is rounded to whole pixels, its last one included, and shifted by -½ cell; its sides are at least 0.1 cell.
    Output channel c of bin (i, j) is the mean of n × n samples (n = ``sample_per_part``), from the bin's edge on, of
    input channel (c·G + ⌊iG/h⌋)·G + ⌊jG/w⌋. Samples outside [-½, N-½] do not count; a bin without any gives 0.

    Args:
        offset: ``Tensor[R, 2·classes, P, P]``, **x first**, then y: a bin moves by trans_std · offset · the RoI's size.
            With several classes the output channels lie in as many equal groups, each with its own offsets.
        group_size: G. 1 is plain deformable pooling (Faster R-CNN), h the position-sensitive one (R-FCN).
        part_size: P, by default h.
        sample_per_part: samples per bin and axis.

    Returns:
        ``Tensor[R, C / G², h, w]``. Differentiable in ``input`` and ``offset``, twice; not in the rounded boxes.

    Example:
        >>> x = torch.arange(16.0).reshape(1, 1, 4, 4)
        >>> boxes = torch.tensor([[0.0, 1.0, 1.0, 2.0, 2.0]])
        >>> deform_ps_roi_pool(x, boxes, output_size=1, sample_per_part=2)
        tensor([[[[5.]]]])
        >>> right = torch.tensor([5.0, 0.0]).reshape(1, 2, 1, 1)  # 0.1 · 5 · a width of 2 = 1 cell
        >>> deform_ps_roi_pool(x, boxes, right, output_size=1, sample_per_part=2)
        tensor([[[[6.]]]])
    """
    size = pair(output_size)
    maps, rois, _ = _read(input, boxes, spatial_scale)
    part = size[0] if part_size is None else part_size
    if min(group_size, part, sample_per_part) < 1:
        raise ValueError(
            f"group_size, part_size and sample_per_part must be positive, not {(group_size, part, sample_per_part)}"
        )
    classes = 1
    if offset is not None:
        classes = offset.shape[1] // 2 if offset.ndim == 4 else 0
        if classes < 1 or offset.shape != (rois.batch.shape[0], 2 * classes, part, part):
            raise ValueError(
                f"offset must be a Tensor[{rois.batch.shape[0]}, 2·classes, {part}, {part}], not {list(offset.shape)}"
            )
    grid = PartGrid(size, group_size, part, classes)
    channels = grid.channels(input.shape[1], input.device)
    cells = dataclasses.replace(rois, boxes=inclusive(rois.boxes)).on_maps([spatial_scale])
    rows, cols = deform_ps_bins(cells, grid, sample_per_part, offset, trans_std)
    parts = size[0] * size[1]
    out = bin_pool(maps, rois, rows, cols, classes * parts, channels)  # [R, C / (G² · classes), classes · K]
    return out.unflatten(2, (classes, parts)).transpose(1, 2).flatten(1, 2).unflatten(2, size)


def _read(input: Tensor, boxes: Boxes, spatial_scale: Scale) -> tuple[list[Tensor], Rois, Tensor]:
    """Maps, checked RoIs, and the boxes in feature cells."""
    if not isinstance(input, Tensor):
        raise ValueError(f"input must be a Tensor[B, C, H, W], not {type(input).__name__}")
    maps = as_maps(input)
    rois = Rois.of(boxes, input.shape[0]).in_dtype(geometry_dtype(input), input.device)
    return maps, rois, rois.on_maps([spatial_scale])
