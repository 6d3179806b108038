"""Law 5: odd RoIs give finite values, wrong ones an error that names them; nothing crashes.

What a box may be is decided where it is read, so errors are tested on one extractor of each reader, and of all others
that they go through one. What a sum makes of it is tested on the sums.
"""

from __future__ import annotations

import pytest
import torch
from listing import SCALE, SMALL, Variant, dtypes, every, rois
from sums import every_sum, sums_and_extractors

from roikit import ops
from roikit.boxes import Rois
from roikit.extractors import LearnedRegionFeatures, RegionExtractor, RoIAlign, RotatedRoIAlign

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


def odd(dtype: torch.dtype) -> torch.Tensor:
    """``Tensor[13, 4]``; the width of a box is a number of its dtype, also once it is expanded."""
    boxes = torch.tensor(list(ODD.values()), dtype=dtype)
    too_large = ~torch.isfinite(boxes.float() * 2).all(1, keepdim=True)
    return torch.where(too_large, boxes / 4, boxes)


@sums_and_extractors
@dtypes
def test_law_5_odd_rois_give_finite_values(variant, dtype, rng, poisoned, monkeypatch):
    extractor, x = variant.make(), variant.features(rng, dtype).requires_grad_()
    ordinary = torch.tensor([[3.0, 2.0, 40.0, 21.0]], dtype=dtype)
    boxes = torch.cat([ordinary, odd(dtype)]).requires_grad_()
    out = extractor(x, [boxes, ordinary], SCALE)
    inputs = [x, boxes] if variant.smooth else [x]
    gradients = torch.autograd.grad(out.square().sum(), inputs)
    with torch.no_grad():
        alone = extractor(x, [ordinary, ordinary], SCALE)
        fused = extractor(x, [boxes, ordinary], SCALE)
        monkeypatch.setenv("ROIKIT_BACKEND", "reference")
        reference = extractor(x, [boxes, ordinary], SCALE)
    for row, name in enumerate(ODD, 1):
        assert bool(torch.isfinite(out[row]).all()), name
        if variant.bounded:  # the mean or maximum of values in [-½, ½], or 0
            assert float(out[row].detach().abs().max()) <= 0.5 + 1e-5, name
        if variant.smooth:
            assert bool(torch.isfinite(gradients[1][row]).all()), name
        torch.testing.assert_close(fused[row], reference[row], rtol=0, atol=2e-6, msg=lambda m, n=name: f"{n}: {m}")
    assert bool(torch.isfinite(gradients[0]).all())
    # The others do not notice. A layer's matrix product may round otherwise for another number of rows.
    torch.testing.assert_close(fused[[0, -1]], alone, rtol=0, atol=1e-6 if variant.learns else 0)


# One extractor of each reader: ``locate``, ``rotated.read`` (of boxes alone here; of rotated ones in
# tests/extractors/test_rotated_boxes.py), and ``valid_cells`` after ``locate``.
readers = pytest.mark.parametrize(
    "variant", [Variant(RoIAlign), Variant(RotatedRoIAlign), Variant(LearnedRegionFeatures, SMALL)], ids=str
)


@every
def test_law_5_every_extractor_reads_boxes_through_a_reader(variant, rng, monkeypatch):
    """And refuses what a reader refuses, with the reader's words."""
    read = []
    locate, of = RegionExtractor.locate, Rois.of
    monkeypatch.setattr(RegionExtractor, "locate", lambda *a, **k: read.append("locate") or locate(*a, **k))
    monkeypatch.setattr(Rois, "of", staticmethod(lambda *a, **k: read.append("Rois.of") or of(*a, **k)))
    extractor, x = variant.make(given=False), variant.features(rng)
    extractor(x, rois(rng), SCALE)
    assert "Rois.of" in read
    assert "locate" in read or variant.kind is RotatedRoIAlign  # whose boxes may be rotated ones alone
    boxes = rois(rng)
    boxes[7, 3] = NAN
    with pytest.raises(ValueError, match=r"RoI 7: \[.*nan.*\] has a NaN or infinite coordinate"):
        extractor(x, boxes, SCALE)
    boxes = rois(rng)
    boxes[4, 0] = 2
    with pytest.raises(ValueError, match=r"RoI 4: .*batch index"):
        extractor(x, boxes, SCALE)
    if variant.extras:  # given, they are read with the boxes
        boxes[4, 0], boxes[9, 1] = 0, INF
        with pytest.raises(ValueError, match="RoI 9"):
            variant.make()(x, boxes, SCALE)


@readers
@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_law_5_a_coordinate_that_is_not_finite_is_an_error_that_names_the_roi(variant, value, rng):
    extractor, x = variant.make(), variant.features(rng)
    for column in range(1, 5):
        boxes = rois(rng)
        boxes[7, column] = value
        with pytest.raises(ValueError, match=r"RoI 7: \[.*(nan|inf).*\] has a NaN or infinite coordinate"):
            extractor(x, boxes, SCALE)
        by_image = [boxes[:4, 1:], boxes[4:, 1:]]
        with pytest.raises(ValueError, match=r"RoI 7: \[.*(nan|inf).*\] has a NaN or infinite coordinate"):
            extractor(x, by_image, SCALE)


@readers
def test_law_5_a_box_whose_sides_may_be_infinite_is_an_error_that_names_the_roi(variant, rng):
    extractor, x = variant.make(given=False), variant.features(rng)
    boxes = rois(rng)
    boxes[7, 1:] = torch.tensor([-3e38, 0.0, 3e38, 5.0])
    with pytest.raises(ValueError, match=r"RoI 7: \[.*e\+38.*\] has a coordinate beyond ±8.5e\+37"):
        extractor(x, boxes, SCALE)


@readers
def test_law_5_a_wrong_batch_index_is_an_error_that_names_the_roi(variant, rng):
    for index in (-1, 2, 10**6, NAN, INF):
        boxes = rois(rng)
        boxes[4, 0] = index
        with pytest.raises(ValueError, match=r"RoI 4: .*batch index"):
            variant.make()(variant.features(rng), boxes, SCALE)


@readers
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


@readers
def test_law_5_wrong_arguments_are_errors_that_say_what_to_give(variant, rng):
    for arguments, message in WRONG.values():
        given = arguments(variant.features(rng), rois(rng))
        with pytest.raises(ValueError, match=message):
            variant.make(given=False)(
                *given, SCALE if isinstance(given[0], torch.Tensor | str) else [SCALE] * len(given[0])
            )


@readers
def test_law_5_wrong_scales(variant, rng):
    for scale in (0, -1.0, NAN, INF, (0.5,), (0.5, 0.5, 0.5), None, "x", ("a", 1.0), 1j):
        with pytest.raises(ValueError, match="spatial_scale must be a positive float or a"):
            variant.make()(variant.features(rng), rois(rng), scale)


@readers
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


def not_finite(boxes: torch.Tensor) -> torch.Tensor:
    """15 rows: the first box with a NaN or an infinity in each column, and in all."""
    wrong = boxes[:1].repeat(15, 1)
    for row, (columns, value) in enumerate(
        (columns, value) for columns in ([1], [2], [3], [4], [1, 2, 3, 4]) for value in (NAN, INF, -INF)
    ):
        wrong[row, columns] = value
    return wrong


def gives_nan_for_them_alone(variant, dtype, rng):
    extractor, x, boxes = variant.make(), variant.features(rng, dtype).requires_grad_(), rois(rng).to(dtype)
    wrong = torch.cat([boxes[:6], not_finite(boxes), boxes[6:]])
    expected = extractor(x, boxes, SCALE)
    for given in (wrong, wrong.clone().requires_grad_()):
        out = extractor(x, given, SCALE)
        assert bool(torch.isnan(out[6:21]).flatten(1).all(1).all())
        torch.testing.assert_close(torch.cat([out[:6], out[21:]]), expected, rtol=0, atol=1e-6)


@every_sum
@dtypes
@pytest.mark.parametrize("backend", ["numba", "reference"])
def test_law_5_unchecked_a_nan_box_gives_nan_features_for_its_roi_alone(
    variant, dtype, backend, rng, unchecked, poisoned, monkeypatch
):
    monkeypatch.setenv("ROIKIT_BACKEND", backend)
    gives_nan_for_them_alone(variant, dtype, rng)


@every
def test_law_5_unchecked_no_extractor_loses_a_nan_box(variant, rng, unchecked, poisoned):
    """A clamp or a comparison on the way to the sum could make a number of it."""
    gives_nan_for_them_alone(variant, torch.float32, rng)


@every_sum
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


@pytest.mark.parametrize("backend", ["reference", "numba"])
@pytest.mark.parametrize("move", [INF, 1e30])
def test_an_infinite_move_is_nan_wherever_the_other_axis_reads(backend, move, monkeypatch):
    """γ times 1e30 times a side of 1e20 is infinite in float32; the columns lie beside the map."""
    monkeypatch.setenv("ROIKIT_BACKEND", backend)
    boxes = torch.tensor([[0.0, 900.0, 0.0, 902.0, 1e20], [0, 1, 1, 3, 3]])
    offset = torch.zeros(2, 2, 2, 2)
    offset[0, 0, 1, 0] = move
    out = ops.deform_roi_pool(torch.randn(1, 3, 6, 7), boxes, offset, output_size=2)
    assert out.isnan().sum() == 3 and out[0, :, 1, 0].isnan().all()
