"""Necks: from a backbone's maps to the ones that the RPN reads and the ones that RoIs are pooled from."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from ..layers.dynamic_head import DynamicHeadBlock
from .backbones import Body


class Neck(nn.Module):
    """A backbone with a neck; ``forward(images [B, 3, H, W])`` gives an ordered dict of maps.

    Maps of a Swin transformer are sums over its blocks, which grow with depth and which no norm has seen. Each gets a
    layer norm of its own (Liu et al., ICCV 2021, as trained for detection); it learns, and published weights of the
    backbone do not have it.

    Attributes:
        out_channels: channels of the maps that RoIs are pooled from.
        rpn_channels: channels of the maps that the RPN reads.
        rpn_maps, roi_maps: the names of these maps, finest first.
        strides: name of a map → image pixels per cell.
    """

    OUTPUT_STRIDE: int | None = None  # the largest stride to ask of the backbone

    out_channels: int
    rpn_channels: int
    rpn_maps: tuple[str, ...]
    roi_maps: tuple[str, ...]
    strides: dict[str, int]

    def __init__(self, body: Body, channels: int, indices: tuple[int, ...]) -> None:
        super().__init__()
        self.out_channels = channels
        self.body = body.net  # the name under which torchvision's weights know it
        self._indices = indices
        self._channels_last = body.channels_last
        if body.plain:
            self.norms = nn.ModuleList(nn.LayerNorm(body.channels[i]) for i in indices)

    def maps(self, images: Tensor) -> list[Tensor]:
        """The backbone's maps that the neck reads, as [B, C, H, W]."""
        every = self.body(images)
        maps = [every[i] for i in self._indices]
        if hasattr(self, "norms"):
            if not self._channels_last:
                maps = [x.permute(0, 2, 3, 1) for x in maps]
            maps = [norm(x) for norm, x in zip(self.norms, maps, strict=True)]
        if self._channels_last or hasattr(self, "norms"):
            maps = [x.permute(0, 3, 1, 2) for x in maps]
        return maps

    def check_sizes(self, name: str, step: int) -> None:
        """Raise a ``ValueError`` unless the backbone takes images whose sides are any multiples of ``step`` pixels."""
        training = self.training
        weight = next(self.parameters())
        self.eval()
        try:
            with torch.no_grad():
                self.maps(torch.zeros(1, 3, 2 * step, 3 * step, dtype=weight.dtype, device=weight.device))
        except (AssertionError, RuntimeError) as error:
            raise ValueError(
                f"backbone {name!r} takes images of one size only ({error}), but a detector's images differ: choose a "
                "convolutional network, a Swin transformer or a PVT"
            ) from error
        finally:
            self.train(training)


class PyramidNeck(Neck):
    """Feature Pyramid Network (Lin et al., CVPR 2017) over the last map of every stride from 4 on (C2 to C5).

    Maps ``"0"``, ``"1"``, … are the pyramid's, for the RPN and the RoIs; ``"pool"``, every second cell of the last, is
    for the RPN only.
    """

    def __init__(self, body: Body, channels: int) -> None:
        last = {stride: index for index, stride in enumerate(body.strides) if stride >= 4}
        if len(last) < 2:
            raise ValueError(
                f"neck='fpn' needs maps of at least two strides, but backbone {body.name!r} gives {list(body.strides)}"
            )
        super().__init__(body, channels, tuple(last.values()))
        self.fpn = FeaturePyramidNetwork([body.channels[i] for i in last.values()], channels, LastLevelMaxPool())
        self.rpn_channels = channels
        self.roi_maps = tuple(str(level) for level in range(len(last)))
        self.rpn_maps = (*self.roi_maps, "pool")
        self.strides = dict(zip(self.rpn_maps, [*last, 2 * max(last)], strict=True))

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        return self.fpn(OrderedDict(zip(self.roi_maps, self.maps(images), strict=True)))


class DynamicHeadNeck(PyramidNeck):
    """A feature pyramid and six blocks of Dynamic Head (Dai et al., CVPR 2021) on it, before a two-stage detector's
    heads, as Yang et al. (AAAI 2024) have it. The RPN's coarsest map is every second cell of the last."""

    BLOCKS = 6

    def __init__(self, body: Body, channels: int) -> None:
        super().__init__(body, channels)
        self.blocks = nn.ModuleList(DynamicHeadBlock(channels) for _ in range(self.BLOCKS))

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        pyramid = super().forward(images)
        maps = [pyramid[name] for name in self.roi_maps]
        for block in self.blocks:
            maps = block(maps)
        pooled = max_pool2d(maps[-1], 1, 2)
        return OrderedDict(zip(self.rpn_maps, [*maps, pooled], strict=True))


class DilatedC5Neck(Neck):
    """One map: conv5 with stride 16 in place of 32 and dilation 2, then a 1×1 convolution to ``channels``; the RPN
    reads conv4 (Gu et al., ECCV 2018, section 4; Zhu et al., CVPR 2019, section 4.1).

    timm keeps the first 3×3 of conv5 at dilation 1: with stride 1 it still reads the cells that the strided one read,
    so weights trained at stride 32 keep their meaning.
    """

    OUTPUT_STRIDE = 16

    def __init__(self, body: Body, channels: int) -> None:
        at_16 = [index for index, stride in enumerate(body.strides) if stride == self.OUTPUT_STRIDE]
        if len(at_16) < 2 or at_16[-1] != len(body.strides) - 1:
            raise ValueError(
                f"neck='c5' needs conv4 and conv5 at stride {self.OUTPUT_STRIDE}, but the maps of backbone "
                f"{body.name!r} have strides {list(body.strides)}"
            )
        conv4, conv5 = at_16[-2:]
        super().__init__(body, channels, (conv4, conv5))
        self.reduce = nn.Conv2d(body.channels[conv5], channels, kernel_size=1)
        nn.init.kaiming_uniform_(self.reduce.weight, a=1)  # as torchvision initialises its pyramid's 1×1
        self.rpn_channels = body.channels[conv4]
        self.roi_maps, self.rpn_maps = ("c5",), ("c4",)
        self.strides = {"c4": self.OUTPUT_STRIDE, "c5": self.OUTPUT_STRIDE}

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        conv4, conv5 = self.maps(images)
        return OrderedDict(c4=conv4, c5=self.reduce(conv5))


NECKS: dict[str, type[PyramidNeck] | type[DilatedC5Neck]] = {
    "fpn": PyramidNeck,
    "c5": DilatedC5Neck,
    "dyhead": DynamicHeadNeck,
}
