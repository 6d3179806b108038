"""Checkpoints are whole or absent; a damaged one is named and the one before it is taken."""

from __future__ import annotations

import os
import random

import numpy as np
import pytest
import torch

from roikit.train import checkpoint
from roikit.train.errors import RunError


def draw() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def test_state_comes_back(tmp_path):
    state = {"model": {"w": torch.arange(6.0).view(2, 3)}, "random": [checkpoint.random_state()], "seconds": 1.5}
    checkpoint.save(tmp_path, 7, state)
    back = checkpoint.load_newest(tmp_path, print)
    assert back["step"] == 7 and back["seconds"] == 1.5
    assert torch.equal(back["model"]["w"], state["model"]["w"])


def test_random_numbers_go_on_where_they_were(tmp_path):
    random.gauss(0, 1)  # leaves half a pair behind, part of the state
    np.random.standard_normal()
    checkpoint.save(tmp_path, 1, {"random": checkpoint.random_state()})
    expected = [draw() for _ in range(3)] + [random.gauss(0, 1), np.random.standard_normal()]
    random.seed(99)
    np.random.seed(99)
    torch.manual_seed(99)
    checkpoint.set_random_state(checkpoint.load_newest(tmp_path, print)["random"])
    assert [draw() for _ in range(3)] + [random.gauss(0, 1), np.random.standard_normal()] == expected


def test_the_last_two_are_kept_and_scraps_go(tmp_path):
    (tmp_path / ".step_00000001.pt.123.tmp").write_bytes(b"half")
    (tmp_path / "notes.txt").write_text("mine")
    for step in (1, 2, 3, 10):
        checkpoint.save(tmp_path, step, {})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["notes.txt", "step_00000003.pt", "step_00000010.pt"]
    assert checkpoint.steps(tmp_path) == [10, 3]


def damage_tail(data: bytes) -> bytes:
    return data[: len(data) // 2]


def damage_middle(data: bytes) -> bytes:
    place = data.index(b"roikit-marker") if b"roikit-marker" in data else len(data) // 2
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


@pytest.mark.parametrize("damage", [damage_tail, damage_middle, lambda _: b"", lambda _: b"no zip"])
def test_a_damaged_one_is_named_and_left(tmp_path, damage):
    for step in (1, 2):
        checkpoint.save(tmp_path, step, {"model": {"w": torch.full((4000,), float(step))}})
    newest = tmp_path / "step_00000002.pt"
    newest.write_bytes(damage(newest.read_bytes()))
    content, said = newest.read_bytes(), []
    assert checkpoint.load_newest(tmp_path, said.append)["step"] == 1
    assert len(said) == 1 and str(newest) in said[0] and "damaged" in said[0]
    assert newest.read_bytes() == content


def test_all_damaged_is_an_error(tmp_path):
    (tmp_path / "step_00000005.pt").write_bytes(b"junk")
    with pytest.raises(RunError, match="none of the 1 checkpoints can be read"):
        checkpoint.load_newest(tmp_path, lambda _: None)


def test_none_yet(tmp_path):
    assert checkpoint.load_newest(tmp_path / "absent", print) is None


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    checkpoint.write_atomically(path, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
