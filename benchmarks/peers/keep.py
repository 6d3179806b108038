"""What runtimes read stays alive."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def keeping(call: Callable[[], Any], *inputs: object) -> Callable[[], Any]:
    """A call that keeps what it reads alive: runtimes hold addresses only."""

    def run() -> Any:
        return call() if inputs else None

    return run
