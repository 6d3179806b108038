"""Deformable region pooling as functions, of offsets that are given."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from torch import Tensor

from ..boxes import Rois, Scale
from ..extractors.arguments import checked
from ..extractors.deform_ps_roi_pool import moved_parts
from ..extractors.deform_roi_pool import moved_bins
from ..geometry import pair
from ..geometry.position_sensitive import PartGrid, inclusive
from ..sums.maps import as_maps, geometry_dtype
from .made import Boxes, one_map


@checked
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
    size, x = pair(output_size), as_maps(one_map(input))[0]
    rois = Rois.of(boxes, x.shape[0]).in_dtype(geometry_dtype(x), x.device)
    for name, given, shape in (
        ("offset", offset, (rois.batch.shape[0], 2, *size)),
        ("modulation", modulation, (rois.batch.shape[0], *size)),
    ):
        if given is not None and given.shape != shape:
            raise ValueError(f"{name} must be a Tensor{list(shape)}, one value for each bin, not {list(given.shape)}")
    factor = None if modulation is None else modulation.flatten(1)
    cells = rois.on_maps([spatial_scale])
    return moved_bins(rois, cells, size, sampling_ratio, gamma, offset, factor).pool(x)


@checked
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
    size, x = pair(output_size), as_maps(one_map(input))[0]
    rois = Rois.of(boxes, x.shape[0]).in_dtype(geometry_dtype(x), x.device)
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
    cells = dataclasses.replace(rois, boxes=inclusive(rois.boxes)).on_maps([spatial_scale])
    return moved_parts(rois, cells, grid, x.shape[1], sample_per_part, trans_std, offset).pool(x)
