"""Masks as one tensor or one for each image: what belongs to which RoI."""

from __future__ import annotations

import pytest
import torch

import roikit

X = torch.rand(2, 3, 9, 11)
LISTS = [torch.tensor([[1.0, 1, 8, 7]]), torch.tensor([[2.0, 0, 9, 8], [0, 0, 4, 4.0]])]


def test_a_list_is_one_tensor_cut_by_image():
    masks = torch.rand(3, 2, 2)
    pool = roikit.MaskedRoIPool(2)
    assert torch.equal(pool(X, LISTS, masks=[masks[:1], masks[1:]]), pool(X, LISTS, masks=masks))
    none = [torch.zeros(0, 4)] * 2
    assert pool(X, none, masks=[torch.zeros(0, 2, 2)] * 2).shape == (0, 3, 2, 2)


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        ([torch.ones(2, 2, 2), torch.ones(1, 2, 2)], r"masks has \[2, 1\] for the images, but .* \[0, 1, 1\]"),
        ([torch.ones(1, 2, 2)] * 3, "one for each of the 2 images, not a list of 3"),
        ([torch.ones(1, 2, 2), torch.ones(2, 2, 3)], r"masks\[1\] must be a Tensor\[N, 2, 2\].* is \[2, 2, 3\]"),
        ([torch.ones(1, 2, 2), [[1]]], r"masks\[1\] must be a Tensor\[N, 2, 2\].* is list"),
        (
            torch.ones(2, 2, 2),
            r"masks must be a Tensor\[3, 2, 2\], a mask for each RoI, .* is \[2, 2, 2\]",
        ),
        (torch.ones(3, 2, 2, dtype=torch.complex64), "bool or real factors, but it is torch.complex64"),
        (torch.ones(3, 2, 2).numpy(), "one tensor, or a list .*, not ndarray"),
    ],
)
def test_masks_that_do_not_belong(masks, message):
    with pytest.raises(ValueError, match=message):
        roikit.MaskedRoIPool(2)(X, LISTS, masks=masks)


def test_a_list_beside_rois_in_another_order():
    boxes = torch.tensor([[1.0, 0, 0, 4, 4], [0, 0, 0, 4, 4]])
    with pytest.raises(ValueError, match="in their order, or one tensor"):
        roikit.MaskedRoIPool(2)(X, boxes, masks=[torch.ones(1, 2, 2)] * 2)
