"""Optical flow between two images, and maps carried along it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_UNIT = 20.0  # pixels: what the layers predict is the flow in this unit, so that it is of the order of 1


def warp(maps: Tensor, flow: Tensor) -> Tensor:
    """Maps as another image sees them: each cell takes what lies where the flow leads (Zhu et al., FGFA, Eq. 1-2).

    Args:
        maps: ``Tensor[B, C, H, W]``.
        flow: ``Tensor[B, 2, H, W]``, (x, y) in cells: the cell (i, j) reads the maps at (i + y, j + x), bilinearly;
            beyond the border lies the border's value.

    Example:
        >>> maps = torch.arange(12.0).reshape(1, 1, 3, 4)
        >>> right = torch.tensor([1.0, 0.0]).reshape(1, 2, 1, 1).expand(1, 2, 3, 4)
        >>> warp(maps, right)[0, 0, 0].round(decimals=4)
        tensor([1., 2., 3., 3.])
    """
    height, width = maps.shape[-2:]
    y = torch.arange(height, device=maps.device, dtype=flow.dtype)[:, None]
    x = torch.arange(width, device=maps.device, dtype=flow.dtype)
    # cell centres, from -1 at the left edge to 1 at the right one
    across, down = (2 * (x + flow[:, 0]) + 1) / width - 1, (2 * (y + flow[:, 1]) + 1) / height - 1
    grid = torch.stack([across, down], 3).to(maps.dtype)
    return F.grid_sample(maps, grid, mode="bilinear", padding_mode="border", align_corners=False)


def resized_flow(flow: Tensor, size: tuple[int, int], scale: tuple[float, float]) -> Tensor:
    """A flow for maps of another size ``(H, W)``, its mean where they are coarser; its (y, x) components times
    ``scale``."""
    if size[0] >= flow.shape[2]:
        found = F.interpolate(flow, size, mode="bilinear", align_corners=False)
    else:
        found = F.adaptive_avg_pool2d(flow, size)
    return found * flow.new_tensor([scale[1], scale[0]])[:, None, None]


class FlowNetS(nn.Module):
    """FlowNetSimple (Dosovitskiy et al., ICCV 2015): where every pixel of an image lies in another.

    Six strided stages on both images side by side, then four refinements that each double the flow's resolution. With
    ``width=64`` it is the paper's network; ``width=16`` has a sixteenth of its weights. Batch norms are left out. The
    layers that predict start at zero: untrained, nothing moves.

    Args:
        width: channels of the first stage; the others have 2, 4, 8, 8, 16 times as many.

    ``forward(first [B, 3, H, W], second [B, 3, H, W])`` gives flows, the finest first: ``[B, 2, ⌈H/4⌉, ⌈W/4⌉]``, and
    those of strides 8 … 64, (x, y) in pixels of the images: what is at (x, y) in the first is at (x, y) + flow in the
    second.

    Example:
        >>> flows = FlowNetS(4)(torch.rand(1, 3, 64, 96), torch.rand(1, 3, 64, 96))
        >>> [tuple(flow.shape) for flow in flows]
        [(1, 2, 16, 24), (1, 2, 8, 12), (1, 2, 4, 6), (1, 2, 2, 3), (1, 2, 1, 2)]
    """

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        if width < 1:
            raise ValueError(f"width is a number of channels, at least 1, not {width}")
        channels = [width * factor for factor in (1, 2, 4, 8, 8, 16)]
        kernels = (7, 5, 5, 3, 3, 3)
        stages = []
        for place, (kernel, out) in enumerate(zip(kernels, channels, strict=True)):
            layers = [_conv(channels[place - 1] if place else 6, out, kernel, 2)]
            if place >= 2:
                layers.append(_conv(out, out, 3, 1))
            stages.append(nn.Sequential(*layers))
        self.stages = nn.ModuleList(stages)
        self.predict, self.widen, self.carry = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        inputs = channels[5]
        for place, factor in ((4, 8), (3, 4), (2, 2), (1, 1)):
            self.predict.append(_flow(inputs))
            self.carry.append(nn.ConvTranspose2d(2, 2, 4, 2, 1))
            self.widen.append(nn.Sequential(nn.ConvTranspose2d(inputs, factor * width, 4, 2, 1), _rectifier()))
            inputs = channels[place] + factor * width + 2
        self.predict.append(_flow(inputs))

    def forward(self, first: Tensor, second: Tensor) -> list[Tensor]:
        x, seen = torch.cat([first, second], 1), []
        for stage in self.stages:
            x = stage(x)
            seen.append(x)
        flows = [self.predict[0](x)]
        for place, (carry, widen, predict) in enumerate(zip(self.carry, self.widen, self.predict[1:], strict=True)):
            skip = seen[4 - place]
            height, width = skip.shape[-2:]
            x = torch.cat([skip, widen(x)[..., :height, :width], carry(flows[-1])[..., :height, :width]], 1)
            flows.append(predict(x))
        return [flow * _UNIT for flow in reversed(flows)]


def _rectifier() -> nn.Module:
    return nn.LeakyReLU(0.1)


def _conv(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Sequential:
    layer = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2)
    nn.init.kaiming_normal_(layer.weight, a=0.1)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]  # it has one
    return nn.Sequential(layer, _rectifier())


def _flow(inputs: int) -> nn.Conv2d:
    layer = nn.Conv2d(inputs, 2, 3, 1, 1)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]  # it has one
    return layer


def flow_loss(flows: list[Tensor], known: Tensor) -> Tensor:
    """The distance (pixels) between predicted and known flow, a mean over the cells where it is known and over the
    resolutions.

    Args:
        flows: of :class:`FlowNetS`.
        known: ``Tensor[B, 2, H, W]`` in pixels; NaN where it is not known.
    """
    total = known.new_zeros(())
    for flow in flows:
        wanted = F.interpolate(known, flow.shape[-2:], mode="nearest-exact")
        sure = wanted.isfinite().all(1, keepdim=True)
        apart = torch.where(sure, flow - wanted.nan_to_num(), 0.0).square().sum(1)
        total = total + (apart + 1e-6).sqrt().mul(sure[:, 0]).sum() / sure.sum().clamp(min=1)
    return total / len(flows)
