"""A run that was stopped at any moment and resumed ends as one that was not, to the bit."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny_run
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_run import assert_same, log

STEPS = 12


@pytest.mark.parametrize(
    "flags",
    [
        ["--optim.ema=0.9", "--eval_every=5"],
        pytest.param(
            ["--optim.name=sgd", "--optim.lr=0.01", "--data.workers=1", "--model.masks=true", "--log_every=4"],
            marks=pytest.mark.slow,
        ),
        pytest.param(["--extractor=DeformRoIPool", "--model.extractor_per_level=true"], marks=pytest.mark.slow),
    ],
    ids=["adamw-ema-eval", "sgd-workers-masks", "layers-per-level"],
)
def test_stopped_between_and_within_steps(train, tmp_path, left, capsys, flags):
    length = [f"--optim.steps={STEPS}", "--save_every=3", *flags]
    assert train(f"--out={tmp_path / 'whole'}", *length) == 0
    broken = tmp_path / "broken"
    start = [f"--out={broken}", *length]
    # before the first checkpoint, right after one, between two, after the same one again
    for steps in (2, 3, 4, 2):
        left[0] = steps
        assert train(*start) == 130
        assert f"continue with: roikit train --resume {broken}" in capsys.readouterr().err
        start = [f"--resume={broken}"]
    left[0] = 1000
    assert train(*start) == 0
    assert "resumed" in capsys.readouterr().out
    assert_same(tmp_path / "whole", broken)


def test_stopped_after_the_last_evaluation_was_logged(train, tmp_path, monkeypatch):
    """Before metrics.json is written: the evaluation is done, and logged, again; once in the log."""
    assert train(f"--out={tmp_path / 'whole'}", "--optim.steps=2") == 0

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("roikit.train.runfolder.RunFolder.write_metrics", stop)
        assert train(f"--out={tmp_path / 'broken'}", "--optim.steps=2") == 130
    assert train(f"--resume={tmp_path / 'broken'}") == 0
    assert_same(tmp_path / "whole", tmp_path / "broken")


def test_tensorboard_has_every_step_once(train, tmp_path, left):
    left[0] = 5
    run = tmp_path / "run"
    assert train(f"--out={run}", "--optim.steps=7", "--save_every=3") == 130
    left[0] = 100
    assert train(f"--resume={run}") == 0
    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("train/loss")] == list(range(1, 8))
    assert [record["step"] for record in log(run) if record["kind"] == "train"] == list(range(1, 8))


def test_a_damaged_checkpoint_costs_only_time(train, tmp_path, capsys):
    flags = ["--optim.steps=6", "--save_every=2"]
    assert train(f"--out={tmp_path / 'whole'}", *flags) == 0
    assert train(f"--out={tmp_path / 'hurt'}", *flags) == 0
    (tmp_path / "hurt" / "metrics.json").unlink()
    newest = tmp_path / "hurt" / "checkpoints" / "step_00000006.pt"
    newest.write_bytes(newest.read_bytes()[:-100])
    capsys.readouterr()
    assert train(f"--resume={tmp_path / 'hurt'}") == 0
    said = capsys.readouterr().out
    assert f"{newest} is damaged" in said and "at step 4 of 6" in said
    assert_same(tmp_path / "whole", tmp_path / "hurt")


def test_a_complete_run_is_left_alone(train, tmp_path, capsys):
    run = tmp_path / "run"
    assert train(f"--out={run}", "--optim.steps=1") == 0
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()}
    assert train(f"--resume={run}") == 0
    assert "complete" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("kills", [1, pytest.param(4, marks=pytest.mark.slow)])
def test_killed_at_random_moments(train, coco, tmp_path, kills):
    """SIGKILL: at start, in a step, while a checkpoint is written, in the evaluation: wherever the clock falls."""
    flags = [f"--optim.steps={STEPS}", "--save_every=1", "--eval_every=4"]
    assert train(f"--out={tmp_path / 'whole'}", *flags) == 0
    seed = time.time_ns() % 2**32
    print(f"moments drawn with seed {seed}")
    moments = random.Random(seed)
    run = tmp_path / "killed"
    command = [f"--data.path={coco}", *tiny_run.FLAGS, f"--out={run}", *flags]
    for kill in range(kills):
        seen = len(log_lines(run))
        process = subprocess.Popen(
            [sys.executable, "-m", "roikit", "train", *command],
            env=tiny_run.ENVIRONMENT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        limit = time.monotonic() + 120
        # the first one late enough for a run to exist; each gets on by at least a step
        while process.poll() is None and len(log_lines(run)) <= seen and time.monotonic() < limit:
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 0.6))
        process.send_signal(signal.SIGKILL)
        _, errors = process.communicate()
        assert process.returncode in (-signal.SIGKILL, 0), errors.decode()
        assert (run / "config.yaml").is_file(), f"kill {kill} came before the run began"
        command = [f"--resume={run}"]
    assert train(f"--resume={run}") == 0
    assert_same(tmp_path / "whole", run)


def log_lines(run: Path) -> list[str]:
    path = run / "log.jsonl"
    return path.read_text().splitlines() if path.exists() else []
