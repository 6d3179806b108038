"""Sampling per image, and losses that are those of the global batch."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler

from roikit.train.sampling import Samplers, SeededSampler


def labels(seed: int, count: int, positives: int, ignored: int = 3) -> torch.Tensor:
    values = torch.zeros(count, dtype=torch.int64)
    values[:positives] = 2
    values[positives : positives + ignored] = -1
    return values[torch.randperm(count, generator=torch.Generator().manual_seed(seed))]


@pytest.mark.parametrize("positives", [0, 2, 8, 40])
@pytest.mark.parametrize("count", [50, 12 + 40])
def test_draws_as_many_as_torchvision(positives, count):
    batch = [labels(0, count, positives), labels(1, count, min(1, positives))]
    ours, theirs = SeededSampler(16, 0.25), BalancedPositiveNegativeSampler(16, 0.25)
    ours.reseed([1, 2])
    for mine, other in zip(ours(batch), theirs(batch), strict=True):
        for one, two in zip(mine, other, strict=True):
            assert one.dtype == two.dtype and one.shape == two.shape
            assert one.sum() == two.sum()
    positive, negative = ours(batch)
    for own, p, n in zip(batch, positive, negative, strict=True):
        assert (own[p == 1] >= 1).all() and (own[n == 1] == 0).all()
    assert ours.positives == int(sum(p.sum() for p in positive))
    assert ours.total == ours.positives + int(sum(n.sum() for n in negative))


def test_an_image_draws_the_same_in_any_batch():
    images = [labels(i, 60, 10) for i in range(3)]
    sampler = SeededSampler(16, 0.5)
    sampler.reseed([7, 8, 9])
    together = sampler(images)
    sampler.reseed([8])
    alone = sampler(images[1:2])
    assert torch.equal(together[0][1], alone[0][0]) and torch.equal(together[1][1], alone[1][0])


def test_every_candidate_is_drawn_sometimes():
    sampler, own = SeededSampler(8, 0.5), labels(0, 40, 20)
    seen = torch.zeros(40, dtype=torch.int64)
    for seed in range(200):
        sampler.reseed([seed])
        positive, negative = sampler([own])
        seen += positive[0] + negative[0]
    assert (seen[own >= 0] > 10).all() and (seen[own < 0] == 0).all()


def test_seeds_for_another_batch_are_an_error():
    sampler = SeededSampler(8, 0.5)
    sampler.reseed([1])
    with pytest.raises(ValueError, match="1 seeds for 2 images"):
        sampler([labels(0, 20, 3), labels(1, 20, 3)])


class Processes:
    """The part of accelerate that `balance` uses, with the other process's numbers given."""

    num_processes = 2
    device = torch.device("cpu")

    def __init__(self, others: torch.Tensor) -> None:
        self.others = others

    def reduce(self, own: torch.Tensor, how: str) -> torch.Tensor:
        assert how == "sum"
        return own + self.others


def test_the_mean_over_processes_is_the_loss_of_the_global_batch():
    # sums over what was sampled, and how many there were, in two processes
    sums, counts = torch.tensor([[6.0, 3.0], [10.0, 1.0]]), torch.tensor([[4, 3], [12, 0]])
    results = []
    for rank in (0, 1):
        model = SimpleNamespace(rpn=SimpleNamespace(), roi_heads=SimpleNamespace())
        model.rpn.fg_bg_sampler = model.roi_heads.fg_bg_sampler = BalancedPositiveNegativeSampler(8, 0.5)
        samplers = Samplers(model)
        samplers.anchors.total, samplers.proposals.positives = counts[rank].tolist()
        losses = {
            "loss_objectness": sums[rank, 0] / counts[rank, 0],
            "loss_mask": sums[rank, 1] / counts[rank, 1] if counts[rank, 1] else torch.tensor(0.0),
        }
        results.append(samplers.balance(losses, Processes(counts[1 - rank].float())))
    mean = {name: (results[0][name] + results[1][name]) / 2 for name in results[0]}
    torch.testing.assert_close(mean["loss_objectness"], torch.tensor(16.0 / 16))
    torch.testing.assert_close(mean["loss_mask"], torch.tensor(3.0 / 3))
