from __future__ import annotations

import ast
import functools
import inspect
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from pngs import read_png

import roikit
import roikit.analysis
from roikit.analysis import RegionView, draw_weights, region_weights_of, view_region
from roikit.detection import faster_rcnn, rfcn
from roikit.detection.pooling import groups_of
from roikit.extractors import EXTRACTORS

BOX = torch.tensor([20.0, 12.0, 84.0, 76.0])
SMALL = {"num_classes": 3, "channels": 8, "fc_dim": 8, "min_size": 64, "max_size": 128, "weights": None}


def share_near(view: RegionView) -> float:
    """The share of the weights' maximum that lies over the box, grown by two cells and a fifth of its size."""
    sy, sx = view.stride
    seen = view.maximum
    y, x = (torch.arange(n) + 0.5 for n in seen.shape)
    x1, y1, x2, y2 = view.box
    room_y, room_x = 2 * sy + (y2 - y1) / 5, 2 * sx + (x2 - x1) / 5
    inside_y = (y * sy > y1 - room_y) & (y * sy < y2 + room_y)
    inside_x = (x * sx > x1 - room_x) & (x * sx < x2 + room_x)
    return float(seen[inside_y][:, inside_x].sum() / seen.sum())


@pytest.fixture(scope="module")
def detector():
    torch.manual_seed(0)
    return faster_rcnn("test_resnet", **SMALL)


# Every other one by default: between them all kinds of weights.
@pytest.mark.parametrize(
    "kind",
    [pytest.param(e, id=e.__name__, marks=[pytest.mark.slow] if i % 2 else []) for i, e in enumerate(EXTRACTORS)],
)
def test_every_extractor_is_seen_over_its_box(kind, image, tmp_path):
    """In the detector that takes it; what looks at the whole image by default is asked to look at the region."""
    parameters = inspect.signature(kind).parameters
    make = functools.partial(kind, support="roi") if "support" in parameters else kind
    torch.manual_seed(0)
    settings = dict(SMALL)
    if groups_of(make) > 1:
        del settings["fc_dim"]
        model = rfcn("test_resnet", neck="fpn", extractor=make, **settings)
    else:
        model = faster_rcnn("test_resnet", extractor=make, **settings)
    view = region_weights_of(model, image, BOX)
    extractor = model.roi_heads.box_roi_pool.extractor
    parts = extractor.output_size[0] * extractor.output_size[1]
    assert view.weights.shape[1] == parts and view.box == tuple(BOX.tolist())
    assert share_near(view) > 0.999
    sums = view.mean.sum((1, 2))
    assert bool((sums > 0.1).all()) and bool((sums < 1 + 1e-4).all())
    if kind in SUMS_TO_ONE:
        torch.testing.assert_close(sums, torch.ones(parts), atol=1e-4, rtol=0)
    picture = read_png(draw_weights(tmp_path / "weights.png", image, view))
    assert picture.std() > 0.05


SUMS_TO_ONE = (roikit.RoIPool, roikit.RoIAlign, roikit.PrRoIPool, roikit.DeformRoIPool, roikit.PSRoIAlign)


def test_further_arguments_and_levels_of_their_own(image):
    masks = torch.zeros(1, 2, 2)
    masks[0, 0, 0] = 1
    view = view_region(roikit.MaskedRoIPool(2), torch.rand(1, 2, 24, 32), BOX, 4, masks=masks)
    assert view.mean.sum((1, 2)).tolist() == pytest.approx([1, 0, 0, 0])

    class Sized(roikit.RoIAlign):
        extras = ("image_sizes",)

        def weights(self, features, boxes, spatial_scale=1.0, image_sizes=None):
            assert image_sizes == [(64, 85)]  # of the resized image
            return super().weights(features, boxes, spatial_scale)

    each = [Sized(7) for _ in range(4)]
    for settings in ({"extractor": each}, {"extractor": Sized, "aggregate": "concat"}):
        view = region_weights_of(faster_rcnn("test_resnet", **SMALL, **settings), image, BOX)
        assert "level '0', stride 4" in view.title and share_near(view) > 0.999


def test_the_level_and_the_numbers_are_the_detectors_own(detector, image):
    """The dense weights, contracted with the features of their level, are what the model pools."""
    model = roikit.replace_roi(detector, roikit.RoIAlign(7)).eval()
    taken = {}
    hook = model.roi_heads.box_roi_pool.register_forward_hook(lambda m, args, out: taken.update(args=args))
    with torch.no_grad():
        model([image / 255.0])
    hook.remove()
    features, _, [(height, width)] = taken["args"]
    fy, fx = height / image.shape[1], width / image.shape[2]  # 64/96 and 85/128: torchvision rounds
    strides = dict(zip(features, (4, 8, 16, 32), strict=False))
    for box in (BOX, torch.tensor([2.0, 2.0, 126.0, 94.0]), torch.tensor([3.0, 3.0, 9.0, 9.0])):
        view = region_weights_of(model, image, box)
        with torch.no_grad():
            pooled = model.roi_heads.box_roi_pool(features, [box[None] * torch.tensor([fx, fy, fx, fy])], [(0, 0)])
        name = next(n for n, x in features.items() if x.shape[-2:] == view.weights.shape[-2:])
        torch.testing.assert_close(
            torch.einsum("kvu,cvu->ck", view.weights[0], features[name][0]), pooled[0].flatten(1), atol=1e-4, rtol=1e-3
        )
        assert view.stride == pytest.approx((strides[name] / fy, strides[name] / fx))


def test_strides_are_in_pixels_of_the_image_given(detector):
    """The detector resizes; cells are wider or narrower on the original image."""
    model = roikit.replace_roi(detector, roikit.RoIAlign(7))
    small = region_weights_of(model, torch.rand(3, 32, 32), torch.tensor([4.0, 4.0, 28.0, 28.0]))
    large = region_weights_of(model, torch.rand(3, 128, 128), torch.tensor([16.0, 16.0, 112.0, 112.0]))
    assert small.stride == (2.0, 2.0) and large.stride == (8.0, 8.0)
    torch.testing.assert_close(small.weights, large.weights)


def test_the_model_is_put_back(detector, image):
    model = roikit.replace_roi(detector, roikit.RoIAlign(7)).train()
    state = {k: v.clone() for k, v in model.state_dict().items()}
    region_weights_of(model, image, BOX)
    assert model.training and model.backbone.training
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())


def test_selections_are_averaged_over_channels():
    x = torch.zeros(1, 4, 4, 4)
    x[0, :3, 1, 1] = x[0, 3, 2, 2] = 1.0
    view = view_region(roikit.RoIPool(1), x, torch.tensor([0.0, 0.0, 3.0, 3.0]), 1)
    assert view.weights.shape == (4, 1, 4, 4)
    assert view.mean[0, 1, 1] == 0.75 and view.mean[0, 2, 2] == 0.25


def test_the_picture_is_strong_inside_the_box_and_pale_outside(tmp_path):
    """Warm colours only where the weights are: the second panel, found by its place in the layout."""
    from roikit.analysis.weights import GAP, MARGIN, SIDE

    image = torch.full((3, 64, 64), 128, dtype=torch.uint8)
    view = view_region(roikit.RoIAlign(7), torch.rand(1, 2, 16, 16), torch.tensor([16.0, 16.0, 48.0, 48.0]), 4)
    picture = read_png(draw_weights(tmp_path / "a.png", image, view))
    left, top = int((MARGIN + SIDE + GAP) * 120), int((0.1 + 0.45) * 120)
    panel = picture[top : top + int(SIDE * 120), left : left + int(SIDE * 120)]
    warm = panel[..., 0] - panel[..., 2]
    third = len(panel) // 3
    assert warm[third:-third, third:-third].min() > 0.2
    assert np.abs(warm[:6]).max() < 0.1 and np.abs(warm[:, :6]).max() < 0.1


@pytest.mark.parametrize("size", [1, (2, 3), 14])
def test_other_grids(size, image, tmp_path):
    views = [view_region(roikit.PrRoIPool(size), torch.rand(1, 2, 24, 32), box, 4) for box in (BOX, BOX / 4)]
    one = read_png(draw_weights(tmp_path / "a.png", image, views[0]))
    two = read_png(draw_weights(tmp_path / "b.png", image, views, title="two"))
    assert len(two) > 1.8 * len(one) and two.shape[1] == one.shape[1]


def test_a_region_outside_the_image_and_one_without_weights(image, tmp_path):
    for box in ([-50.0, -50.0, 20.0, 20.0], [500.0, 500.0, 600.0, 600.0], [30.0, 30.0, 30.0, 30.0]):
        view = view_region(roikit.PrRoIPool(2), torch.rand(1, 2, 24, 32), torch.tensor(box), 4)
        assert read_png(draw_weights(tmp_path / "a.png", image, view)).std() > 0.05


def test_errors_teach(image, tmp_path, detector):
    view = view_region(roikit.RoIAlign(2), torch.rand(1, 2, 24, 32), BOX, 4)
    with pytest.raises(ValueError, match="no region"):
        draw_weights(tmp_path / "a.png", image, [])
    with pytest.raises(ValueError, match="2 images for 1 regions"):
        draw_weights(tmp_path / "a.png", [image, image], [view])
    with pytest.raises(ValueError, match="K = 9 parts"):
        RegionView(view.box, view.weights, view.stride, (3, 3))
    with pytest.raises(ValueError, match="four finite numbers"):
        view_region(roikit.RoIAlign(2), torch.rand(1, 2, 24, 32), torch.tensor([0.0, 0.0, float("nan"), 1.0]), 4)
    with pytest.raises(ValueError, match="replace_roi puts one in"):
        plain = torchvision.models.detection.fasterrcnn_mobilenet_v3_large_320_fpn(weights=None, weights_backbone=None)
        region_weights_of(plain, image, BOX)
    with pytest.raises(ValueError, match=r"has no roi_heads\.mask_roi_pool"):
        region_weights_of(detector, image, BOX, head="mask")
    assert not list(tmp_path.iterdir())


def test_importing_analysis_is_light():
    """matplotlib is imported inside functions only."""
    folder = Path(roikit.analysis.__file__).parent
    for file in folder.glob("*.py"):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            assert "matplotlib" not in ast.unparse(node) or not isinstance(node, ast.Import | ast.ImportFrom), file
