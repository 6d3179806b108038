"""Region pooling as functions, with the signatures of ``torchvision.ops``.

Boxes are ``Tensor[R, 5]`` with rows (batch index, x1, y1, x2, y2) or a list of ``Tensor[N_i, 4]``, in image pixels;
``spatial_scale`` (feature cells per pixel, 1 / stride) is a float or a (y, x) pair. All return ``Tensor[R, C, h, w]``
and raise ``ValueError`` for boxes or features of a wrong shape, dtype or value.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ..boxes import Scale
from ..extractors import PrRoIPool, PSRoIAlign, PSRoIPool, RoIAlign, RoIPool
from .made import Boxes, made, one_map


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
    return made(RoIAlign, output_size, sampling_ratio=sampling_ratio, aligned=aligned)(
        one_map(input), boxes, spatial_scale
    )


def prroi_pool(input: Tensor, boxes: Boxes, output_size: int | Sequence[int], spatial_scale: Scale = 1.0) -> Tensor:
    """Precise RoI Pooling (Jiang et al. 2018): the exact mean of the bilinear interpolant over each bin.

    Differentiable in ``input`` and, exactly, in ``boxes``, twice. A RoI of no area gives 0.

    Example:
        >>> x = torch.arange(16.0).reshape(1, 1, 4, 4)
        >>> prroi_pool(x, torch.tensor([[0.0, 0.0, 0.0, 2.0, 2.0]]), 1)
        tensor([[[[5.]]]])
    """
    return made(PrRoIPool, output_size)(one_map(input), boxes, spatial_scale)


def roi_pool(input: Tensor, boxes: Boxes, output_size: int | Sequence[int], spatial_scale: Scale = 1.0) -> Tensor:
    """RoI Pooling (Girshick 2015): the maximum over the cells of each rounded bin, as ``torchvision.ops.roi_pool``.

    Differentiable in ``input``, twice. An empty bin gives 0; ties go to the first cell in raster order.

    Example:
        >>> x = torch.arange(16.0).reshape(1, 1, 4, 4)
        >>> roi_pool(x, torch.tensor([[0.0, 0.0, 0.0, 3.0, 3.0]]), 2)
        tensor([[[[ 5.,  7.],
                  [13., 15.]]]])
    """
    return made(RoIPool, output_size)(one_map(input), boxes, spatial_scale)


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
    return made(PSRoIAlign, output_size, sampling_ratio=sampling_ratio)(one_map(input), boxes, spatial_scale)


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
    return made(PSRoIPool, output_size)(one_map(input), boxes, spatial_scale)
