"""What `pip install roikit` leaves out, and the sentence that says how to have it.

The core is torch, NumPy and Numba. Every other package belongs to an extra, and modules of this package import it as if
it were there: where it is not, the finder below, which is asked when all others have found nothing, turns Python's
error into a sentence with the command to type. Imports of other packages, optional ones among them, are not touched.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from typing import Any

EXTRAS = {
    "train": (
        "torchvision",
        "timm",
        "accelerate",
        "torchmetrics",
        "faster_coco_eval",
        "jsonargparse",
        "yaml",
        "rich",
        "safetensors",
        "tensorboard",
        "matplotlib",
        "PIL",
    ),
    "onnx": ("onnx", "onnxscript"),
    "explore": ("starlette", "uvicorn"),
    "openmmlab": ("mmcv", "mmdet", "mmengine"),
}
"""The modules that each extra of pyproject.toml brings, the first extra that does."""

_EXTRA = {module: extra for extra, modules in EXTRAS.items() for module in modules}


class MissingExtra(ModuleNotFoundError):
    """A package is needed that an extra brings: the message is one sentence with the command that installs it."""

    def __init__(self, module: str, needed_by: str) -> None:
        self.extra = _EXTRA[module]
        super().__init__(
            f"{needed_by} needs {module}, which is not installed: pip install 'roikit[{self.extra}]'", name=module
        )


class _Teacher(MetaPathFinder):
    def find_spec(self, name: str, path: Sequence[str] | None = None, target: Any = None) -> None:
        if name in _EXTRA:
            importer = _importer()
            if importer.partition(".")[0] == "roikit":
                raise MissingExtra(name, importer)


def _importer() -> str:
    """The module whose import statement is running (`importlib.util.find_spec`, a module of its own, only asks)."""
    frame = sys._getframe(2)
    while frame.f_back is not None and frame.f_globals.get("__name__") == "importlib._bootstrap":
        frame = frame.f_back
    return str(frame.f_globals.get("__name__"))


def teach() -> None:
    """Have missing extras explained; called once, by `import roikit`."""
    if not any(isinstance(finder, _Teacher) for finder in sys.meta_path):
        sys.meta_path.append(_Teacher())
