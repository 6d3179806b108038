"""The order of the images and their random augmentation, both functions of (seed, position) alone.

Training reads an endless stream: epoch after epoch, each a new permutation of the data set, cut into batches. Step s
takes positions s·B .. s·B + B - 1 whatever the number of processes or loader workers, so the place in the stream is the
step and a resumed run needs nothing else. A batch may hold the end of one epoch and the start of the next: no image is
dropped or repeated.
"""

from __future__ import annotations

import random
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

Key = tuple[int, int]  # (epoch, index in the data set)


def mix(*numbers: int) -> int:
    """One well-mixed 63-bit seed from several small numbers (neighbouring inputs give unrelated seeds)."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Python's, NumPy's and torch's CPU random numbers start from `seed` inside; outside they go on undisturbed."""
    python, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002 (transforms may use the global one)
    with torch.random.fork_rng(devices=[]):
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002 (the same)
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy_state)  # noqa: NPY002 (the same)


class Stream:
    """Batches of (epoch, index) for one process; iterate to get lists of `batch / world` keys.

    Args:
        length: images in the data set.
        batch: images per step over all processes; a multiple of `world`.
        seed: of the permutations.
        start, stop: the steps to deliver, [start, stop).
        rank, world: this process and the number of processes.

    Example:
        >>> list(Stream(3, batch=2, seed=0, start=0, stop=3))  # two epochs of three images in three steps
        [[(0, 2), (0, 0)], [(0, 1), (1, 2)], [(1, 1), (1, 0)]]
    """

    def __init__(
        self, length: int, *, batch: int, seed: int, start: int = 0, stop: int, rank: int = 0, world: int = 1
    ) -> None:
        if length < 1:
            raise ValueError("a stream needs at least one image")
        if batch < 1 or batch % world:
            raise ValueError(f"the batch of {batch} images does not divide over {world} processes")
        self.length, self.batch, self.seed = length, batch, seed
        self.start, self.stop, self.rank, self.world = start, stop, rank, world
        self._permutation: tuple[int, list[int]] = (-1, [])

    def key(self, position: int) -> Key:
        """The (epoch, index) at a position of the stream."""
        epoch, place = divmod(position, self.length)
        if self._permutation[0] != epoch:
            order = np.random.default_rng(mix(self.seed, epoch)).permutation(self.length)
            self._permutation = (epoch, order.tolist())
        return epoch, self._permutation[1][place]

    def __len__(self) -> int:
        return max(0, self.stop - self.start)

    def __iter__(self) -> Iterator[list[Key]]:
        share = self.batch // self.world
        for step in range(self.start, self.stop):
            first = step * self.batch + self.rank * share
            yield [self.key(first + i) for i in range(share)]


class Augmented(Dataset):
    """A data set read by (epoch, index): the transform's random numbers depend on (seed, epoch, index) only.

    Returns `(image, target, seed of this image)`; the seed also drives the sampling of anchors and proposals.
    """

    def __init__(self, dataset: Any, transform: Callable[..., tuple[Tensor, dict]] | None, seed: int) -> None:
        self.dataset, self.transform, self.seed = dataset, transform, seed

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: Key) -> tuple[Tensor, dict[str, Any], int]:
        epoch, index = key
        own = mix(self.seed, epoch, index)
        image, target = self.dataset[index]
        if self.transform is not None:
            with seeded(own):
                image, target = self.transform(image, target)
        return image, target, own


def collate(samples: Sequence[tuple]) -> tuple[list, ...]:
    """Images of different sizes stay a list: [(a, b), (c, d)] -> ([a, c], [b, d])."""
    return tuple(list(column) for column in zip(*samples, strict=True))


def to_device(images: list[Tensor], targets: list[dict[str, Any]], device: torch.device) -> tuple[list, list]:
    """uint8 images to float in [0, 1], and every tensor to the device."""
    floats = [
        image.to(device).float().div_(255) if image.dtype == torch.uint8 else image.to(device) for image in images
    ]
    moved = [{k: v.to(device) if isinstance(v, Tensor) else v for k, v in target.items()} for target in targets]
    return floats, moved


def quiet_worker(_: int) -> None:
    """Ctrl-C reaches the whole process group: the training process answers it, the loader's workers do not.

    The thread through which a worker hands over its tensors may find that the training process hung up in the middle of
    that; it would print a traceback after the one line that the training process ends with.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    report = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        if not isinstance(error, ConnectionError | EOFError):
            report(kind, error, traceback)

    sys.excepthook = hook
