"""Backbones of timm: their strides, dilation, and what is frozen."""

import pytest
import torch
from torch import nn
from torchvision.ops import FrozenBatchNorm2d

from roikit.detection.backbones import build_body, freeze
from roikit.detection.necks import DilatedC5Neck, PyramidNeck

SHALLOW = {"depths": (1, 2, 1, 2)}  # fewer blocks than published


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("resnet18", {}),
        ("convnext_atto", {}),
        ("mobilenetv3_small_050", {}),
        ("pvt_v2_b0", {}),
        ("swin_tiny_patch4_window7_224", SHALLOW),  # maps come channels-last
        ("swinv2_tiny_window8_256", SHALLOW),
        ("swinv2_cr_tiny_ns_224", SHALLOW),
    ],
)
def test_pyramid_on_several_families(name, options):
    body = build_body(name, options=options)
    neck = PyramidNeck(body, 8).eval()
    neck.check_sizes(name, 32)
    for size in ((64, 64), (96, 160)):
        with torch.no_grad():
            maps = neck(torch.rand(1, 3, *size))
        assert {key: tuple(m.shape) for key, m in maps.items()} == {
            key: (1, 8, -(-size[0] // stride), -(-size[1] // stride)) for key, stride in neck.strides.items()
        }
    assert list(neck.strides.values()) == [4, 8, 16, 32, 64]


@pytest.mark.parametrize("name", ["swin_tiny_patch4_window7_224", "swinv2_cr_tiny_ns_224"])
def test_maps_of_swin_are_normed(name):
    """torch's layer norm over the channels of timm's own maps, channels-last in one of them and -first in the other."""
    body = build_body(name, options=SHALLOW)
    neck = PyramidNeck(body, 8).eval()
    image = torch.rand(2, 3, 96, 64)
    for norm in neck.norms:
        torch.nn.init.normal_(norm.weight)
    with torch.no_grad():
        for x, norm, found in zip(body.net.eval()(image), neck.norms, neck.maps(image), strict=True):
            x = x.permute(0, 3, 1, 2) if body.channels_last else x
            centred = x - x.mean(1, keepdim=True)
            expected = centred / (centred.square().mean(1, keepdim=True) + 1e-5).sqrt() * norm.weight[:, None, None]
            torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_windows_of_swin_shift_in_every_stage():
    """Every second block, in the last stage too, whose map is a single window only at 224 pixels."""
    net = build_body("swin_tiny_patch4_window7_224").net
    blocks = [module for module in net.modules() if hasattr(module, "shift_size")]
    assert [block.shift_size for block in blocks] == [(0, 0), (3, 3)] * 6
    assert {block.window_size for block in blocks} == {(7, 7)}


@pytest.mark.parametrize(("name", "options"), [("swin_tiny_patch4_window7_224", SHALLOW), ("pvt_v2_b0", {})])
def test_three_trainable_layers_of_a_transformer(name, options):
    body = build_body(name, options=options)
    freeze(body, norm="frozen", trainable_layers=3)
    first = ("patch_embed", "layers_0", "stages_0")
    assert all(p.requires_grad != n.startswith(first) for n, p in body.net.named_parameters())
    assert {n.split(".")[0] for n, p in body.net.named_parameters() if p.requires_grad} == {
        f"{'layers' if 'swin' in name else 'stages'}_{stage}" for stage in (1, 2, 3)
    }


@pytest.mark.parametrize("name", ["resnet10t", "resnet18", "resnet50", "convnext_atto"])
def test_dilated_conv5_keeps_the_meaning_of_its_weights(name):
    """Every second cell of the dilated conv5 is the strided conv5 with the same weights (ResNets without average
    pooling in the shortcut); conv4 does not change at all."""
    strided, dilated = build_body(name), build_body(name, output_stride=16)
    dilated.net.load_state_dict(strided.net.state_dict())
    neck = DilatedC5Neck(dilated, 8)
    neck.eval(), strided.net.eval()
    image = torch.rand(1, 3, 96, 128)
    with torch.no_grad():
        conv4, conv5 = neck.maps(image)
        *_, expected4, expected5 = strided.net(image)
    assert conv4.shape[-2:] == conv5.shape[-2:] == (6, 8)
    torch.testing.assert_close(conv4, expected4)
    if name in ("resnet18", "resnet50"):
        torch.testing.assert_close(conv5[..., ::2, ::2], expected5, atol=1e-5, rtol=1e-4)


def norms(net, kind):
    return {name for name, module in net.named_modules() if isinstance(module, kind)}


@pytest.mark.parametrize("norm", ["batch", "frozen"])
def test_three_trainable_layers_freeze_stem_and_first_stage(norm):
    body = build_body("resnet10t")
    every_norm = norms(body.net, nn.BatchNorm2d)
    freeze(body, norm=norm, trainable_layers=3)
    first = ("conv1", "bn1", "layer1")
    assert all(p.requires_grad != name.startswith(first) for name, p in body.net.named_parameters())
    expected = {name for name in every_norm if norm == "frozen" or name.startswith(first)}
    assert norms(body.net, FrozenBatchNorm2d) == expected
    assert norms(body.net, nn.BatchNorm2d) == every_norm - expected


def test_everything_learns_with_five_layers():
    body = build_body("resnet10t")
    freeze(body, norm="batch", trainable_layers=5)
    assert all(p.requires_grad for p in body.net.parameters())
    assert not norms(body.net, FrozenBatchNorm2d)


def test_freezing_keeps_what_the_network_computes():
    body = build_body("mobilenetv3_small_050")  # norms with an activation inside
    net, image = body.net, torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        net.train()(image)
        before = net.eval()(image)
        freeze(body, norm="frozen", trainable_layers=3)
        after = net.train()(image)
    for a, b in zip(before, after, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_a_model_without_a_separate_stem():
    body = build_body("convnext_atto")
    freeze(body, norm="batch", trainable_layers=3)
    assert all(p.requires_grad != n.startswith(("stem", "stages_0")) for n, p in body.net.named_parameters())
    body = build_body("mobilenetv3_small_050")
    freeze(body, norm="batch", trainable_layers=4)
    frozen = {n.split(".")[0] for n, p in body.net.named_parameters() if not p.requires_grad}
    assert frozen == {"conv_stem"} or frozen == {"conv_stem", "bn1"}
