"""Numbers as vectors of sines and cosines."""

from __future__ import annotations

import torch
from torch import Tensor


def sinusoidal(z: Tensor, dim: int, longest: float = 1000.0) -> Tensor:
    """E_2i(z) = sin(z / longest^(2i/dim)), E_2i+1(z) = cos(z / longest^(2i/dim)) (LRF section 3, after Vaswani et al.).

    Args:
        z: ``Tensor[...]`` of any shape, for LRF coordinates in image pixels.
        dim: size of the embedding, even.
        longest: the wavelengths grow from 2π to 2π times this.

    Returns:
        ``Tensor[..., dim]`` in the dtype of ``z``.

    Raises:
        ValueError: ``dim`` is not a positive even number.

    Example:
        >>> import torch
        >>> sinusoidal(torch.tensor([0.0, 1.0]), 4)
        tensor([[0.0000, 1.0000, 0.0000, 1.0000],
                [0.8415, 0.5403, 0.0316, 0.9995]])
    """
    if dim < 2 or dim % 2:
        raise ValueError(f"an embedding of sines and cosines has a positive even size, not {dim}")
    wavelengths = longest ** (torch.arange(0, dim, 2, device=z.device).to(z.dtype) / dim)
    angle = z.unsqueeze(-1) / wavelengths
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(-2)
