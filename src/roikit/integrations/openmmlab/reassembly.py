"""CARAFE (Wang et al., ICCV 2019): upsampling by a kernel of its own for every target cell."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .again import gradients


def carafe_naive_forward(features: Tensor, masks: Tensor, output: Tensor, **how: Any) -> None:
    """`output` `[B, C, s·H, s·W]` from `features` `[B, C, H, W]` and `masks` `[B, G·k², s·H, s·W]`."""
    output.copy_(_reassemble(how)(features, masks))


def carafe_naive_backward(
    grad_output: Tensor, features: Tensor, masks: Tensor, grad_features: Tensor, grad_masks: Tensor, **how: Any
) -> None:
    for target, found in zip(
        (grad_features, grad_masks), gradients(_reassemble(how), [features, masks], grad_output), strict=True
    ):
        target.copy_(found)


def carafe_forward(
    features: Tensor, masks: Tensor, kept: Tensor, _routput: Tensor, _rmasks: Tensor, output: Tensor, **how: Any
) -> None:
    """The same; `kept`, a buffer of the compiled operator's, takes the features to the backward pass."""
    kept.copy_(features)
    output.copy_(_reassemble(how)(features, masks))


def carafe_backward(
    grad_output: Tensor, kept: Tensor, masks: Tensor, _a: Tensor, _b: Tensor, _c: Tensor, _d: Tensor,
    grad_features: Tensor, grad_masks: Tensor, **how: Any,
) -> None:  # fmt: skip
    carafe_naive_backward(grad_output, kept, masks, grad_features, grad_masks, **how)


def _reassemble(how: dict[str, Any]) -> Any:
    kernel, groups, factor = how["kernel_size"], how["group_size"], how["scale_factor"]
    reach = (kernel - 1) // 2

    def reassemble(features: Tensor, masks: Tensor) -> Tensor:
        height, width = features.shape[2:]
        padded = F.pad(features, (reach, reach, reach, reach))
        masks = masks.unflatten(1, (groups, kernel, kernel))
        out = torch.zeros((), dtype=features.dtype, device=features.device)
        for v in range(kernel):
            for u in range(kernel):  # neighbour by neighbour: all of them at once would take k² times the memory
                shifted = padded[:, :, v : v + height, u : u + width]
                near = shifted.repeat_interleave(factor, 2).repeat_interleave(factor, 3).unflatten(1, (groups, -1))
                out = out + near * masks[:, :, v, u, None]
        return out.flatten(1, 2)

    return reassemble
