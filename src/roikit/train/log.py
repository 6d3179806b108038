"""log.jsonl and TensorBoard: the same records twice, once for programs and once for the eye."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .checkpoint import named
from .errors import RunError
from .runfolder import RunFolder


class Window:
    """The mean of each loss since the last line of the log. Sums stay on the device: no waiting for a GPU each step."""

    def __init__(self, sums: Mapping[str, float] | None = None, count: int = 0) -> None:
        self.sums: dict[str, Any] = dict(sums or {})
        self.count = count

    def add(self, losses: Mapping[str, Tensor]) -> None:
        self.count += 1
        for name, value in losses.items():
            self.sums[name] = self.sums.get(name, 0.0) + value.detach().double()

    def state(self, step: int) -> dict[str, Any]:
        """For a checkpoint: `Window(**state)` goes on."""
        return {"sums": self._checked({k: float(v) for k, v in self.sums.items()}, step), "count": self.count}

    def take(self, accelerator: Any, step: int) -> dict[str, float]:
        """The means over steps and processes, and an empty window."""
        values = torch.tensor([float(v) / self.count for v in self.sums.values()], device=accelerator.device)
        means = dict(zip(self.sums, accelerator.reduce(values, "mean").tolist(), strict=True))
        self.sums, self.count = {}, 0
        return self._checked(means, step)

    @staticmethod
    def _checked(losses: dict[str, float], step: int) -> dict[str, float]:
        """Raise a `RunError` where training has gone astray; asked before a checkpoint is written too."""
        if not all(math.isfinite(value) for value in losses.values()):
            parts = ", ".join(f"{name} {value:g}" for name, value in losses.items())
            raise RunError(f"the loss is not finite at step {step} ({parts}); start again with a lower optim.lr")
        return losses


class Log:
    """Appends records; each has a `step`, flat numbers, and says what it is in `kind` ("train" or "eval").

    Args:
        run: where to write.
        step: records after this step are of a run that was killed; they are dropped. -1: it left no checkpoint.
        last: see `RunFolder.truncate_log`.
        active: false in processes other than the main one: nothing is written.
    """

    def __init__(self, run: RunFolder, *, step: int = -1, last: bool = False, active: bool = True) -> None:
        self.active = active
        if not active:
            return
        from torch.utils.tensorboard import SummaryWriter

        run.truncate_log(step, last=last)
        self._path = run.log
        self._file = open(run.log, "a", encoding="utf-8")
        # TensorBoard hides what was written at or after purge_step by the run that was killed
        self._board = SummaryWriter(str(run.tensorboard), purge_step=step + 1 if step > 0 else None)

    def write(self, kind: str, step: int, numbers: dict[str, Any]) -> None:
        if not self.active:
            return
        with named(self._path):
            self._file.write(json.dumps({"kind": kind, "step": step, **numbers}) + "\n")
            self._file.flush()
            for name, value in numbers.items():
                if isinstance(value, int | float):
                    self._board.add_scalar(f"{kind}/{name}", value, step)

    def sync(self) -> None:
        """On the disk: called before a checkpoint is written, which must never be ahead of the log."""
        if self.active:
            with named(self._path):
                self._file.flush()
                os.fsync(self._file.fileno())
                self._board.flush()

    def close(self) -> None:
        if self.active:
            with named(self._path):
                self._file.close()
                self._board.close()
