"""Extractors that are made of other poolings, against those poolings of others."""

from __future__ import annotations

import formulas
import torch
import torchvision
from oracles import compare
from test_torchvision_oracle import scene

import roikit
from roikit import ops


def test_spatial_pyramid_is_torchvisions_pooling_at_each_grid(rng):
    for dtype in (torch.float32, torch.float64):
        for _ in range(10):
            x, boxes, scale = scene(rng, dtype)
            found = roikit.SpatialPyramidPool((4, (2, 3), 1))(x, boxes, scale)[..., 0]
            grids = [torchvision.ops.roi_pool(x, boxes, g, scale).flatten(2) for g in ((4, 4), (2, 3), (1, 1))]
            compare("`SpatialPyramidPool`", "torchvision's `roi_pool` at each grid", found, torch.cat(grids, 2), 0)


def test_masked_pooling_is_the_formula_times_the_mask(rng):
    x = torch.rand(1, 1, 9, 11, generator=rng, dtype=torch.float64)
    boxes = torch.tensor([[1.2, 3.4, 8.8, 7.1], [-3, 2, 5, 14], [2, 2, 2, 2.5]], dtype=torch.float64)
    masks = torch.rand(3, 3, 4, generator=rng, dtype=torch.float64)
    found = roikit.MaskedRoIPool((3, 4))(x, [boxes], masks=masks)[:, 0]
    plain = [formulas.roi_pool(x[0, 0].tolist(), box, (3, 4), "average", "caffe") for box in boxes.tolist()]
    compare("`MaskedRoIPool`", "loops over the formula", found, torch.tensor(plain, dtype=torch.float64) * masks, 1e-15)


def test_the_bilinear_centre_is_grid_sample(rng):
    """On the map, beyond the centres of its border cells too: grid_sample's padding is the border there."""
    x = torch.rand(1, 3, 9, 11, generator=rng, dtype=torch.float64)
    centre = torch.rand(40, 2, generator=rng, dtype=torch.float64) * torch.tensor([11.0, 9.0])
    half = torch.rand(40, 2, generator=rng, dtype=torch.float64) * 20
    found = roikit.CenterPool("bilinear")(x, [torch.cat([centre - half, centre + half], 1)])
    at = (centre / torch.tensor([11.0, 9.0]) * 2 - 1)[None, :, None]
    expected = torch.nn.functional.grid_sample(x, at, padding_mode="border", align_corners=False)
    compare("`CenterPool`", "`grid_sample`", found[..., 0, 0], expected[0, :, :, 0].t(), 1e-13)


def test_deformable_extractors_move_bins_by_what_their_layers_say_of_torchvisions_features(rng):
    x = torch.rand(2, 4, 12, 15, generator=rng, dtype=torch.float64)
    boxes = torch.tensor([[0, 3.0, 5, 29, 31], [1, -4.0, 2, 40, 17], [1, 9.0, 9, 50, 44]], dtype=torch.float64)
    flat = torchvision.ops.roi_align(x, boxes, (3, 2), 0.25, 2, True).flatten(1)
    first = roikit.DeformRoIPool(4, (3, 2)).double()
    shared = roikit.ModulatedDeformRoIPool(4, (3, 2), hidden=8).double()
    separate = roikit.ModulatedDeformRoIPool(4, (3, 2), "separate", hidden=8).double()
    for pool in (first, shared, separate):
        for parameter in pool.parameters():
            torch.nn.init.normal_(parameter, generator=rng)
    said = {
        first: (first.offset(flat), None),
        shared: (shared.both(flat)[:, :12], shared.both(flat)[:, 12:].sigmoid()),
        separate: (separate.offset(flat), separate.factor(flat).sigmoid()),
    }
    for pool, (offset, factor) in said.items():
        factor = None if factor is None else factor.unflatten(1, (3, 2))
        expected = ops.deform_roi_pool(x, boxes, offset.unflatten(1, (2, 3, 2)), factor, (3, 2), 0.25)
        name = f"`{type(pool).__name__}`"
        compare(name, "the function, moved by its layers", pool(x, boxes, 0.25), expected, 1e-12)


def test_position_sensitive_extractors_are_torchvisions(rng):
    for dtype in (torch.float32, torch.float64):
        for _ in range(10):
            x, boxes, scale = scene(rng, dtype)
            x = torch.rand(2, 12, *x.shape[2:], generator=rng, dtype=dtype)
            tolerance = 1e-6 if dtype == torch.float32 else 1e-14
            expected = torchvision.ops.ps_roi_align(x, boxes, (3, 2), scale, 2)
            compare("`PSRoIAlign`", "torchvision", roikit.PSRoIAlign((3, 2))(x, boxes, scale), expected, tolerance)
            expected = torchvision.ops.ps_roi_pool(x, boxes, (3, 2), scale)
            compare("`PSRoIPool`", "torchvision", roikit.PSRoIPool((3, 2))(x, boxes, scale), expected, tolerance)


def test_deformable_position_sensitive_extractor_moves_bins_by_what_its_layer_says(rng):
    x = torch.rand(2, 18, 12, 15, generator=rng, dtype=torch.float64)
    boxes = torch.tensor([[0, 3.0, 5, 29, 31], [1, -4.0, 2, 40, 17], [1, 9.0, 9, 50, 44]], dtype=torch.float64)
    pool = roikit.DeformPSRoIPool(18, 3, group_size=3, classes=2).double()
    torch.nn.init.normal_(pool.offset.weight, generator=rng)
    regular = ops.deform_ps_roi_pool(x, boxes, None, 3, 0.25, 3).flatten(1)
    offset = pool.offset(regular).unflatten(1, (4, 3, 3))
    expected = ops.deform_ps_roi_pool(x, boxes, offset, 3, 0.25, 3)
    compare("`DeformPSRoIPool`", "the function, moved by its layer", pool(x, boxes, 0.25), expected, 1e-12)


def test_roi_transformer_is_rotated_align_of_the_box_that_its_layer_says(rng):
    x = torch.rand(2, 4, 12, 15, generator=rng, dtype=torch.float64)
    boxes = torch.tensor([[0, 3.0, 5, 29, 31], [1, -4.0, 2, 40, 17], [1, 9.0, 9, 50, 44]], dtype=torch.float64)
    pool = roikit.RoITransformer(4, (3, 2)).double()
    torch.nn.init.normal_(pool.predict.weight, generator=rng)
    flat = torchvision.ops.roi_align(x, boxes, (3, 2), 0.25, 2, True).flatten(1)
    dx, dy, dw, dh, turn = (pool.predict(flat) * torch.tensor([0.1, 0.1, 0.2, 0.2, 0.1], dtype=torch.float64)).unbind(1)
    w, h = boxes[:, 3] - boxes[:, 1], boxes[:, 4] - boxes[:, 2]
    x_, y = boxes[:, 1] + w / 2 + dx * w, boxes[:, 2] + h / 2 + dy * h
    turned = torch.stack([boxes[:, 0], x_, y, 1.2 * w * dw.exp(), 1.4 * h * dh.exp(), 2 * torch.pi * turn], 1)
    expected = ops.roi_align_rotated(x, turned, (3, 2), 0.25, 2)
    compare("`RoITransformer`", "`ops.roi_align_rotated`, turned by its layer", pool(x, boxes, 0.25), expected, 1e-12)
