"""Receptive fields, sampling and bin locations: against patterns known by hand, formulas and finite differences."""

from __future__ import annotations

import inspect

import pytest
import torch
from small_detector import SmallDetector
from torch import nn
from torchvision.models.detection.transform import GeneralizedRCNNTransform

import roikit
from experiments.spatial_support.conv_samples import sampling_locations
from experiments.spatial_support.located import Located, bin_locations, receptive_field
from experiments.spatial_support.nodes import BackboneNode, BoxNode, Response
from roikit.extractors import EXTRACTORS
from roikit.layers import DeformConv

SIDE = 32


def conv(inputs: int, outputs: int = 1, kernel: int = 3, **options) -> nn.Conv2d:
    """Without a bias, padded so that the map stays as large."""
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False, **options)


def detector(backbone: nn.Module, extractor=None, *, size: int = SIDE, std: float = 1.0) -> SmallDetector:
    """Images of 32 × 32 pixels are not resized; the head flattens."""
    model = SmallDetector(extractor or roikit.RoIAlign(2), size=size)
    model.transform = GeneralizedRCNNTransform(size, size, [0.0] * 3, [std] * 3, size_divisible=4)
    model.backbone = backbone
    model.roi_heads.box_head = nn.Flatten()
    return model


@pytest.fixture
def noise(rng) -> torch.Tensor:
    return torch.rand(3, SIDE, SIDE, generator=rng) + 0.1


def test_two_convolutions_of_ones_have_a_known_receptive_field(noise):
    layers = [conv(3), conv(1)]
    for layer in layers:
        nn.init.ones_(layer.weight)
    found = receptive_field(detector(nn.Sequential(*layers), std=0.5), noise, BackboneNode(10.5, 7.9))
    line = torch.tensor([1.0, 2.0, 3.0, 2.0, 1.0])
    expected = torch.zeros(SIDE, SIDE)
    expected[5:10, 8:13] = 2 * 3**0.5 * line[:, None] * line  # of three colours, each divided by the std
    assert torch.allclose(found, expected, atol=1e-5)
    assert Located.of(found).radius() == pytest.approx((2 * 4 / 3) ** 0.5, rel=1e-5)  # variance of 1 2 3 2 1 is 4/3


@pytest.mark.parametrize("node", [BackboneNode(9.0, 20.0), BoxNode((4.0, 6.0, 21.0, 25.0))], ids=["backbone", "box"])
def test_the_receptive_field_is_the_slope_in_each_pixel(node, noise):
    """Through resizing to 48 pixels and back, by finite differences in float64."""
    torch.manual_seed(1)
    backbone = nn.Sequential(conv(3, 4, stride=2), nn.Tanh(), conv(4, 4, stride=2))
    model = detector(backbone, size=48, std=0.3).double()
    image, step = noise.double(), 1e-5
    found = receptive_field(model, image, node)
    for v, u in ((20, 9), (19, 10), (12, 12)):
        slopes = []
        for channel in range(3):
            sizes = []
            for sign in (1, -1):
                moved = image.clone()
                moved[channel, v, u] += sign * step
                response = Response(model, moved, node)
                sizes.append(float(response(response.prepare(response.pixels)).detach().norm()))
            slopes.append((sizes[0] - sizes[1]) / (2 * step))
        assert float(found[v, u]) == pytest.approx(float(torch.tensor(slopes).norm()), rel=1e-4, abs=1e-7)


def slopes_of(image: torch.Tensor) -> torch.Tensor:
    """Half the difference of the pixels on both sides, ``[2, 3, H, W]`` (y, x); the border is not looked at."""
    dy, dx = torch.zeros_like(image), torch.zeros_like(image)
    dy[:, 1:-1] = (image[:, 2:] - image[:, :-2]) / 2
    dx[..., 1:-1] = (image[..., 2:] - image[..., :-2]) / 2
    return torch.stack([dy, dx])


@pytest.mark.parametrize("deformable", [False, True])
def test_one_convolution_reads_the_regular_grid(deformable, noise):
    """Sample k's strength is |Σ_c w_kc ∇x_c| at its place."""
    layer = conv(3)
    nn.init.uniform_(layer.weight, 0.1, 1.0)
    model = detector(DeformConv.of(layer, modulated=False) if deformable else layer)
    found = sampling_locations(model, noise, BackboneNode(12.2, 9.9))
    places = [(u + 0.5, v + 0.5) for v in (8, 9, 10) for u in (11, 12, 13)]
    assert found.points.tolist() == [list(place) for place in places]
    slope = slopes_of(noise)[:, :, 8:11, 11:14]
    expected = (slope * layer.weight[0].detach()).sum(1).norm(dim=0).flatten()
    assert torch.allclose(found.strength, expected, rtol=1e-3, atol=1e-4)


def test_offsets_move_the_places_and_modulation_weakens_them(noise):
    layer = conv(3)
    nn.init.uniform_(layer.weight, 0.1, 1.0)
    plain = sampling_locations(detector(layer), noise, BackboneNode(12.0, 9.0))
    moved = DeformConv.of(layer)
    regular = sampling_locations(detector(moved), noise, BackboneNode(12.0, 9.0))
    assert torch.equal(regular.points, plain.points)
    assert torch.allclose(regular.strength, plain.strength / 2, rtol=1e-3)  # Δm is ½
    with torch.no_grad():
        moved.offset.bias[0:18:2] = 0.25  # y of every sample
        moved.offset.bias[1:18:2] = -1.5
    found = sampling_locations(detector(moved), noise, BackboneNode(12.0, 9.0))
    assert torch.allclose(found.points, plain.points + torch.tensor([-1.5, 0.25]))
    # sample 4 lies at (9.25, 10.5) in cells: the slopes of the bilinear interpolant there
    a, b, c, d = (noise[:, v, u] for v, u in ((9, 10), (9, 11), (10, 10), (10, 11)))
    slope = torch.stack([0.5 * (c + d) - 0.5 * (a + b), 0.75 * (b - a) + 0.25 * (d - c)])
    expected = 0.5 * (slope * layer.weight[0, :, 1, 1].detach()).sum(1).norm()
    assert float(found.strength[4]) == pytest.approx(float(expected), rel=1e-3)


def test_stacked_convolutions_read_a_growing_grid(noise):
    """A 3×3 on every second cell, then a 3×3 with dilation 2: rows 2·(v + {-2, 0, 2}) + {-1, 0, 1}."""
    first, second = conv(3, 2, stride=2), nn.Conv2d(2, 2, 3, padding=2, dilation=2, bias=False)
    model = detector(nn.Sequential(first, nn.Conv2d(2, 2, 1), second))
    found = sampling_locations(model, noise, BackboneNode(17.0, 15.0))  # cell (7, 8)
    rows = {2 * (7 + i) + j + 0.5 for i in (-2, 0, 2) for j in (-1, 0, 1)}
    cols = {2 * (8 + i) + j + 0.5 for i in (-2, 0, 2) for j in (-1, 0, 1)}
    assert len(found.strength) == 81
    assert {tuple(p) for p in found.points.tolist()} == {(u, v) for u in cols for v in rows}
    last = sampling_locations(model, noise, BackboneNode(17.0, 15.0), layers=1)  # in cells of 2 pixels
    assert last.points.tolist() == [[2 * (8 + u) + 1, 2 * (7 + v) + 1] for v in (-2, 0, 2) for u in (-2, 0, 2)]


def ramp(slopes: torch.Tensor) -> torch.Tensor:
    """An image whose colour c is slopes[c, 0]·x + slopes[c, 1]·y + 0.2."""
    places = torch.arange(64) + 0.5
    return (slopes[:, 0, None, None] * places + slopes[:, 1, None, None] * places[:, None]) + 0.2


def test_bins_of_roi_align_lie_at_their_centres_and_count_by_their_slope():
    slopes = torch.tensor([[0.01, 0.0], [0.002, 0.004], [0.0, 0.003]])
    model = detector(nn.AvgPool2d(4), roikit.RoIAlign(2), size=64)
    node = BoxNode((8.0, 12.0, 40.0, 52.0))
    found = bin_locations(model, ramp(slopes), node)
    centres = torch.tensor([[16.0, 22.0], [32.0, 22.0], [16.0, 42.0], [32.0, 42.0]])
    assert torch.allclose(found.points, centres, atol=1e-4)
    y = centres @ slopes.T + 0.2  # the features of each bin: the ramp at its centre
    expected = (y @ slopes).norm(dim=1) / y.norm()  # the response is y itself: d|y| / d place
    assert torch.allclose(found.strength, expected, rtol=1e-4)
    by_features = bin_locations(model, ramp(slopes), node, "features")
    assert torch.allclose(by_features.strength, y.norm(dim=1) / y.norm(), rtol=1e-4)


def test_deformable_bins_lie_where_their_offsets_have_moved_them():
    pool = roikit.DeformRoIPool(3, output_size=2, gamma=0.1)
    with torch.no_grad():
        pool.offset.bias[:4] = torch.tensor([1.0, 0.0, 0.0, -1.0])  # y of each bin, by the RoI's height of 40 px
        pool.offset.bias[4:] = torch.tensor([0.0, 0.5, 0.0, 0.0])  # x, by its width of 32 px
    slopes = torch.full((3, 2), 0.004)
    found = bin_locations(detector(nn.AvgPool2d(4), pool, size=64), ramp(slopes), BoxNode((8.0, 12.0, 40.0, 52.0)))
    expected = torch.tensor([[16.0, 26.0], [33.6, 22.0], [16.0, 42.0], [32.0, 38.0]])
    assert torch.allclose(found.points, expected, atol=1e-4)


@pytest.mark.parametrize(("aggregate", "levels"), [("assign", 1), ("sum", 2), ("concat", 2)])
def test_the_bins_of_all_levels_that_are_read(aggregate, levels):
    class Pyramid(nn.Module):
        def forward(self, x):
            return {"fine": nn.functional.avg_pool2d(x, 4), "coarse": nn.functional.avg_pool2d(x, 8)}

    model = detector(Pyramid(), size=64)
    model.roi_heads.box_roi_pool = roikit.MultiScale(
        roikit.RoIAlign(2), ["fine", "coarse"], [4, 8], aggregate=aggregate
    )
    slopes = torch.tensor([[0.01, 0.0], [0.002, 0.004], [0.0, 0.003]])
    found = bin_locations(model, ramp(slopes), BoxNode((8.0, 12.0, 40.0, 52.0)))
    centres = torch.tensor([[16.0, 22.0], [32.0, 22.0], [16.0, 42.0], [32.0, 42.0]])
    assert torch.allclose(found.points, centres.repeat(levels, 1), atol=1e-4)
    y = centres @ slopes.T + 0.2
    # both levels give the same ramp; of "concat" y twice, of "sum" 2·y: d‖y‖ / dy of each level
    size = {"assign": y.norm(), "sum": y.norm(), "concat": 2**0.5 * y.norm()}[aggregate]
    assert torch.allclose(found.strength, ((y @ slopes).norm(dim=1) / size).repeat(levels), rtol=1e-4)


@pytest.mark.parametrize("kind", EXTRACTORS, ids=lambda kind: kind.__name__)
def test_every_extractor(kind, rng):
    """Bins of every method are placed in the box's image, and count; a receptive field reaches the image."""
    torch.manual_seed(0)
    channels, accepted = 32, inspect.signature(kind).parameters
    extractor = kind(**{k: v for k, v in {"channels": channels, "output_size": 2}.items() if k in accepted})
    model = detector(nn.Sequential(nn.AvgPool2d(4), conv(3, channels)), extractor, size=64)
    image, node = torch.rand(3, 64, 64, generator=rng), BoxNode((9.0, 12.0, 41.0, 50.0))
    for by in ("location", "features"):
        found = bin_locations(model, image, node, by)
        height, width = extractor.output_size
        assert 1 <= len(found.points) <= height * width
        assert bool(((found.points > 0) & (found.points < 64)).all())
        assert bool(found.strength.isfinite().all()) and float(found.strength.sum()) > 0
    field = Located.of(receptive_field(model, image, node))
    assert field.share_inside(torch.tensor([0.0, 0.0, 64.0, 64.0])) == 1 and 1 < field.radius() < 45


def test_share_and_radius_by_hand():
    located = Located(torch.tensor([[0.5, 0.5], [3.5, 0.5], [0.5, 9.5]]), torch.tensor([1.0, 2.0, 5.0]))
    assert located.share_inside(torch.tensor([0.0, 0.0, 4.0, 2.0])) == pytest.approx(3 / 8)
    mask = torch.zeros(2, 4)
    mask[0, 3] = 1
    assert located.share_inside(mask) == pytest.approx(2 / 8)  # the third point lies below the mask
    nothing = Located(torch.zeros(2, 2), torch.zeros(2))
    assert nothing.radius() != nothing.radius() and nothing.share_inside(mask) != nothing.share_inside(mask)
    field = torch.zeros(3, 5)
    field[1, 4] = 7
    assert Located.of(field).points[field.flatten() > 0].tolist() == [[4.5, 1.5]]


def test_what_does_not_fit(noise):
    model = detector(nn.AvgPool2d(4))
    for node, message in (
        (BackboneNode(32.0, 4.0), r"\(32, 4\) lies outside of the image of 32×32 pixels"),
        (BoxNode((0.0, 0.0, float("inf"), 4.0)), "a box must be four finite numbers"),
    ):
        with pytest.raises(ValueError, match=message):
            receptive_field(model, noise, node)
    with pytest.raises(ValueError, match="has no convolution of several samples"):
        sampling_locations(model, noise, BackboneNode(4.0, 4.0))
    with pytest.raises(ValueError, match="layers must be at least 1"):
        sampling_locations(model, noise, BackboneNode(4.0, 4.0), 0)
    with pytest.raises(ValueError, match='by must be "location" or "features"'):
        bin_locations(model, noise, BoxNode((1.0, 1.0, 9.0, 9.0)), "place")
    model.roi_heads.box_roi_pool = nn.Identity()
    with pytest.raises(ValueError, match=r"does not pool its boxes with roikit\.MultiScale"):
        bin_locations(model, noise, BoxNode((1.0, 1.0, 9.0, 9.0)))
    del model.roi_heads.box_head
    with pytest.raises(ValueError, match="no roi_heads with box_roi_pool and box_head"):
        receptive_field(model, noise, BoxNode((1.0, 1.0, 9.0, 9.0)))


def test_the_model_is_put_back(noise):
    model = detector(conv(3)).train()
    receptive_field(model, noise, BackboneNode(4.0, 4.0))
    sampling_locations(model, noise, BackboneNode(4.0, 4.0))
    assert model.training and not model.backbone._forward_hooks and model.backbone.weight.grad is None
