"""ViT-Adapter, as a model of timm's registry: `timm.create_model("vit_adapter_tiny", features_only=True)`."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import timm
import torch
from timm.layers import DropPath
from timm.models import FeatureInfo, register_model
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad

from .ms_deform_attn import MSDeformAttn

Size = tuple[int, int]


class ViTAdapter(nn.Module):
    """ViT-Adapter (Chen et al., ICLR 2023): a plain vision transformer, and beside it three maps that exchange with it.

    A convolutional prior gives maps of strides 4 to 32. Before each of four groups of the transformer's blocks, an
    injector adds to its tokens what they read of the maps of strides 8, 16 and 32 (times γ, which starts at 0, so that
    the transformer begins as it is); after it an extractor lets these maps read the tokens. The tokens are stride 16.

    Args:
        vit: timm's vision transformer with patches of 16 × 16; its class token and last norm are not used.
        window: side of the windows in which blocks attend, in tokens, but for the last one of each group.
        prior: channels of the prior's first convolutions.
        heads, points: of the deformable attention.
        hidden: of the extractors' feed-forward layers, as a share of the channels.
        drop_path: in the extractors.

    Sides of images must be multiples of 32 pixels.
    """

    output_fmt = "NCHW"

    def __init__(
        self,
        vit: Any,
        window: int = 14,
        prior: int = 64,
        heads: int = 6,
        points: int = 4,
        hidden: float = 0.25,
        drop_path: float = 0.0,
        groups: int = 4,
    ) -> None:
        super().__init__()
        channels, depth = vit.embed_dim, len(vit.blocks)
        if depth % groups:
            raise ValueError(f"{depth} blocks do not divide into {groups} groups")
        self.patch_embed, self.blocks = vit.patch_embed, vit.blocks
        self.pos_embed = nn.Parameter(vit.pos_embed[:, vit.num_prefix_tokens :].detach().clone())
        self.window, self.each = window, depth // groups
        self.prior = _Prior(prior, channels)
        self.level_embed = nn.Parameter(torch.zeros(3, channels))
        nn.init.normal_(self.level_embed)
        self.injectors = nn.ModuleList(_Injector(channels, heads, points) for _ in range(groups))
        # two more of them after the last group
        self.extractors = nn.ModuleList(
            _Extractor(channels, heads, points, hidden, drop_path) for _ in range(groups + 2)
        )
        self.up = nn.ConvTranspose2d(channels, channels, 2, 2)
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(4))
        # Every layer runs before the first map is there: none of them belongs to one map (`freeze` counts from these).
        names = ("none.0", "none.1", "none.2", "norms.3")
        found = [{"num_chs": channels, "reduction": 4 * 2**level, "module": name} for level, name in enumerate(names)]
        self.feature_info = FeatureInfo(found, (0, 1, 2, 3))

    def forward(self, images: Tensor) -> list[Tensor]:
        """Maps ``Tensor[B, C, H / s, W / s]`` of strides s = 4, 8, 16, 32."""
        height, width = images.shape[-2] // 16, images.shape[-1] // 16
        finest, cells = self.prior(images, self.level_embed)
        sizes = [(2 * height, 2 * width), (height, width), (height // 2, width // 2)]
        tokens = self.tokens(images, (height, width))
        at_tokens = _centres([(height, width)], images)
        at_cells = _centres(sizes, images)
        last = len(self.injectors) - 1
        for group, injector in enumerate(self.injectors):
            tokens = injector(tokens, at_tokens, cells, sizes)
            for place in range(self.each):
                whole = place == self.each - 1
                block = self.blocks[group * self.each + place]
                tokens = _block(block, tokens, (height, width), None if whole else self.window)
            for extractor in self.extractors[group : len(self.extractors) if group == last else group + 1]:
                cells = extractor(cells, at_cells, tokens, (height, width), sizes)
        parts = cells.split([h * w for h, w in sizes], 1)
        maps = [part.transpose(1, 2).unflatten(2, size) for part, size in zip(parts, sizes, strict=True)]
        maps = [self.up(maps[0]) + finest, *maps]
        x = tokens.transpose(1, 2).unflatten(2, (height, width))
        for level, factor in enumerate((4, 2, 1, 0.5)):
            grown = x if factor == 1 else interpolate(x, maps[level].shape[-2:], mode="bilinear", align_corners=False)
            maps[level] = self.norms[level](maps[level] + grown)
        return maps

    def tokens(self, images: Tensor, size: Size) -> Tensor:
        """The transformer's input, ``Tensor[B, H·W, C]``, positions resized to the image."""
        side = round(self.pos_embed.shape[1] ** 0.5)
        table = self.pos_embed.transpose(1, 2).unflatten(2, (side, side))
        table = interpolate(table, size, mode="bicubic", align_corners=False).flatten(2).transpose(1, 2)
        return self.patch_embed.proj(images).flatten(2).transpose(1, 2) + table


class _Prior(nn.Module):
    """Convolutions: the map of stride 4, and the cells of those of strides 8, 16, 32 with their level's embedding."""

    def __init__(self, first: int, channels: int) -> None:
        super().__init__()
        widths = (first, 2 * first, 4 * first, 4 * first)
        self.stem = nn.Sequential(
            *_conv(3, first, 2), *_conv(first, first, 1), *_conv(first, first, 1), nn.MaxPool2d(3, 2, 1)
        )
        steps = itertools.pairwise(widths)
        self.further = nn.ModuleList(nn.Sequential(*_conv(before, after, 2)) for before, after in steps)
        self.project = nn.ModuleList(nn.Conv2d(width, channels, 1) for width in widths)

    def forward(self, images: Tensor, levels: Tensor) -> tuple[Tensor, Tensor]:
        maps = [self.stem(images)]
        for layer in self.further:
            maps.append(layer(maps[-1]))
        maps = [project(x) for project, x in zip(self.project, maps, strict=True)]
        cells = [x.flatten(2).transpose(1, 2) + own for x, own in zip(maps[1:], levels, strict=True)]
        return maps[0], torch.cat(cells, 1)


def _conv(before: int, after: int, stride: int) -> list[nn.Module]:
    return [nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU(inplace=True)]


class _Injector(nn.Module):
    def __init__(self, channels: int, heads: int, points: int) -> None:
        super().__init__()
        self.query_norm, self.feat_norm = nn.LayerNorm(channels, eps=1e-6), nn.LayerNorm(channels, eps=1e-6)
        self.attn = MSDeformAttn(channels, 3, heads, points)
        self.gamma = nn.Parameter(torch.zeros(channels))

    def forward(self, tokens: Tensor, at: Tensor, cells: Tensor, sizes: Sequence[Size]) -> Tensor:
        return tokens + self.gamma * self.attn(self.query_norm(tokens), at, self.feat_norm(cells), sizes)


class _Extractor(nn.Module):
    def __init__(self, channels: int, heads: int, points: int, hidden: float, drop_path: float) -> None:
        super().__init__()
        self.query_norm, self.feat_norm = nn.LayerNorm(channels, eps=1e-6), nn.LayerNorm(channels, eps=1e-6)
        self.attn = MSDeformAttn(channels, 1, heads, points)
        inner = int(channels * hidden)
        self.ffn_norm = nn.LayerNorm(channels, eps=1e-6)
        self.fc1, self.fc2 = nn.Linear(channels, inner), nn.Linear(inner, channels)
        self.dwconv = nn.Conv2d(inner, inner, 3, 1, 1, groups=inner)  # shared by the three maps
        self.drop_path = DropPath(drop_path)

    def forward(self, cells: Tensor, at: Tensor, tokens: Tensor, size: Size, sizes: Sequence[Size]) -> Tensor:
        cells = cells + self.attn(self.query_norm(cells), at, self.feat_norm(tokens), [size])
        hidden = self.fc1(self.ffn_norm(cells)).split([h * w for h, w in sizes], 1)
        mixed = [
            self.dwconv(part.transpose(1, 2).unflatten(2, own)).flatten(2).transpose(1, 2)
            for part, own in zip(hidden, sizes, strict=True)
        ]
        return cells + self.drop_path(self.fc2(nn.functional.gelu(torch.cat(mixed, 1))))


def _centres(sizes: Sequence[Size], like: Tensor) -> Tensor:
    """``Tensor[ΣH·W, 1, 2]``: (x, y) of the cells' centres, from 0 to 1."""
    found = []
    for height, width in sizes:
        y = (torch.arange(height, device=like.device, dtype=like.dtype) + 0.5) / height
        x = (torch.arange(width, device=like.device, dtype=like.dtype) + 0.5) / width
        found.append(torch.stack([x.expand(height, width), y[:, None].expand(height, width)], -1).flatten(0, 1))
    return torch.cat(found)[:, None]


def _block(block: Any, tokens: Tensor, size: Size, window: int | None) -> Tensor:
    """One of timm's transformer blocks, its attention over all tokens or within windows (zeros fill the last ones)."""
    x = block.norm1(tokens)
    if window is None:
        x = block.attn(x)
    else:
        height, width = size
        rows, columns = (-(-side // window) for side in size)
        grid = pad(x.unflatten(1, size), (0, 0, 0, columns * window - width, 0, rows * window - height))
        grid = grid.unflatten(1, (rows, window)).unflatten(3, (columns, window)).transpose(2, 3)
        parts = block.attn(grid.flatten(3, 4).flatten(0, 2))
        grid = parts.unflatten(1, (window, window)).unflatten(0, (-1, rows, columns)).transpose(2, 3)
        x = grid.flatten(3, 4).flatten(1, 2)[:, :height, :width].flatten(1, 2)
    tokens = tokens + block.drop_path1(block.ls1(x))
    return tokens + block.drop_path2(block.ls2(block.mlp(block.norm2(tokens))))


@register_model
def vit_adapter_tiny(
    pretrained: bool = False, features_only: bool = True, drop_path_rate: float = 0.1, **options: Any
) -> nn.Module:
    """ViT-Adapter-T on DeiT-T (192 channels, 12 blocks, 3 heads), whose weights `pretrained` fetches."""
    if not features_only:
        raise ValueError("vit_adapter_tiny gives feature maps: features_only=True")
    for name in ("pretrained_cfg", "pretrained_cfg_overlay", "cache_dir"):  # timm.create_model's, of published weights
        options.pop(name, None)
    vit = timm.create_model(
        "deit_tiny_patch16_224", pretrained=pretrained, num_classes=0, drop_path_rate=drop_path_rate
    )
    return ViTAdapter(vit, drop_path=drop_path_rate, **options)
