"""InternImage, as models of timm's registry: `timm.create_model("internimage_tiny", features_only=True)`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from timm.layers import DropPath
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn

from .deform_conv_v3 import DeformConvV3


class InternImage(nn.Module):
    """InternImage (Wang et al., CVPR 2023): a stem of stride 4, then four stages of blocks around DCNv3.

    Args:
        channels: of the first stage; each later one has twice as many.
        depths: blocks of each stage.
        groups: of DCNv3 in each stage.
        mlp_ratio: of the blocks' hidden layers.
        layer_scale: where the factors on the two branches of a block start; ``None``: there are none.
        drop_path_rate: of the last block; it grows from 0.
        offset_scale: of DCNv3.
        num_classes, in_chans, global_pool: as in timm's models; the classifier is a norm, a mean and a linear layer.

    Each stage ends with a layer norm, and gives a map ``[B, C, H, W]``; strides 4, 8, 16, 32.
    """

    def __init__(
        self,
        channels: int = 64,
        depths: Sequence[int] = (4, 4, 18, 4),
        groups: Sequence[int] = (4, 8, 16, 32),
        mlp_ratio: float = 4.0,
        layer_scale: float | None = 1.0,
        drop_path_rate: float = 0.1,
        offset_scale: float = 1.0,
        num_classes: int = 1000,
        in_chans: int = 3,
        global_pool: str = "avg",
    ) -> None:
        super().__init__()
        self.num_classes, self.num_features = num_classes, channels * 2 ** (len(depths) - 1)
        self.stem = _Stem(in_chans, channels)
        rates = [drop_path_rate * place / max(1, sum(depths) - 1) for place in range(sum(depths))]
        stages, self.feature_info = [], []
        for level, group in enumerate(groups):
            width = channels * 2**level
            own = rates[sum(depths[:level]) : sum(depths[: level + 1])]
            blocks = [_Block(width, group, mlp_ratio, layer_scale, rate, offset_scale) for rate in own]
            stages.append(_Stage(width, blocks, halve=level > 0))
            self.feature_info.append({"num_chs": width, "reduction": 4 * 2**level, "module": f"stages.{level}"})
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()

    def forward_features(self, x: Tensor) -> Tensor:
        return self.stages(self.stem(x))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.forward_features(x).mean((2, 3)))


class _Last(nn.Module):
    """A layer of ``[B, H, W, C]`` on maps ``[B, C, H, W]``."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class _Stem(nn.Sequential):
    def __init__(self, in_chans: int, channels: int) -> None:
        half = channels // 2
        super().__init__(
            nn.Conv2d(in_chans, half, 3, 2, 1),
            _Last(nn.LayerNorm(half, eps=1e-6)),
            nn.GELU(),
            nn.Conv2d(half, channels, 3, 2, 1),
            _Last(nn.LayerNorm(channels, eps=1e-6)),
        )


class _Stage(nn.Module):
    def __init__(self, width: int, blocks: Sequence[nn.Module], halve: bool) -> None:
        super().__init__()
        self.downsample: nn.Module = nn.Identity()
        if halve:
            self.downsample = nn.Sequential(
                nn.Conv2d(width // 2, width, 3, 2, 1, bias=False), _Last(nn.LayerNorm(width, eps=1e-6))
            )
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.downsample(x).permute(0, 2, 3, 1)
        return self.norm(self.blocks(x)).permute(0, 3, 1, 2).contiguous()


class _Block(nn.Module):
    """``[B, H, W, C]``: DCNv3 and a multilayer perceptron, each on a norm of its input, added to it."""

    def __init__(
        self, width: int, groups: int, mlp_ratio: float, layer_scale: float | None, rate: float, offset_scale: float
    ) -> None:
        super().__init__()
        hidden = int(width * mlp_ratio)
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.dcn = DeformConvV3(width, groups, offset_scale=offset_scale)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))
        self.drop_path = DropPath(rate)
        self.gamma1 = None if layer_scale is None else nn.Parameter(torch.full((width,), layer_scale))
        self.gamma2 = None if layer_scale is None else nn.Parameter(torch.full((width,), layer_scale))

    def forward(self, x: Tensor) -> Tensor:
        for norm, layer, gamma in ((self.norm1, self.dcn, self.gamma1), (self.norm2, self.mlp, self.gamma2)):
            branch = layer(norm(x))
            x = x + self.drop_path(branch if gamma is None else gamma * branch)
        return x


default_cfgs = generate_default_cfgs(
    {
        "internimage_tiny": {
            "num_classes": 1000,
            "input_size": (3, 224, 224),
            "pool_size": (7, 7),
            "crop_pct": 0.9,
            "interpolation": "bicubic",
            "mean": (0.485, 0.456, 0.406),
            "std": (0.229, 0.224, 0.225),
            "first_conv": "stem.0",
            "classifier": "head",
            "fixed_input_size": False,
        }
    }
)


@register_model
def internimage_tiny(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """InternImage-T: 64 channels, 4-4-18-4 blocks, 4-8-16-32 groups."""
    indices = kwargs.pop("out_indices", (0, 1, 2, 3))
    return build_model_with_cfg(
        InternImage,
        "internimage_tiny",
        pretrained,
        feature_cfg={"flatten_sequential": True, "out_indices": indices},
        **kwargs,
    )
