"""Focal losses of mmcv's extension (Lin et al., ICCV 2017)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .again import gradients


def sigmoid_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, *, gamma: float, alpha: float
) -> None:
    """Of logits `[N, C]`; the target C is the background."""
    output.copy_(_sigmoid(input, target, weight, gamma, alpha))


def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, *, gamma: float, alpha: float
) -> None:
    (found,) = gradients(lambda x: _sigmoid(x, target, weight, gamma, alpha), [input], torch.ones_like(input))
    grad_input.copy_(found)


def _sigmoid(x: Tensor, target: Tensor, weight: Tensor, gamma: float, alpha: float) -> Tensor:
    hot = F.one_hot(target, x.shape[1] + 1)[:, : x.shape[1]].to(x.dtype)
    p = x.sigmoid()
    miss = hot * (1 - p) + (1 - hot) * p
    share = hot * alpha + (1 - hot) * (1 - alpha)
    loss = share * miss**gamma * F.binary_cross_entropy_with_logits(x, hot, reduction="none")
    return loss * _of_target(weight, target)[:, None] if weight.numel() else loss


def softmax_focal_loss_forward(
    softmax: Tensor, target: Tensor, weight: Tensor, output: Tensor, *, gamma: float, alpha: float
) -> None:
    """Of probabilities `[N, C]`: a value a row; a target that is no class has none."""
    output.copy_(_softmax(softmax, target, weight, gamma, alpha))


def softmax_focal_loss_backward(
    softmax: Tensor, target: Tensor, weight: Tensor, buffer: Tensor, grad_input: Tensor, *, gamma: float, alpha: float
) -> None:
    logits = softmax.clamp(min=torch.finfo(softmax.dtype).tiny).log()
    upstream = torch.ones_like(buffer)
    (found,) = gradients(lambda x: _softmax(x.softmax(1), target, weight, gamma, alpha), [logits], upstream)
    grad_input.copy_(found)


def _softmax(p: Tensor, target: Tensor, weight: Tensor, gamma: float, alpha: float) -> Tensor:
    known = (target >= 0) & (target < p.shape[1])
    own = p.gather(1, target.clamp(0, p.shape[1] - 1)[:, None])[:, 0]
    loss = -alpha * (1 - own) ** gamma * own.clamp(min=torch.finfo(p.dtype).tiny).log()
    loss = torch.where(known, loss, 0)
    return loss * _of_target(weight, target) if weight.numel() else loss


def _of_target(weight: Tensor, target: Tensor) -> Tensor:
    return torch.where(target < len(weight), weight[target.clamp(0, len(weight) - 1)], 1)
