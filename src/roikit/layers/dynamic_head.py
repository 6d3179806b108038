"""Dynamic Head: attention over scales, places and tasks, one after the other, on a pyramid of maps."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import hardsigmoid, interpolate

from ..sums.exact import exact
from .init import steers, zero


class DynamicHeadBlock(nn.Module):
    """One block of Dynamic Head (Dai et al., CVPR 2021, Eq. 2) on maps of a pyramid, each twice as coarse as the last.

    For every level the next finer, its own and the next coarser map are read by a modulated deformable 3 × 3
    convolution each (π_S, Eq. 4), with the offsets and factors that the level's own map gives; each result is weighted
    by a hard sigmoid of its mean (π_L, Eq. 3); their mean goes through a dynamic ReLU (π_C, Eq. 5), whose two lines
    come of the mean of the map.

    A coarser map has half the cells, so it takes the offsets and factors resized to it. (In the authors' code its
    kernel takes the first numbers of the larger tensor instead.) Offsets are marked as what moves samples.

    Args:
        channels: of all maps, a multiple of ``groups``.
        groups: of the group norms after the convolutions.
        reduction: of the dynamic ReLU's hidden layer.

    Example:
        >>> import torch
        >>> block = DynamicHeadBlock(16)
        >>> [x.shape[-1] for x in block([torch.rand(1, 16, 8, 8), torch.rand(1, 16, 4, 4)])]
        [8, 4]
        >>> sum(p.numel() for p in DynamicHeadBlock(256).parameters())
        1916508
    """

    def __init__(self, channels: int, groups: int = 16, reduction: int = 4) -> None:
        super().__init__()
        if channels % groups:
            raise ValueError(f"channels={channels} must be a multiple of groups={groups}, of the group norms")
        self.offset = steers(zero(nn.Conv2d(channels, 27, 3, padding=1)), "samples")
        self.finer = _Sampled(channels, groups, stride=2)
        self.own = _Sampled(channels, groups)
        self.coarser = _Sampled(channels, groups)
        self.scale = nn.Conv2d(channels, 1, 1)
        self.hidden = nn.Conv2d(channels, channels // reduction, 1)
        self.lines = nn.Conv2d(channels // reduction, 4 * channels, 1)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Maps ``Tensor[B, C, H_l, W_l]`` of the same sizes."""
        out = []
        for level, x in enumerate(maps):
            offset, logits = self.offset(x).split([18, 9], 1)
            factor = logits.sigmoid()
            found = [self.own(x, offset, factor)]
            if level:
                found.append(self.finer(maps[level - 1], offset, factor))
            if level + 1 < len(maps):
                small = maps[level + 1].shape[-2:]
                moved = (interpolate(one, small, mode="bilinear", align_corners=False) for one in (offset, factor))
                read = self.coarser(maps[level + 1], *moved)
                found.append(interpolate(read, x.shape[-2:], mode="bilinear", align_corners=True))
            mean = torch.stack([one * self.importance(one) for one in found]).mean(0)
            out.append(self.activate(mean))
        return out

    def importance(self, x: Tensor) -> Tensor:
        """π_L: how much a level counts, ``Tensor[B, 1, 1, 1]`` from 0 to 1."""
        return hardsigmoid(self.scale(x.mean((2, 3), keepdim=True)).relu())

    def activate(self, x: Tensor) -> Tensor:
        """π_C: the larger of two lines a·x + b, which start near x and 0, for each channel."""
        found = hardsigmoid(self.lines(self.hidden(x.mean((2, 3), keepdim=True)).relu())) - 0.5
        a1, b1, a2, b2 = found.chunk(4, 1)
        return torch.maximum(x * (2 * a1 + 1) + b1, x * 2 * a2 + b2)


class _Sampled(nn.Module):
    """A modulated deformable convolution whose offsets come from elsewhere, and a group norm."""

    def __init__(self, channels: int, groups: int, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride
        self.weight = nn.Parameter(torch.empty(channels, channels, 3, 3))
        nn.init.normal_(self.weight, std=0.01)
        self.norm = nn.GroupNorm(groups, channels)

    def forward(self, x: Tensor, offset: Tensor, factor: Tensor) -> Tensor:
        height, width = (-(-side // self.stride) for side in x.shape[-2:])
        # a finer map may have an odd number of cells, half of which, rounded up, the level has
        read = _convolve(x, offset[..., :height, :width], self.weight, factor[..., :height, :width], self.stride)
        return self.norm(read)


@exact
def _convolve(x: Tensor, offset: Tensor, weight: Tensor, factor: Tensor, stride: int) -> Tensor:
    from torchvision.ops import deform_conv2d

    wide = [one.to(weight.dtype).contiguous() for one in (x, offset, factor)]
    return deform_conv2d(wide[0], wide[1], weight, None, stride, 1, 1, wide[2]).to(x.dtype)
