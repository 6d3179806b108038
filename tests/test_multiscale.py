"""MultiScale against torchvision's MultiScaleRoIAlign, and what that one cannot do."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
from torchvision.ops import MultiScaleRoIAlign

import roikit
from roikit.boxes import Rois, assign_levels

NAMES = ["0", "1", "2", "3"]
STRIDES = [4, 8, 16, 32]
IMAGES = [(256, 320), (256, 320)]


def pyramid(rng, dtype=torch.float32, channels=5, strides=STRIDES, images=IMAGES):
    height, width = images[0]
    return OrderedDict(
        (str(i), torch.rand(len(images), channels, height // s, width // s, generator=rng, dtype=dtype))
        for i, s in enumerate(strides)
    )


def proposals(rng, counts=(30, 20)):
    """Boxes of all sizes, from 4 px to more than the whole image, at least one for every level."""
    levels = torch.tensor([[9.0, 7, 60, 70], [3, 9, 150, 160], [2, 2, 300, 250], [-90, -90, 500, 420]])
    found = []
    for count in counts:
        size = torch.exp(torch.rand(count, 2, generator=rng) * 5.5 + 1.4)
        start = torch.rand(count, 2, generator=rng) * torch.tensor([320.0, 256.0])
        found.append(torch.cat([torch.cat([start, start + size], 1)[4:], levels]))
    return found


@pytest.mark.parametrize("sampling", [2, 0])
@pytest.mark.parametrize("size", [7, (3, 5)])
def test_same_outputs_as_torchvisions_pooler(sampling, size, rng):
    x, boxes = pyramid(rng), proposals(rng)
    theirs = MultiScaleRoIAlign(NAMES, size, sampling)
    ours = roikit.MultiScale(roikit.RoIAlign(size, sampling, aligned=False), NAMES, STRIDES)
    mine = {k: v.clone().requires_grad_() for k, v in x.items()}
    its = OrderedDict((k, v.clone().requires_grad_()) for k, v in x.items())
    found, expected = ours(mine, boxes, IMAGES), theirs(its, boxes, IMAGES)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    weight = torch.randn(found.shape, generator=rng)
    gradients = torch.autograd.grad(found, list(mine.values()), weight)
    wanted = torch.autograd.grad(expected, list(its.values()), weight)
    for gradient, want in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(gradient, want, rtol=0, atol=1e-4)


def test_it_stands_where_torchvisions_pooler_stands(rng):
    """The attributes that torchvision's RoI heads and their users read."""
    theirs = MultiScaleRoIAlign(NAMES, 7, 2)
    ours = roikit.MultiScale(roikit.RoIAlign(7), NAMES, STRIDES)
    assert ours.featmap_names == theirs.featmap_names and ours.output_size == theirs.output_size
    assert (ours.canonical_scale, ours.canonical_level) == (theirs.canonical_scale, theirs.canonical_level)
    x = pyramid(rng)
    x["pool"] = torch.full((2, 5, 4, 5), float("nan"))  # the RPN's level: not one of ours
    assert bool(torch.isfinite(ours(x, proposals(rng), IMAGES)).all())


def test_canonical_scale_and_level(rng):
    x, boxes = pyramid(rng), proposals(rng)
    theirs = MultiScaleRoIAlign(NAMES, 3, 2, canonical_scale=100, canonical_level=3)
    extractor = roikit.RoIAlign(3, aligned=False)
    ours = roikit.MultiScale(extractor, NAMES, STRIDES, canonical_scale=100, canonical_level=3)
    torch.testing.assert_close(ours(x, boxes), theirs(x, boxes, IMAGES), rtol=0, atol=1e-6)


def test_strides_for_each_axis_and_no_powers_of_two(rng):
    """A map squeezed in height only, and a stride of 3: no scale is guessed from sizes."""
    x = {
        "a": torch.rand(1, 2, 40, 60, generator=rng, dtype=torch.float64),
        "b": torch.rand(1, 2, 10, 25, generator=rng, dtype=torch.float64),
    }
    pool = roikit.MultiScale(roikit.RoIAlign(3), ["a", "b"], [(3, 2), (12, 5)])
    boxes = torch.tensor([[10.0, 20, 25, 29], [3, 4, 118, 117.0]], dtype=torch.float64)
    out = pool(x, [boxes])
    for row, (name, scale) in enumerate((("a", (1 / 3, 1 / 2)), ("b", (1 / 12, 1 / 5)))):
        alone = roikit.RoIAlign(3)(x[name], [boxes[row : row + 1]], scale)
        torch.testing.assert_close(out[row : row + 1], alone, rtol=0, atol=1e-13)


def test_one_level_is_the_extractor(rng):
    x, boxes = torch.rand(2, 3, 16, 20, generator=rng), proposals(rng)
    pool = roikit.MultiScale(roikit.PrRoIPool(3), ["0"], [16])
    assert torch.equal(pool({"0": x}, boxes), roikit.PrRoIPool(3)(x, boxes, 1 / 16))


def test_no_boxes(rng):
    x = pyramid(rng)
    pool = roikit.MultiScale(roikit.RoIAlign(7), NAMES, STRIDES)
    for value in x.values():
        value.requires_grad_()
    out = pool(x, [torch.zeros(0, 4), torch.zeros(0, 4)], IMAGES)
    assert out.shape == (0, 5, 7, 7)
    out.sum().backward()
    assert all(value.grad is not None and not value.grad.any() for value in x.values())


def test_gradients_reach_the_boxes(rng):
    x, boxes = pyramid(rng, torch.float64), [b.double().requires_grad_() for b in proposals(rng)]
    roikit.MultiScale(roikit.PrRoIPool(3), NAMES, STRIDES)(x, boxes).square().sum().backward()
    assert all(bool((b.grad != 0).any()) for b in boxes)


def test_mixed_precision(rng):
    """Half-precision maps and float32 boxes, as autocast leaves them."""
    x, boxes = pyramid(rng), proposals(rng)
    pool = roikit.MultiScale(roikit.RoIAlign(7), NAMES, STRIDES)
    found = pool({k: v.bfloat16() for k, v in x.items()}, boxes)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), pool(x, boxes), rtol=0, atol=1e-2)


def test_weights_say_levels_too(rng):
    x, boxes = pyramid(rng, torch.float64), proposals(rng)
    rois = Rois.of(boxes, 2)
    rois = Rois(rois.boxes, rois.batch, assign_levels(rois.boxes, STRIDES))
    extractor = roikit.RoIAlign(3)
    out = extractor.weights(list(x.values()), rois, [1 / s for s in STRIDES]).pool(list(x.values()))
    torch.testing.assert_close(out, roikit.MultiScale(extractor, NAMES, STRIDES)(x, boxes))


def test_parameters_and_settings_are_seen():
    pool = roikit.MultiScale(roikit.RoIAlign(7), NAMES, [4, 8, 16, (32, 16)])
    assert "strides=[4, 8, 16, (32, 16)]" in repr(pool) and "RoIAlign(output_size=(7, 7)" in repr(pool)


def test_errors(rng):
    extractor, x = roikit.RoIAlign(7), pyramid(rng)
    with pytest.raises(ValueError, match="extractor must be a RegionExtractor such as"):
        roikit.MultiScale(torch.nn.Identity(), NAMES, STRIDES)
    with pytest.raises(ValueError, match=r"4 feature maps .* need as many strides"):
        roikit.MultiScale(extractor, NAMES, [4, 8])
    with pytest.raises(ValueError, match="0 feature maps"):
        roikit.MultiScale(extractor, [], [])
    with pytest.raises(ValueError, match="strides must grow"):
        roikit.MultiScale(extractor, NAMES, [32, 16, 8, 4])
    with pytest.raises(ValueError, match="positive float"):
        roikit.MultiScale(extractor, ["0"], [0])
    pool = roikit.MultiScale(extractor, ["0", "p3"], [4, 8])
    with pytest.raises(ValueError, match="no map called 'p3': they are"):
        pool(x, proposals(rng))
    pool = roikit.MultiScale(extractor, NAMES, STRIDES)
    with pytest.raises(ValueError, match="list of 1 tensors but the features hold 2 images"):
        pool(x, [torch.zeros(3, 4)])
    wrong = proposals(rng)
    wrong[1][2, 1] = float("inf")
    with pytest.raises(ValueError, match=r"RoI 32: .* has a NaN or infinite coordinate"):
        pool(x, wrong)
