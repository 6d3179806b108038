"""What is said about bad data: every problem found, each with its file and its reason, in one error."""

from __future__ import annotations

from dataclasses import dataclass, field

SHOWN = 20
"""How many problems one message lists; the rest are counted."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: the file it is in, and what is wrong with it."""

    file: str
    reason: str

    def __str__(self) -> str:
        return f"{self.file}: {self.reason}"


class DataError(ValueError):
    """Data that cannot be used, or is not there.

    The message names the file and the reason. Where a data set was read, all of its problems were collected first:
    `problems` holds every one, the message the first 20 and a count.
    """

    def __init__(self, message: str, problems: tuple[Problem, ...] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.problems = problems

    def __reduce__(self) -> tuple:
        # an error of a DataLoader worker travels to the main process by pickle, problems included
        return type(self), (self.message, self.problems)


@dataclass
class Problems:
    """Collects problems while a data set is read; `raise_if_any` turns them into one `DataError`."""

    source: str
    found: list[Problem] = field(default_factory=list)

    def add(self, file: object, reason: str) -> None:
        self.found.append(Problem(str(file), reason))

    def raise_if_any(self) -> None:
        if not self.found:
            return
        count = len(self.found)
        lines = [f"{self.source}: {count} problem{'s' if count > 1 else ''} in the data"]
        lines += [f"  {problem}" for problem in self.found[:SHOWN]]
        if count > SHOWN:
            lines.append(f"  ... and {count - SHOWN} more")
        raise DataError("\n".join(lines), tuple(self.found))
