"""Law 5: odd RoIs give finite values, wrong ones an error that names them; nothing crashes."""

from __future__ import annotations

import pytest
import torch
from listing import SCALE, dtypes, every, rois

from roikit.boxes import Rois

NAN, INF = float("nan"), float("inf")

ODD = {
    "no width": [5.0, 4.0, 5.0, 20.0],
    "no area": [5.3, 4.7, 5.3, 4.7],
    "corners exchanged": [30.0, 20.0, 4.0, 3.0],
    "tiny": [10.0, 10.0, 10.000001, 10.000001],
    "subnormal": [0.0, 0.0, 1e-42, 1e-42],
    "left of the map": [-900.0, 2.0, -800.0, 9.0],
    "below the map": [2.0, 900.0, 9.0, 950.0],
    "at the far corner": [68.0, 26.0, 68.0, 26.0],
    "beyond every side": [-500.0, -500.0, 500.0, 500.0],
    "huge": [-1e6, -1e6, 1e6, 1e6],
    "huge, far away": [1e9, 1e9, 1.5e9, 2e9],
    "beyond 64-bit integers": [-1e30, -1e30, 1e30, 1e30],
    "the largest floats": [-3e38, -3e38, 3e38, 3e38],
}


@every
@dtypes
@pytest.mark.parametrize("name", ODD)
def test_law_5_odd_rois_give_finite_values(variant, dtype, name, rng, poisoned, monkeypatch):
    extractor = variant.make()
    x = variant.features(rng, dtype)
    box = torch.tensor([ODD[name]], dtype=dtype)
    if not torch.isfinite(box.float() * 2).all():
        box = box / 4  # the width of a box is a number of its dtype, also once it is expanded
    ordinary = torch.tensor([[3.0, 2.0, 40.0, 21.0]], dtype=dtype)
    boxes = [torch.cat([ordinary, box]).requires_grad_(), ordinary]
    x.requires_grad_()
    out = extractor(x, boxes, SCALE)
    assert bool(torch.isfinite(out).all())
    if variant.bounded:  # the mean or maximum of values in [-½, ½], or 0
        assert float(out.abs().max()) <= 0.5 + 1e-5
    inputs = [x, boxes[0]] if variant.smooth else [x]
    for gradient in torch.autograd.grad(out.square().sum(), inputs):
        assert bool(torch.isfinite(gradient).all())
    with torch.no_grad():
        alone = extractor(x, [ordinary, ordinary], SCALE)
        fused = extractor(x, boxes, SCALE)
        # A layer's matrix product may round otherwise for another number of rows.
        torch.testing.assert_close(fused[::2], alone, rtol=0, atol=1e-6 if variant.learns else 0)
        monkeypatch.setenv("ROIKIT_BACKEND", "reference")
        reference = extractor(x, boxes, SCALE)
    torch.testing.assert_close(fused, reference, rtol=0, atol=2e-6)


@every
@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_law_5_a_coordinate_that_is_not_finite_is_an_error_that_names_the_roi(variant, value, rng):
    extractor, x = variant.make(), variant.features(rng)
    for column in range(1, 5):
        boxes = rois(rng)
        boxes[7, column] = value
        with pytest.raises(ValueError, match=r"RoI 7: \[.*(nan|inf).*\] has a NaN or infinite coordinate"):
            extractor(x, boxes, SCALE)


@every
def test_law_5_a_wrong_batch_index_is_an_error_that_names_the_roi(variant, rng):
    for index in (-1, 2, 10**6, NAN, INF):
        boxes = rois(rng)
        boxes[4, 0] = index
        with pytest.raises(ValueError, match=r"RoI 4: .*batch index"):
            variant.make()(variant.features(rng), boxes, SCALE)


@every
def test_law_5_a_wrong_level_is_an_error_that_names_the_roi(variant, rng):
    boxes, x = rois(rng), variant.features(rng)
    level = torch.zeros(len(boxes), dtype=torch.int64)
    level[3] = 2
    with pytest.raises(ValueError, match=r"RoI 3: 2 is its level index, but the features have 2 \(0 to 1\)"):
        variant.make()([x, x], Rois(boxes[:, 1:], boxes[:, 0].long(), level), [SCALE, SCALE])


WRONG = {
    "4 columns": (lambda x, b: (x, b[:, 1:]), r"Tensor\[R, 5\].*shape is \[12, 4\]"),
    "6 columns in a list": (lambda x, b: (x, [b, b]), r"boxes\[0\] must be a Tensor\[R, 4\]"),
    "one box, no rows": (lambda x, b: (x, b[0]), r"Tensor\[R, 5\].*shape is \[5\]"),
    "a list too short": (lambda x, b: (x, [b[:, 1:]]), "list of 1 tensors but the features hold 2 images"),
    "an empty list": (lambda x, b: (x, []), "list of 0 tensors but the features hold 2 images"),
    "no tensors in a list": (lambda x, b: (x, [[1, 2, 3, 4], [1, 2, 3, 4]]), r"boxes\[0\] must be a tensor, not list"),
    "no boxes": (lambda x, b: (x, None), "not NoneType"),
    "integer boxes": (lambda x, b: (x, b.long()), "floating point.*int64.*float"),
    "an int32 batch index": (
        lambda x, b: (x, Rois(b[:, 1:], b[:, 0].int(), b[:, 0].long())),
        r"Rois.batch must be an int64 Tensor\[12\]",
    ),
    "too few levels": (
        lambda x, b: (x, Rois(b[:, 1:], b[:, 0].long(), b[:3, 0].long())),
        r"Rois.level must be an int64 Tensor\[12\]",
    ),
    "features without a batch": (lambda x, b: (x[0], b), r"Tensor\[B, C, H, W\], but its shape is \[\d+, 13, 17\]"),
    "integer features": (lambda x, b: (x.long(), b), "floating point.*int64"),
    "features without cells": (lambda x, b: (x[:, :, :0], b), "no cells"),
    "no features": (lambda x, b: ([], b), "empty list"),
    "features that are no tensor": (lambda x, b: ("x", b), r"must be a Tensor\[B, C, H, W\], not str"),
    "boxes on another device": (lambda x, b: (x, b.to("meta")), "boxes are on meta but the features are on cpu"),
}


@every
def test_law_5_wrong_arguments_are_errors_that_say_what_to_give(variant, rng):
    for arguments, message in WRONG.values():
        given = arguments(variant.features(rng), rois(rng))
        with pytest.raises(ValueError, match=message):
            variant.make(given=False)(
                *given, SCALE if isinstance(given[0], torch.Tensor | str) else [SCALE] * len(given[0])
            )


@every
def test_law_5_wrong_scales(variant, rng):
    for scale in (0, -1.0, NAN, INF, (0.5,), (0.5, 0.5, 0.5)):
        with pytest.raises(ValueError, match="spatial_scale must be a positive float or a"):
            variant.make()(variant.features(rng), rois(rng), scale)


@every
def test_law_5_levels_that_do_not_belong_together(variant, rng):
    x, boxes = variant.features(rng), rois(rng)
    levelled = Rois(boxes[:, 1:], boxes[:, 0].long(), torch.zeros(12, dtype=torch.int64))
    extractor = variant.make(given=False)
    with pytest.raises(ValueError, match="2 feature maps need as many spatial_scales, but there are 1"):
        extractor([x, x], levelled, [SCALE])
    with pytest.raises(ValueError, match="several feature maps need Rois"):
        extractor([x, x], boxes, [SCALE, SCALE])
    for other in (x.float(), x[:, :3], x[:1]):
        with pytest.raises(ValueError, match=r"features\[1\] is .*levels share batch, channels, dtype and device"):
            extractor([x, other], levelled, [SCALE, SCALE])


@every
@dtypes
@pytest.mark.parametrize("backend", ["numba", "reference"])
def test_law_5_unchecked_a_nan_box_gives_nan_features_for_its_roi_alone(
    variant, dtype, backend, rng, unchecked, poisoned, monkeypatch
):
    monkeypatch.setenv("ROIKIT_BACKEND", backend)
    extractor, x, boxes = variant.make(), variant.features(rng, dtype).requires_grad_(), rois(rng).to(dtype)
    expected = extractor(x, boxes, SCALE)
    others = torch.arange(len(boxes)) != 5
    for columns in ([1], [2], [3], [4], [1, 2, 3, 4]):
        for value in (NAN, INF, -INF):
            wrong = boxes.clone()
            wrong[5, columns] = value
            for given in (wrong, wrong.clone().requires_grad_()):
                out = extractor(x, given, SCALE)
                torch.testing.assert_close(out[others], expected[others], rtol=0, atol=1e-6)
                assert bool(torch.isnan(out[5]).all())


@every
@pytest.mark.parametrize("wanted", ["values", "feature gradients", "box gradients"])
@pytest.mark.parametrize("backend", ["numba", "reference"])
def test_law_5_unchecked_a_wrong_batch_index_touches_no_memory_outside(
    variant, wanted, backend, rng, unchecked, monkeypatch
):
    monkeypatch.setenv("ROIKIT_BACKEND", backend)
    extractor, x = variant.make(), variant.features(rng).requires_grad_(wanted == "feature gradients")
    for index in (-1, 2, 10**9, NAN):
        boxes = rois(rng)
        boxes[4, 0] = index
        with pytest.raises(ValueError, match="RoI 4"):
            extractor(x, boxes.requires_grad_(wanted == "box gradients"), SCALE)
