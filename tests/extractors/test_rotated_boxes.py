"""Rotated boxes that are wrong: errors that name the RoI, or, unchecked, features that are not numbers."""

from __future__ import annotations

import pytest
import torch

from roikit import RotatedRoIAlign, ops

ROWS = torch.tensor([[0, 5.0, 5, 4, 3, 0.1], [1, 6.0, 5, 4, 3, 0.2], [1, 7.0, 5, 4, 3, 0.3]])
UPRIGHT = torch.tensor([[0, 1.0, 1, 4, 3], [1, 1.0, 1, 4, 3], [1, 1.0, 1, 4, 3]])


def changed(row: int, column: int, value: float) -> torch.Tensor:
    rows = ROWS.clone()
    rows[row, column] = value
    return rows


WRONG = {
    "a NaN": (None, changed(1, 5, float("nan")), r"RoI 1: \[.*nan.*\] has a NaN or infinite value"),
    "an infinity": (UPRIGHT, changed(2, 3, float("inf"))[:, 1:], r"RoI 2: \[.*inf.*\] has a NaN or infinite value"),
    "a negative side": (None, changed(2, 4, -1.0), r"RoI 2: .* has a negative width or height"),
    "a wrong image": (None, changed(1, 0, 7.0), "RoI 1: 7 is its batch index, but the features have 2"),
    "an image that is no number": (None, changed(1, 0, float("nan")), "RoI 1: .*batch index that is not finite"),
    "half an image": (None, changed(1, 0, 0.7), "RoI 1: .*batch index that is not a whole number"),
    "another image than boxes": (
        UPRIGHT,
        changed(1, 0, 0.0),
        "RoI 1: 0 is its batch index in rotated_boxes, and boxes",
    ),
    "no image": (None, ROWS[:, 1:], r"Tensor\[R, 6\] with rows \(batch index, cx, cy, w, h, θ\); or pass a list"),
    "too many columns": (None, torch.cat([ROWS, ROWS], 1), r"Tensor\[R, 6\].*shape is \[3, 12\]"),
    "other numbers of boxes": (UPRIGHT[:2], ROWS[:, 1:], "rotated_boxes has 3 rows and boxes has 2"),
    "a list too short": (None, [ROWS[:, 1:]], "list of 1 tensors but the features hold 2 images"),
    "a list of 4 columns": (None, [ROWS[:, 1:], ROWS[:, 2:]], r"rotated_boxes\[1\] must be a Tensor\[R, 5\]"),
    "integers": (None, ROWS.long(), "floating point.*int64"),
    "a word": (None, "x", r"must be a Tensor\[R, 6\] or a list of Tensor\[N, 5\], not str"),
    "another device": (UPRIGHT, ROWS[:, 1:].to("meta"), "rotated_boxes are on meta but the features are on cpu"),
    "nothing at all": (None, None, "not NoneType"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_rotated_boxes(name):
    boxes, rotated, message = WRONG[name]
    with pytest.raises(ValueError, match=message):
        RotatedRoIAlign(2)(torch.rand(2, 1, 8, 8), boxes, rotated_boxes=rotated)


def test_several_levels_need_to_know_which():
    x = torch.rand(2, 1, 8, 8)
    with pytest.raises(ValueError, match="give boxes too, as Rois"):
        RotatedRoIAlign(2)([x, x], None, [1.0, 1.0], rotated_boxes=ROWS)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("backend", ["numba", "reference"])
def test_unchecked_a_box_that_is_not_finite_gives_nan_for_itself_alone(value, backend, unchecked, monkeypatch):
    monkeypatch.setenv("ROIKIT_BACKEND", backend)
    x = torch.rand(2, 1, 8, 8)
    for sampling in (0, 2):
        expected = RotatedRoIAlign(2, sampling)(x, None, rotated_boxes=ROWS)
        for column in range(1, 6):
            found = RotatedRoIAlign(2, sampling)(x, None, rotated_boxes=changed(1, column, value))
            assert bool(found[1].isnan().all())
            torch.testing.assert_close(found[::2], expected[::2], rtol=0, atol=1e-6)


def test_errors_name_the_functions_own_argument():
    with pytest.raises(ValueError, match=r"^boxes must be a Tensor\[R, 6\]"):
        ops.roi_align_rotated(torch.rand(2, 1, 8, 8), UPRIGHT, 2)
    with pytest.raises(ValueError, match="go into rotated_boxes="):
        RotatedRoIAlign(2)(torch.rand(2, 1, 8, 8), ROWS)
    with pytest.raises(ValueError, match="list of as many spatial_scales"):
        RotatedRoIAlign(2, 0)([torch.rand(2, 1, 8, 8)], None, 1.0, rotated_boxes=ROWS)
