"""The command, on small maps, and what it says to what it cannot do."""

from __future__ import annotations

import json
import sys

import pytest
import torch

from benchmarks.speed import SpeedConfig
from roikit.cli import main


def test_beside_torchvision(tmp_path, capsys, threads):
    threads(2)
    path = tmp_path / "numbers.json"
    flags = ["--quick", "--only=roi_align_adaptive", "--directions=forward,both", "--threads=1", f"--json={path}"]
    assert main(["bench", *flags]) == 0
    assert torch.get_num_threads() == 2  # put back
    said = capsys.readouterr().out
    assert "these times mean nothing" in said and "channels-last" in said
    found = json.loads(path.read_text())
    assert set(found) == {"machine", "config", "rows"} and found["machine"]["threads"] == 1
    assert [(row["map"], row["direction"]) for row in found["rows"]] == [
        ("12×20/16", "forward"), ("12×20/16", "both"), ("24×40/4", "forward"), ("24×40/4", "both")
    ]  # fmt: skip
    for row in found["rows"]:
        assert row["refused"] is None and row["verdicts"]["torchvision"]["agrees"]
        assert set(row["times"]) - {"copy"} == {"nchw", "last", "torchvision"}
        ratio = row["times"]["torchvision"]["median"] / row["times"]["nchw"]["median"]
        assert row["ratios"]["torchvision"]["nchw"] == pytest.approx(ratio)


def test_without_torchvision(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torchvision.ops", None)  # as if it were not installed
    assert main(["bench", "--quick", "--only=prroi", "--directions=forward"]) == 0
    said = capsys.readouterr().out
    assert "not timed: torchvision (ModuleNotFoundError" in said and "PrRoIPool" in said


@pytest.mark.parametrize("option", ["targets", "peers", "sweep", "memory", "markdown", "plot"])
def test_options_that_left(option, capsys):
    """Each is one of the program that has them all."""
    assert hasattr(SpeedConfig(), option)
    assert main(["bench", "--quick", f"--{option}=1"]) == 2
    assert capsys.readouterr().err == (
        f"roikit: error: `roikit bench --{option}` is now `python -m benchmarks.speed --{option}`, "
        "to be run in a checkout of roikit's repository\n"
    )


def test_a_disagreement_ends_with_1(monkeypatch, capsys):
    from roikit import ops

    right = ops.roi_align
    monkeypatch.setattr(ops, "roi_align", lambda *a, **k: right(*a, **k) * 1.01)
    flags = ["--quick", "--only=roi_align_adaptive", "--directions=forward"]
    assert main(["bench", *flags]) == 1
    said = capsys.readouterr().out
    assert "disagrees" in said and "roikit and torchvision disagree by 1.0e-02" in said


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--rois=0"], "--rois must be at least 1, not 0"),
        (["--only=nothing"], "--only: no operation's name contains 'nothing'; they are roi_align,"),
        (["--directions=sideways"], "--directions: 'sideways' is not one of forward, backward, both"),
        (["--directions="], "--directions is empty"),
        (["--json=/nowhere/at/all.json"], "--json: the folder /nowhere/at does not exist"),
        (["--dtype=int8"], "dtype"),
    ],
)
def test_errors(flags, words, capsys):
    assert main(["bench", *flags]) == 2
    said = capsys.readouterr().err
    assert words in said and len(said.splitlines()) == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_gpu(capsys):
    assert main(["bench", "--device=cuda"]) == 2
    assert "--device cuda: torch finds no GPU here" in capsys.readouterr().err
