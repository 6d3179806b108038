"""The papers' settings, read off what the recipes really build, beside their words."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from roikit.train.build import build_model
from roikit.train.optim import parameter_groups
from roikit.train.parse import parse

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


def built(file, *flags):
    config, _ = parse([f"--config={EXPERIMENTS / file}", "--model.weights=null", *flags])
    with torch.device("meta"):
        return config, build_model(config, 80)


@pytest.mark.parametrize(
    ("file", "train", "test"),
    [
        # LRF: its code keeps 300 of 6000; Zhu et al., section 4.1: 2000 proposals in training, 1000 in evaluation
        ("recipes/lrf-coco-c5.yaml", (12000, 2000), (6000, 300)),
        ("recipes/dcnv2-coco-c5.yaml", (12000, 2000), (6000, 1000)),
        # of a pyramid the numbers are per level
        ("recipes/lrf-coco-fpn.yaml", (2000, 2000), (1000, 1000)),
        ("recipes/sra-coco.yaml", (2000, 2000), (1000, 1000)),
    ],
)
def test_candidates_and_proposals(file, train, test):
    _, model = built(file)
    pre, post = model.rpn._pre_nms_top_n, model.rpn._post_nms_top_n
    assert ((pre["training"], post["training"]), (pre["testing"], post["testing"])) == (train, test)


@pytest.mark.parametrize("file", ["recipes/lrf-coco-c5.yaml", "recipes/dcnv2-coco-c5.yaml"])
def test_every_3x3_of_conv5_is_dilated(file):
    """LRF section 4, Zhu et al. section 4.1: conv5 at stride 16, its convolutions dilated by 2, the first one too."""
    _, model = built(file)
    stage = model.backbone.body["layer4"]
    convs = [m for m in stage.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    assert len(convs) == 3 and {(c.dilation, c.padding, c.stride) for c in convs} == {((2, 2), (2, 2), (1, 1))}
    _, timms = built(file, "--model.dilate_first=false")
    first = timms.backbone.body["layer4"][0].conv2
    assert first.dilation == (1, 1)


def test_dilation_needs_a_dilated_stage():
    with pytest.raises(ValueError, match="dilate_first needs neck='c5'"):
        built("recipes/lrf-coco-fpn.yaml", "--model.dilate_first=true")


SIDES = tuple(range(480, 801, 32))


@pytest.mark.parametrize(
    ("row", "drop"), [("mrcnn-swin-t-align", 0.2), ("mrcnn-swin-s-sra", 0.3), ("mrcnn-swin-b-align", 0.3)]
)
def test_swin(row, drop):
    """Liu et al., ICCV 2021, section 4.2: AdamW, 1e-4, decay 0.05, shorter sides between 480 and 800, longer one at
    most 1333; stochastic depth grows to 0.2 (T), 0.3 (S, B) over the blocks."""
    config, model = built(f"sra/table7/coco/{row}.yaml")
    assert tuple(model.transform.min_size) == SIDES and model.transform.max_size == 1333
    drops = [m.drop_prob for m in model.backbone.body.modules() if type(m).__name__ == "DropPath"]
    assert max(drops) == pytest.approx(drop) and sorted(drops) == drops
    optim = config.optim
    assert (optim.name, optim.lr, optim.weight_decay) == ("adamw", 1e-4, 0.05)
    groups = parameter_groups(model, lr=optim.lr, weight_decay=optim.weight_decay, factors={}, decay_norms=False)
    decay = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    tables = [p for name, p in model.named_parameters() if name.endswith("relative_position_bias_table")]
    assert tables and {decay[id(p)] for p in tables} == {0.0}
    weights = [p for name, p in model.named_parameters() if name.endswith("attn.qkv.weight")]
    assert weights and {decay[id(p)] for p in weights} == {0.05}


@pytest.mark.parametrize("row", ["mrcnn-pvtv2-b0-align", "mrcnn-pvtv2-b0-sra"])
def test_pvt(row):
    """Wang et al., CVM 2022, their configuration for detection: AdamW, 2e-4, decay 1e-4."""
    config, _ = built(f"sra/table7/coco/{row}.yaml")
    assert (config.optim.name, config.optim.lr, config.optim.weight_decay) == ("adamw", 2e-4, 1e-4)


def test_wrong_settings(fails):
    assert "model.candidates_test: 100 does not fit; it must be at least proposals_test" in fails(
        "train", "--model.candidates_test=100", "--model.proposals_test=200"
    )
    assert "model.min_size: [128, 900] does not fit" in fails("train", "--model.min_size=[128, 900]")
    assert "model.min_size: [] does not fit" in fails("train", "--model.min_size=[]")
