"""RoI Transformer: its coding of rotated boxes, its loss, and that it learns to turn."""

from __future__ import annotations

import math

import pytest
import torch

from roikit import RoIAlign, RoITransformer


def boxes_and_oriented(rng, count=20, dtype=torch.float64):
    corner = torch.rand(count, 2, generator=rng, dtype=dtype) * 40
    boxes = torch.cat([corner, corner + 5 + 30 * torch.rand(count, 2, generator=rng, dtype=dtype)], 1)
    centre, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    moved = centre + (torch.rand(count, 2, generator=rng, dtype=dtype) - 0.5) * sides
    scaled = sides * torch.exp(torch.rand(count, 2, generator=rng, dtype=dtype) - 0.5)
    angle = (torch.rand(count, 1, generator=rng, dtype=dtype) - 0.5) * 2 * math.pi
    return boxes, torch.cat([moved, scaled, angle], 1)


def test_decoding_inverts_encoding(rng):
    boxes, oriented = boxes_and_oriented(rng)
    pool = RoITransformer(1)
    torch.testing.assert_close(pool.decode(boxes, pool.encode(boxes, oriented)), oriented, rtol=0, atol=1e-12)
    deltas = torch.randn(20, 5, generator=rng, dtype=torch.float64)
    torch.testing.assert_close(pool.encode(boxes, pool.decode(boxes, deltas)), deltas, rtol=0, atol=1e-12)


def test_the_five_numbers_by_hand():
    pool = RoITransformer(1)
    box = torch.tensor([[10.0, 20.0, 30.0, 30.0]])  # 20 wide, 10 high, about (20, 25)
    oriented = torch.tensor([[22.0, 24.0, 20 * math.e, 10 / math.e, math.pi / 2]])
    expected = torch.tensor([[0.1 / 0.1, -0.1 / 0.1, 1 / 0.2, -1 / 0.2, 0.25 / 0.1]])
    torch.testing.assert_close(pool.encode(box, oriented), expected)


def test_angles_are_taken_modulo_a_turn_to_the_smaller_one():
    pool, box = RoITransformer(1, stds=(1, 1, 1, 1, 1)), torch.tensor([[0.0, 0.0, 2.0, 2.0]])
    for angle, part in ((-0.1, -0.1), (2 * math.pi - 0.1, -0.1), (0.1 - 6 * math.pi, 0.1), (math.pi, -math.pi)):
        oriented = torch.tensor([[1.0, 1.0, 2.0, 2.0, angle]])
        assert float(pool.encode(box, oriented)[0, 4]) == pytest.approx(part / (2 * math.pi), abs=1e-6)


def test_a_side_grows_no_further_than_the_limit():
    found = RoITransformer(1).decode(torch.tensor([[0.0, 0.0, 2.0, 2.0]]), torch.tensor([[0, 0, 1e4, -1e4, 0.0]]))
    torch.testing.assert_close(found, torch.tensor([[1.0, 1.0, 2 * 1000 / 16, 0.0, 0.0]]))


def test_loss_of_the_positive_rois(rng):
    boxes, oriented = boxes_and_oriented(rng)
    x = torch.rand(1, 3, 20, 20, generator=rng, dtype=torch.float64)
    pool = RoITransformer(3, 2).double()
    weights = pool.weights(x, [boxes], 0.25)
    target = pool.encode(boxes, oriented).abs()  # untrained, all five are predicted as 0
    distance = torch.where(target < 1, target.square() / 2, target - 0.5).sum(1)
    torch.testing.assert_close(pool.loss(weights, oriented), distance.mean())
    positive = torch.rand(20, generator=rng) < 0.5
    positive[0] = True
    wrong = oriented.clone()
    wrong[~positive] = float("nan")  # rows without an object are not read
    torch.testing.assert_close(pool.loss(weights, wrong, positive), distance[positive].mean())
    none = pool.loss(weights, wrong, torch.zeros(20, dtype=torch.bool))
    none.backward()
    assert float(none.detach()) == 0 and not pool.predict.weight.grad.any()


def test_a_few_steps_learn_a_rotation(rng):
    """From features that show an angle, to boxes turned by it; and the pooled features turn with them."""
    torch.manual_seed(int(torch.randint(2**31, (), generator=rng)))
    angle = torch.rand(16, generator=rng) * 2 - 1
    x = torch.stack([angle.cos(), angle.sin(), torch.rand(16, generator=rng)], 1)[:, :, None, None].expand(-1, -1, 8, 8)
    box = torch.tensor([[8.0, 8.0, 24.0, 20.0]])
    oriented = torch.cat([torch.tensor([16.0, 14.0, 16.0, 12.0]).expand(16, 4), angle[:, None]], 1)
    pool = RoITransformer(3, 2)
    optimiser = torch.optim.Adam(pool.parameters(), lr=0.03)
    losses = []
    for _ in range(150):
        loss = pool.loss(pool.weights(x, [box] * 16, 0.25), oriented)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] / 20
    found = pool.weights(x, [box] * 16, 0.25).rotated
    assert float((found[:, 4] - angle).detach().abs().max()) < 0.15


def test_the_task_alone_moves_the_boxes(rng):
    """The loss on the pooled features reaches the layer: a box learns to cover the bright part of the map."""
    torch.manual_seed(int(torch.randint(2**31, (), generator=rng)))
    x = torch.exp(-(((torch.arange(16.0) - 11) / 3) ** 2)).expand(1, 1, 16, 16)
    box = [torch.tensor([[16.0, 16.0, 40.0, 40.0]])]  # 4 to 10 on the map
    pool = RoITransformer(1, 2, enlarge=(1.0, 1.0))
    before = float(pool(x, box, 0.25).mean().detach())
    optimiser = torch.optim.SGD(pool.parameters(), lr=1.0)
    for _ in range(40):
        optimiser.zero_grad()
        (-pool(x, box, 0.25).mean()).backward()
        optimiser.step()
    assert float(pool(x, box, 0.25).mean().detach()) > before + 0.2


def test_errors(rng):
    boxes, oriented = boxes_and_oriented(rng)
    pool = RoITransformer(1)
    with pytest.raises(ValueError, match="19 oriented boxes for 20 boxes"):
        pool.encode(boxes, oriented[1:])
    with pytest.raises(ValueError, match=r"oriented must be a Tensor\[R, 5\] with rows \(cx, cy, w, h, θ\)"):
        pool.encode(boxes, oriented[:, :4])
    empty = oriented.clone()
    empty[3, 2] = 0
    with pytest.raises(ValueError, match=r"RoI 3: .* is an oriented box without area: leave it out"):
        pool.encode(boxes, empty)
    with pytest.raises(ValueError, match=r"RoI 0: .* is a box without area"):
        pool.encode(boxes[:, [2, 1, 0, 3]], oriented)
    x = torch.rand(1, 1, 9, 9)
    weights = pool.weights(x, [boxes.float()], 0.25)
    with pytest.raises(ValueError, match=r"positive must be a bool Tensor\[20\]"):
        pool.loss(weights, oriented, torch.ones(20))
    with pytest.raises(ValueError, match="hold no predicted boxes"):
        pool.loss(RoIAlign().weights(x, [boxes.float()]), oriented)
    for wrong in (
        {"enlarge": (1.2,)},
        {"enlarge": 1.2},
        {"stds": 0.1},
        {"stds": (0.1,) * 4},
        {"sampling_ratio": 0},
        {"enlarge": (0, 1)},
    ):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            RoITransformer(1, **wrong)
    with pytest.raises(ValueError, match="channels"):
        RoITransformer(0)
