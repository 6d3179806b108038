"""log.jsonl and TensorBoard: the same records twice, once for programs and once for the eye."""

from __future__ import annotations

import json
import os
from typing import Any

from .runfolder import RunFolder


class Log:
    """Appends records; each has a `step`, flat numbers, and says what it is in `kind` ("train" or "eval").

    Args:
        run: where to write.
        step: records after this step are of a run that was killed; they are dropped.
        active: false in processes other than the main one: nothing is written.
    """

    def __init__(self, run: RunFolder, *, step: int = 0, active: bool = True) -> None:
        self.active = active
        if not active:
            return
        from torch.utils.tensorboard import SummaryWriter

        run.truncate_log(step)
        self._file = open(run.log, "a", encoding="utf-8")
        # TensorBoard hides what was written at or after purge_step by the run that was killed
        self._board = SummaryWriter(str(run.tensorboard), purge_step=step + 1 if step else None)

    def write(self, kind: str, step: int, numbers: dict[str, Any]) -> None:
        if not self.active:
            return
        self._file.write(json.dumps({"kind": kind, "step": step, **numbers}) + "\n")
        self._file.flush()
        for name, value in numbers.items():
            if isinstance(value, int | float):
                self._board.add_scalar(f"{kind}/{name}", value, step)

    def sync(self) -> None:
        """On the disk: called before a checkpoint is written, which must never be ahead of the log."""
        if self.active:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._board.flush()

    def close(self) -> None:
        if self.active:
            self._file.close()
            self._board.close()
