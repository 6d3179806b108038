"""What a person sees while a run goes: a bar in a terminal, a line now and then in a file."""

from __future__ import annotations

import sys
import time
from typing import Any


def duration(seconds: float) -> str:
    """3725 -> '1:02:05', 65 -> '1:05'."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"


class Progress:
    """Use as a context: `with Progress("train", total=100, done=0) as bar: bar.update(1, "loss 0.5")`.

    Args:
        what: the word in front.
        total, done: length and start, in the unit of `update`.
        every: without a terminal: print a line when the count passes a multiple of this.
        silent: print nothing (processes other than the main one).
    """

    def __init__(self, what: str, total: int, *, done: int = 0, every: int = 50, silent: bool = False) -> None:
        self.what, self.total, self.done, self.every, self.silent = what, total, done, every, silent
        self._bar: Any = None
        self._first, self._start = done, time.perf_counter()
        self.text = ""

    def __enter__(self) -> Progress:
        if sys.stdout.isatty() and not self.silent:
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
            from rich.progress import Progress as RichProgress

            self._bar = RichProgress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[text]}"),
                TimeElapsedColumn(),
                TextColumn("ETA"),
                TimeRemainingColumn(),
            )
            self._bar.start()
            self._task = self._bar.add_task(self.what, total=self.total, completed=self.done, text="")
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, count: int, text: str | None = None) -> None:
        """`count` more are done; `text` replaces what stands beside the bar."""
        before, self.done = self.done, self.done + count
        if text is not None:
            self.text = text
        if self.silent:
            return
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done, text=self.text)
        elif before // self.every != self.done // self.every or self.done == self.total:
            elapsed = time.perf_counter() - self._start
            left = elapsed / max(1, self.done - self._first) * (self.total - self.done)
            words = [
                f"{self.what} {self.done}/{self.total}",
                self.text,
                f"{duration(elapsed)} gone, ETA {duration(left)}",
            ]
            print("  ".join(word for word in words if word), flush=True)

    def say(self, line: str) -> None:
        """A line above the bar."""
        if self.silent:
            return
        if self._bar is not None:
            self._bar.console.print(line, markup=False, highlight=False)
        else:
            print(line, flush=True)
