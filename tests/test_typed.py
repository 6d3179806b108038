"""The types of the package reach a user's script."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import roikit

SCRIPT = """
import torch
import roikit

extractor = roikit.RoIAlign(7, sampling_ratio=2)
features = torch.rand(1, 8, 20, 20)
pooled = extractor(features, [torch.tensor([[0.0, 0.0, 9.0, 9.0]])], 1 / 4)
reveal_type(roikit.ops.roi_align(features, torch.zeros(0, 5), 7))
roikit.RoIAlign(7, sampling_ratoi=2)
"""


def test_the_package_says_that_it_is_typed():
    assert (Path(roikit.__file__).parent / "py.typed").exists()


@pytest.mark.slow  # mypy reads torch
def test_a_script_is_checked(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, "-m", "mypy", "--cache-dir", str(tmp_path / "cache"), str(script)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert 'Revealed type is "torch._tensor.Tensor"' in done.stdout.replace("builtins.", ""), done.stdout
    assert 'Unexpected keyword argument "sampling_ratoi"' in done.stdout and "Found 1 error" in done.stdout
