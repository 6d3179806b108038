"""Files marked ``own_process``, each in a process of its own.

ONNX Runtime's and OpenVINO's threads do not survive a fork: a loader's workers, forked from a process that has used
them, take it down with them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
MARK = "pytestmark = pytest.mark.own_process"
FILES = sorted(path for path in HERE.rglob("test_*.py") if MARK in path.read_text(encoding="utf-8").splitlines())


@pytest.mark.timeout(1800)  # a busy machine
@pytest.mark.parametrize(
    "marks",  # the slow ones take minutes: a group, which begins first
    ["not slow and not large", pytest.param("slow", marks=[pytest.mark.slow, pytest.mark.xdist_group("own process")])],
)
@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_in_a_process_of_its_own(file, marks):
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-n0",
        "-m",
        marks,
        "-p",
        "no:cacheprovider",
        "--show-capture=no",
        str(file),
    ]
    environment = {**os.environ, "ROIKIT_OWN_PROCESS": "1"}
    done = subprocess.run(command, check=False, env=environment, capture_output=True, text=True, cwd=HERE.parent)
    none = marks == "slow" and done.returncode == pytest.ExitCode.NO_TESTS_COLLECTED
    assert none or done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]


def test_there_are_some():
    assert {path.stem for path in FILES} == {"test_bench_peers", "test_onnx"}
