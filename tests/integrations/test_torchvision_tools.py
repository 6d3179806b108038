"""What a torchvision detector meets after ``replace_roi``: strides that are not powers of two, scripting."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision.models.detection import FasterRCNN
from torchvision.ops import MultiScaleRoIAlign

import roikit


class Strided(nn.Module):
    """A backbone of one map of so many pixels a cell; what does not make a whole cell is dropped, or makes one."""

    out_channels = 8

    def __init__(self, stride, whole=True, takes=None):
        super().__init__()
        self.layer = nn.AvgPool2d(stride, stride, ceil_mode=not whole)
        self.colour = nn.Conv2d(3, 8, 1)
        self.takes = takes

    def forward(self, x):
        if self.takes not in (None, x.shape[-1]):
            raise AssertionError(f"Input height ({x.shape[-2]}) doesn't match model ({self.takes}).")
        return {"0": self.colour(self.layer(x))}


def detector(backbone):
    return FasterRCNN(backbone, 2, box_roi_pool=MultiScaleRoIAlign(["0"], 7, 2))


@pytest.mark.parametrize("whole", [True, False], ids=["floor", "ceil"])
@pytest.mark.parametrize("stride", [4, 8, 10, 12, 14, 16, 20, 24, 32])
def test_strides_are_found_exactly(stride, whole):
    model = roikit.replace_roi(detector(Strided(stride, whole)), roikit.RoIAlign(7))
    assert model.roi_heads.box_roi_pool.strides == [stride]


def test_strides_that_blank_images_do_not_tell_are_asked_for():
    model = detector(Strided(27, whole=False))
    with pytest.raises(ValueError, match=r"does not tell its stride: give them, strides="):
        roikit.replace_roi(model, roikit.RoIAlign(7))
    assert roikit.replace_roi(model, roikit.RoIAlign(7), strides={"0": 27}).roi_heads.box_roi_pool.strides == [27]


@pytest.mark.parametrize("takes", [224, 256])
def test_a_backbone_that_takes_one_size_is_told_to_give_strides(takes):
    """Whatever it raises: at the first image, or at the second, which 10 pixels a cell need."""
    with pytest.raises(ValueError, match=r"does not take a blank .* give them, strides="):
        roikit.replace_roi(detector(Strided(10, takes=takes)), roikit.RoIAlign(7))


def test_scripting_says_what_to_use_instead():
    model = roikit.replace_roi(detector(Strided(16)), roikit.RoIAlign(7)).eval()
    with pytest.raises(RuntimeError, match=r"cannot be scripted: TorchScript.*torch\.compile.*torch\.export"):
        torch.jit.script(model)
    with pytest.raises(RuntimeError, match=r"RoIAlign cannot be scripted"):
        torch.jit.script(roikit.RoIAlign(7))
