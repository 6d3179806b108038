"""Effective sampling locations of a backbone node: where its last convolutions read (Deformable ConvNets v2)."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from roikit.analysis.reading import evaluating
from roikit.layers import DeformConv
from roikit.layers.deform_conv import padding_of

from .located import Located
from .nodes import BackboneNode, Response, body_of, last_map

STEP = 1e-4  # of a cell: on both sides of a sample, to have the slopes of both
LEAST = 1e-6  # of the strongest: less is the rounding of a convolution that is computed by transforms


def sampling_locations(model: nn.Module, image: Tensor, node: BackboneNode, layers: int = 3) -> Located:
    """The effective sampling locations of a node of the backbone: what it reads through its last convolutions.

    The last ``layers`` convolutions of more than one sample are stacked: of three with 3×3 samples the node reads 9
    places by the last one, each of which reads 9 by the one before, and so on, as in the paper's Figure 1. Given are
    the places that the first of them reads, a deformable convolution (`roikit.layers.DeformConv`) where its offsets
    have moved them. Their strength is the paper's: the size of the gradient of ‖f‖₂ (f: the channels of the node) in
    the place, per pixel, by whatever way the sample reaches the node; those that do not reach it are left out. Features
    between cells are bilinear; where a sample lies on a cell's centre, and they have a kink, the mean of both sides'
    slopes is taken.

    Args:
        model: a torchvision-like two-stage detector. It is run in evaluation mode and put back.
        image: ``Tensor[3, H, W]``, uint8 or floats in 0-1.
        node: the node.
        layers: so many convolutions, where the backbone has them: ``torch.nn.Conv2d`` padded with zeros, and
            `DeformConv`.

    Raises:
        ValueError: a backbone without such convolutions, no layers, what `Response` refuses.
    """
    if layers < 1:
        raise ValueError(f"layers must be at least 1, not {layers}")
    response = Response(model, image, node)
    with evaluating(model, gradients=True):
        images = response.prepare(response.pixels)
        conv = _last_convolutions(model, images, layers)[0]
        slopes = []
        for step in (STEP, -STEP):
            with _moved(conv, step) as seen:
                size = torch.linalg.vector_norm(response(images))
                first = seen[-1]
                (gradient,) = torch.autograd.grad(size, first.move, allow_unused=True)
            slopes.append(torch.zeros_like(first.move) if gradient is None else gradient)
    # [2K, H, W], (y, x) of each sample in turn, to [K, H, W, 2]
    slope = (slopes[0] + slopes[1])[0].unflatten(0, (-1, 2)).permute(0, 2, 3, 1) / 2
    places = first.places().cpu()
    stride = torch.tensor(response.stride(images, first.input))
    strength = (slope.detach().cpu() / stride).norm(dim=3).flatten()
    points = ((places + 0.5) * stride).flatten(0, 2).flip(1)
    reached = strength > LEAST * strength.max()
    return Located(points[reached].float(), strength[reached].float())


@dataclasses.dataclass(frozen=True)
class _Sampled:
    """What a convolution did: its input, its offsets ``Tensor[1, 2K, H, W]``, and by what its samples were moved."""

    conv: nn.Conv2d
    input: Tensor
    offset: Tensor
    move: Tensor

    def places(self) -> Tensor:
        """(y, x) of the samples in cells of the input: ``Tensor[K, H, W, 2]``."""
        height, width = self.offset.shape[-2:]
        offset = self.offset.detach()[0].unflatten(0, (-1, 2)).permute(0, 2, 3, 1)
        padding, conv = padding_of(self.conv), self.conv
        axes = [
            (torch.arange(out)[None] * s - p + torch.arange(k)[:, None] * d)
            for out, s, p, k, d in zip(
                (height, width), conv.stride, padding, conv.kernel_size, conv.dilation, strict=True
            )
        ]  # [kernel, out] each
        rows = axes[0][:, None, :, None].expand(-1, conv.kernel_size[1], -1, width)
        cols = axes[1][None, :, None, :].expand(conv.kernel_size[0], -1, height, -1)
        grid = torch.stack([rows, cols], -1).flatten(0, 1)
        return grid.to(offset) + offset


def _last_convolutions(model: nn.Module, images: Tensor, layers: int) -> list[nn.Conv2d]:
    """The last convolutions of several samples that make the backbone's last map, in the order they run."""
    order: list[nn.Conv2d] = []
    hooks = [conv.register_forward_hook(lambda m, i, o: order.append(m)) for conv in _convolutions(body_of(model))]
    try:
        with torch.no_grad():
            last_map(model, images)
    finally:
        for hook in hooks:
            hook.remove()
    if not order:
        raise ValueError(
            f"the backbone {type(body_of(model)).__name__} has no convolution of several samples "
            "(torch.nn.Conv2d or roikit.layers.DeformConv): sampling locations are shown of such"
        )
    return order[-layers:]


def _convolutions(module: nn.Module) -> Iterator[nn.Conv2d]:
    """Those of several samples; not those in a deformable one, which say its offsets."""
    if isinstance(module, nn.Conv2d):
        plain = type(module) is nn.Conv2d and module.padding_mode == "zeros"
        if (plain or isinstance(module, DeformConv)) and tuple(module.kernel_size) != (1, 1):
            yield module
        return
    for child in module.children():
        yield from _convolutions(child)


@contextlib.contextmanager
def _moved(conv: nn.Conv2d, step: float) -> Iterator[list[_Sampled]]:
    """Inside, the samples of a convolution lie ``step`` cells further down and right; what it did, whenever it ran."""
    seen: list[_Sampled] = []

    def hook(module: Any, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        from torchvision.ops import deform_conv2d

        x = inputs[0]
        if isinstance(module, DeformConv):
            offset, factor = module.predict(x)
        else:
            samples = module.kernel_size[0] * module.kernel_size[1]
            offset, factor = x.new_zeros(x.shape[0], 2 * samples, *output.shape[-2:]), None
        move = torch.full_like(offset, step).requires_grad_()
        seen.append(_Sampled(module, x, offset, move))
        return deform_conv2d(
            x, offset + move, module.weight, module.bias, module.stride, padding_of(module), module.dilation, factor
        )

    handle = conv.register_forward_hook(hook)
    try:
        yield seen
    finally:
        handle.remove()
