"""Every Triton kernel compiles for an NVIDIA GPU, which takes none: what the interpreter accepts is not all Triton."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def why_not() -> str | None:
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed"
    if importlib.util.find_spec("triton.backends.nvidia") is None:
        return "this Triton cannot compile for NVIDIA GPUs"
    return None


@pytest.mark.skipif(why_not() is not None, reason=str(why_not()))
@pytest.mark.timeout(900)  # a busy machine
@pytest.mark.parametrize("calls", sorted(path.stem for path in HERE.glob("calls_*.py")))
def test_every_kernel_compiles(calls, tmp_path):
    environment = {**os.environ, "TRITON_CACHE_DIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
    for name in ("TRITON_INTERPRET", "ROIKIT_BACKEND"):
        environment.pop(name, None)
    command = [sys.executable, str(HERE / "compile_kernels.py"), calls.removeprefix("calls_")]
    done = subprocess.run(command, check=False, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    counted = re.search(r"compiled (\d+) kernels", done.stdout)
    assert counted and int(counted[1]) >= 3, done.stdout
