"""mmcv's operators without a compiler: numbers of mmcv's own tests, torchvision's operators.

Skipped where mmcv-lite and mmdet are not installed (docs/openmmlab.md); `.ci/run` has an environment with them.
"""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
import torch
from torch import Tensor, tensor
from torch.nn import functional as F

import roikit
from roikit.integrations.openmmlab import install, installed

mmcv = pytest.importorskip("mmcv", reason="mmcv-lite is not installed")
install()
from mmcv import ops  # noqa: E402  (needs what install provides)

SQUARE = tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
TWO = tensor([[[[1.0, 2.0], [3.0, 4.0]], [[4.0, 3.0], [2.0, 1.0]]]])
ALIGNED = [[1.0, 1.25], [1.5, 1.75]]
SHARES = [[3.0625, 0.4375], [0.4375, 0.0625]]


def run(operator, x: Tensor, rois: Tensor, *arguments) -> tuple[list, list]:
    """The output, and the gradient of its sum."""
    x, rois = x.clone().requires_grad_(), rois.clone()
    out = operator(x, rois, *arguments)
    out.backward(torch.ones_like(out))
    return out.tolist(), x.grad.tolist()


def test_the_extension_is_ours():
    assert installed() and install() is True  # again changes nothing
    assert mmcv.utils.ext_loader.check_ops_exist()


# ---- numbers of mmcv's own tests


def test_roi_align():
    rois = tensor([[0.0, 0.0, 0.0, 1.0, 1.0]])
    assert run(ops.roi_align, SQUARE, rois, (2, 2), 1.0, 2, "avg", True) == ([[ALIGNED]], [[SHARES]])
    out, _ = run(ops.roi_align, TWO, rois, (2, 2), 1.0, 2, "avg", True)
    assert out == [[ALIGNED, [[4.0, 3.75], [3.5, 3.25]]]]
    with pytest.raises(NotImplementedError, match="pool_mode='max' is not served"):
        ops.roi_align(SQUARE, rois, (2, 2), 1.0, 2, "max", True)


def test_roi_pool():
    rois = tensor([[0.0, 0.0, 0.0, 1.0, 1.0]])
    assert run(ops.roi_pool, SQUARE, rois, (2, 2), 1.0) == (SQUARE.tolist(), [[[[1.0, 1.0], [1.0, 1.0]]]])
    wide = tensor([[[[1.0, 2.0, 5.0, 6.0], [3.0, 4.0, 7.0, 8.0], [9.0, 10.0, 13.0, 14.0], [11.0, 12.0, 15.0, 16.0]]]])
    out, grad = run(ops.roi_pool, wide, tensor([[0.0, 0.0, 0.0, 3.0, 3.0]]), (2, 2), 1.0)
    assert out == [[[[4.0, 8.0], [12.0, 16.0]]]]
    assert grad == [[[[0.0] * 4, [0.0, 1.0, 0.0, 1.0], [0.0] * 4, [0.0, 1.0, 0.0, 1.0]]]]


def test_roi_align_rotated():
    for angle, clockwise, expected in (
        (0.0, True, ALIGNED),
        (math.pi / 2, False, [[1.5, 1.0], [1.75, 1.25]]),
        (-math.pi / 2, True, [[1.5, 1.0], [1.75, 1.25]]),
    ):
        rois = tensor([[0.0, 0.5, 0.5, 1.0, 1.0, angle]])
        layer = ops.RoIAlignRotated((2, 2), 1.0, 2, aligned=True, clockwise=clockwise)
        assert torch.allclose(layer(SQUARE, rois)[0, 0], tensor(expected), atol=1e-6)


def test_prroi_pool_and_deform_roi_pool(rng):
    x = torch.rand(2, 3, 9, 11, generator=rng)
    rois = tensor([[0.0, 2.0, 3.0, 30.0, 25.0], [1.0, 5.0, 1.0, 40.0, 33.0]])
    layer = ops.PrRoIPool(3, 0.25)
    boxes = rois.clone().requires_grad_()
    theirs = layer(x, boxes)
    theirs.square().sum().backward()
    again = rois.clone().requires_grad_()
    ours = roikit.ops.prroi_pool(x, again, 3, 0.25)
    ours.square().sum().backward()
    torch.testing.assert_close(theirs, ours)
    torch.testing.assert_close(boxes.grad, again.grad)
    torch.manual_seed(0)
    pack = ops.DeformRoIPoolPack(3, 3, deform_fc_channels=64, spatial_scale=0.25, sampling_ratio=2)
    torch.nn.init.normal_(pack.offset_fc[-1].weight)
    out = pack(x.requires_grad_(), rois)
    out.sum().backward()
    flat = roikit.ops.roi_align(x, rois, 3, 0.25, 2, True).flatten(1)
    offset = pack.offset_fc(flat).view(-1, 2, 3, 3).flip(1)
    torch.testing.assert_close(out, roikit.ops.deform_roi_pool(x, rois, offset, None, 3, 0.25, 2), atol=1e-5, rtol=1e-5)
    assert all(torch.isfinite(p.grad).all() and p.grad.abs().sum() > 0 for p in pack.parameters())
    assert pack.state_dict().keys() == {f"offset_fc.{n}.{kind}" for n in (0, 2, 4) for kind in ("weight", "bias")}


def test_deform_conv():
    """Numbers of mmcv's own test of DeformConv2dPack."""
    x = tensor([[[[1.0, 2.0, 3.0], [0.0, 1.0, 2.0], [3.0, 5.0, 2.0]]]], requires_grad=True)
    offsets = [[0.1, 0.4, 0.6, 0.1], [0.3, 0.2, 0.1, 0.3], [0.5, 0.5, 0.2, 0.8], [0.8, 0.3, 0.9, 0.1]]
    offsets += [[0.3, 0.1, 0.2, 0.5], [0.3, 0.7, 0.5, 0.3], [0.6, 0.2, 0.5, 0.3], [0.4, 0.1, 0.8, 0.4]]
    pack = ops.DeformConv2dPack(1, 1, (2, 2), stride=1, padding=0)
    with torch.no_grad():
        pack.conv_offset.weight.copy_(tensor(offsets).reshape(8, 1, 2, 2))
        pack.conv_offset.bias.copy_(tensor([0.7, 0.1, 0.8, 0.5, 0.6, 0.5, 0.4, 0.7]))
        pack.weight.copy_(tensor([[[0.4, 0.2], [0.1, 0.9]]])[None])
    out = pack(x)
    out.backward(torch.ones_like(out))
    assert torch.allclose(out, tensor([[[[1.650, 0.0], [0.0, 0.0]]]]), atol=1e-2)
    expected = tensor([[[[-0.666, 0.204, 0.0], [0.030, -0.416, 0.012], [0.0, 0.252, 0.129]]]])
    assert torch.allclose(x.grad, expected, atol=1e-2)


def test_modulated_convolution_is_torchvision_s(rng):
    from torchvision.ops import deform_conv2d

    torch.manual_seed(0)
    layer = ops.ModulatedDeformConv2dPack(4, 6, 3, stride=2, padding=1, deform_groups=2)
    torch.nn.init.normal_(layer.conv_offset.weight, std=0.3)
    x = torch.rand(2, 4, 9, 11, generator=rng, requires_grad=True)
    out = layer(x)
    out.square().sum().backward()
    found = {name: parameter.grad.clone() for name, parameter in layer.named_parameters()}
    layer.zero_grad()
    one, two, mask = layer.conv_offset(x).chunk(3, 1)
    theirs = deform_conv2d(x, torch.cat([one, two], 1), layer.weight, layer.bias, 2, 1, 1, mask.sigmoid())
    theirs.square().sum().backward()
    torch.testing.assert_close(out, theirs)
    for name, parameter in layer.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, rtol=1e-4, atol=1e-4)


def test_nms():
    boxes = tensor([[6.0, 3.0, 8.0, 7.0], [3.0, 6.0, 9.0, 11.0], [3.0, 7.0, 10.0, 12.0], [1.0, 4.0, 13.0, 7.0]])
    dets, kept = ops.nms(boxes, tensor([0.6, 0.9, 0.7, 0.2]), 0.3, offset=0)
    assert kept.tolist() == [1, 0, 3] and dets[:, 4].tolist() == pytest.approx([0.9, 0.6, 0.2])
    # a box of 1 × 1 pixels with the last one counted is 2 × 2: IoU 4/4 where continuous boxes share 0
    touching = tensor([[0.0, 0.0, 1.0, 1.0], [1.0, 0.0, 2.0, 1.0]])
    assert len(ops.nms(touching, tensor([0.9, 0.8]), 0.3, offset=1)[1]) == 1
    assert len(ops.nms(touching, tensor([0.9, 0.8]), 0.3, offset=0)[1]) == 2


def test_soft_nms_and_nms_match():
    boxes = tensor([[4.0, 3.0, 5.0, 3.0], [4.0, 3.0, 5.0, 4.0], [3.0, 1.0, 3.0, 1.0]] + [[3.0, 1.0, 3.0, 1.0]] * 3)
    dets, kept = ops.soft_nms(boxes, tensor([0.9, 0.9, 0.5, 0.5, 0.4, 0.0]), 0.6, sigma=0.5)
    assert len(kept) == len(dets) == 5  # as mmcv's documentation says
    pair = tensor([[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 8.0]])  # IoU 0.8
    for method, expected in (("linear", 0.8 * 0.2), ("gaussian", 0.8 * math.exp(-(0.8**2) / 0.5)), ("naive", 0.0)):
        dets, kept = ops.soft_nms(pair, tensor([0.9, 0.8]), 0.3, 0.5, 1e-3, method)
        assert dets[:, 4].tolist() == pytest.approx([0.9, *([expected] if expected else [])], abs=1e-6)
    boxes = torch.cat([pair, tensor([[50.0, 50.0, 60.0, 60.0]])])
    found = ops.nms_match(torch.cat([boxes, tensor([[0.9], [0.8], [0.95]])], 1), 0.3)
    assert [group.tolist() for group in found] == [[2], [0, 1]]


def test_overlaps(rng):
    import torchvision

    corner = torch.rand(7, 2, generator=rng) * 20
    boxes = torch.cat([corner, corner + 1 + torch.rand(7, 2, generator=rng) * 10], 1)
    torch.testing.assert_close(ops.bbox_overlaps(boxes, boxes[:4]), torchvision.ops.box_iou(boxes, boxes[:4]))
    assert ops.bbox_overlaps(boxes, boxes, aligned=True).tolist() == pytest.approx([1.0] * 7)
    a, b = tensor([[0.0, 0.0, 4.0, 4.0]]), tensor([[0.0, 0.0, 2.0, 4.0]])
    assert ops.bbox_overlaps(a, b, mode="iof").item() == 0.5
    # with the last pixel counted: 5 × 5 and 3 × 5
    assert ops.bbox_overlaps(a, b, offset=1).item() == pytest.approx(15 / 25)


def test_rotated_overlaps_and_suppression(rng):
    upright = tensor([[10.0, 10.0, 8.0, 6.0, 0.0], [12.0, 11.0, 8.0, 6.0, 0.0], [40.0, 40.0, 3.0, 3.0, 0.0]])
    import torchvision

    corners = torchvision.ops.box_convert(upright[:, :4], "cxcywh", "xyxy")
    torch.testing.assert_close(ops.box_iou_rotated(upright, upright), torchvision.ops.box_iou(corners, corners))
    square = tensor([[5.0, 5.0, 4.0, 4.0, 0.0]])
    turned = tensor([[5.0, 5.0, 4.0, 4.0, math.pi / 4]])  # the part of both is a regular octagon
    octagon = 8 * (math.sqrt(2) - 1) * 4
    assert ops.box_iou_rotated(square, turned).item() == pytest.approx(octagon / (32 - octagon), abs=1e-5)
    # by area: many points in the first box, how many of them in the second
    a, b = tensor([[20.0, 20.0, 18.0, 7.0, 0.5]]), tensor([[23.0, 19.0, 12.0, 11.0, -0.8]])
    points = torch.rand(200_000, 2, generator=rng) * 40

    def inside(box):
        u = (points - box[:, :2]) @ tensor(
            [[math.cos(box[0, 4]), -math.sin(box[0, 4])], [math.sin(box[0, 4]), math.cos(box[0, 4])]]
        )
        return (u.abs() <= box[:, 2:4] / 2).all(1)

    both, either = (inside(a) & inside(b)).float().mean(), (inside(a) | inside(b)).float().mean()
    assert ops.box_iou_rotated(a, b).item() == pytest.approx(float(both / either), abs=0.02)
    _, kept = ops.nms_rotated(upright, tensor([0.5, 0.9, 0.7]), 0.3)
    assert kept.tolist() == [1, 2]
    assert ops.nms_rotated(upright, tensor([0.5, 0.9, 0.7]), 0.3, tensor([0, 1, 1]))[1].tolist() == [1, 2, 0]


def test_focal_losses():
    """Numbers of mmcv's own tests, and torchvision's."""
    from torchvision.ops import sigmoid_focal_loss

    x, target = tensor([[1.0, 0.0], [0.0, 1.0]], requires_grad=True), tensor([0, 1])
    loss = ops.sigmoid_focal_loss(x, target, 2.0, 0.25, None, "mean")
    loss.backward()
    assert loss.item() == pytest.approx(0.13562961, abs=1e-6)
    assert x.grad.tolist() == [
        pytest.approx(row, abs=1e-6) for row in ([-0.00657264, 0.11185755], [0.11185755, -0.00657264])
    ]
    hot = F.one_hot(target, 2).float()
    assert loss.item() == pytest.approx(sigmoid_focal_loss(x, hot, 0.25, 2.0, "sum").item() / 2)
    x.grad = None
    loss = ops.softmax_focal_loss(x, target, 2.0, 0.25, None, "mean")
    loss.backward()
    assert loss.item() == pytest.approx(0.00566451, abs=1e-6)
    assert x.grad.tolist() == [
        pytest.approx(row, abs=1e-6) for row in ([-0.00657264, 0.00657264], [0.00657264, -0.00657264])
    ]
    background = ops.sigmoid_focal_loss(x, tensor([2, 2]), 2.0, 0.25, None, "none")
    assert background.shape == (2, 2) and (background > 0).all()


def test_deformable_attention_is_a_sum_of_samples(rng):
    from mmcv.ops.multi_scale_deform_attn import MultiScaleDeformableAttnFunction, multi_scale_deformable_attn_pytorch

    shapes = tensor([[6, 4], [3, 2]])
    value = torch.rand(1, 30, 2, 4, generator=rng, requires_grad=True)
    places = torch.rand(1, 5, 2, 2, 3, 2, generator=rng, requires_grad=True)
    weights = torch.rand(1, 5, 2, 2, 3, generator=rng, requires_grad=True)
    starts = tensor([0, 24])
    leaves = (value, places, weights)
    ours = MultiScaleDeformableAttnFunction.apply(value, shapes, starts, places, weights, 64)
    found = torch.autograd.grad(ours.square().sum(), leaves)
    plain = multi_scale_deformable_attn_pytorch(value, shapes, places, weights)
    truth = torch.autograd.grad(plain.square().sum(), leaves)
    torch.testing.assert_close(ours, plain)
    for mine, theirs in zip(found, truth, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("operator", ["carafe", "carafe_naive"])
def test_carafe_is_a_kernel_for_every_cell(operator, rng):
    x = torch.rand(2, 4, 3, 5, generator=rng, dtype=torch.float64, requires_grad=True)
    masks = torch.rand(2, 18, 6, 10, generator=rng, dtype=torch.float64, requires_grad=True)  # 2 groups of 3 × 3

    def upsample(x, masks):
        return getattr(ops, operator)(x, masks, 3, 2, 2)

    out = upsample(x, masks)
    for image, channel, v, u in ((0, 0, 0, 0), (1, 3, 5, 9), (1, 2, 2, 7), (0, 1, 4, 3)):
        total = 0.0
        for k in range(9):
            y, z = v // 2 + k // 3 - 1, u // 2 + k % 3 - 1
            if 0 <= y < 3 and 0 <= z < 5:
                total += float(x[image, channel, y, z].detach() * masks[image, channel // 2 * 9 + k, v, u].detach())
        assert out[image, channel, v, u].item() == pytest.approx(total)
    if operator == "carafe":  # mmcv's own class of the naive form goes backward on a GPU alone
        assert torch.autograd.gradcheck(upsample, (x, masks))


def test_autocast(rng):
    """Layers under autocast: half types in and out, near what they give without it, gradients finite."""
    torch.manual_seed(0)
    x = torch.rand(2, 8, 12, 14, generator=rng, requires_grad=True)
    rois = tensor([[0.0, 4.0, 4.0, 30.0, 40.0], [1.0, 8.0, 2.0, 44.0, 30.0]])
    convolve = torch.nn.Conv2d(8, 8, 3, padding=1)
    for layer, arguments in (
        (ops.ModulatedDeformConv2dPack(8, 8, 3, padding=1), ()),
        (ops.DeformConv2dPack(8, 8, 3, padding=1), ()),
        (ops.RoIAlign(3, 0.25), (rois,)),
        (ops.DeformRoIPoolPack(3, 8, deform_fc_channels=16, spatial_scale=0.25), (rois,)),
        (ops.MultiScaleDeformableAttention(8, 2, 1, 4, dropout=0.0, batch_first=True), None),
    ):

        def run(layer=layer, arguments=arguments):
            maps = convolve(x)
            if arguments is not None:
                return layer(maps, *arguments)
            cells = maps.flatten(2).transpose(1, 2)
            at = torch.rand(2, 168, 1, 2, generator=torch.Generator().manual_seed(0))
            shapes, starts = tensor([[12, 14]]), tensor([0])
            return layer(cells, value=cells, reference_points=at, spatial_shapes=shapes, level_start_index=starts)

        with torch.autocast("cpu", torch.bfloat16):
            found = run()
        assert (found.float() - run()).abs().max() < 0.05
        (gradient,) = torch.autograd.grad(found.float().square().sum(), [x])
        assert torch.isfinite(gradient).all() and gradient.abs().sum() > 0


def test_masked_convolution(rng):
    x, weight, bias = (torch.rand(*shape, generator=rng) for shape in ((1, 3, 6, 7), (4, 3, 3, 3), (4,)))
    mask = (torch.rand(1, 6, 7, generator=rng) > 0.5).float()
    out = ops.masked_conv2d(x, mask, weight, bias, 1)
    torch.testing.assert_close(out, F.conv2d(x, weight, bias, padding=1) * mask[:, None])


def test_what_is_not_served_says_its_name():
    import mmcv._ext

    with pytest.raises(NotImplementedError, match=r"operator 'knn_forward' is not among those.*docs/openmmlab\.md"):
        mmcv._ext.knn_forward(1)


def test_scripts_run_with_the_operators(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import sys\nfrom mmcv.ops import RoIAlign\nprint(RoIAlign(7).output_size, sys.argv)\n")
    command = [sys.executable, "-m", "roikit.integrations.openmmlab"]
    done = subprocess.run([*command, str(script), "--x"], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"(7, 7) ['{script}', '--x']"
    none = subprocess.run([*command, str(tmp_path / "no.py")], capture_output=True, text=True, timeout=120, check=False)
    assert none.returncode == 1 and "no such script" in none.stderr


def test_the_page_lists_every_operator():
    """docs/openmmlab.md: a name with a star stands for its forward and backward forms."""
    import re
    from pathlib import Path

    from roikit.integrations.openmmlab.install import SERVED

    page = (Path(__file__).parents[2] / "docs" / "openmmlab.md").read_text()
    named = re.findall(r"`([a-z0-9_]+\*?)`", page.split("### Operators")[1].split("Any other")[0])
    stems = [name.removesuffix("*") for name in named if name.endswith("*")]
    for name in SERVED:
        assert name in named or any(name.startswith(stem) for stem in stems), name
    for name in named:
        known = any(one.startswith(name.removesuffix("*")) for one in SERVED)
        assert known or name in ("unfold", "grid_sample", "dconv", "mdpool"), name
