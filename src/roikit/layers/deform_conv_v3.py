"""Deformable convolution, third version: InternImage's operator."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..sums.exact import exact
from .deform_conv import read_at
from .init import steers, zero


class DeformConvV3(nn.Module):
    """DCNv3 (Wang et al., InternImage, CVPR 2023, Eq. 2): y(p) = Σ_g Σ_k w_g · m_gk · x_g(p + p_k + Δp_gk).

    The channels are cut into groups. Each group reads its share of x at K = kernel² points, which move by offsets Δp of
    its own, in cells, and adds them up with factors m, a softmax over the K. Linear layers mix the channels before
    (``input_proj``) and after (``output_proj``), which is w; Δp and m come from a depthwise convolution of the input
    (``dw_conv``, with a layer norm and a GELU) through ``offset`` and ``mask``, which start at zero: the operator
    begins as a mean over the window. Points are counted column by column, offsets are (x, y), as in the authors' code,
    so that their weights fit. Outside the map x is 0.

    Args:
        channels: of the input and the output, a multiple of ``groups``.
        groups: of channels that move together.
        kernel: of the window and of the depthwise convolution, odd.
        offset_scale: a factor on the window and the offsets.

    Raises:
        ValueError: channels that do not divide into groups, an even kernel.

    Tensors are ``[B, H, W, C]``. Sampling is ``grid_sample``, in float32 also in half precision: positions need more
    than eight bits.

    Example:
        >>> import torch
        >>> layer = DeformConvV3(16, groups=4)
        >>> layer(torch.rand(2, 8, 9, 16)).shape
        torch.Size([2, 8, 9, 16])
    """

    def __init__(self, channels: int, groups: int, kernel: int = 3, offset_scale: float = 1.0) -> None:
        super().__init__()
        if channels % groups:
            raise ValueError(f"channels={channels} must be a multiple of groups={groups}")
        if kernel % 2 == 0:
            raise ValueError(f"kernel={kernel} must be odd: the window is centred on a cell")
        self.groups, self.kernel, self.offset_scale = groups, kernel, offset_scale
        points = groups * kernel * kernel
        self.dw_conv = nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=channels)
        self.dw_norm = nn.LayerNorm(channels, eps=1e-6)
        self.offset = steers(zero(nn.Linear(channels, 2 * points)), "samples")
        self.mask = zero(nn.Linear(channels, points))
        self.input_proj = nn.Linear(channels, channels)
        self.output_proj = nn.Linear(channels, channels)
        for layer in (self.input_proj, self.output_proj):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def predict(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Offsets ``Tensor[B, H, W, G, K, 2]`` (x, y) in cells and factors ``Tensor[B, H, W, G, K]``."""
        context = self.dw_conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        context = nn.functional.gelu(self.dw_norm(context))
        offset = self.offset(context).unflatten(3, (self.groups, -1, 2))
        return offset, self.mask(context).unflatten(3, (self.groups, -1)).softmax(4)

    def forward(self, x: Tensor) -> Tensor:
        """``Tensor[B, H, W, C]`` from one of the same shape."""
        offset, factor = self.predict(x)
        return self.output_proj(_sampled(self.input_proj(x), offset, factor, self.kernel, self.offset_scale))

    def extra_repr(self) -> str:
        return f"groups={self.groups}, kernel={self.kernel}, offset_scale={self.offset_scale}"


@exact
def _sampled(x: Tensor, offset: Tensor, factor: Tensor, kernel: int, scale: float) -> Tensor:
    batch, height, width, channels = x.shape
    groups, wide = offset.shape[3], torch.promote_types(x.dtype, torch.float32)
    reach = torch.arange(kernel, device=x.device, dtype=wide) - kernel // 2
    columns, rows = reach.repeat_interleave(kernel), reach.repeat(kernel)  # of each point, column by column
    home_y = torch.arange(height, device=x.device, dtype=wide)[:, None, None, None]
    home_x = torch.arange(width, device=x.device, dtype=wide)[:, None, None]
    u = home_x + scale * (columns + offset[..., 0].to(wide))
    v = home_y + scale * (rows + offset[..., 1].to(wide))
    maps = x.to(wide).permute(0, 3, 1, 2).reshape(batch * groups, channels // groups, height, width)
    u, v = (one.permute(0, 3, 1, 2, 4).reshape(batch * groups, height * width, kernel * kernel) for one in (u, v))
    read = read_at(maps, u, v)  # [B·G, C/G, H·W, K]
    shares = factor.to(wide).permute(0, 3, 1, 2, 4).reshape(batch * groups, 1, height * width, -1)
    out = (read * shares).sum(3).view(batch, channels, height, width)
    return out.permute(0, 2, 3, 1).to(x.dtype)
