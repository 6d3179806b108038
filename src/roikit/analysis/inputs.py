"""Images and boxes that an analysis is given."""

from __future__ import annotations

import torch
from torch import Tensor


def check_image(image: Tensor) -> None:
    """Raise a ``ValueError`` unless ``image`` is an RGB image as a tensor."""
    if not isinstance(image, Tensor) or image.ndim != 3 or image.shape[0] != 3 or 0 in image.shape:
        shape = list(image.shape) if isinstance(image, Tensor) else type(image).__name__
        raise ValueError(f"an image must be a Tensor[3, H, W], but this is {shape}")
    if image.dtype != torch.uint8 and not image.dtype.is_floating_point:
        raise ValueError(f"an image must be uint8 or floats in 0-1, but its dtype is {image.dtype}")


def as_floats(image: Tensor, device: torch.device | None = None) -> Tensor:
    """The image as floats in 0-1, on a device; a ``ValueError`` for what is no image."""
    check_image(image)
    image = image.to(device) if device is not None else image
    return image.float() / 255 if image.dtype == torch.uint8 else image


def box_of(box: Tensor) -> tuple[float, float, float, float]:
    """Four finite numbers of a box."""
    values = torch.as_tensor(box, dtype=torch.float32).flatten().tolist()
    if len(values) != 4 or not all(abs(v) < float("inf") for v in values):
        raise ValueError(f"a box must be four finite numbers (x1, y1, x2, y2) in image pixels, not {values}")
    return values[0], values[1], values[2], values[3]
