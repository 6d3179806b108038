"""Backbones whose 3×3 convolutions are replaced: which, how many, and what stays."""

from __future__ import annotations

import pytest
import timm
import torch
import torchvision
from torch import nn

from roikit.detection import faster_rcnn
from roikit.layers import DeformConv, make_deformable

C3_TO_C5 = ("layer2", "layer3", "layer4")


def from_timm(name, **arguments):
    return lambda: timm.create_model(name, **arguments)


BACKBONES = {  # what makes one, and its 3×3 convolutions in conv3 to conv5 and in conv5
    "timm resnet18": (from_timm("resnet18"), 12, 4),
    "timm resnet50, maps": (from_timm("resnet50", features_only=True), 13, 3),
    "timm resnet50, maps, dilated": (from_timm("resnet50", features_only=True, output_stride=16), 13, 3),
    "timm resnext50": (from_timm("resnext50_32x4d"), 13, 3),
    "torchvision resnet50": (torchvision.models.resnet50, 13, 3),
    "torchvision resnext50": (torchvision.models.resnext50_32x4d, 13, 3),
}


def deformed(net: nn.Module) -> list[DeformConv]:
    return [module for module in net.modules() if isinstance(module, DeformConv)]


@pytest.mark.parametrize("name", BACKBONES)
def test_every_3x3_convolution_of_the_stages(name):
    make, all_three, last = BACKBONES[name]
    with torch.device("meta"):
        plain = make()
        parameters, shapes = dict(plain.named_parameters()), [m.shape for m in maps(plain)]
        convs = [(n, m) for n, m in plain.named_modules() if isinstance(m, nn.Conv2d)]
        kept = {n: (m.groups, m.stride, m.padding, m.dilation) for n, m in convs}
        net = make_deformable(plain)
    assert net is plain and len(deformed(net)) == all_three
    assert [m.shape for m in maps(net)] == shapes
    left = {n for n, m in net.named_modules() if type(m) is nn.Conv2d and m.kernel_size == (3, 3) if "offset" not in n}
    assert all(n.startswith("layer1") for n in left)
    now = dict(net.named_parameters())
    assert all(now[n] is parameter for n, parameter in parameters.items()), "the same parameters under the same names"
    assert len(now) == len(parameters) + 2 * all_three
    for n, conv in net.named_modules():
        if isinstance(conv, DeformConv):
            assert (conv.groups, conv.stride, conv.padding, conv.dilation) == kept[n]
            assert conv.offset.groups == 1 and conv.offset.out_channels == 27
    with torch.device("meta"):
        assert len(deformed(make_deformable(make(), "layer4", modulated=False))) == last


def maps(net: nn.Module) -> list[torch.Tensor]:
    found = net(torch.rand(2, 3, 64, 96, device=next(net.parameters()).device))
    return list(found) if isinstance(found, (list, tuple)) else [found]


@pytest.mark.parametrize("make", [from_timm("resnext26ts", features_only=True), torchvision.models.resnet18])
def test_the_first_version_changes_nothing_yet(make):
    net = make().eval()
    stages = [name for name, _ in net.named_children() if name in ("stages_2", "stages_3", "layer4")]
    state, image = net.state_dict(), torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        before = net(image)
        after = make_deformable(net, stages, modulated=False)(image)
    torch.testing.assert_close(after, before, rtol=1e-5, atol=1e-5)
    now = net.state_dict()
    assert all(torch.equal(now[name], value) for name, value in state.items())
    assert all(name.endswith(("offset.weight", "offset.bias")) for name in now.keys() - state.keys())
    assert all(not conv.training for conv in deformed(net))


def test_inside_a_detector():
    ours = faster_rcnn("resnet18", num_classes=3, channels=16, fc_dim=16, trainable_layers=1)
    with torch.device("meta"):
        theirs = torchvision.models.detection.fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None)
    assert len(deformed(make_deformable(theirs))) == 13
    body = ours.backbone.body
    assert make_deformable(body, ("layer3", "layer4")) is body and len(deformed(ours)) == 8
    frozen = body.layer3[0].conv1
    assert not frozen.weight.requires_grad and frozen.offset.weight.requires_grad


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ("layer5", "ResNet has no stage 'layer5': 3×3 convolutions are in 'layer1', 'layer2', 'layer3', 'layer4'"),
        (["layer4", "fc"], r"stage 'fc' of ResNet has no 3×3 convolution \(torch.nn.Conv2d\)$"),
        ("conv2", "'conv2' may be 'layer1.0.conv2' or .*: give the full name"),
        ([], "stages is empty"),
    ],
)
def test_stages_that_are_not_there(stages, message):
    net = torchvision.models.resnet18()
    with pytest.raises(ValueError, match=message):
        make_deformable(net, stages)
    assert not deformed(net), "nothing has changed"


def test_convolutions_that_cannot_be_replaced():
    net = nn.ModuleDict({"a": timm.layers.Conv2dSame(2, 2, 3), "b": nn.Conv2d(2, 2, 3, padding_mode="circular")})
    with pytest.raises(ValueError, match="its Conv2dSame cannot be replaced"):
        make_deformable(net, "a")
    with pytest.raises(ValueError, match="pads with 'circular'"):
        make_deformable(net, ["b"])
    net = make_deformable(torchvision.models.resnet18(), "layer4")
    with pytest.raises(ValueError, match="its DeformConv cannot be replaced"):
        make_deformable(net, "layer4")
    assert len(deformed(net)) == 4
    with pytest.raises(ValueError, match="Linear has no stage 'layer4': it has no 3×3 convolution at all"):
        make_deformable(nn.Linear(1, 1), "layer4")
