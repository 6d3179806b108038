"""mmdetection without a compiler: `mmcv-lite` holds the Python half of `mmcv.ops`, this package the operators.

`install()` provides the module `mmcv._ext` that `mmcv.ops` imports, with the names and arguments of mmcv 2's extension;
`python -m roikit.integrations.openmmlab SCRIPT …` runs a script after it. A compiled mmcv is left alone.
"""

from .install import install, installed

__all__ = ["install", "installed"]
