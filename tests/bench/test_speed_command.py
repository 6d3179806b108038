"""`python -m benchmarks.speed`, on small maps, and what it says to what it cannot do."""

from __future__ import annotations

import json

import pytest
import torch
from PIL import Image

from benchmarks import startup
from benchmarks.speed import PROGRAM, main
from roikit.cli import run


@pytest.fixture
def quick_startup(monkeypatch):
    """Processes that start are measured elsewhere."""
    monkeypatch.setattr(startup, "measure", lambda repeats: startup.Startup(2.0, 2.1, 0.5))
    monkeypatch.setattr("benchmarks.speed.with_peaks", lambda rows: rows)


def test_one_run_writes_everything(tmp_path, capsys, threads, quick_startup):
    threads(1)
    flags = ["--quick", "--targets", "--sweep=rois,channels", "--peers=torchvision", "--directions=forward"]
    out = [f"--json={tmp_path}", f"--markdown={tmp_path / 'tables.md'}", f"--plot={tmp_path / 'curves.png'}"]
    assert main([*flags, *out]) == 0
    assert torch.get_num_threads() == 1  # two for the targets, put back
    said = capsys.readouterr().out
    assert "these times mean nothing" in said and "Targets" in said and "grows as R^" in said
    (path,) = tmp_path.glob("targets-*.json")
    found = json.loads(path.read_text())
    assert found["machine"]["threads"] == 2 and found["startup"] == {"others": 2.0, "all": 2.1, "first_call": 0.5}
    rows = found["rows"]
    assert {row["direction"] for row in rows} == {"forward", "backward"}  # targets need a backward
    sizes = {(row["rois"], row["channels"]) for row in rows if row["operation"] == "roi_align"}
    assert {(3, 16), (10, 16), (30, 16), (12, 8), (12, 16), (1, 16), (100, 16)} == sizes
    for row in rows:
        assert row["refused"] is None and all(v["agrees"] for v in row["verdicts"].values())
        assert row["times"]["last"]["median"] > 0 and row["times"]["last"]["turns"] == 3
        if "torchvision" in row["times"]:
            ratio = row["times"]["torchvision"]["median"] / row["times"]["nchw"]["median"]
            assert row["ratios"]["torchvision"]["nchw"] == pytest.approx(ratio)
    kinds = {(t["work"].split(",")[0], t["against"]): t for t in found["targets"]}
    assert kinds["RoIAlign forward", "torchvision"]["value"] > 0
    assert kinds["RoIAlign forward", "OpenVINO"]["reached"] is None  # not asked for
    assert kinds["`import roikit`", "torch + torchvision"]["reached"] is True
    text = (tmp_path / "tables.md").read_text()
    assert text.startswith("| operation | map |") and "| work | against | target |" in text
    with Image.open(tmp_path / "curves.png") as image:
        assert image.width > 900


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--peers=tensorrt"], "--peers: 'tensorrt' is no peer; peers are torchvision, onnxruntime, openvino, mmcv"),
        (["--sweep=colours"], "--sweep: 'colours' is not one of rois, channels, batch, dtypes, all"),
        (["--plot=/nowhere/at/all.png"], "--plot: the folder /nowhere/at does not exist"),
        (["--rois=0"], "--rois must be at least 1, not 0"),
    ],
)
def test_errors(flags, words, capsys):
    assert run(PROGRAM, lambda: main(flags)) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"{PROGRAM}: error: {words}") and len(said.splitlines()) == 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU that torch can use")
def test_on_a_gpu(tmp_path):
    path = tmp_path / "gpu.json"
    assert main(["--quick", "--targets", "--memory", "--device=cuda", f"--json={path}"]) == 0
    found = json.loads(path.read_text())
    assert found["machine"]["gpu"] == torch.cuda.get_device_name()
    backward = next(r for r in found["rows"] if r["operation"] == "roi_align" and r["direction"] == "backward")
    assert backward["times"]["deterministic"]["median"] > 0 and backward["peaks"]["last"] > 0
    assert all(target["value"] is not None for target in found["targets"])
