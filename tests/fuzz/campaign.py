"""Inputs by the thousand, against operators, extractors, weights, configurations and annotation files.

    python tests/fuzz/campaign.py operators extractors --seconds 600
    python tests/fuzz/campaign.py files --count 100000 --seed 7
    python tests/fuzz/campaign.py operators --relatives 50 --count 1000000    # hypothesis' inputs, 50 like each of them

Inputs are hypothesis', which makes a failing one small. A finding is printed once, with the input, and the search goes
on; the end, or Ctrl-C, says how many inputs there were and how many findings. An input that ends the process or never
comes back ends the campaign, with the line that was running.
"""

from __future__ import annotations

import argparse
import collections
import faulthandler
import os
import re
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent))

import torch
from hypothesis import HealthCheck, Phase, given, seed, settings

PATIENCE = 600  # seconds for one input, the compilation of kernels on a busy machine included
BATCH = 500  # inputs that hypothesis keeps apart


class Findings:
    """What went wrong, by where it was raised and by what it says, numbers aside.

    A kind is raised until hypothesis has made its input small, in the batch where it is new; later it is counted.
    """

    def __init__(self) -> None:
        self.kinds: collections.Counter[str] = collections.Counter()
        self.known: set[str] = set()
        self.smallest: dict[str, tuple[Any, BaseException]] = {}

    def key(self, error: BaseException) -> str:
        place = traceback.extract_tb(error.__traceback__)[-1]
        words = re.sub(r"[\d.e+-]+", "#", str(error).strip().splitlines()[0] if str(error).strip() else "")
        return f"{type(error).__name__} {Path(place.filename).name}:{place.lineno} {words[:80]}"

    @property
    def new(self) -> set[str]:
        return set(self.smallest) - self.known

    def tell(self, where: str) -> None:
        """Print what is new; from now on it is known."""
        for key in sorted(self.new):
            value, error = self.smallest[key]
            print(f"--- {where}: {value!r}")
            print("".join(traceback.format_exception(error)[-3:])[-1500:], flush=True)
        self.known |= self.new


def search(
    name: str,
    strategy: Any,
    check: Callable[[Any], int | None],
    count: int,
    seconds: float,
    start: int,
    shrink: bool = True,
) -> int:
    """Try inputs until there were `count`, or for so long; how many findings there were."""
    findings, tried, batch, begun = Findings(), 0, 0, time.monotonic()

    def one(value: Any) -> None:
        nonlocal tried
        if tried >= count or time.monotonic() - begun > seconds:
            return
        faulthandler.dump_traceback_later(PATIENCE, exit=True, file=sys.__stderr__)
        try:
            tried += check(value) or 1
        except Exception as error:
            tried += 1
            key = findings.key(error)
            findings.kinds[key] += 1
            if key not in findings.known:
                findings.smallest[key] = value, error
                raise
        finally:
            faulthandler.cancel_dump_traceback_later()

    try:
        while tried < count and time.monotonic() - begun < seconds:
            options = settings(
                max_examples=min(BATCH, count - tried),
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
                print_blob=False,
                phases=(Phase.generate, Phase.shrink) if shrink else (Phase.generate,),
                report_multiple_bugs=False,
            )
            try:
                seed(start + batch)(options(given(strategy)(one)))()
            except Exception:  # a finding, kept in `smallest`
                if not findings.new:
                    raise
            findings.tell(f"{name}, seed {start + batch}")
            batch += 1
    except KeyboardInterrupt:
        print("stopped")
    spent = time.monotonic() - begun
    print(
        f"{name}: {tried} inputs in {spent:.0f} s, seeds {start} to {start + batch - 1}, {len(findings.kinds)} findings"
    )
    for key, times in findings.kinds.items():
        print(f"  {times} × {key}", flush=True)
    return len(findings.kinds)


def targets(relatives: int = 0) -> dict[str, tuple[Any, Callable[[Any], int | None]]]:
    """What is tried: a strategy of inputs, and what must come of one; of operators, and of so many like it."""
    import extractors
    import files
    import operators
    import settings_and_states

    return {
        "operators": (operators.calls(), lambda call: operators.check_family(call, relatives)),
        "extractors": (extractors.calls(), extractors.check),
        "states": (settings_and_states.states(), settings_and_states.check_state),
        "configurations": (settings_and_states.configurations(), settings_and_states.check_configuration),
        "files": (files.data_sets(), files.check),
        "pictures": (files.pictures(), files.check_picture),
    }


def main() -> int:
    known = targets()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("targets", nargs="*", help=f"of {', '.join(known)}; all, where none is named")
    parser.add_argument("--count", type=int, default=10**9, help="inputs of each")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--relatives", type=int, default=0, help="inputs of operators like each of hypothesis'")
    parser.add_argument("--keep", action="store_true", help="print a failing input as it is, which takes no time")
    options = parser.parse_args()
    strange = set(options.targets) - set(known)
    if strange:
        parser.error(f"{', '.join(strange)}: choose of {', '.join(known)}")
    torch.set_num_threads(1)
    chosen = options.targets or list(known)
    known = targets(options.relatives)
    limits = options.count, options.seconds, options.seed, not options.keep
    return int(any([search(name, *known[name], *limits) for name in chosen]))


if __name__ == "__main__":
    sys.exit(main())
