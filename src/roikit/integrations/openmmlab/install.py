"""The module `mmcv._ext`, where mmcv was installed without it."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import inspect
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from . import attention, convolution, losses, pooling, reassembly, rotated, suppression

SERVED: dict[str, Callable[..., Any]] = {
    name: function
    for module in (pooling, convolution, suppression, rotated, losses, attention, reassembly)
    for name, function in vars(module).items()
    if inspect.isfunction(function) and function.__module__ == module.__name__ and not name.startswith("_")
}
"""Operators of the extension by name: every public function of those modules."""

_MARK = "__roikit__"


class Extension(ModuleType):
    """`mmcv._ext`: the operators that are served; any other name is a function that says so when it is called."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name in SERVED:
            return SERVED[name]

        def refuse(*arguments: Any, **named: Any) -> Any:
            raise NotImplementedError(
                f"mmcv's operator {name!r} is not among those that roikit serves without a compiler (docs/openmmlab.md "
                "has the list): a model that needs it needs mmcv built from source"
            )

        refuse.__name__ = name
        return refuse


class _Loader(importlib.abc.Loader):
    """Hands out the module that is made already: mmcv asks whether its extension has a loader."""

    def __init__(self, module: ModuleType) -> None:
        self.module = module

    def create_module(self, spec: Any) -> ModuleType:
        return self.module

    def exec_module(self, module: ModuleType) -> None:
        pass


def installed() -> bool:
    """Whether `mmcv._ext` is this package's."""
    return hasattr(sys.modules.get("mmcv._ext"), _MARK)


def install() -> bool:
    """Provide `mmcv._ext` in this process, and register the extractors with mmdetection (`layers.register`).

    Call it before anything imports `mmcv.ops`, which mmdetection does.

    Returns:
        whether operators are served from here: `False` where mmcv has an extension of its own, which is left alone.

    Raises:
        ImportError: there is no mmcv (`MissingExtra`, which says what to install).

    Example:
        >>> from roikit.integrations.openmmlab import install
        >>> install()  # doctest: +SKIP
        True
    """
    import mmcv

    ours = installed()
    if not ours and importlib.util.find_spec("mmcv._ext") is None:
        extension = Extension("mmcv._ext", "mmcv's operators, by roikit")
        extension.__spec__ = importlib.machinery.ModuleSpec("mmcv._ext", _Loader(extension))
        setattr(extension, _MARK, True)
        extension.get_compiler_version = lambda: "none: operators by roikit"  # type: ignore[attr-defined]  # mmcv asks
        extension.get_compiling_cuda_version = lambda: "none: operators by roikit"  # type: ignore[attr-defined]  # mmcv asks
        sys.modules["mmcv._ext"] = extension
        mmcv._ext = extension
        ours = True
    from . import layers

    layers.register()
    return ours
