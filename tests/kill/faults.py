"""What happens to a training: writes that are cut off, a full disk, clocks that jump."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from pathlib import Path


def workers(launcher: int) -> list[int]:
    """The training processes below torch's launcher (not their loaders')."""
    children = Path(f"/proc/{launcher}/task/{launcher}/children")
    return [int(pid) for pid in children.read_text().split()] if children.exists() else []


def torn_write(how: str, nth: int) -> None:
    """The `nth` file from now on is not finished: the process dies before it, half-way, or before the renaming."""
    from roikit.train import checkpoint

    plain, left = checkpoint.write_atomically, [nth]

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def write(path: Path, content: bytes) -> None:
        left[0] -= 1
        if left[0]:
            return plain(path, content)
        if how == "before":
            die()
        if how == "unnamed":
            os.replace = lambda *_: die()
            plain(path, content)
        beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")  # as `write_atomically` does
        with open(beside, "wb") as file:
            file.write(content[: len(content) // 2])
        die()

    import roikit.train.runfolder as runfolder

    checkpoint.write_atomically = runfolder.write_atomically = write


def fill(place: Path, room: int) -> None:
    """Leave so many bytes of a file system."""
    free = os.statvfs(place)
    size = max(0, free.f_bavail * free.f_frsize - room)
    with open(place / "filling", "wb") as file, contextlib.suppress(OSError):
        file.write(b"\0" * size)


def jumping_clock(seed: float) -> None:
    """Both clocks jump by up to ten days at every look."""
    jumps, plain = random.Random(seed), (time.time, time.perf_counter)
    time.time = lambda: plain[0]() + jumps.uniform(-1e6, 1e6)
    time.perf_counter = lambda: plain[1]() + jumps.uniform(-1e6, 1e6)
