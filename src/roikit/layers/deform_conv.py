"""Deformable convolution, first and second version."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..sums.exact import exact
from .init import steers, zero


class DeformConv(nn.Conv2d):
    """Modulated deformable convolution (Zhu et al., Deformable ConvNets v2, CVPR 2019, Eq. 1), or the first version.

    y(p) = Σ_k w_k · x(p + p_k + Δp_k) · Δm_k: each of the K samples of a kernel moves by its own offset Δp, in cells,
    and is multiplied by its own Δm. Features between cells are bilinear, those outside the map 0. Δp and Δm come from
    the same features through ``offset``, a convolution of the same kernel, stride, padding and dilation that starts at
    zero: Δp = 0, and Δm, a sigmoid, is ½. So the second version begins as half of the convolution with its weights, as
    in the paper, and the first (Dai et al., ICCV 2017; no Δm) as that convolution.

    ``offset`` is marked as a layer that moves samples: ``roikit train`` gives it 0.1 of the rate under SGD, as in the
    paper, and 0.01 under AdamW.

    Args:
        in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias: of ``torch.nn.Conv2d``.
            ``padding`` is of zeros; the groups share the offsets.
        modulated: with Δm.

    Raises:
        ValueError: arguments that ``torch.nn.Conv2d`` refuses, and ``padding="same"`` with more on one side than on the
            other.

    ``weight`` and ``bias`` are named as in ``torch.nn.Conv2d``. Sampling is ``torchvision.ops.deform_conv2d``, which
    has no second derivative, or ``grid_sample`` where every channel is a group of its own. In half precision it is done
    in float32: positions need more than eight bits.

    Example:
        >>> import torch
        >>> conv = DeformConv(8, 16, 3, padding=1, modulated=False)
        >>> x = torch.rand(2, 8, 20, 30)
        >>> plain = torch.nn.functional.conv2d(x, conv.weight, conv.bias, padding=1)
        >>> torch.allclose(conv(x), plain, atol=1e-5), conv.offset.out_channels
        (True, 18)
    """

    padding: tuple[int, int]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] | str = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        modulated: bool = True,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias)
        self.padding = padding_of(self)
        self.modulated = modulated
        self.offset = self._offset_layer()

    @classmethod
    def of(cls, conv: nn.Conv2d, *, modulated: bool = True) -> DeformConv:
        """The deformable form of a convolution, with the very same parameters.

        Raises:
            ValueError: it pads with something else than zeros.
        """
        if conv.padding_mode != "zeros":
            raise ValueError(
                f"a deformable convolution reads 0 outside the map, but {conv} pads with {conv.padding_mode!r}"
            )
        with torch.device("meta"):  # its own weights are not kept: neither memory nor random numbers are spent on them
            made = cls(
                conv.in_channels,
                conv.out_channels,
                conv.kernel_size,  # type: ignore[arg-type]  # a pair
                conv.stride,  # type: ignore[arg-type]  # a pair
                conv.padding,  # type: ignore[arg-type]  # a pair, or a word
                conv.dilation,  # type: ignore[arg-type]  # a pair
                conv.groups,
                conv.bias is not None,
                modulated=modulated,
            )
        made.weight, made.bias = conv.weight, conv.bias
        made.offset = made._offset_layer()
        return made.train(conv.training)

    def _offset_layer(self) -> nn.Conv2d:
        """2K channels, (y, x) of each sample in turn, then K logits of Δm."""
        layer = nn.utils.skip_init(  # zeros need no random numbers: the other layers of a model start as without it
            nn.Conv2d,
            self.in_channels,
            (3 if self.modulated else 2) * self.kernel_size[0] * self.kernel_size[1],
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
            device=self.weight.device,
            dtype=self.weight.dtype,
        )
        return steers(zero(layer), "samples")

    def predict(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Offsets ``Tensor[B, 2K, H, W]`` in cells, channel 2k the y of sample k and 2k + 1 its x, samples row by row;
        and factors ``Tensor[B, K, H, W]``, ``None`` without modulation. H and W are those of the output."""
        found = self.offset(x.to(self.offset.weight.dtype)).to(torch.promote_types(x.dtype, torch.float32))
        if not self.modulated:
            return found, None
        samples = found.shape[1] // 3
        offset, logits = found.split([2 * samples, samples], 1)
        return offset, logits.sigmoid()

    def forward(self, input: Tensor) -> Tensor:
        """``Tensor[B, out_channels, H', W']`` from ``Tensor[B, in_channels, H, W]``, of the sizes of a convolution.

        Raises:
            ValueError: the input has other dimensions or channels.
        """
        if input.ndim != 4 or input.shape[1] != self.in_channels:
            raise ValueError(
                f"DeformConv takes Tensor[B, {self.in_channels}, H, W], not one of shape {list(input.shape)}"
            )
        return _sampled(input, self)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, modulated={self.modulated}"


@exact
def _sampled(x: Tensor, conv: DeformConv) -> Tensor:
    from torchvision.ops import deform_conv2d

    offset, factor = conv.predict(x)
    dtype = offset.dtype
    bias = None if conv.bias is None else conv.bias.to(dtype)
    if conv.groups == conv.in_channels == conv.out_channels:
        out = _depthwise(x.to(dtype), offset, factor, conv)
        return (out if bias is None else out + bias[:, None, None]).to(x.dtype)
    out = deform_conv2d(
        x.to(dtype), offset, conv.weight.to(dtype), bias, conv.stride, conv.padding, conv.dilation, factor
    )
    return out.to(x.dtype)


def _depthwise(x: Tensor, offset: Tensor, factor: Tensor | None, conv: DeformConv) -> Tensor:
    """A channel a group: all channels are sampled at once, where ``deform_conv2d`` multiplies a matrix of one row for
    each channel (a training step of 480 channels on 8 × 8 cells takes it ten times as long on a CPU)."""
    (rows, cols), sizes = offset.shape[-2:], conv.kernel_size
    v, u = offset.unflatten(1, (*sizes, 2)).unbind(3)  # each [B, kernel rows, kernel columns, H', W']
    v = v + _starts(rows, 0, conv, x)[:, None, :, None]
    u = u + _starts(cols, 1, conv, x)[:, None, :]
    read = read_at(x, u.flatten(1, 3), v.flatten(1, 3)).unflatten(2, (sizes[0] * sizes[1], rows))  # [B, C, K, H', W']
    if factor is not None:
        read = read * factor[:, None]
    return torch.einsum("bckhw,ck->bchw", read, conv.weight.to(x.dtype).flatten(1))


def read_at(x: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """``Tensor[B, C, M, N]`` of the maps ``x`` at (u, v), each ``[B, M, N]``, in cells; bilinear, outside the map 0."""
    height, width = x.shape[-2:]
    grid = torch.stack([(2 * u + 1) / width - 1, (2 * v + 1) / height - 1], -1)
    return nn.functional.grid_sample(x, grid, align_corners=False)


def _starts(count: int, axis: int, conv: DeformConv, like: Tensor) -> Tensor:
    """``Tensor[kernel, outputs]``: where each sample of a kernel lies on an axis before it is moved, in cells."""
    steps = torch.arange(count, device=like.device, dtype=like.dtype) * conv.stride[axis] - conv.padding[axis]
    samples = torch.arange(conv.kernel_size[axis], device=like.device, dtype=like.dtype) * conv.dilation[axis]
    return samples[:, None] + steps


def padding_of(conv: nn.Conv2d) -> tuple[int, int]:
    """The padding of a convolution, which may be a word, in cells."""
    if conv.padding == "valid":
        return (0, 0)
    if conv.padding != "same":
        return conv.padding  # type: ignore[return-value]  # a pair
    rows, cols = (dilation * (size - 1) for dilation, size in zip(conv.dilation, conv.kernel_size, strict=True))
    if rows % 2 or cols % 2:
        raise ValueError(f'padding="same" of a kernel of {conv.kernel_size} is uneven: give it as numbers')
    return rows // 2, cols // 2
