"""Runs with deformable convolutions and pooling: trained, averaged, saved once, loaded, evaluated."""

from __future__ import annotations

import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors import safe_open

from roikit.cli import main
from roikit.layers import DeformConv
from roikit.train.trained import load_trained

FLAGS = [
    "--model.backbone=resnet10t",
    "--model.deformable=[layer3, layer4]",
    "--model.masks=true",
    "--extractor=ModulatedDeformRoIPool",
    "--extractor.hidden=8",
    "--mask_extractor=shared",
]


@pytest.fixture
def any_precision():
    """A process has one precision; the next test wants its own."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_a_run(train, tmp_path, capsys, any_precision, precision):
    run = tmp_path / "run"
    # AdamW at this rate moves every offset in a few steps
    flags = ["--optim.steps=3", "--optim.lr=0.01", "--optim.warmup=0", "--optim.ema=0.5", f"--precision={precision}"]
    assert train(f"--out={run}", *flags, *FLAGS) == 0
    model, _, config = load_trained(run)
    assert config.mask_extractor == "shared" and config.model.deformable == ["layer3", "layer4"]
    convs = [module for module in model.modules() if isinstance(module, DeformConv)]
    assert len(convs) == 4 and all(conv.offset.weight.any() for conv in convs)
    heads = model.roi_heads
    assert heads.mask_roi_pool.extractor.both is heads.box_roi_pool.extractor.both
    with safe_open(run / "model.safetensors", framework="pt") as file:
        pairs = [(name, name.replace("box_roi", "mask_roi")) for name in file.keys() if ".box_roi_pool." in name]
        assert len(pairs) == 4
        assert all(torch.equal(file.get_tensor(one), file.get_tensor(other)) for one, other in pairs)
    capsys.readouterr()
    assert main(["eval", str(run), "--cpu=true"]) == 0
    assert "masks, COCO metrics" in capsys.readouterr().out
