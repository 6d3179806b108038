"""A small data set, and runs in this process."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_run
import torch

from roikit.cli import main
from roikit.train.loop import Training


@pytest.fixture(scope="session")
def coco(tmp_path_factory) -> Path:
    return tiny_run.make_coco(tmp_path_factory.mktemp("data") / "coco")


@pytest.fixture
def train(coco):
    """`train("--out=...", ...)` runs `roikit train` on the small data set with one thread; returns the exit code."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)

    def run(*flags: str) -> int:
        if not any(flag.startswith("--resume") for flag in flags):
            flags = (f"--data.path={coco}", *tiny_run.FLAGS, *flags)
        return main(["train", *flags])

    yield run
    torch.set_num_threads(before)


@pytest.fixture
def left(monkeypatch) -> list[int]:
    """``left[0] = n``: Ctrl-C comes before the (n + 1)-th step from now."""
    plain, left = Training.take_step, [10**6]

    def stops(self, *batch):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return plain(self, *batch)

    monkeypatch.setattr(Training, "take_step", stops)
    return left
