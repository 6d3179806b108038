"""Two processes take the steps and give the numbers of one with the same global batch."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import tiny_run
import torch
from safetensors.torch import load_file

from roikit.train import checkpoint

# SGD: Adam divides by the size of tiny gradients, and so enlarges rounding. Frozen norms: batch norm sees only its own
# images. Batches of 6 from 5 images: epochs end inside a batch and a share; 5 images do not divide over 2 processes.
FLAGS = [
    "--data.batch=6",
    "--model.norm=frozen",
    "--optim.name=sgd",
    "--optim.lr=0.02",
    "--optim.weight_decay=1e-4",
    "--optim.steps=8",
    "--optim.ema=0.9",
    "--eval_every=5",
    "--model.masks=true",
    "--data.eval_split=train",
    "--model.options={box_score_thresh: 0.01}",
]
# Of the two: where there is no GPU, nobody has to say that processes share CPUs.
CPU = f"--cpu={str(torch.accelerator.is_available()).lower()}"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tiny_run.make_coco(tmp_path_factory.mktemp("data") / "five", images=5)


@pytest.mark.xdist_group("processes")
def test_two_processes_are_one(train, data, tmp_path):
    flags = [f"--data.path={data}", *FLAGS]
    assert train(f"--out={tmp_path / 'one'}", *flags) == 0
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "roikit"]
    result = subprocess.run(
        [sys.executable, *launch, "train", *tiny_run.FLAGS, *flags, CPU, f"--out={tmp_path / 'two'}"],
        env=tiny_run.ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    states = [checkpoint.load_newest(tmp_path / name / "checkpoints", print) for name in ("one", "two")]
    assert [len(state["random"]) for state in states] == [1, 2]  # each process has its own random numbers

    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    assert one.keys() == two.keys()
    for name in one:
        torch.testing.assert_close(two[name], one[name], rtol=1e-4, atol=1e-5, msg=lambda m, name=name: f"{name}: {m}")

    logs = [(tmp_path / name / "log.jsonl").read_text().splitlines() for name in ("one", "two")]
    assert len(logs[0]) == len(logs[1])
    for line, other in zip(*logs, strict=True):
        first, second = json.loads(line), json.loads(other)
        assert first.pop("kind") == second.pop("kind")
        first.pop("seconds", None), second.pop("seconds", None)
        assert first == pytest.approx(second, rel=1e-4, abs=1e-5)

    metrics = [json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("one", "two")]
    assert metrics[0]["images"] == metrics[1]["images"] == 5
    for kind in ("bbox", "segm"):
        per_class = [m[kind].pop("per_class") for m in metrics]
        assert metrics[0][kind] == pytest.approx(metrics[1][kind], abs=1e-4)
        assert per_class[0].keys() == per_class[1].keys()
    assert metrics[0]["bbox"]["AP50"] > 0, "numbers that are all zero would prove nothing"


def test_a_batch_that_does_not_divide_is_an_error(train, monkeypatch, capsys, tmp_path):
    from accelerate import Accelerator

    monkeypatch.setattr(Accelerator, "num_processes", property(lambda self: 4))
    monkeypatch.setattr("accelerate.utils.broadcast_object_list", lambda objects: objects)
    assert train("--data.batch=6", "--optim.steps=1", f"--out={tmp_path / 'run'}") == 2
    assert "data.batch: 6 images do not divide over 4 processes" in capsys.readouterr().err
