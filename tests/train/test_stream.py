"""The order of images and their augmentation depend on (seed, position) only."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from roikit.train.stream import Augmented, Stream, collate, mix, seeded, to_device


def flat(stream: Stream) -> list[tuple[int, int]]:
    return [key for batch in stream for key in batch]


@pytest.mark.parametrize(("length", "batch"), [(7, 3), (4, 4), (3, 8), (10, 1)])
def test_every_epoch_holds_every_image_once(length, batch):
    keys = flat(Stream(length, batch=batch, seed=1, stop=40))
    whole = len(keys) // length
    assert whole >= 2
    for epoch in range(whole):
        assert sorted(index for e, index in keys if e == epoch) == list(range(length))
    assert keys == sorted(keys, key=lambda key: key[0])


def test_epochs_and_seeds_differ():
    epochs = [[i for e, i in flat(Stream(50, batch=5, seed=s, stop=20)) if e == n] for s in (0, 1) for n in (0, 1)]
    assert len({tuple(order) for order in epochs}) == 4


def test_a_later_start_is_the_rest_of_the_same_stream():
    whole = list(Stream(7, batch=4, seed=0, stop=11))
    assert list(Stream(7, batch=4, seed=0, start=6, stop=11)) == whole[6:]
    assert len(Stream(7, batch=4, seed=0, start=6, stop=11)) == 5


@pytest.mark.parametrize("world", [2, 4])
def test_processes_share_out_the_same_batches(world):
    one = list(Stream(7, batch=4, seed=0, stop=9))
    shares = [list(Stream(7, batch=4, seed=0, stop=9, rank=r, world=world)) for r in range(world)]
    assert [[key for part in parts for key in part] for parts in zip(*shares, strict=True)] == one


def test_a_batch_must_divide_over_the_processes():
    with pytest.raises(ValueError, match=r"5 images does not divide over 2"):
        Stream(7, batch=5, seed=0, stop=1, world=2)


class Numbers:
    """Images that are their index; the transform adds a random number from each generator."""

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int):
        return torch.full((3, 2, 2), float(index)), {"image_id": index}


def noisy(image, target):
    noise = torch.rand(()) + float(np.random.rand()) + random.random()
    return image + noise, target


def test_augmentation_does_not_depend_on_the_workers():
    def images(workers: int) -> list[float]:
        torch.manual_seed(workers)  # whatever else the process has drawn
        stream = Stream(6, batch=2, seed=3, stop=6)
        loader = DataLoader(
            Augmented(Numbers(), noisy, 3), batch_sampler=stream, num_workers=workers, collate_fn=collate
        )
        return [float(image[0, 0, 0]) for batch, _, _ in loader for image in batch]

    alone = images(0)
    assert images(2) == alone
    assert len(set(alone)) == len(alone), "every epoch draws anew"


def test_seeded_leaves_the_global_generators_alone():
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)
    with seeded(5):
        inside = (float(torch.rand(())), float(np.random.rand()), random.random())
    after = (float(torch.rand(())), float(np.random.rand()), random.random())
    with seeded(5):
        assert inside == (float(torch.rand(())), float(np.random.rand()), random.random())
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)
    assert after == (float(torch.rand(())), float(np.random.rand()), random.random())


def test_mix_separates_neighbours():
    seeds = {mix(a, b, c) for a in range(5) for b in range(5) for c in range(5)}
    assert len(seeds) == 125
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_to_device_scales_bytes_and_leaves_floats():
    images = [torch.full((3, 2, 2), 255, dtype=torch.uint8), torch.full((3, 2, 2), 0.5)]
    floats, targets = to_device(images, [{"boxes": torch.zeros(1, 4), "image_id": 3}], torch.device("cpu"))
    assert [float(f.max()) for f in floats] == [1.0, 0.5]
    assert targets[0]["image_id"] == 3
