"""RoI operators of mmcv's extension: outputs are written into tensors that the caller has made."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from roikit import geometry, ops
from roikit.boxes import Rois
from roikit.weights import Selection

from .again import gradients


def roi_align_forward(
    input: Tensor, rois: Tensor, output: Tensor, argmax_y: Tensor, argmax_x: Tensor, **how: Any
) -> None:
    output.copy_(_align(how)(input, rois))


def roi_align_backward(
    grad_output: Tensor, rois: Tensor, argmax_y: Tensor, argmax_x: Tensor, grad_input: Tensor, **how: Any
) -> None:
    # linear in the features: the gradient does not depend on them
    (found,) = gradients(lambda x: _align(how)(x, rois), [torch.zeros_like(grad_input)], grad_output)
    grad_input.add_(found)


def _align(how: dict[str, Any]) -> Any:
    if how["pool_mode"] != 1:
        raise NotImplementedError("roi_align with pool_mode='max' is not served: its samples' mean ('avg') is")
    size = (how["aligned_height"], how["aligned_width"])
    return lambda x, rois: ops.roi_align(x, rois, size, how["spatial_scale"], how["sampling_ratio"], how["aligned"])


def roi_pool_forward(
    input: Tensor, rois: Tensor, output: Tensor, argmax: Tensor, *, pooled_height: int, pooled_width: int,
    spatial_scale: float,
) -> None:  # fmt: skip
    """mmcv's own bins: corners are not rounded, the last pixel is in the box, a bin ends at the next whole cell."""
    grown = rois + rois.new_tensor([0, 0, 0, 1, 1])
    found = Rois.of(grown.float(), input.shape[0])
    axes = geometry.axes(geometry.corners(found.on_maps([spatial_scale])), (pooled_height, pooled_width), "cells")
    chosen = Selection.of_largest(input, found, *axes)
    output.copy_(chosen.pool(input))
    argmax.copy_(chosen.index)


def roi_pool_backward(
    grad_output: Tensor, rois: Tensor, argmax: Tensor, grad_input: Tensor, *, pooled_height: int, pooled_width: int,
    spatial_scale: float,
) -> None:  # fmt: skip
    channels = grad_input.shape[1]
    plane = rois[:, 0].long()[:, None] * channels + torch.arange(channels, device=rois.device)  # [R, C]
    cells = grad_input.shape[2] * grad_input.shape[3]
    place = plane[..., None, None] * cells + argmax.long().clamp(min=0)
    kept = torch.where(argmax >= 0, grad_output, 0)
    grad_input.view(-1).index_add_(0, place.flatten(), kept.flatten().to(grad_input.dtype))


def prroi_pool_forward(input: Tensor, rois: Tensor, output: Tensor, **how: Any) -> None:
    output.copy_(_precise(how)(input, rois))


def prroi_pool_backward(grad_output: Tensor, rois: Tensor, grad_input: Tensor, **how: Any) -> None:
    (found,) = gradients(lambda x: _precise(how)(x, rois), [torch.zeros_like(grad_input)], grad_output)
    grad_input.add_(found)


def prroi_pool_coor_backward(
    output: Tensor, grad_output: Tensor, input: Tensor, rois: Tensor, grad_rois: Tensor, **how: Any
) -> None:
    (found,) = gradients(lambda boxes: _precise(how)(input, boxes), [rois], grad_output)
    grad_rois.add_(found)


def _precise(how: dict[str, Any]) -> Any:
    size = (how["pooled_height"], how["pooled_width"])
    return lambda x, rois: ops.prroi_pool(x, rois, size, how["spatial_scale"])


def deform_roi_pool_forward(input: Tensor, rois: Tensor, offset: Tensor, output: Tensor, **how: Any) -> None:
    output.copy_(_deformed(how, rois)(input, offset))


def deform_roi_pool_backward(
    grad_output: Tensor,
    input: Tensor,
    rois: Tensor,
    offset: Tensor,
    grad_input: Tensor,
    grad_offset: Tensor,
    **how: Any,
) -> None:
    if not offset.numel():
        (found,) = gradients(lambda x: _deformed(how, rois)(x, offset), [input], grad_output)
    else:
        found, moved = gradients(_deformed(how, rois), [input, offset], grad_output)
        grad_offset.add_(moved)
    grad_input.add_(found)


def _deformed(how: dict[str, Any], rois: Tensor) -> Any:
    size = (how["pooled_height"], how["pooled_width"])

    def pool(x: Tensor, offset: Tensor) -> Tensor:
        moved = offset.flip(1) if offset.numel() else None  # mmcv's are (x, y)
        return ops.deform_roi_pool(
            x, rois, moved, None, size, how["spatial_scale"], how["sampling_ratio"], how["gamma"]
        )

    return pool


def roi_align_rotated_forward(input: Tensor, rois: Tensor, output: Tensor, **how: Any) -> None:
    output.copy_(_turned(how)(input, rois))


def roi_align_rotated_backward(grad_output: Tensor, rois: Tensor, grad_input: Tensor, **how: Any) -> None:
    (found,) = gradients(lambda x: _turned(how)(x, rois), [torch.zeros_like(grad_input)], grad_output)
    grad_input.add_(found)


def _turned(how: dict[str, Any]) -> Any:
    size = (how["pooled_height"], how["pooled_width"])
    settings = (how["spatial_scale"], how["sampling_ratio"], how["aligned"], how["clockwise"])
    return lambda x, rois: ops.roi_align_rotated(x, rois, size, *settings)
