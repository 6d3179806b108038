"""The Triton kernels on the CPU: the files of ``interpreted/`` in a process of their own with Triton's interpreter on.

The interpreter has to be on before Triton is imported, and it is slow: there, at most three RoIs, 2×2 bins and 16
channels. Where there is a GPU the same files also run compiled, as ordinary tests.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import stamps

HERE = Path(__file__).parent


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")
@pytest.mark.timeout(900)  # a busy machine
@pytest.mark.parametrize("marks", ["not slow and not large", pytest.param("slow", marks=pytest.mark.slow)])
@pytest.mark.xdist_group("processes")
def test_in_a_process_of_their_own(marks):
    stamps.skip_if_passed(stamp := f"interpreted {marks}")
    environment = {**os.environ, "TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    environment.pop("ROIKIT_BACKEND", None)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-n0",
        "-m",
        marks,
        "-p",
        "no:cacheprovider",
        str(HERE / "interpreted"),
    ]
    done = subprocess.run(command, check=False, env=environment, capture_output=True, text=True, cwd=HERE.parents[1])
    none = marks == "slow" and done.returncode == pytest.ExitCode.NO_TESTS_COLLECTED
    assert none or done.returncode == 0, done.stdout + done.stderr
    assert none or " passed" in done.stdout
    stamps.passed(stamp)
