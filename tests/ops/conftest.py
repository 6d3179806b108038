"""Prints the table of oracles at the end, if asked."""

from __future__ import annotations

import os

from oracles import table


def pytest_terminal_summary(terminalreporter):
    if os.environ.get("ROIKIT_ORACLES"):
        terminalreporter.write_line("\n".join(table()))
