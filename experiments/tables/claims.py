"""Claims of papers as a file: which rows of which tables are compared, and what would show it.

A claim compares two numbers, `more: [ROW, ROW]` (the first is larger) or `like: [ROW, ROW]` with `within`. A row is a
table's folder and the name of its run, `lrf/table4/aligned`, whose AP in percent is meant, or `ROW @ VALUE` of an
analysis (`ANALYSES`); the second may be a plain number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from roikit.train.bases import read_config
from roikit.train.errors import RunError

from .paired import Difference, Measured, Spread, difference, pooled
from .papertable import PaperTable, Row

AP = "AP"
ANALYSES = ("divergence", "invariance", "diversity")
HOLDS, FAILS, OPEN = "holds", "does not hold", "cannot be told"


@dataclass(frozen=True)
class Number:
    """A number of a row's runs, or a plain one."""

    row: str | None
    value: str = AP
    plain: float = 0.0

    @property
    def analysis(self) -> str | None:
        return None if self.value == AP else self.value.partition("/")[0]

    def measured(self, results: Mapping[str, Mapping[int, Mapping[str, Any]]], seeds: Sequence[int]) -> dict:
        """By seed, of `results[row][seed]`; AP in percent."""
        if self.row is None:
            return {seed: Measured(self.plain) for seed in seeds}
        found = {}
        for seed, numbers in results.get(self.row, {}).items():
            if self.value in numbers:
                scale = 100.0 if self.value == AP else 1.0
                rounds = numbers.get("resampled_AP", ()) if self.value == AP else ()
                found[seed] = Measured(scale * numbers[self.value], [scale * one for one in rounds])
        return found


@dataclass(frozen=True)
class Claim:
    """What a paper says of two numbers.

    Attributes:
        text: the claim.
        source: the paper and its table or figure.
        first, second: what is compared.
        within: None: the first is larger; else they differ by no more than this.
        paper: what the paper prints for the first less the second, if it prints it.
    """

    text: str
    source: str
    first: Number
    second: Number
    within: float | None
    paper: float | None

    def difference(self, results: Mapping[str, Mapping[int, Mapping[str, Any]]]) -> Difference | None:
        """Ours, of the results by row and seed; None where there is no pair yet."""
        seeds = sorted({seed for found in results.values() for seed in found})
        return difference(self.first.measured(results, seeds), self.second.measured(results, seeds))

    def verdict(self, interval: tuple[float, float] | None) -> str:
        """Of a 95% interval: whether the claim holds for all of it, for none of it, or neither."""
        if interval is None:
            return OPEN
        low, high = interval
        if self.within is None:
            return HOLDS if low > 0 else FAILS if high < 0 else OPEN
        inside, outside = -self.within <= low and high <= self.within, high < -self.within or low > self.within
        return HOLDS if inside else FAILS if outside else OPEN


@dataclass(frozen=True)
class Claims:
    """A file of claims.

    Attributes:
        file: where it was read from; rows are folders beside it.
        title, about: of the page.
        claims: in the file's order.
    """

    file: Path
    title: str
    about: str
    claims: tuple[Claim, ...]

    @classmethod
    def read(cls, file: str | Path) -> Claims:
        """Raises a `RunError` where the file is no such file, or a claim names a row that does not exist."""
        file = Path(file)
        if not file.is_file():
            raise RunError(f"{file}: does not exist; give a file of claims such as experiments/claims.yaml")
        content = read_config(file)
        if set(content) != {"title", "about", "claims"} or not isinstance(content["claims"], list):
            raise RunError(f"{file}: needs title, about and a list of claims, and nothing else")

        @cache
        def rows(folder: str) -> Mapping[str, Row]:
            place = file.parent / folder
            return {row.run: row for row in PaperTable.read(place).rows} if (place / "table.yaml").is_file() else {}

        claims = tuple(_claim(file, one, rows) for one in content["claims"])
        return cls(file, str(content["title"]), str(content["about"]).strip(), claims)

    def rows(self) -> dict[str, set[str]]:
        """The rows to train, in the order in which claims name them, and the analyses that each needs."""
        found: dict[str, set[str]] = {}
        for claim in self.claims:
            for number in (claim.first, claim.second):
                if number.row is not None:
                    needed = found.setdefault(number.row, set())
                    if number.analysis is not None:
                        needed.add(number.analysis)
        return found

    def config(self, row: str) -> Path:
        """The configuration of a row, at the scale of Shapes."""
        folder, _, run = row.rpartition("/")
        return self.file.parent / folder / "shapes" / f"{run}.yaml"

    def spread(self, claim: Claim, differences: Mapping[str, Difference]) -> Spread:
        """Of all claims that compare the same kind of number on the same detector."""
        kinds = self._kinds
        alike = (c.text for c in self.claims if kinds[c.text] == kinds[claim.text])
        return pooled(differences[text] for text in alike if text in differences)

    @cached_property
    def _kinds(self) -> dict[str, tuple[str, str]]:
        """Of each claim's text: the number that is compared, and the detector's neck."""
        necks: dict[str | None, str] = {
            row: read_config(self.config(row)).get("model", {}).get("neck", "fpn") for row in self.rows()
        }
        return {c.text: (c.first.value, necks[c.first.row]) for c in self.claims}


Rows = Callable[[str], Mapping[str, Row]]
"""Of a table's folder, such as lrf/table4: its rows by run; none where there is no such table."""


def _claim(file: Path, content: Any, rows: Rows) -> Claim:
    known = {"claim", "paper", "more", "like", "within", "printed"}
    if not isinstance(content, dict) or "claim" not in content or not set(content) <= known:
        raise RunError(f"{file}: a claim has the keys {', '.join(sorted(known))}, not {content!r}")
    text = str(content["claim"])
    pair = content.get("more", content.get("like"))
    if ("more" in content) == ("like" in content) or not isinstance(pair, list) or len(pair) != 2:
        raise RunError(f"{file}: {text!r} needs two rows, either more: [ROW, ROW] or like: [ROW, ROW]")
    if ("like" in content) != ("within" in content):
        raise RunError(f"{file}: {text!r} needs within where it says like, and only there")
    first, second = (_number(file, text, one, rows) for one in pair)
    if first.row is None:
        raise RunError(f"{file}: {text!r} must begin with a row")
    within = float(content["within"]) if "within" in content else None
    printed = content.get("printed", _printed(first, second, rows))
    return Claim(text, str(content.get("paper", "")), first, second, within, printed)


def _number(file: Path, text: str, given: Any, rows: Rows) -> Number:
    if isinstance(given, int | float):
        return Number(None, plain=float(given))
    row, _, value = (part.strip() for part in str(given).partition("@"))
    number = Number(row, value or AP)
    if number.analysis not in (None, *ANALYSES):
        raise RunError(f"{file}: {text!r} names {value!r}; values are of {', '.join(ANALYSES)}")
    folder, _, run = row.rpartition("/")
    if run not in rows(folder):
        raise RunError(f"{file}: {text!r} names the row {row!r}, which no table beside this file has")
    return number


def _printed(first: Number, second: Number, rows: Rows) -> float | None:
    """What the tables print for the difference in AP."""
    if first.row is None or second.row is None or (first.value, second.value) != (AP, AP):
        return None
    parts = (number.rpartition("/") for number in (first.row, second.row))
    ours, theirs = (rows(folder)[run].paper for folder, _, run in parts)
    return round(ours[AP] - theirs[AP], 6) if ours and theirs else None
