"""Runs that find oriented boxes: trained, measured, resumed, drawn, written; AP of oriented boxes by hand."""

from __future__ import annotations

import json
import math

import pytest
import torch

from roikit.cli import main
from roikit.train.oriented_metrics import oriented_metrics
from roikit.train.trained import load_trained

SHOWN = "--model.options={box_score_thresh: 0.0}"


@pytest.mark.parametrize("extractor", ["RoITransformer", "SemanticRoIAlign"])
def test_a_run_from_one_flag(train, tmp_path, extractor, capsys):
    run = tmp_path / "run"
    flags = ["--optim.steps=2", f"--extractor={extractor}", SHOWN, "--pictures=true"]
    assert train(f"--out={run}", "--model.oriented=true", *flags) == 0
    assert "oAP" in capsys.readouterr().out and (run / "predictions.png").stat().st_size > 1000
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    losses = {key for line in lines if line["kind"] == "train" for key in line if key.startswith("loss_")}
    assert ("loss_rotated" in losses) == (extractor == "RoITransformer") and "loss_box_reg" in losses
    kept = json.loads((run / "metrics.json").read_text())["bbox"]
    assert {"oriented_ap", "oriented_ap50", "oriented_ap50_07"} <= set(kept) & set(kept["per_class"]["disc"])
    model, _, _ = load_trained(run)
    assert set(model([torch.rand(3, 64, 64)])[0]) == {"boxes", "oriented_boxes", "labels", "scores"}

    assert main(["eval", str(run), "--cpu=true", f"--predictions={tmp_path / 'found'}", "--format=dota"]) == 0
    row = (tmp_path / "found" / "Task1_disc.txt").read_text().splitlines()[0].split()
    assert len(row) == 10 and row[0] in {f"{n:03d}" for n in range(1, 7)} and 0 <= float(row[1]) <= 1
    assert main(["predict", str(run), str(run / "predictions.png"), f"--out={tmp_path / 'p'}", "--cpu=true"]) == 0
    assert (tmp_path / "p" / "predictions.json").is_file()


def test_an_upright_detector_is_measured_too(train, coco, tmp_path):
    run = tmp_path / "run"
    assert train(f"--out={run}", "--optim.steps=1", "--data.oriented=true", SHOWN) == 0
    own = json.loads((run / "metrics.json").read_text())["bbox"]
    out = tmp_path / "m.json"
    assert main(["eval", str(run), "--cpu=true", "--oriented=false", f"--out={out}"]) == 0
    assert "oriented_ap" in own and "oriented_ap" not in json.loads(out.read_text())["bbox"]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--model.masks=true"], "model.masks: does not go with model.oriented"),
        (["--model.cascade=true"], "model.cascade: does not go with model.oriented"),
        (["--mimic.regions=fg"], "mimic.regions: does not go with model.oriented"),
        (["--extractor=PSRoIAlign"], "extractor: does not go with model.oriented"),
        (["--extractor=RoITransformer", "--optim.oriented_loss=1"], "optim.oriented_loss: does not go with"),
    ],
)
def test_what_it_refuses(train, tmp_path, capsys, flags, words):
    assert train(f"--out={tmp_path / 'run'}", "--model.oriented=true", "--optim.steps=1", *flags) == 2
    assert words in capsys.readouterr().err and not (tmp_path / "run").exists()


def turned(*rows, scores=None):
    boxes = {"oriented_boxes": torch.tensor(rows).reshape(-1, 5), "labels": torch.ones(len(rows), dtype=torch.int64)}
    return boxes if scores is None else boxes | {"scores": torch.tensor(scores)}


def test_ap_by_hand():
    """Three objects, one of them difficult; of two boxes on one object the surer is right."""
    ship, other, hard = (50.0, 50, 80, 10, 0.6), (50.0, 120, 80, 10, 0.0), (150.0, 50, 20, 20, 0.1)
    truth = turned(ship, other, hard) | {"iscrowd": torch.tensor([0, 0, 1])}
    same = (50.0, 50, 10, 80, 0.6 + math.pi / 2)  # another name of the ship
    found = turned(same, (50.0, 50, 80, 12, 0.6), hard, other, scores=[0.9, 0.8, 0.7, 0.6])
    result = oriented_metrics([found], [truth], ["ship", "plane"])
    # right, wrong, not counted, right: precision 1 up to a recall of 1/2, 2/3 up to 1
    assert result["oriented_ap50"] == pytest.approx((1 + 2 / 3) / 2)
    assert result["oriented_ap50_07"] == pytest.approx((6 * 1 + 5 * 2 / 3) / 11)
    assert result["oriented_ap"] == pytest.approx((1 + 2 / 3) / 2)
    assert result["per_class"]["plane"] == dict.fromkeys(("oriented_ap", "oriented_ap50", "oriented_ap50_07"))
    # at an IoU of 10/12 it is right up to a threshold of 0.8
    one = oriented_metrics([turned((50.0, 50, 80, 12, 0.6), scores=[0.5])], [turned(ship)], ["ship"])
    assert one["oriented_ap"] == pytest.approx(0.7) and one["oriented_ap50"] == 1
    assert oriented_metrics([], [], ["ship"])["oriented_ap"] is None
