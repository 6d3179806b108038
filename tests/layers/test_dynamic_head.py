"""Dynamic Head: counts worked out by hand, a plain convolution where nothing moves, a reading cell by cell."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import conv2d, group_norm

import roikit
from roikit.layers.dynamic_head import DynamicHeadBlock


@pytest.fixture
def block():
    torch.manual_seed(0)
    return DynamicHeadBlock(16).double()


def test_parameters_are_the_paper_s():
    """By hand, of 256 channels: offsets 256·27·9 + 27; three convolutions 256²·9 with norms of 2·256; scales 257; the
    ReLU's layers 256·64 + 64 and 64·1024 + 1024."""
    expected = 256 * 27 * 9 + 27 + 3 * (256 * 256 * 9 + 512) + 257 + 256 * 64 + 64 + 64 * 1024 + 1024
    count = sum(p.numel() for p in DynamicHeadBlock(256).parameters())
    assert count == expected == 1_916_508 and round(6 * count / 1e6, 1) == 11.5


def test_where_nothing_moves_it_is_half_a_convolution(block, rng):
    x = torch.rand(2, 16, 7, 9, generator=rng, dtype=torch.float64)
    own = block.own
    offset, factor = block.offset(x).split([18, 9], 1)
    assert float(offset.detach().abs().max()) == 0 and bool((factor == 0).all())
    plain = group_norm(conv2d(x, own.weight / 2, padding=1), 16, own.norm.weight, own.norm.bias)
    torch.testing.assert_close(own(x, offset, factor.sigmoid()), plain)
    # one level alone: the convolution, weighted by its importance, through the dynamic ReLU
    (out,) = block([x])
    torch.testing.assert_close(out, block.activate(plain * block.importance(plain)))


def test_every_level_reads_its_neighbours_and_no_other(block, rng):
    maps = [torch.rand(1, 16, side, side, generator=rng, dtype=torch.float64) for side in (16, 8, 4, 2)]
    before = block(maps)
    for changed in range(4):
        after = block([x + 1.5 * x.flip(2) if level == changed else x for level, x in enumerate(maps)])
        differs = [not torch.equal(a, b) for a, b in zip(before, after, strict=True)]
        assert differs == [abs(level - changed) <= 1 for level in range(4)]


def test_lines_of_the_dynamic_relu(block, rng):
    """With the last layer at 0 the lines are 1·x and 0: a ReLU."""
    for parameter in block.lines.parameters():
        torch.nn.init.zeros_(parameter)
    x = torch.randn(2, 16, 5, 5, generator=rng, dtype=torch.float64)
    torch.testing.assert_close(block.activate(x), x.relu())


def test_importance_is_a_hard_sigmoid_of_the_mean(block):
    torch.nn.init.constant_(block.scale.weight, 1 / 16)
    torch.nn.init.zeros_(block.scale.bias)
    for value, expected in ((-5.0, 0.5), (0.0, 0.5), (1.2, 0.7), (9.0, 1.0)):
        assert block.importance(torch.full((1, 16, 3, 3), value).double()).item() == pytest.approx(expected)


def test_gradients(block):
    torch.nn.init.normal_(block.offset.weight, std=0.05)
    maps = [torch.rand(1, 16, side, side, dtype=torch.float64, requires_grad=True) for side in (4, 2)]
    out = sum(x.square().sum() for x in block(maps))
    out.backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in block.parameters())
    assert all(float(x.grad.abs().sum()) > 0 for x in maps)


def test_odd_sizes_and_wrong_channels(block):
    maps = [torch.rand(1, 16, *size, dtype=torch.float64) for size in ((13, 17), (7, 9), (4, 5))]
    assert [x.shape[-2:] for x in block(maps)] == [x.shape[-2:] for x in maps]
    with pytest.raises(ValueError, match="channels=20 must be a multiple of groups=16"):
        DynamicHeadBlock(20)


def test_a_detector_with_it_trains_and_detects():
    torch.manual_seed(0)
    model = roikit.detection.faster_rcnn(
        "test_resnet", "dyhead", roikit.SemanticRoIAlign, 3, channels=16, fc_dim=16, min_size=64, max_size=64
    )
    assert len(model.backbone.blocks) == 6
    target = {"boxes": torch.tensor([[10.0, 12.0, 50.0, 40.0]]), "labels": torch.tensor([1])}
    losses = model([torch.rand(3, 64, 64)], [target])
    sum(losses.values()).backward()
    for name, parameter in model.backbone.blocks.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
    assert sorted(model.eval()([torch.rand(3, 64, 80)])[0]) == ["boxes", "labels", "scores"]
