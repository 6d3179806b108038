"""Detectors that a configuration asks for: Cascade R-CNN, a transformer, SRA in the mask head."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import tiny_run
import torch
from safetensors.torch import load_file

import roikit
from roikit.analysis import region_weights_of
from roikit.cli import main
from roikit.train.build import build_model
from roikit.train.errors import RunError
from roikit.train.parse import parse
from roikit.train.sampling import Samplers
from roikit.train.trained import load_trained

STAGES = [f"loss_{name}_stage{stage}" for stage in (1, 2, 3) for name in ("classifier", "box_reg")]
CASCADE = ["--model.cascade=true", "--extractor=DeformRoIPool"]


def losses_of(run) -> dict[str, float]:
    records = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return next(record for record in records if record["kind"] == "train")


def test_cascade_stopped_and_resumed(train, tmp_path, left, capsys):
    """The same weights as in one go; they evaluate, and what a region reads can be shown."""
    length = ["--optim.steps=5", "--save_every=2", *CASCADE]
    assert train(f"--out={tmp_path / 'whole'}", *length) == 0
    left[0] = 3
    assert train(f"--out={tmp_path / 'broken'}", *length) == 130
    left[0] = 100
    assert train(f"--resume={tmp_path / 'broken'}") == 0
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "broken"))
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    assert set(STAGES) < set(losses_of(tmp_path / "whole"))

    capsys.readouterr()
    assert main(["eval", str(tmp_path / "whole"), "--cpu=true"]) == 0
    assert "boxes, COCO metrics" in capsys.readouterr().out
    model, _, _ = load_trained(tmp_path / "whole")
    assert [type(model.roi_heads.pool_of(stage).extractor) for stage in range(3)] == [roikit.DeformRoIPool] * 3
    view = region_weights_of(model, torch.rand(3, 64, 64), torch.tensor([8.0, 8, 40, 40]))
    assert view.grid == (7, 7) and "DeformRoIPool" in view.title


def test_a_cascade_s_losses_are_those_of_the_global_batch():
    """Two images together and one by one: the same samples in every stage, and means over them that add up."""
    torch.manual_seed(0)
    # more than there are: every proposal is drawn, and each image has its own number of them
    flags = ["--model.cascade=true", "--model.norm=frozen", "--model.rois_per_image=512"]
    config, _ = parse([*tiny_run.FLAGS, *flags])
    model = build_model(config, 2)
    samplers = Samplers(model)
    images = [torch.rand(3, 64, 64) for _ in range(2)]
    boxes = (torch.tensor([[8.0, 8, 40, 40]]), torch.tensor([[20.0, 4, 60, 60], [2, 2, 20, 30], [5, 30, 30, 62]]))
    targets = [{"boxes": b, "labels": torch.arange(len(b)) % 2 + 1} for b in boxes]

    def step(which: list[int], others: torch.Tensor | None = None) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        samplers.reseed([10 + i for i in which])
        losses = model([images[i] for i in which], [targets[i] for i in which])
        counts = samplers.counts()
        own = torch.tensor([float(counts[name.partition("_stage")[0]]) for name in losses])
        if others is None:
            return losses, own
        reduce = SimpleNamespace(num_processes=2, device="cpu", reduce=lambda own, how: own + others)
        return samplers.balance(losses, reduce), own

    with torch.no_grad():
        together, total = step([0, 1])
        first, second = step([0])[1], step([1])[1]
        assert torch.equal(first + second, total) and not torch.equal(first, second), (first, second)
        shares = step([0], second)[0], step([1], first)[0]
    assert set(STAGES) < set(together)
    for name, loss in together.items():
        torch.testing.assert_close((shares[0][name] + shares[1][name]) / 2, loss)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--model.masks=true"], "model.cascade: this detector predicts boxes only"),
        (["--extractor=PSRoIAlign"], "model.cascade: the extractor is position-sensitive"),
        (["--model.options={iou_thresholds: [0.5]}"], r"model: iou_thresholds, .*\[1, 3, 3\] entries"),
        (["--model.options={bbox_reg_weights: [1, 1, 1, 1]}"], "differs from stage to stage .* use box_weights"),
    ],
)
def test_what_a_cascade_refuses(flags, message):
    config, _ = parse([*tiny_run.FLAGS, "--model.cascade=true", *flags])
    with pytest.raises(RunError, match=message):
        build_model(config, 2)


BOTH = """
model: {masks: true}
extractor:
  class_path: roikit.SemanticRoIAlign
  init_args: {max_cells: 16}
mask_extractor:
  class_path: roikit.SemanticRoIAlign
  init_args: {max_cells: 16, masks: 196}
"""
FLAGS = [
    "--extractor=SemanticRoIAlign",
    "--extractor.max_cells=16",
    "--mask_extractor=SemanticRoIAlign",
    "--mask_extractor.max_cells=16",
    "--mask_extractor.masks=196",
    "--model.masks=true",
]


@pytest.mark.parametrize("how", ["flags", "file"])
def test_sra_in_both_heads(train, tmp_path, how):
    (tmp_path / "both.yaml").write_text(BOTH)
    run = tmp_path / "run"
    said = FLAGS if how == "flags" else [f"--config={tmp_path / 'both.yaml'}"]
    assert train(f"--out={run}", "--optim.steps=2", *said) == 0
    assert {"loss_mask", "loss_box_reg"} < set(losses_of(run))
    model, _, _ = load_trained(run)
    for head, side in (("box", 7), ("mask", 14)):
        extractor = getattr(model.roi_heads, f"{head}_roi_pool").extractor
        assert isinstance(extractor, roikit.SemanticRoIAlign) and extractor.output_size == (side, side)


def test_sra_in_the_box_head_only():
    """As in the paper: nothing said of the mask head leaves it with RoIAlign."""
    config, _ = parse([*tiny_run.FLAGS, "--model.masks=true", "--extractor=SemanticRoIAlign"])
    heads = build_model(config, 2).roi_heads
    assert isinstance(heads.box_roi_pool.extractor, roikit.SemanticRoIAlign)
    assert isinstance(heads.mask_roi_pool.extractor, roikit.RoIAlign)
    assert heads.mask_roi_pool.output_size == (14, 14)


def test_a_transformer_by_its_name(train, tmp_path):
    assert train(f"--out={tmp_path / 'run'}", "--optim.steps=1", "--model.backbone=pvt_v2_b0") == 0
    model, _, _ = load_trained(tmp_path / "run")
    assert model.build_info["backbone"] == "pvt_v2_b0"
