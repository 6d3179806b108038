"""Targets read the right rows, in the right direction, and say why where nothing was measured."""

from __future__ import annotations

import dataclasses
import subprocess

import pytest

from benchmarks import startup, targets
from benchmarks.promises import promises
from benchmarks.targets import BETTER, Deterministic, Memory, Speed
from roikit.bench.cases import Case

CASE = Case("roi_align", "coarse")


def speed(layout=BETTER, peer="torchvision", bound=10, **options) -> Speed:
    return Speed("work", "peer", CASE, "forward", layout, peer, bound, **options)


def test_a_speed_is_the_peers_time_over_ours(row):
    rows = [row(CASE, nchw=5.0, last=2.0, torchvision=30.0), row(CASE, "backward", nchw=1.0, last=1.0, torchvision=1.0)]
    nchw, last, better = (speed(layout).outcome(rows) for layout in ("nchw", "last", BETTER))
    assert (nchw.measured, nchw.reached, nchw.target) == ("6.0×", False, "≥ 10×")
    assert (last.measured, last.reached) == ("15.0×", True)
    assert (better.measured, better.reached, better.note) == ("15.0×", True, "channels-last; NCHW 6.0×")
    assert speed("nchw", bound=6).outcome(rows).reached and not speed("nchw", bound=6.01).outcome(rows).reached


def test_at_most_is_our_time_over_the_others(row):
    rows = [row(CASE, nchw=9.0, last=4.0, copy=2.5)]
    found = speed("last", "copy", 1.6, over=True).outcome(rows)
    assert (found.measured, found.reached, found.target) == ("1.60×", True, "≤ 1.6×")
    assert not speed("nchw", "copy", 1.6, over=True).outcome(rows).reached
    assert speed(BETTER, "copy", 1.6, over=True).outcome(rows).measured == "1.60×"


def test_another_case_is_compared_in_the_same_layout(row):
    other = Case("prroi_pool", "coarse")
    rows = [row(CASE, nchw=6.0, last=3.0), row(other, nchw=4.0, last=1.0)]
    ratios = [speed(layout, "", 2, over=True, other=other).outcome(rows).value for layout in ("nchw", "last")]
    assert ratios == [1.5, 3.0]


def test_half_types_against_the_peers_half_type(row):
    low, half = (dataclasses.replace(CASE, dtype=dtype) for dtype in ("bfloat16", "float16"))
    rows = [row(low, nchw=2.0, last=1.0), row(half, nchw=9.0, last=9.0, torchvision=8.0)]
    target = Speed("work", "peer", low, "forward", BETTER, "torchvision", 3, False, half)
    assert target.outcome(rows).value == 8.0


def test_nothing_is_said_without_a_measurement(row):
    for rows, words in (
        ([], "not timed in this run"),
        ([row(CASE, nchw=1.0, last=1.0)], "torchvision was not timed in this run"),
        ([row(CASE, nchw=1.0, last=1.0, torchvision=99.0, refused="the kernel is wrong")], "the kernel is wrong"),
        ([row(CASE, nchw=1.0, last=1.0, torchvision=99.0, differs=0.5)], "disagree by 5.0e-01"),
    ):
        found = speed().outcome(rows)
        assert found.measured is found.value is found.reached is None and words in found.note


def test_memory_is_a_share_of_what_must_be_there(row):
    output, maps = 1000 * 256 * 49 * 4 / 2**20, 50 * 84 * 256 * 4 / 2**20
    found = dataclasses.replace(
        row(CASE, nchw=1.0, last=1.0), peaks={"nchw": 1.2 * (output + maps), "last": 1.6 * output}
    )
    last, nchw = (Memory("work", CASE, layout, 1.5).outcome([found]) for layout in ("last", "nchw"))
    assert (last.measured, last.reached) == ("1.60×", False) and (nchw.measured, nchw.reached) == ("1.20×", True)
    assert Memory("work", CASE, "last", 1.5).outcome([row(CASE, nchw=1.0, last=1.0)]).reached is None


def test_deterministic_over_atomic(row):
    found = row(CASE, "backward", nchw=2.0, last=9.0, deterministic=5.0)
    assert Deterministic("work", CASE, 3).outcome([found]).measured == "2.50×"
    assert Deterministic("work", CASE, 2).outcome([found]).reached is False
    assert Deterministic("work", CASE, 2).outcome([]).reached is None


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_every_target_finds_its_row(device, row):
    """The table has the bounds of the project's goals, and the cases that it asks for fill it."""
    found = promises(Case("", "", device=device))
    cases = targets.needed(found)
    peers = {"torchvision": 100.0, "openvino": 100.0, "onnxruntime": 100.0}
    rows = [
        dataclasses.replace(
            row(case, direction, nchw=1.0, last=1.0, copy=1.0, deterministic=1.0, **peers),
            peaks={"nchw": 50.0, "last": 40.0},
        )
        for case, directions in cases.items()
        for direction in directions
    ]
    outcomes = [target.outcome(rows) for target in found]
    assert all(outcome.reached for outcome in outcomes)
    assert len({(o.work, o.against) for o in outcomes}) == len(outcomes)
    bounds = sorted(target.bound for target in found)
    if device == "cpu":
        assert bounds == sorted(
            [8, 12, 14, 22, *[14, 20] * 3, 3, 12, 15, 12, 10, 12, 8, 8, 4, 4, 6, 2, 2, *[1.5] * 4, *[1.5] * 4]
        )
        assert {case.rois for case in cases} == {1, 10, 100, 1000}
    else:
        assert bounds == sorted([*[2, 3] * 4, 4, 3, 3])
        assert all(case.device == "cuda" for case in cases)


def test_startup(monkeypatch):
    """Medians over processes of which the first does not count."""
    said = {"others": iter([9.0, 2.0, 2.2, 1.8]), "all": iter([9.0, 2.2, 2.2, 9.0]), "call": iter([9.0, 0.4, 1.6, 0.5])}

    def run(command, **_):
        name = "call" if "boxes" in command[2] else "all" if "roikit" in command[2] else "others"
        return subprocess.CompletedProcess(command, 0, stdout=f"{next(said[name])}\n")

    monkeypatch.setattr(startup.subprocess, "run", run)
    found = startup.measure(3)
    assert found == startup.Startup(2.0, 2.2, 0.5) and found.more == pytest.approx(0.1)
    more, first = targets.started(found)
    assert (more.measured, more.reached, first.measured, first.reached) == ("+10%", True, "0.50 s", True)
    more, first = targets.started(startup.Startup(2.0, 2.4, 1.6))
    assert (more.measured, more.reached, first.reached) == ("+20%", False, False)
