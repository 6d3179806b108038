"""Every Triton kernel compiles for an NVIDIA GPU, which takes none: what the interpreter accepts is not all Triton."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import stamps

HERE = Path(__file__).parent


def why_not() -> str | None:
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed"
    if importlib.util.find_spec("triton.backends.nvidia") is None:
        return "this Triton cannot compile for NVIDIA GPUs"
    return None


@pytest.mark.skipif(why_not() is not None, reason=str(why_not()))
@pytest.mark.timeout(900)  # a busy machine
@pytest.mark.parametrize("dtypes", ["float32", pytest.param("float16 bfloat16", marks=pytest.mark.slow)])
@pytest.mark.xdist_group("processes")
def test_every_kernel_compiles(dtypes, tmp_path):
    stamps.skip_if_passed(stamp := f"compiled {dtypes}")
    environment = {**os.environ, "TRITON_CACHE_DIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
    for name in ("TRITON_INTERPRET", "ROIKIT_BACKEND"):
        environment.pop(name, None)
    command = [sys.executable, str(HERE / "compile_kernels.py"), *dtypes.split()]
    done = subprocess.run(command, check=False, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    counted = dict(re.findall(r"(\w+): compiled (\d+) kernels", done.stdout))
    assert set(counted) == {path.stem.removeprefix("calls_") for path in HERE.glob("calls_*.py")}
    assert all(int(number) >= 3 for number in counted.values()), done.stdout
    stamps.passed(stamp)
