"""Anchors and proposals drawn per image, and losses that mean the same over any number of processes.

torchvision samples anchors and proposals with the global random numbers and averages its losses over what a process
has sampled. Here each image draws with its own seed, and the losses of a process are weighted by its share of the
samples of all processes, so that one process with four images and two with two images each take the same step.
(What remains different: images padded to the largest of their own process, and batch-norm statistics per process.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .stream import mix


class SeededSampler:
    """Draws a fixed number of positives and negatives per image, as torchvision's `BalancedPositiveNegativeSampler`.

    Call `reseed` with one seed per image before each forward pass. After a call, `positives` and `total` are the
    numbers drawn over the batch.

    Args:
        batch_size_per_image: how many are drawn per image.
        positive_fraction: the largest part of them that is positive.
    """

    def __init__(self, batch_size_per_image: int, positive_fraction: float) -> None:
        self.batch_size_per_image, self.positive_fraction = batch_size_per_image, positive_fraction
        self.seeds: list[int] = []
        self.positives = self.total = 0

    def reseed(self, seeds: Sequence[int]) -> None:
        self.seeds = list(seeds)

    def __call__(self, matched_idxs: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Labels per image (≥ 1 positive, 0 negative, < 0 ignored) to masks of the drawn positives and negatives."""
        if len(self.seeds) != len(matched_idxs):
            raise ValueError(f"{len(self.seeds)} seeds for {len(matched_idxs)} images: call reseed before each forward")
        self.positives = self.total = 0
        chosen: tuple[list[Tensor], list[Tensor]] = ([], [])
        for labels, seed in zip(matched_idxs, self.seeds, strict=True):
            generator = torch.Generator().manual_seed(seed)
            quota = int(self.batch_size_per_image * self.positive_fraction)
            for masks, members in zip(chosen, (labels >= 1, labels == 0), strict=True):
                indices = torch.where(members)[0]
                # drawn on the CPU: the same anchors on every device
                order = torch.randperm(indices.numel(), generator=generator)[:quota]
                mask = torch.zeros_like(labels, dtype=torch.uint8)
                mask[indices[order.to(indices.device)]] = 1
                masks.append(mask)
                if masks is chosen[0]:
                    self.positives += order.numel()
                    quota = self.batch_size_per_image - order.numel()  # what the positives leave goes to the negatives
                self.total += order.numel()
        return chosen


class Samplers:
    """The two samplers of a torchvision R-CNN replaced by seeded ones, and that of feature mimicking.

    Args:
        model: a model with torchvision's `rpn.fg_bg_sampler` and `roi_heads.fg_bg_sampler`; changed in place.
        mimicking: `roikit.detection.mimic` of it, if it trains with that; changed too.
    """

    def __init__(self, model: nn.Module, mimicking: nn.Module | None = None) -> None:
        self.anchors, self.proposals = (_replace(model.rpn), _replace(model.roi_heads))
        self.mimicked = None if mimicking is None else _replace(mimicking)

    def reseed(self, seeds: Sequence[int]) -> None:
        """One seed per image of the coming forward pass."""
        self.anchors.reseed([mix(seed, 1) for seed in seeds])
        self.proposals.reseed([mix(seed, 2) for seed in seeds])
        if self.mimicked is not None:
            self.mimicked.reseed([mix(seed, 3) for seed in seeds])

    def counts(self) -> dict[str, int]:
        """What each loss of the last forward pass was averaged over (in a cascade the stages share their samples)."""
        return {
            "loss_objectness": self.anchors.total,
            "loss_rpn_box_reg": self.anchors.total,
            "loss_classifier": self.proposals.total,
            "loss_box_reg": self.proposals.total,
            "loss_mask": self.proposals.positives,
            **({} if self.mimicked is None else {"loss_mimic_classifier": self.mimicked.total}),
        }

    def balance(self, losses: dict[str, Tensor], accelerator) -> dict[str, Tensor]:
        """Losses whose mean over the processes is the loss of the global batch.

        A loss averaged over n of the N samples of all W processes is multiplied by n·W / N. Losses with other names are
        taken to be averages over images.
        """
        world = accelerator.num_processes
        if world == 1:
            return losses
        counts = self.counts()
        own = torch.tensor(
            [float(counts.get(name.partition("_stage")[0], 1)) for name in losses], device=accelerator.device
        )
        everyone = accelerator.reduce(own, "sum").clamp(min=1)
        return {name: loss * w for (name, loss), w in zip(losses.items(), own * world / everyone, strict=True)}


def _replace(module: Any) -> SeededSampler:
    old = module.fg_bg_sampler
    new = SeededSampler(old.batch_size_per_image, old.positive_fraction)
    module.fg_bg_sampler = new
    return new
