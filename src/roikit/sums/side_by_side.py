"""Running functions of torch operators side by side, each on one thread.

A matrix product that the linear algebra library splits over threads is summed in another order for each number of
them. Here whole pieces of work go to threads and a product stays on one: the result does not depend on their number.
"""

from __future__ import annotations

import collections
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")

_lock = threading.Lock()
_pool: ThreadPoolExecutor | None = None
_owner: tuple[int, int] = (0, 0)


def _executor(threads: int) -> ThreadPoolExecutor:
    """The pool of this process, whose threads run torch's operators on one thread each."""
    global _pool, _owner  # noqa: PLW0603  (one for each process)
    with _lock:
        if _pool is None or _owner != (os.getpid(), threads):
            ready = threading.Barrier(threads + 1)

            def start() -> None:
                torch.get_num_threads()  # the first call takes over the number that threads start with
                torch.set_num_threads(1)  # sets that, and this thread's own
                ready.wait()

            _pool = ThreadPoolExecutor(threads, thread_name_prefix="roikit-single", initializer=start)
            for _ in range(threads):
                _pool.submit(int)
            ready.wait()
            torch.set_num_threads(threads)  # the caller's own number again
            _owner = (os.getpid(), threads)
        return _pool


def in_order(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """``function`` of each item, without gradients, the results in the order of the items.

    At most one more is in flight than there are threads, ``torch.get_num_threads()``.
    """

    inference = torch.is_inference_mode_enabled()

    def run(item: Item) -> Result:
        with torch.inference_mode() if inference else torch.no_grad():  # a thread has modes of its own
            return function(item)

    threads = torch.get_num_threads()
    if threads == 1:
        yield from map(run, items)
        return
    pool = _executor(threads)
    waiting: collections.deque[Future[Result]] = collections.deque()
    for item in items:
        waiting.append(pool.submit(run, item))
        if len(waiting) > threads:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
