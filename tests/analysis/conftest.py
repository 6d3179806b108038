"""A photograph-like image."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture
def image() -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(96), torch.arange(128), indexing="ij")
    return torch.stack([x + 60, y + 80, 200 - x]).to(torch.uint8)
