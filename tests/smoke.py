"""What an installation must do, with the core alone: `python tests/smoke.py`, from any folder and without pytest.

Values are worked out by hand. What an extra brings either works or says in a sentence what to type.
"""

from __future__ import annotations

import inspect
import os
import subprocess
import sys

import torch

import roikit
from roikit.extras import EXTRAS, MissingExtra

RAMP = torch.arange(16.0).reshape(1, 1, 4, 4)
WHOLE = torch.tensor([[0.0, 0.0, 0.0, 4.0, 4.0]])


def operators() -> None:
    from roikit.ops import prroi_pool, roi_align, roi_pool

    assert roi_align(RAMP, WHOLE, 2, sampling_ratio=1, aligned=True).flatten().tolist() == [2.5, 4.5, 10.5, 12.5]
    assert roi_pool(RAMP, WHOLE - torch.tensor([0.0, 0.0, 0.0, 1.0, 1.0]), 2).flatten().tolist() == [5, 7, 13, 15]
    assert prroi_pool(RAMP, torch.tensor([[0.0, 0.0, 0.0, 2.0, 2.0]]), 1).item() == 5.0


def extractors() -> None:
    """Each of them, forward and backward, on one map and through MultiScale; kernels against the reference."""
    torch.manual_seed(0)
    boxes = [torch.tensor([[8.0, 8.0, 120.0, 80.0], [0.0, 16.0, 40.0, 96.0]])]
    for kind in roikit.extractors.EXTRACTORS:
        channels = 49 if "PS" in kind.__name__ else 8  # position-sensitive: a map for each part
        learns = "channels" in inspect.signature(kind).parameters
        extractor = kind(channels) if learns else kind()
        x = torch.rand(1, channels, 12, 16)
        leaf = x.clone().requires_grad_()
        found = extractor(leaf, boxes, 1 / 8)
        found.sum().backward()
        assert found.isfinite().all() and leaf.grad is not None and leaf.grad.isfinite().all(), kind
        before = os.environ.get("ROIKIT_BACKEND")
        os.environ["ROIKIT_BACKEND"] = "reference"
        torch.testing.assert_close(extractor(x, boxes, 1 / 8), found.detach(), rtol=1e-4, atol=1e-5, msg=kind.__name__)
        os.environ.pop("ROIKIT_BACKEND") if before is None else os.environ.update(ROIKIT_BACKEND=before)
    levels = {"0": torch.rand(1, 2, 32, 32), "1": torch.rand(1, 2, 16, 16)}
    pooled = roikit.MultiScale(roikit.RoIAlign(3), ["0", "1"], [4.0, 8.0])(levels, boxes, [(128, 128)])
    assert pooled.shape == (2, 2, 3, 3)


def extras() -> None:
    """What is not there is one sentence: in Python an ImportError, at the command line exit code 2."""
    for package, extra in (("detection", "train"), ("data", "train"), ("analysis", "train")):
        try:
            getattr(roikit, package)
        except MissingExtra as missing:
            assert f"pip install 'roikit[{extra}]'" in str(missing) and missing.name in EXTRAS[extra]
    command = [sys.executable, "-m", "roikit"]
    info = subprocess.run([*command, "info"], capture_output=True, text=True, check=False)
    assert info.returncode == 0 and "runs on cpu" in info.stdout, info.stderr
    train = subprocess.run([*command, "train", "--optim.steps"], capture_output=True, text=True, check=False)
    assert train.returncode == 2 and train.stderr.count("\n") == 1, train.stderr


if __name__ == "__main__":
    for check in (operators, extractors, extras):
        check()
    print(f"roikit {roikit.__version__} in {os.path.dirname(roikit.__file__)}: works")
