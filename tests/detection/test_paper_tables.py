"""Mask R-CNN with the backbones of SRA's tables: their published sizes, and a step and an evaluation of each."""

from __future__ import annotations

import functools

import pytest
import torch

import roikit
from experiments.complexity.counting import detector_multiply_adds
from roikit.detection import faster_rcnn, mask_rcnn

# Millions of parameters of Mask R-CNN with COCO's 80 categories, as printed in the tables of Swin (ICCV 2021, with the
# released models) and PVTv2 (CVM 2022). They leave out what is frozen: the stem and the first stage of a ResNet.
PUBLISHED = {
    "swin_tiny_patch4_window7_224": 48,
    "swin_small_patch4_window7_224": 69,
    "swin_base_patch4_window7_224": 107,
    "pvt_v2_b0": 23.5,
    "resnet50": 44.2,
    "resnext101_32x4d": 62.8,
    "resnext101_64x4d": 101.9,
}


# 10⁹ multiply-adds of a Mask R-CNN at 1280 × 800: mmdetection's own count of its ResNet-50, and InternImage's README.
MULTIPLY_ADDS = {"resnet50": 260.1, "internimage_tiny": 270}


@pytest.mark.parametrize("name", MULTIPLY_ADDS)
def test_multiply_adds_as_published(name):
    with torch.device("meta"):
        model = mask_rcnn(name, num_classes=81)
    assert detector_multiply_adds(model) == pytest.approx(MULTIPLY_ADDS[name], rel=0.015)


def test_multiply_adds_of_dynamic_head():
    """By hand, at 1280 × 800 and 256 channels: each block has deformable 3×3 convolutions of each of the 4 levels, of
    the next finer and of the next coarser one, and one that predicts offsets and factors (27 channels)."""
    with torch.device("meta"):
        plain, model = (faster_rcnn("resnet50", neck, num_classes=81) for neck in ("fpn", "dyhead"))
    cells = [200 * 320, 100 * 160, 50 * 80, 25 * 40]
    read = sum(cells) + 2 * sum(cells[1:])
    block = 9 * 256 * (256 * read + 27 * sum(cells))
    attention = 4 * (256 * 64 + 64 * 1024) + 256 * (4 + 3 + 3)  # of the channels, and of each map that is read
    more = 1e9 * (detector_multiply_adds(model) - detector_multiply_adds(plain))
    assert more == pytest.approx(6 * (block + attention), rel=1e-6)


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_as_published(name):
    with torch.device("meta"):
        model = mask_rcnn(name, num_classes=81, trainable_layers=3 if "res" in name else 5)
    printed = PUBLISHED[name]
    millions = sum(p.numel() for p in model.parameters() if p.requires_grad) / 1e6
    assert millions == pytest.approx(printed, abs=0.5 if isinstance(printed, int) else 0.06)


def one_step(model, batch):
    losses = model(*batch)
    assert set(losses) == {"loss_classifier", "loss_box_reg", "loss_objectness", "loss_rpn_box_reg", "loss_mask"}
    sum(losses.values()).backward()
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []
    torch.optim.SGD(model.parameters(), lr=1e-3).step()
    with torch.no_grad():
        results = model.eval()(batch[0])
    assert [result["masks"].shape[-2:] == image.shape[-2:] for image, result in zip(batch[0], results, strict=True)]


@pytest.mark.parametrize(
    "name",
    [
        name if name in ("swin_tiny_patch4_window7_224", "pvt_v2_b0") else pytest.param(name, marks=pytest.mark.slow)
        for name in PUBLISHED
    ],
)
def test_trains_and_evaluates_by_its_name_alone(tiny, batch, name):
    one_step(tiny("mask", backbone=name), batch)


SRA = functools.partial(roikit.SemanticRoIAlign, max_cells=16)


@pytest.mark.parametrize(
    "extractors",
    [dict(extractor=SRA), dict(mask_extractor=SRA), dict(extractor=SRA, mask_extractor=SRA)],
    ids=["boxes", "masks", "both"],
)
@pytest.mark.parametrize("per_level", [False, True], ids=["shared", "per level"])
def test_sra_in_either_head_or_both(tiny, batch, extractors, per_level):
    if "mask_extractor" in extractors:
        extractors = extractors | {"mask_extractor": functools.partial(SRA, masks=196)}
    model = tiny("mask", extractor_per_level=per_level, **extractors)
    for head, size in (("box", 7), ("mask", 14)):
        pool = getattr(model.roi_heads, f"{head}_roi_pool")
        kind = roikit.SemanticRoIAlign if f"{head}_extractor".replace("box_", "") in extractors else roikit.RoIAlign
        assert isinstance(pool.extractor_at(0), kind) and pool.output_size == (size, size)
    one_step(model, batch)
