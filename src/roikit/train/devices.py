"""The devices and processes of a run."""

from __future__ import annotations

import torch
from accelerate import Accelerator

from .errors import RunError


def make_accelerator(cpu: bool, precision: str | None = None) -> Accelerator:
    """What a run is distributed over: as many processes as a launcher started.

    Args:
        cpu: use no GPU.
        precision: "no", "fp16" or "bf16"; None: the process' own, "no" where nothing was said.

    Raises:
        RunError: the device cannot do the precision asked for.
    """
    # Where there is no GPU and nobody says so, accelerate takes each of a launcher's processes for the only one.
    cpu = cpu or not torch.accelerator.is_available()
    try:
        return Accelerator(cpu=cpu, mixed_precision=precision)
    except ValueError as error:
        raise RunError(f"precision: {error}") from None
