"""Kinds of targets, and how the rows of one run say whether they are reached."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from roikit.bench.cases import Case
from roikit.bench.rows import LAYOUTS, Row
from roikit.bench.table import Grid

from .startup import Startup

BETTER = "better"
LAYOUT_NAMES = {"nchw": "NCHW", "last": "channels-last", BETTER: "the better layout"}


@dataclasses.dataclass(frozen=True)
class Outcome:
    """A row of the table; ``measured`` is None where it could not be, and ``note`` says why."""

    work: str
    against: str
    target: str
    measured: str | None
    value: float | None
    reached: bool | None
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Speed:
    """A ratio of medians of one case.

    Args:
        work, against: as the table shows them.
        case: what is timed.
        direction: "forward" or "backward".
        layout: "nchw", "last", or the better of them.
        peer: a contender of the same row.
        bound: at least so many times as fast as the peer; or, with ``over``, at most so many times its time.
        over: the ratio is this package's time over the contender's.
        other: the contender's row is that of another case, the contender this package in the same layout ("") or a
            peer.
    """

    work: str
    against: str
    case: Case
    direction: str
    layout: str
    peer: str
    bound: float
    over: bool = False
    other: Case | None = None

    @property
    def needs(self) -> list[tuple[Case, str]]:
        return [(self.case, self.direction)] + ([(self.other, self.direction)] if self.other else [])

    def outcome(self, rows: Sequence[Row]) -> Outcome:
        target = f"{'≤' if self.over else '≥'} {self.bound:g}×"
        mine = _find(rows, self.case, self.direction)
        its = _find(rows, self.other, self.direction) if self.other else mine
        empty = Outcome(self.work, self.against, target, None, None, None)
        if mine is None or its is None:
            return dataclasses.replace(empty, note="not timed in this run")
        why = mine.withheld(self.peer) or its.withheld(self.peer)
        if why is None and self.peer and self.peer not in its.times:
            why = its.notes.get(self.peer, f"{self.peer} was not timed in this run")
        if why is not None:
            return dataclasses.replace(empty, note=why)
        values = {}
        for layout in LAYOUTS:
            ratio = mine.times[layout].median / its.times[self.peer or layout].median
            values[layout] = ratio if self.over else 1 / ratio
        best = (min if self.over else max)(LAYOUTS, key=lambda layout: values[layout])
        layout = best if self.layout == BETTER else self.layout
        shown, note = f"{values[layout]:.2f}×" if self.over else f"{values[layout]:.1f}×", ""
        if self.layout == BETTER:
            rest = next(name for name in LAYOUTS if name != best)
            form = ".2f" if self.over else ".1f"
            note = f"{LAYOUT_NAMES[best]}; {LAYOUT_NAMES[rest]} {values[rest]:{form}}×"
        value = values[layout]
        reached = value <= self.bound if self.over else value >= self.bound
        return Outcome(self.work, self.against, target, shown, value, reached, note)


@dataclasses.dataclass(frozen=True)
class Memory:
    """The forward's peak over the bytes of its output (and, of NCHW maps, of the copy that is turned)."""

    work: str
    case: Case
    layout: str
    bound: float

    @property
    def needs(self) -> list[tuple[Case, str]]:
        return [(self.case, "forward")]

    def outcome(self, rows: Sequence[Row]) -> Outcome:
        against = "its output" if self.layout == "last" else "its output and the map, turned"
        empty = Outcome(self.work, against, f"≤ {self.bound:g}×", None, None, None, "peaks are read on Linux only")
        row = _find(rows, self.case, "forward")
        if row is None or self.layout not in row.peaks:
            return empty
        values = self.case.rois * self.case.channels * 49
        if self.layout == "nchw":
            values += sum(h * w for h, w in self.case.maps.sizes) * self.case.batch * self.case.channels
        least = values * self.case.torch_dtype.itemsize / 2**20
        ratio = row.peaks[self.layout] / least
        note = f"{row.peaks[self.layout]:.0f} MB, of which {least:.0f}"
        return Outcome(self.work, against, empty.target, f"{ratio:.2f}×", ratio, ratio <= self.bound, note)


@dataclasses.dataclass(frozen=True)
class Deterministic:
    """The deterministic backward's time over the atomic one's, of this package."""

    work: str
    case: Case
    bound: float

    @property
    def needs(self) -> list[tuple[Case, str]]:
        return [(self.case, "backward")]

    def outcome(self, rows: Sequence[Row]) -> Outcome:
        empty = Outcome(self.work, "the atomic one", f"≤ {self.bound:g}×", None, None, None, "not timed in this run")
        row = _find(rows, self.case, "backward")
        if row is None or "deterministic" not in row.times:
            return empty
        if row.refused:
            return dataclasses.replace(empty, note=row.refused)
        ratio = row.times["deterministic"].median / row.times["nchw"].median
        return dataclasses.replace(empty, measured=f"{ratio:.2f}×", value=ratio, reached=ratio <= self.bound, note="")


Target = Speed | Memory | Deterministic


def needed(found: Iterable[Target]) -> dict[Case, list[str]]:
    """The directions in which each case is timed for them."""
    cases: dict[Case, list[str]] = {}
    for target in found:
        for case, direction in target.needs:
            directions = cases.setdefault(case, [])
            if direction not in directions:
                directions.append(direction)
    return cases


def outcomes(found: Sequence[Outcome]) -> Grid:
    """Their table."""
    words = {True: "reached", False: "**no**", None: "not measured"}
    lines = [[o.work, o.against, o.target, o.measured or "–", words[o.reached], o.note] for o in found]
    return Grid(["work", "against", "target", "measured", "", "which, and why not"], lines, [len(lines)])


def started(startup: Startup) -> list[Outcome]:
    """Those of a process that starts."""
    more, first = startup.more, startup.first_call
    note = f"{startup.others:.2f} s, and {startup.all:.2f} s with it"
    return [
        Outcome("`import roikit`", "torch + torchvision", "≤ +15%", f"{100 * more:+.0f}%", more, more <= 0.15, note),
        Outcome("first call, warm kernel cache", "–", "≤ 1.5 s", f"{first:.2f} s", first, first <= 1.5),
    ]


def _find(rows: Sequence[Row], case: Case, direction: str) -> Row | None:
    return next((row for row in rows if row.case == case and row.direction == direction), None)
