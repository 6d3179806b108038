"""Tests of the Triton kernels: collected where these can run, in the interpreter or on a GPU."""

from __future__ import annotations

import os

import pytest
import torch

collect_ignore_glob = [] if os.environ.get("TRITON_INTERPRET") == "1" or torch.cuda.is_available() else ["test_*.py"]


@pytest.fixture
def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.fixture(autouse=True)
def triton_runs(monkeypatch, device):
    """Triton is the backend, and every operation really launches a kernel: a quiet way to the reference is seen."""
    from roikit.sums import gpu

    monkeypatch.setenv("ROIKIT_BACKEND", "triton")
    launched = []
    plain = gpu.run

    def run(kernel, *arguments, **named):
        launched.append(kernel)
        return plain(kernel, *arguments, **named)

    monkeypatch.setattr(gpu, "run", run)
    yield launched
    assert launched, "no Triton kernel ran"


@pytest.fixture(autouse=True)
def poison(monkeypatch):
    """Outputs start as NaN, so that a cell no kernel wrote is seen."""
    from roikit.sums import gpu

    plain = gpu.empty

    def empty(shape, dtype, device):
        out = plain(shape, dtype, device)
        return out.fill_(float("nan") if dtype.is_floating_point else -(2**31))

    monkeypatch.setattr(gpu, "empty", empty)
