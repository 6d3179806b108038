"""Region pooling of rotated boxes as a function, with mmcv's signature."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..boxes import Scale, scale_pair
from ..extractors.arguments import checked
from ..extractors.rotated_roi_align import pool_rotated
from ..geometry import pair, rotated
from ..sums.maps import as_maps, geometry_dtype
from .made import one_map


@checked
def roi_align_rotated(
    input: Tensor,
    boxes: Tensor | Sequence[Tensor],
    output_size: int | Sequence[int],
    spatial_scale: Scale = 1.0,
    sampling_ratio: int = 0,
    aligned: bool = True,
    clockwise: bool = False,
) -> Tensor:
    """RoI Align of rotated boxes (Ding et al., RoI Transformer, CVPR 2019), with the signature of mmcv's.

    A sample (u, v) of the box's frame lies at (cx + u·cosθ + v·sinθ, cy + v·cosθ - u·sinθ) in the image.

    Args:
        input: ``Tensor[B, C, H, W]``.
        boxes: ``Tensor[R, 6]`` with rows (batch index, cx, cy, w, h, θ), or a list of ``Tensor[N_i, 5]``, one per
            image; centre and sides in image pixels, θ in radians (detectron2's are degrees: ``torch.deg2rad``).
        output_size: (h, w), or one int for both.
        spatial_scale: feature cells per pixel, a float or a (y, x) pair.
        sampling_ratio: bilinear samples per bin and axis; ≤ 0 takes ⌈bin size in cells⌉ of them (not in a compiled or
            exported graph, whose sizes cannot depend on the boxes' values).
        aligned: shift by -½ cell. Without it a side has at least one cell.
        clockwise: θ turns clockwise as one sees the image; otherwise counter-clockwise.

    Returns:
        ``Tensor[R, C, h, w]``, differentiable in ``input`` and ``boxes``, twice.

    Raises:
        ValueError: wrong shapes, dtypes, indices or values, or a RoI whose adaptive samples memory does not hold; the
            message names the RoI.

    Example:
        >>> x = torch.arange(16.0).reshape(1, 1, 4, 4)
        >>> upright = torch.tensor([[0.0, 2.0, 2.0, 4.0, 4.0, 0.0]])
        >>> roi_align_rotated(x, upright, 2, sampling_ratio=1)
        tensor([[[[ 2.5000,  4.5000],
                  [10.5000, 12.5000]]]])
        >>> turned = torch.tensor([[0.0, 2.0, 2.0, 4.0, 4.0, torch.pi / 2]])
        >>> (2 * roi_align_rotated(x, turned, 2, sampling_ratio=1)).round()
        tensor([[[[21.,  5.],
                  [25.,  9.]]]])
    """
    size, x = pair(output_size), as_maps(one_map(input))[0]
    rois, table = rotated.read(boxes, None, x.shape[0], 1, "boxes")
    if table.device != x.device:
        raise ValueError(f"boxes are on {table.device} but the features are on {x.device}: move one of them")
    cx, cy, w, h, angle = table.to(geometry_dtype(x)).unbind(1)
    if not aligned:
        down, across = scale_pair(spatial_scale)
        w, h = w.clamp(min=1 / across), h.clamp(min=1 / down)
    turned = torch.stack([cx, cy, w, h, -angle if clockwise else angle], 1)
    return pool_rotated(x, rois, turned, spatial_scale, size, sampling_ratio, 0.5 if aligned else 0.0)
