"""Deformable convolutions of mmcv's extension, by torchvision's; masked convolution."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchvision.ops import deform_conv2d

from .again import gradients, wide


def deform_conv_forward(input: Tensor, weight: Tensor, offset: Tensor, output: Tensor, *_: Tensor, **how: Any) -> None:
    output.copy_(_first(how)(input, offset, weight))


def deform_conv_backward_input(
    input: Tensor, offset: Tensor, grad_output: Tensor, grad_input: Tensor, grad_offset: Tensor, weight: Tensor,
    *_: Tensor, **how: Any,
) -> None:  # fmt: skip
    found = gradients(lambda x, moved: _first(how)(x, moved, weight), [input, offset], grad_output)
    grad_input.add_(found[0])
    grad_offset.add_(found[1])


def deform_conv_backward_parameters(
    input: Tensor, offset: Tensor, grad_output: Tensor, grad_weight: Tensor, *_: Tensor, **how: Any
) -> None:
    (found,) = gradients(lambda w: _first(how)(input, offset, w), [torch.zeros_like(grad_weight)], grad_output)
    grad_weight.add_(found, alpha=how.get("scale", 1))


def _first(how: dict[str, Any]) -> Any:
    """The first version: numbers of (height, width) under mmcv's names."""
    stride, padding, dilation = ((how[f"{name}H"], how[f"{name}W"]) for name in ("d", "pad", "dilation"))

    def convolve(x: Tensor, offset: Tensor, weight: Tensor) -> Tensor:
        return deform_conv2d(x, offset, weight, None, stride, padding, dilation)

    return wide(convolve)


def modulated_deform_conv_forward(
    input: Tensor, weight: Tensor, bias: Tensor, _ones: Tensor, offset: Tensor, mask: Tensor, output: Tensor,
    _columns: Tensor, **how: Any,
) -> None:  # fmt: skip
    output.copy_(_second(how)(input, offset, mask, weight, bias))


def modulated_deform_conv_backward(
    input: Tensor, weight: Tensor, bias: Tensor, _ones: Tensor, offset: Tensor, mask: Tensor, _columns: Tensor,
    grad_input: Tensor, grad_weight: Tensor, grad_bias: Tensor, grad_offset: Tensor, grad_mask: Tensor,
    grad_output: Tensor, **how: Any,
) -> None:  # fmt: skip
    targets = [grad_input, grad_offset, grad_mask, grad_weight]
    inputs = [input, offset, mask, weight]
    if how["with_bias"]:
        targets.append(grad_bias)
        inputs.append(bias)
    convolve = _second(how)
    found = gradients(lambda *given: convolve(*given, *(() if how["with_bias"] else (bias,))), inputs, grad_output)
    for target, gradient in zip(targets, found, strict=True):
        target.add_(gradient)


def _second(how: dict[str, Any]) -> Any:
    stride, padding, dilation = ((how[f"{name}_h"], how[f"{name}_w"]) for name in ("stride", "pad", "dilation"))

    def convolve(x: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        own = bias if how["with_bias"] else None
        kernels, edges = weight.shape[2:], zip(x.shape[2:], padding, dilation, weight.shape[2:], stride, strict=True)
        size = [(side + 2 * pad - step * (kernel - 1) - 1) // jump + 1 for side, pad, step, kernel, jump in edges]
        offset = _as_read(offset, 2 * how["deformable_group"] * kernels[0] * kernels[1], size)
        mask = _as_read(mask, how["deformable_group"] * kernels[0] * kernels[1], size)
        return deform_conv2d(x, offset, weight, own, stride, padding, dilation, mask)

    return wide(convolve)


def _as_read(values: Tensor, channels: int, size: list[int]) -> Tensor:
    """Offsets or factors of an output of another size, as mmcv's kernel reads them: the first numbers of each image,
    row by row, whatever their shape says. DyHead has learned with that (its convolution of the next coarser level gets
    the offsets of its own)."""
    if list(values.shape[2:]) == size:
        return values
    count = channels * size[0] * size[1]
    if values[0].numel() < count:
        raise ValueError(f"offsets of shape {list(values.shape)} are too few for an output of {size[0]} × {size[1]}")
    return values.flatten(1)[:, :count].unflatten(1, (channels, *size))


def masked_im2col_forward(
    features: Tensor,
    rows: Tensor,
    cols: Tensor,
    columns: Tensor,
    *,
    kernel_h: int,
    kernel_w: int,
    pad_h: int,
    pad_w: int,
) -> None:
    unfolded = torch.nn.functional.unfold(features, (kernel_h, kernel_w), padding=(pad_h, pad_w))[0]
    width = features.shape[3] + 2 * pad_w - kernel_w + 1
    columns.copy_(unfolded[:, rows * width + cols])


def masked_col2im_forward(
    columns: Tensor, rows: Tensor, cols: Tensor, output: Tensor, *, height: int, width: int, channels: int
) -> None:
    output[0].view(channels, -1)[:, rows * width + cols] = columns
