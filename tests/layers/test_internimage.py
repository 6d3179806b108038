"""DCNv3 against a loop and against means; InternImage-T's size against what its authors print."""

from __future__ import annotations

from math import floor

import pytest
import torch
from torch.nn.functional import conv2d

import roikit
from roikit.detection.backbones import build_body
from roikit.layers.deform_conv_v3 import DeformConvV3


def open_up(layer: DeformConvV3, generator: torch.Generator, spread: float = 1.0) -> DeformConvV3:
    """Offsets and factors that are not those of the start; what mixes channels is the identity."""
    with torch.no_grad():
        for one in (layer.offset, layer.mask):
            one.weight.copy_(torch.randn(one.weight.shape, generator=generator) * spread)
        for one in (layer.input_proj, layer.output_proj):
            one.weight.copy_(torch.eye(len(one.weight)))
    return layer


def test_at_the_start_it_is_the_mean_of_a_window(rng):
    """Zero offsets, equal factors: a 3 × 3 mean, channel by channel, 0 outside."""
    layer = open_up(DeformConvV3(8, 4), rng, 0.0).double()
    x = torch.rand(2, 6, 7, 8, generator=rng, dtype=torch.float64)
    mean = conv2d(x.permute(0, 3, 1, 2), torch.full((8, 1, 3, 3), 1 / 9).double(), padding=1, groups=8)
    torch.testing.assert_close(layer(x), mean.permute(0, 2, 3, 1))


def test_it_is_the_sum_of_eq_2(rng):
    """Point by point, written from the formula."""
    layer = open_up(DeformConvV3(4, 2), rng).double()
    x = torch.rand(1, 4, 5, 4, generator=rng, dtype=torch.float64)
    offset, factor = (one.detach() for one in layer.predict(x))
    out = layer(x)

    def between(v: float, u: float, channel: int) -> float:
        total = 0.0
        for row in (floor(v), floor(v) + 1):
            for column in (floor(u), floor(u) + 1):
                if 0 <= row < 4 and 0 <= column < 5:
                    total += float(x[0, row, column, channel]) * (1 - abs(v - row)) * (1 - abs(u - column))
        return total

    for i, j, channel in ((0, 0, 0), (1, 2, 1), (3, 4, 2), (2, 3, 3), (0, 4, 3)):
        group, total = channel // 2, 0.0
        for k in range(9):
            u = j + k // 3 - 1 + float(offset[0, i, j, group, k, 0])
            v = i + k % 3 - 1 + float(offset[0, i, j, group, k, 1])
            total += float(factor[0, i, j, group, k]) * between(v, u, channel)
        assert out[0, i, j, channel].item() == pytest.approx(total)


def test_factors_are_a_softmax_and_gradients_are_right(rng):
    layer = open_up(DeformConvV3(4, 2), rng, 0.3).double()
    x = torch.rand(1, 3, 4, 4, generator=rng, dtype=torch.float64, requires_grad=True)
    assert torch.allclose(layer.predict(x)[1].sum(4), torch.ones(1, 3, 4, 2).double())
    assert torch.autograd.gradcheck(layer, (x,))
    half = layer.to(torch.bfloat16)(x.detach().bfloat16())
    assert half.dtype == torch.bfloat16 and torch.isfinite(half).all()


def test_arguments():
    with pytest.raises(ValueError, match="channels=10 must be a multiple of groups=4"):
        DeformConvV3(10, 4)
    with pytest.raises(ValueError, match="kernel=4 must be odd"):
        DeformConvV3(8, 4, kernel=4)


def test_the_tiny_model_has_the_size_that_its_authors_print():
    """Its README: 30M parameters as a classifier, whose head has a 1×1 convolution to 768 channels with a batch norm
    before the linear layer (here the linear layer alone), and a Mask R-CNN of 49M."""
    import timm

    from roikit.layers import internimage  # noqa: F401  (registers its models with timm)

    with torch.device("meta"):
        classifier = timm.create_model("internimage_tiny")
    own = sum(p.numel() for p in classifier.parameters())
    theirs = own - (512 * 1000 + 1000) + 512 * 768 + 2 * 768 + 768 * 1000 + 1000
    assert theirs / 1e6 == pytest.approx(30, abs=0.1)
    body = build_body("internimage_tiny")
    assert (body.channels, body.strides) == ((64, 128, 256, 512), (4, 8, 16, 32))
    detector = roikit.detection.mask_rcnn("internimage_tiny", num_classes=81)
    assert sum(p.numel() for p in detector.parameters()) / 1e6 == pytest.approx(49, abs=1)


def test_its_maps_are_those_of_its_stages(rng):
    import timm

    from roikit.layers import internimage  # noqa: F401  (registers its models with timm)

    small = {"channels": 16, "depths": (1, 1, 2, 1), "groups": (1, 2, 4, 8), "num_classes": 5}
    torch.manual_seed(0)
    whole = timm.create_model("internimage_tiny", **small).eval()
    torch.manual_seed(0)
    parts = timm.create_model("internimage_tiny", features_only=True, **small).eval()
    images = torch.rand(2, 3, 64, 96, generator=rng)
    maps = parts(images)
    assert [tuple(x.shape[1:]) for x in maps] == [(16, 16, 24), (32, 8, 12), (64, 4, 6), (128, 2, 3)]
    torch.testing.assert_close(maps[-1], whole.forward_features(images))
    assert whole(images).shape == (2, 5)


def test_a_detector_trains_on_it():
    small = {"channels": 16, "depths": (1, 1, 1, 1), "groups": (1, 2, 4, 8)}
    model = roikit.detection.faster_rcnn(
        "internimage_tiny", num_classes=3, channels=16, fc_dim=16, min_size=64, max_size=64, backbone_options=small
    )
    target = {"boxes": torch.tensor([[10.0, 12.0, 50.0, 40.0]]), "labels": torch.tensor([1])}
    sum(model([torch.rand(3, 64, 64)], [target]).values()).backward()
    assert all(p.grad is not None for p in model.backbone.parameters() if p.requires_grad)
