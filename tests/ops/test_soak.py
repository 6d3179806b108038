"""Many rounds: threads, processes and interruptions at once give the same bits; memory stays where it was.

Short by default; ``ROIKIT_ROUNDS=1000`` and ``ROIKIT_STEPS=10000`` make them long.
"""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

import roikit

ROUNDS = int(os.environ.get("ROIKIT_ROUNDS", "4"))
STEPS = int(os.environ.get("ROIKIT_STEPS", "300"))
# without layers: the threads of torch's own matrix products do not survive a fork
EXTRACTORS = (roikit.RoIAlign(7), roikit.RoIPool(7), roikit.PrRoIPool(3), roikit.RotatedRoIAlign(3))


def work(seed: int) -> list[torch.Tensor]:
    """Forward and backward of four sums; so few values that torch's own operators run serially."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(2, 16, 20, 24, generator=generator)
    ends = torch.rand(20, 2, 2, generator=generator) * torch.tensor([24.0, 20.0])
    batch = torch.randint(2, (20, 1), generator=generator)
    boxes = torch.cat([batch, ends.amin(1), ends.amax(1)], 1)
    found = []
    for extractor in EXTRACTORS:
        leaf = x.clone().requires_grad_()
        out = extractor(leaf, boxes)
        found += [out.detach(), torch.autograd.grad(out.square().sum(), leaf)[0]]
    return found


def same(found, expected) -> bool:
    return all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.fixture(scope="module")
def expected():
    return [work(seed) for seed in range(16)]


@pytest.mark.timeout(3600)
def test_sixteen_threads_nested_with_changing_numbers(expected, threads):
    """Every thread of a pool calls kernels, which split their own work, while the number of threads changes."""

    def one(task: int) -> bool:
        if task % 5 == 0:
            torch.set_num_threads(1 + task % 4)
        return same(work(task % 16), expected[task % 16])

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(one, range(16 * ROUNDS), timeout=3600))


@pytest.mark.timeout(3600)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")  # Python 3.12 warns of what is tested
def test_children_forked_while_threads_work(expected):
    """A child forked in the middle of the others' kernels computes the same, and ends."""
    stop, wrong = threading.Event(), []

    def busy() -> None:
        while not stop.is_set():
            if not same(work(1), expected[1]):
                wrong.append("a thread of the parent found other bits")

    running = [threading.Thread(target=busy) for _ in range(3)]
    for thread in running:
        thread.start()
    try:
        for round_ in range(max(2, ROUNDS // 4)):
            child = os.fork()
            if not child:
                code = 1
                try:
                    signal.signal(signal.SIGALRM, signal.SIG_DFL)
                    signal.alarm(60)  # ends it if it hangs
                    code = 0 if same(work(round_ % 16), expected[round_ % 16]) else 3
                finally:
                    os._exit(code)
            _, status = os.waitpid(child, 0)
            assert os.waitstatus_to_exitcode(status) == 0, f"round {round_}"
    finally:
        stop.set()
        for thread in running:
            thread.join(60)
    assert not wrong


@pytest.mark.timeout(3600)
def test_interrupted_kernels_leave_nothing_broken(expected):
    """Ctrl-C within calls, again and again: the next call gives the same bits."""
    interrupted = 0
    for round_ in range(ROUNDS * 5):
        main, going = threading.main_thread().ident, threading.Event()
        timer = threading.Timer(0.0005 * (round_ % 10), lambda main=main: raise_in(main))
        try:
            timer.start()
            for seed in range(3):
                work(seed)
            timer.join()
            for _ in range(1000):  # it comes between two of the interpreter's steps
                going.wait(0.001)
        except KeyboardInterrupt:
            interrupted += 1
        timer.join()
        assert same(work(round_ % 16), expected[round_ % 16]), f"round {round_}"
    assert interrupted == ROUNDS * 5


def raise_in(thread: int | None) -> None:
    """What Ctrl-C does, in a chosen thread."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread or 0), ctypes.py_object(KeyboardInterrupt))


def resident() -> float:
    """Megabytes of this process."""
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


@pytest.mark.timeout(7200)
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("sizes", [1, 1000], ids=["one size", "a thousand sizes"])
def test_memory_is_flat(sizes):
    """From the first tenth on no call adds to what stays: kept buffers and kernels are bounded."""
    extractors = EXTRACTORS[:2]

    def step(number: int) -> None:
        height, width = 20 + number % sizes % 40, 24 + number % sizes // 40
        x = torch.rand(1, 16, height, width, requires_grad=True)
        boxes = torch.tensor([[0.0, 1.0, 2.0, 15.0, 17.0], [0.0, 4.0, 4.0, 20.0, 19.0]])
        sum(extractor(x, boxes).sum() for extractor in extractors).backward()

    for number in range(max(STEPS // 10, 20)):
        step(number)
    before = resident()
    for number in range(STEPS):
        step(number)
    grown = resident() - before
    print(f"{STEPS} steps over {sizes} sizes: {grown:+.1f} MB of {before:.0f}")
    assert grown < 12, f"{grown:.1f} MB more after {STEPS} steps"
