"""Runs that train with losses of the extractor's own: logged, averaged over a running mean of the weights, resumed."""

from __future__ import annotations

import json

import pytest
import torch

from roikit.cli import main
from roikit.train.trained import load_trained


def losses(run) -> list[set[str]]:
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [{key for key in line if key.startswith("loss_")} for line in lines if line["kind"] == "train"]


@pytest.mark.parametrize(
    ("extractor", "flag", "name"),
    [
        ("DeformRoIPool", "--optim.offset_penalty=0.1", "loss_offsets"),
        ("RoITransformer", "--optim.oriented_loss=0.5", "loss_oriented"),
    ],
)
def test_a_run(train, tmp_path, extractor, flag, name):
    run = tmp_path / "run"
    flags = (f"--extractor={extractor}", flag, "--optim.ema=0.5", "--optim.warmup=0")
    assert train(f"--out={run}", "--optim.steps=3", *flags) == 0
    assert all(name in found for found in losses(run)) and len(losses(run)) == 3
    model, _, config = load_trained(run)  # the losses are those of training, not the detector's
    assert sorted(model([torch.rand(3, 64, 64)])[0]) == ["boxes", "labels", "scores"]
    assert not config.model.masks  # masks of the data were read for the oriented boxes alone


def test_it_goes_on_as_it_began(train, tmp_path, left):
    flags = ("--extractor=RoITransformer", "--optim.oriented_loss=0.5", "--optim.steps=4", "--save_every=2")
    assert train(f"--out={tmp_path / 'whole'}", *flags) == 0
    left[0] = 3
    assert train(f"--out={tmp_path / 'cut'}", *flags) == 130
    left[0] = 10**6
    assert main(["train", "--resume", str(tmp_path / "cut")]) == 0
    whole, cut = (load_trained(tmp_path / name)[0].state_dict() for name in ("whole", "cut"))
    assert all(torch.equal(whole[name], cut[name]) for name in whole)


def test_an_extractor_without_such_a_loss(train, capsys, tmp_path):
    for flag in ("--optim.offset_penalty=1", "--optim.oriented_loss=1"):
        assert train(f"--out={tmp_path / 'run'}", flag) == 2
        key = flag.removeprefix("--").partition("=")[0]
        assert f"{key}: " in capsys.readouterr().err and not (tmp_path / "run").exists()
