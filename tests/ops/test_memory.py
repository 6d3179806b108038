"""Memory of outputs: used again, and never while anything reads it."""

from __future__ import annotations

import gc
import threading

import pytest
import torch

import roikit
from roikit.sums import memory

FLOATS = memory.LARGE // 4


@pytest.fixture(autouse=True)
def nothing_kept():
    memory._freed.clear()
    gc.collect()
    gc.freeze()  # what is there already does not have to be looked through again and again
    yield
    gc.unfreeze()
    memory._freed.clear()


def kept() -> int:
    gc.collect()
    return sum(room.nbytes for room in memory._freed.values())


def test_large_memory_is_used_again_when_it_is_gone():
    first = memory.empty((4, FLOATS), torch.float32)
    place = first.data_ptr()
    assert place % memory.ALIGNED == 0 and kept() == 0
    assert memory.empty((4, FLOATS), torch.float32).data_ptr() != place
    memory._freed.clear()
    del first
    assert kept() >= 4 * memory.LARGE
    assert memory.empty((2, 2, FLOATS), torch.float32).data_ptr() == place


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int32])
def test_a_view_keeps_it(dtype):
    whole = memory.empty((4, FLOATS), dtype).fill_(3)
    view = whole[3].view(2, -1).t()
    array = view.to(torch.float32).numpy() if dtype in memory.BITS else view.numpy()
    assert whole.dtype == dtype
    del whole
    assert kept() == 0
    for _ in range(3):
        memory.empty((4, FLOATS), dtype).fill_(7)
    assert bool((view == 3).all()) and (array == 3).all()
    del view, array
    gc.collect()
    assert kept() > 0


def test_small_memory_is_not_kept():
    del_me = memory.empty((3, 5), torch.float32)
    del del_me
    assert kept() == 0
    assert memory.empty((0, 7), torch.float32).shape == (0, 7)


def test_no_more_is_kept_than_allowed():
    several = [memory.empty((5 + i, FLOATS), torch.float32) for i in range(12)]
    assert sum(x.numel() * 4 for x in several) > memory.KEPT
    several.clear()
    assert 0 < kept() <= memory.KEPT
    huge = memory.empty((memory.KEPT,), torch.float32)  # never touched: it takes no memory
    del huge
    assert kept() <= memory.KEPT


def test_of_another_size_it_is_not_used():
    first = memory.empty((8, FLOATS), torch.float32)
    place = first.data_ptr()
    del first
    assert memory.empty((9, FLOATS), torch.float32).data_ptr() != place  # too small
    assert memory.empty((2, FLOATS), torch.float32).data_ptr() != place  # much too large


def test_threads_do_not_share_it():
    wrong = []

    def work(number: int) -> None:
        for _ in range(40):
            mine = memory.empty((2, FLOATS), torch.float32).fill_(number)
            if not bool((mine == number).all()):
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_what_is_kept_can_be_given_back():
    del_me = memory.empty((4, FLOATS), torch.float32)
    del del_me
    assert kept() >= 4 * memory.LARGE
    roikit.empty_cache()
    assert kept() == 0
