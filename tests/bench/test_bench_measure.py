"""Turns, medians, spread; what is a scene; peak memory."""

from __future__ import annotations

import mmap

import pytest
import torch

from benchmarks import peaks, resident
from benchmarks.sweeps import swept
from roikit.bench import measure
from roikit.bench.cases import DTYPES, Case, standard
from roikit.bench.operations import OPERATIONS, matching
from roikit.bench.scenes import PYRAMIDS


@pytest.fixture
def clock(monkeypatch):
    """A clock that only the contenders move."""
    now = [0.0]
    monkeypatch.setattr(measure.time, "perf_counter", lambda: now[0])

    def lasting(name, seconds, said):
        def run():
            now[0] += seconds() if callable(seconds) else seconds
            said.append(name)

        return run

    return lasting


def test_contenders_take_turns(clock):
    said = []
    found = measure.take_turns({"a": clock("a", 0.5, said), "b": clock("b", 1.0, said)}, repeats=4)
    assert said == ["a", "b"] * 5  # the first of each to warm up
    assert found["a"] == measure.Times(500.0, 500.0, 500.0, 4)
    assert found["b"].median == 1000.0


def test_no_turn_begins_after_the_time_is_over_but_there_are_three(clock):
    said = []
    assert measure.take_turns({"a": clock("a", 5.0, said)}, repeats=9, seconds=1.0)["a"].turns == 3
    assert measure.take_turns({"a": clock("a", 5.0, said)}, repeats=9, seconds=21.0)["a"].turns == 5


def test_short_calls_are_timed_several_at_once(clock):
    said = []
    found = measure.take_turns({"a": clock("a", 1e-4, said)}, repeats=3)["a"]
    assert len(said) == 2 + 3 * 20
    assert found.median == pytest.approx(0.1)


def test_median_and_the_middle_half(clock):
    values = iter([9.0, 1.0, 2.0, 3.0, 4.0, 100.0])
    found = measure.take_turns({"a": clock("a", lambda: next(values), [])}, repeats=5)["a"]
    assert (found.median, found.low, found.high) == (3000.0, 2000.0, 4000.0)
    assert found.spread == pytest.approx(1 / 3)


def test_the_maps_are_those_of_the_targets():
    assert PYRAMIDS["coarse"].sizes == [(50, 84)] and PYRAMIDS["coarse"].label == "50×84/16"
    assert PYRAMIDS["fine"].sizes == [(200, 336)] and PYRAMIDS["fine"].label == "200×336/4"
    assert PYRAMIDS["fpn"].sizes == [(200, 336), (100, 168), (50, 84), (25, 42)]
    assert PYRAMIDS["fpn"].label == "FPN, 800×1333"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("pyramid", list(PYRAMIDS))
def test_scenes_repeat_and_boxes_lie_in_their_images(dtype, pyramid, small):
    case = small("multiscale_roi_align", pyramid, dtype=dtype, batch=3, rois=40)
    scene, again = case.scene(), case.scene()
    assert torch.equal(scene.boxes, again.boxes) and torch.equal(scene.maps[-1], again.maps[-1])
    assert [list(x.shape) for x in scene.maps] == [[3, 5, h, w] for h, w in case.maps.sizes]
    assert all(x.dtype == getattr(torch, dtype) for x in scene.maps)
    height, width = scene.image
    assert bool((scene.boxes[:, 1:] >= 0).all()) and bool((scene.boxes[:, 3] <= width).all())
    assert bool((scene.boxes[:, 4] <= height).all()) and bool((scene.boxes[:, 3:] > scene.boxes[:, 1:3]).all())
    assert set(scene.boxes[:, 0].tolist()) == {0.0, 1.0, 2.0}
    assert sum(map(len, scene.per_image)) == 40
    if dtype == "float16":
        assert torch.equal(scene.boxes, scene.boxes.half().float())


def test_every_operation_is_timed_where_it_can_be():
    cases = standard(Case("", ""), OPERATIONS)
    assert {case.operation for case in cases} == set(OPERATIONS)
    assert len(cases) == len(set(cases)) == 4 + 4 + 4 + 1  # coarse, position-sensitive and deformable, fine, pyramid
    assert OPERATIONS["ps_roi_align"].channels(256) == 490 and OPERATIONS["roi_align"].channels(256) == 256


def test_sweeps_vary_one_setting():
    base = Case("", "")
    cases = swept(base, ["roi_align"], ["rois", "channels", "batch", "dtypes"])
    assert {case.rois for case in cases} == {10, 30, 100, 300, 1000, 3000, 10000}
    assert {case.channels for case in cases} == {64, 128, 256, 512, 1024}
    assert {case.batch for case in cases} == {1, 8} and {case.dtype for case in cases} == set(DTYPES)
    for case in cases:
        assert sum(getattr(case, name) != getattr(base, name) for name in ("rois", "channels", "batch", "dtype")) <= 1
    assert len(cases) == len(set(cases)) == 2 * (7 + 4 + 1 + 3)


def test_operations_are_found_by_name_or_label():
    assert matching("roi_align") == matching("RoIAlign")
    assert matching("prroi") == ["prroi_pool"] and matching("adaptive") == ["roi_align_adaptive"]
    assert matching("") == list(OPERATIONS) and matching("nothing") == []


@pytest.mark.skipif(not resident.available(), reason="peaks are read from Linux's /proc")
def test_resident_peak_is_what_a_call_needs():
    def call():
        with mmap.mmap(-1, 30 << 20) as first, mmap.mmap(-1, 10 << 20) as second:  # fresh memory, given back
            for page in range(0, 30 << 20, 4096):
                first[page] = 1
            for page in range(0, 10 << 20, 4096):
                second[page] = 1

    assert 39 < resident.peak(call) < 44


@pytest.mark.skipif(not resident.available(), reason="peaks are read from Linux's /proc")
@pytest.mark.timeout(900)  # a process that imports everything; a second or ten, or minutes on a busy machine
def test_a_forward_needs_its_output(row):
    """Each contender in a process of its own; NCHW maps are turned, which takes a copy of the map."""
    case = Case("roi_align", "coarse", rois=400, channels=128)
    rows = [row(case, nchw=1.0, last=1.0, torchvision=1.0, copy=1.0), row(case, "both", nchw=1.0, last=1.0)]
    found, both = peaks.with_peaks(rows)
    output, maps = (n * 128 * 4 / 2**20 for n in (400 * 49, 50 * 84))
    assert set(found.peaks) == {"nchw", "last", "torchvision"} and both.peaks == {}
    # a few pages may be there before, and a few more be needed
    assert 0.9 * output < found.peaks["last"] < 1.5 * output
    assert 0.9 * (output + maps) < found.peaks["nchw"] < 1.5 * (output + maps)
    assert 0.9 * output < found.peaks["torchvision"]
