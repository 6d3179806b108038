"""The learning rate against torch's schedulers."""

from __future__ import annotations

import pytest
import torch

from roikit.train.schedule import rate_factor


def rates(scheduler_of, steps: int) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = scheduler_of(optimizer)
    values = []
    for _ in range(steps):
        values.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return values


def test_steps_are_torchs_multistep():
    theirs = rates(lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [70, 90], gamma=0.1), 100)
    assert [rate_factor(s, 100, milestones=(0.7, 0.9)) for s in range(100)] == pytest.approx(theirs)


def test_cosine_is_torchs():
    theirs = rates(lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 50, eta_min=0.1), 50)
    assert [rate_factor(s, 50, shape="cosine", floor=0.1) for s in range(50)] == pytest.approx(theirs)


def test_warmup_is_linear_and_ends_at_the_full_rate():
    values = [rate_factor(s, 100, warmup=10, shape="constant") for s in range(12)]
    assert values == pytest.approx([*(i / 10 for i in range(1, 11)), 1, 1])


@pytest.mark.parametrize("shape", ["steps", "cosine", "constant"])
def test_warmup_longer_than_the_training(shape):
    assert all(0 < rate_factor(s, 5, warmup=50, shape=shape) <= 0.1 for s in range(5))


def test_unknown_shape():
    with pytest.raises(ValueError, match="unknown schedule 'linear'"):
        rate_factor(0, 10, shape="linear")
