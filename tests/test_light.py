"""The core works without what extras bring, and says what to type where one is missing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from roikit.extras import EXTRAS

ROOT = Path(__file__).parent.parent
# Puts the finder of files behind one that does not know some modules: as if they were not installed.
BLOCKED = """
import sys
from importlib.machinery import PathFinder

ABSENT = {absent!r}
find = PathFinder.find_spec
PathFinder.find_spec = classmethod(lambda cls, name, *at: None if name.partition(".")[0] in ABSENT else find(name, *at))
"""


def without(*absent: str, folder: Path, arguments: list[str], **environment: str) -> subprocess.CompletedProcess:
    """Run Python as if modules were not installed, also in the processes that it starts."""
    (folder / "sitecustomize.py").write_text(BLOCKED.format(absent=set(absent)))
    paths = [str(folder), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1", **environment}
    env.pop("ROIKIT_BACKEND", None)
    command = [sys.executable, *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=240, check=False)


def every() -> list[str]:
    return [module for modules in EXTRAS.values() for module in modules]


def test_the_core_alone(tmp_path):
    done = without(*every(), folder=tmp_path, arguments=[str(ROOT / "tests" / "smoke.py")])
    assert done.returncode == 0 and "works" in done.stdout, done.stdout + done.stderr


def test_without_numba(tmp_path):
    """An unsupported Python: every extractor works, and one warning says what it costs."""
    done = without("numba", "llvmlite", *every(), folder=tmp_path, arguments=[str(ROOT / "tests" / "smoke.py")])
    assert done.returncode == 0 and "works" in done.stdout, done.stdout + done.stderr
    assert done.stderr.count("UserWarning") == 1 and "Numba is not installed, so plain PyTorch computes" in done.stderr


TORCHVISION_ALONE = """
import importlib.util, roikit
from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_320_fpn as make

model = roikit.replace_roi(make(weights=None, weights_backbone=None), roikit.PrRoIPool(7))
print(model.roi_heads.box_roi_pool.extractor)


def missing(call):
    try:
        call()
    except ImportError as error:
        print(type(error).__name__, error)


def script():
    import timm


missing(lambda: roikit.detection.faster_rcnn(backbone="resnet18", num_classes=3, weights=None))
missing(lambda: importlib.import_module("roikit.analysis.canvas").new_figure(1, 1))
missing(__import__("roikit.integrations.openmmlab", fromlist=["install"]).install)
missing(script)
print(importlib.util.find_spec("timm"))
"""


def test_torchvision_alone(tmp_path):
    """`replace_roi` works, and each thing that needs more says so; imports of others and questions are left alone."""
    absent = [module for module in every() if module not in ("torchvision", "PIL")]  # which torchvision asks for
    done = without(*absent, folder=tmp_path, arguments=["-c", TORCHVISION_ALONE])
    said = done.stdout.splitlines()
    install = "which is not installed: pip install 'roikit"
    assert said[0].startswith("PrRoIPool"), done.stderr
    assert said[1] == f"MissingExtra roikit.detection.backbones needs timm, {install}[train]'"
    assert said[2] == f"MissingExtra roikit.analysis.canvas needs matplotlib, {install}[train]'"
    assert said[3] == f"MissingExtra roikit.integrations.openmmlab.install needs mmcv, {install}[openmmlab]'"
    assert said[4:] == ["ModuleNotFoundError No module named 'timm'", "None"]


def test_without_torchvision(tmp_path):
    done = without("torchvision", folder=tmp_path, arguments=["-c", "import roikit; roikit.replace_roi"])
    assert done.stderr.splitlines()[-1] == (
        "roikit.extras.MissingExtra: roikit.detection.extractor_losses needs torchvision, which is not installed: "
        "pip install 'roikit[train]'"
    )


def test_at_the_command_line(tmp_path):
    done = without("rich", "jsonargparse", folder=tmp_path, arguments=["-m", "roikit", "train"])
    assert done.returncode == 2
    assert done.stderr == (
        "roikit train: error: roikit.train.parse needs jsonargparse, which is not installed: "
        "pip install 'roikit[train]'\n"
    )


def test_every_extra_is_explained():
    """The table of modules and pyproject.toml name the same packages."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    modules = {"pyyaml": "yaml", "pillow": "PIL", "mmcv-lite": "mmcv"}

    def brought(requirements: list[str]) -> set[str]:
        names = [re.split(r"[\[<>=;, ]", one)[0] for one in requirements]
        return {modules.get(name, name.replace("-", "_")) for name in names} - {"roikit"}

    assert brought(project["dependencies"]) == {"torch", "numpy", "numba"}
    extras = project["optional-dependencies"]
    for extra, known in EXTRAS.items():
        others = {module for other, several in EXTRAS.items() if other != extra for module in several}
        assert brought(extras[extra]) - others == set(known)
