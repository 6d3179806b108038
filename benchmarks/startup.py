"""What starting costs: the import, and the first call of a process whose kernels were compiled before."""

from __future__ import annotations

import dataclasses
import statistics
import subprocess
import sys

BEFORE = "import torch, torchvision"
# everything that a program names, since `import roikit` alone loads nothing
AFTER = f"{BEFORE}\nimport roikit\nroikit.ops.roi_align, roikit.RoIAlign, roikit.MultiScale, roikit.replace_roi"
TIMED = "import time\nstart = time.perf_counter()\n{}\nprint(time.perf_counter() - start)"
FIRST = f"""{AFTER}
import time
x, boxes = torch.ones(1, 256, 50, 84), torch.tensor([[0, 100.0, 50.0, 400.0, 300.0]])
start = time.perf_counter()
roikit.ops.roi_align(x, boxes, 7, 1 / 16, 2)
print(time.perf_counter() - start)"""


@dataclasses.dataclass(frozen=True)
class Startup:
    """Seconds, medians over processes.

    Args:
        others: importing torch and torchvision.
        all: importing them and this package, its operations, extractors and detectors' parts named.
        first_call: RoI Align of one region in a process that has imported them; Numba is loaded then.
    """

    others: float
    all: float
    first_call: float

    @property
    def more(self) -> float:
        """By how much of the others' time this package makes the import longer."""
        return self.all / self.others - 1


def measure(repeats: int = 5) -> Startup:
    """In processes of their own, in turns; the first of each only fills the caches."""
    programs = {"others": TIMED.format(BEFORE), "all": TIMED.format(AFTER), "first_call": FIRST}
    found: dict[str, list[float]] = {name: [] for name in programs}
    for turn in range(repeats + 1):
        for name, program in programs.items():
            done = subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.PIPE, text=True)
            if turn:
                found[name].append(float(done.stdout))
    return Startup(**{name: statistics.median(values) for name, values in found.items()})
