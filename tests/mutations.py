"""``python tests/mutations.py [NUMBER …]``: faults put into the package one after another, each to be caught by the
default suite.

A copy of the package gets the fault; the working tree stays as it is. The tests of the folders named with a fault run
until one fails. Prints a line for each fault, with the test that caught it; exit code 1 if one was not caught. To be
run by hand when kernels, rules, readers or their tests are moved: minutes, since a changed kernel is compiled again.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent


@dataclasses.dataclass(frozen=True)
class Fault:
    """``old`` in a file of the package becomes ``new``; ``tests`` are folders or files below ``tests``."""

    what: str
    file: str
    old: str
    new: str
    tests: str = "laws"


FAULTS = [
    # rules
    Fault("RoI Align's samples are not clamped to the last cell", "rules/hat.py",
          "v = min(max(v, kind(0)), kind(cells - 1))", "v = max(v, kind(0))"),
    Fault("adaptive sampling takes a sample too few", "rules/hat.py",
          "kind(samples) if samples > 0 else np.ceil(beta)", "kind(samples) if samples > 0 else np.floor(beta)"),
    Fault("a wrong sign in the exact integral", "rules/integral.py",
          "(s2 - s1) * (1.0 - p - beta", "(s2 - s1) * (1.0 + p - beta"),
    Fault("the last cell of a rounded bin is lost, in all forms", "rules/cells.py",
          "torch.ceil(far) + lo", "torch.floor(far) + lo", "laws/test_special_cases.py ops"),
    Fault("half a cell too much counts as on the map", "rules/edge.py",
          "v < -0.5 or v > cells - 0.5", "v < -1.0 or v > cells"),
    Fault("δ is rounded down", "rules/adaptive.py",
          "np.floor(beta + type(lo)(0.5))", "np.floor(beta)"),
    Fault("a wrong sign in a GPU rule", "sums/rules_gpu.py",
          "found = tl.where(cell == near, 1 - part,", "found = tl.where(cell == near, 1 + part,", "triton"),
    # kernels
    Fault("an index off by one: the first column of a line", "sums/separable/cpu_planes.py",
          "begin[e] = row_cell[e0 + e] * width + u0", "begin[e] = row_cell[e0 + e] * width + u0 + 1"),
    Fault("channels after the last whole vector are summed twice", "sums/vector.py",
          "for vectors, size in ((VECTORS, lanes_), (1, lanes_), (1, 1)):",
          "for vectors, size in ((VECTORS, lanes_), (1, lanes_)):"),
    Fault("a gradient that does not reach the last row", "sums/separable/cpu_gradients.py",
          "for e in range(row_count[i]):\n                    base",
          "for e in range(row_count[i] - 1):\n                    base"),
    Fault("the image of a RoI is ignored in a backward", "sums/bins/cpu_last.py",
          "or batch[r] != b:\n                continue\n            for k in range(bins):\n                own",
          ":\n                continue\n            for k in range(bins):\n                own"),
    Fault("swapped weights of a point's two columns", "sums/points/cpu_kernels.py",
          "w * down, one - across, across, height", "w * down, across, one - across, height"),
    Fault("equal maxima: the last cell wins", "sums/vector.py",
          'builder.fcmp_ordered(">", row, top)', 'builder.fcmp_ordered(">=", row, top)', "laws/test_kernels.py ops"),
    Fault("half types are cut instead of rounded", "sums/vector.py",
          "builder.add(bits, builder.add(odd, _number(word, size, 0x7FFF)))", "bits",
          "laws/test_kernels.py"),
    # operators
    Fault("an index that is not there is not refused", "sums/indices.py",
          'check_index("batch", batch, images)', "pass",
          "laws/test_bad_rois.py"),
    Fault("the gradient to columns uses the rows' size", "sums/operator.py",
          '("rows", max(shapes[3::4]))', '("rows", max(shapes[2::4]))',
          "laws/test_derivatives.py"),
    Fault("a lost dtype: mixtures come back in float32", "weights/composed.py",
          "sampled.flatten(2)).to(maps[0].dtype)", "sampled.flatten(2))",
          "laws/test_kernels.py"),
    # readers and geometry
    Fault("an infinite coordinate passes", "boxes.py",
          "return bool(np.isfinite(values.detach().numpy()).all())",
          "return not bool(np.isnan(values.detach().numpy()).any())",
          "laws/test_bad_rois.py"),
    Fault("a swapped axis: scales (x, y)", "boxes.py",
          "torch.stack([x, y, x, y], 1)", "torch.stack([y, x, y, x], 1)",
          "laws/test_special_cases.py test_boxes.py"),
    Fault("expand multiplies sides instead of the area", "boxes.py", "(area**0.5 / 2)", "(area / 2)",
          "laws/test_special_cases.py"),
    Fault("borderline boxes go to the finer level", "boxes.py",
          "level + (value >= math.log2(mean))", "level + (value > math.log2(mean) + 1e-6)", "test_boxes.py"),
    Fault("the last pixel of a rounded box is lost", "geometry/grid.py",
          "return y, (h + 1).clamp(min=1), x, (w + 1).clamp(min=1)", "return y, h.clamp(min=1), x, w.clamp(min=1)",
          "laws/test_special_cases.py ops"),
    # extractors
    Fault("a rotated box turns the other way", "geometry/rotated.py",
          "cos, sin = angle.cos(), angle.sin()", "cos, sin = angle.cos(), -angle.sin()",
          "laws/test_special_cases.py ops"),
    Fault("offsets in (x, y)", "extractors/deform_roi_pool.py",
          "shift = gamma * sides * offset.to(sides.dtype)",
          "shift = gamma * sides * offset.flip(1).to(sides.dtype)", "laws/test_special_cases.py ops"),
    Fault("channels of position-sensitive maps by bin first", "geometry/position_sensitive.py",
          "Channels(channels // bins, bins, torch.arange(bins, device=device))",
          "Channels(channels // bins, 1, torch.arange(bins, device=device) * (channels // bins))", "ops"),
    Fault("SRA's RoI loses its half cell", "extractors/semantic_roi_align.py",
          "geometry.corners(cells, 0.5)", "geometry.corners(cells)", "laws/test_special_cases.py extractors"),
]  # fmt: skip


def caught_by(fault: Fault) -> str | None:
    """The first test that fails with the fault in the package, or None."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "src"
        shutil.copytree(ROOT / "src", copy, ignore=shutil.ignore_patterns("__pycache__"))
        place = copy / "roikit" / fault.file
        text = place.read_text(encoding="utf-8")
        if text.count(fault.old) != 1:
            raise SystemExit(f"{fault.what}: {fault.file} has {text.count(fault.old)} places to change, not one")
        place.write_text(text.replace(fault.old, fault.new), encoding="utf-8")
        tests = [str(ROOT / "tests" / name) for name in fault.tests.split()]
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-x", "--no-header", "-rfE", "-p", "no:cacheprovider", *tests],
            env={**os.environ, "PYTHONPATH": str(copy), "ROIKIT_STAMPS": "ignore"},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
    found = re.search(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
    if done.returncode in (1, 2) and found:  # xdist calls the first failure an interruption
        return found[1]
    if done.returncode:
        raise SystemExit(f"{fault.what}: the tests did not run\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return None


def main(numbers: list[str]) -> int:
    chosen = [int(number) for number in numbers] or range(1, len(FAULTS) + 1)
    missed = 0
    for number in chosen:
        fault = FAULTS[number - 1]
        test = caught_by(fault)
        missed += test is None
        print(f"| {number} | {fault.what} | `{fault.file}` | {test or '**not caught**'} |", flush=True)
    print(f"{len(chosen) - missed} of {len(chosen)} faults caught")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
