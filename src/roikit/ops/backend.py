"""Which implementation runs: it follows the device, or ``ROIKIT_BACKEND=reference|numba|triton`` forces one."""

from __future__ import annotations

import functools
import importlib.util
import os

import torch

NAMES = ("reference", "numba", "triton")


@functools.cache
def unavailable(name: str) -> str | None:
    """Why a backend cannot run here, or None where it can."""
    if name == "reference":
        return None
    if name == "numba":
        if importlib.util.find_spec("numba") is None:
            return "Numba is not installed"
        try:
            from . import jit  # noqa: F401  (a broken installation shows only when it is imported)
        except Exception as error:
            return f"Numba cannot be imported: {error}"
        return None
    if name == "triton":
        return "this version has no Triton kernels yet"
    raise ValueError(f"ROIKIT_BACKEND={name!r} is no backend: choose one of {', '.join(NAMES)}")


def choose(device: torch.device) -> str:
    """The backend for tensors on ``device``.

    Raises:
        RuntimeError: ``ROIKIT_BACKEND`` names one that cannot run, or not on this device.
    """
    forced = os.environ.get("ROIKIT_BACKEND")
    if not forced:
        return "numba" if device.type == "cpu" and unavailable("numba") is None else "reference"
    why = unavailable(forced)
    if why is None and forced == "numba" and device.type != "cpu":
        why = f"Numba's kernels run on the CPU and the tensors are on {device}"
    if why is not None:
        raise RuntimeError(f"ROIKIT_BACKEND={forced} cannot run: {why}. Unset it, or choose another.")
    return forced
