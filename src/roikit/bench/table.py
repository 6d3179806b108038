"""Tables of what was measured."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from .cases import Case
from .peers import Peer
from .rows import DIRECTIONS, LAYOUTS, Row


def names(peers: Mapping[str, Peer]) -> dict[str, str]:
    """The contenders in the order of tables, as these show them."""
    ours = {"nchw": "roikit, NCHW", "last": "roikit, channels-last", "deterministic": "roikit, deterministic"}
    return {**ours, **{name: peer.label for name, peer in peers.items()}, "copy": "copy"}


@dataclasses.dataclass(frozen=True)
class Grid:
    """Cells, a line each; ``groups`` holds the number of lines of each case."""

    head: list[str]
    lines: list[list[str]]
    groups: list[int]


def operations(rows: Sequence[Row], base: Case, names: Mapping[str, str]) -> Grid:
    """A line for each contender of each case, by its name in ``names``; the directions side by side."""
    directions = [d for d in DIRECTIONS if any(row.direction == d for row in rows)]
    peaks = [d for d in directions if any(row.peaks and row.direction == d for row in rows)]
    head = ["operation", "map", "", *itertools.chain(*([d, "×"] for d in directions)), *(f"MB, {d}" for d in peaks)]
    lines, groups = [], []
    for case in dict.fromkeys(row.case for row in rows):
        found = {row.direction: row for row in rows if row.case == case}
        contenders = [name for name in names if any(name in row.times for row in found.values())]
        for at, name in enumerate(contenders):
            line = [case.of.label, case.differs(base)] if at == 0 else ["", ""]
            line.append(names[name])
            for direction in directions:
                row = found.get(direction)
                line += ["–", "–"] if row is None else [time(row, name), ratios(row, name)]
            for direction in peaks:
                megabytes = found[direction].peaks.get(name) if direction in found else None
                line.append("–" if megabytes is None else f"{megabytes:.0f}")
            lines.append(line)
        groups.append(len(contenders))
    return Grid(head, lines, groups)


def time(row: Row, name: str) -> str:
    """Milliseconds, and half of the range of the middle half of the turns."""
    if name not in row.times:
        return "–"
    found = row.times[name]
    return f"{number(found.median)} ±{100 * found.spread:.0f}%"


def ratios(row: Row, name: str) -> str:
    """A contender's time over roikit's, NCHW and channels-last."""
    if name in LAYOUTS or name not in row.times:
        return "" if name in row.times else "–"
    if row.refused is not None:
        return "refused"
    if row.withheld(name):
        return "disagrees"
    found = [row.times[name].median / row.times[layout].median for layout in LAYOUTS]
    return " / ".join(f"{ratio:.1f}" if ratio >= 0.95 else f"{ratio:.2f}" for ratio in found)


def number(value: float) -> str:
    """Three digits."""
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.{max(0, 2 - math.floor(math.log10(max(value, 1e-9))))}f}"


def show(console: Any, grid: Grid, title: str = "", caption: str = "") -> None:
    """On the screen: as wide as it must be, a line between cases."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, caption=caption, box=box.SIMPLE_HEAD, title_justify="left", caption_justify="left")
    for at, head in enumerate(grid.head):
        numbers = at > 2 and grid.head[0] == "operation"
        table.add_column(head, justify="right" if numbers else "left", no_wrap=True)
    lines = iter(grid.lines)
    for count in grid.groups:
        group = list(itertools.islice(lines, count))
        for at, line in enumerate(group):
            cells = [Text(cell.replace("**", ""), style=_style(cell)) for cell in line]
            table.add_row(*cells, end_section=at == len(group) - 1)
    widest = console.measure(table, options=console.options.update(width=1000)).maximum
    before, console.width = console.width, max(console.width, widest)  # a terminal wraps what it has no room for
    console.print(table)
    console.width = before


def _style(cell: str) -> str:
    return {"**no**": "bold red", "reached": "green", "refused": "bold red", "disagrees": "bold red"}.get(cell, "")


def remarks(rows: Sequence[Row], names: Mapping[str, str]) -> list[str]:
    """What a table does not say: disagreements, refusals, contenders that could not take part."""
    said = []
    for row in rows:
        where = f"{row.case.of.label} on {row.case.maps.label}, {row.case.dtype}"
        if row.refused is not None:
            said.append(f"{where}: no ratio is shown, {row.refused}. Please report this.")
        for name, verdict in row.verdicts.items():
            if verdict.contradicts_itself:
                said.append(
                    f"{where}, {row.direction}: the gradient of {names[name]} is not that of its own output; its ratio "
                    "is withheld."
                )
            elif not verdict.agrees:
                said.append(
                    f"{where}, {row.direction}: roikit and {names[name]} disagree by {verdict.difference:.1e} of the "
                    "largest value; its ratio is withheld."
                )
        for name, note in row.notes.items():
            if not note.startswith("it has no"):
                said.append(f"{where}: {names[name]} could not take part: {note}.")
    return list(dict.fromkeys(said))
