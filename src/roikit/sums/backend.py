"""Which implementation runs: it follows the device, or ``ROIKIT_BACKEND=reference|numba|triton`` forces one."""

from __future__ import annotations

import functools
import importlib.util
import os
import warnings

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
        if importlib.util.find_spec("triton") is None:
            return "Triton is not installed"
        try:
            by_interpreter = interpreted()
        except Exception as error:
            return f"Triton cannot be imported: {error}"
        if by_interpreter or torch.cuda.is_available():
            return None
        return "torch can use no GPU here"
    raise ValueError(f"ROIKIT_BACKEND={name!r} is no backend: choose one of {', '.join(NAMES)}")


def interpreted() -> bool:
    """Whether Triton's kernels run in its interpreter, on the CPU: ``TRITON_INTERPRET=1`` when Triton was imported.

    Raises:
        ImportError: there is no Triton.
    """
    import triton.language as tl

    return type(tl.sum).__name__ == "InterpretedFunction"  # Triton's own functions were made before anyone asks


@functools.cache
def _without_kernels(why: str) -> None:
    """Say once in a process what it costs that Numba's kernels are not there (measured: docs/performance.md)."""
    warnings.warn(
        f"roikit: {why}, so plain PyTorch computes on the CPU: the same values, 5 to 75 times slower. "
        "`pip install numba` brings the kernels; ROIKIT_BACKEND=reference says that this is wanted.",
        stacklevel=2,
    )


def choose(device: torch.device) -> str:
    """The backend for tensors on ``device``: Numba on the CPU, Triton on a GPU, the reference elsewhere.

    Triton is for CPU tensors only where it is forced and runs in its interpreter, which is for tests.

    Raises:
        RuntimeError: ``ROIKIT_BACKEND`` names one that cannot run, or not on this device.
    """
    forced = os.environ.get("ROIKIT_BACKEND")
    if not forced:
        follows = {"cpu": "numba", "cuda": "triton"}.get(device.type)
        why = "" if follows is None else unavailable(follows)
        if why and follows == "numba":
            _without_kernels(why)
        return follows if follows is not None and why is None else "reference"
    why = unavailable(forced)
    if why is None and forced == "numba" and device.type != "cpu":
        why = f"Numba's kernels run on the CPU and the tensors are on {device}"
    if why is None and forced == "triton" and device.type != "cuda" and not (device.type == "cpu" and interpreted()):
        why = f"Triton's kernels run on a GPU and the tensors are on {device}"
    if why is not None:
        raise RuntimeError(f"ROIKIT_BACKEND={forced} cannot run: {why}. Unset it, or choose another.")
    return forced
