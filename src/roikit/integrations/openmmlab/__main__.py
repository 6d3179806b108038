"""`python -m roikit.integrations.openmmlab SCRIPT …`: run a script of mmdetection's with the operators installed."""

from __future__ import annotations

import os
import runpy
import sys

from . import install


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        print(f"usage: python -m roikit.integrations.openmmlab SCRIPT [arguments]\n\n{__doc__}")
        sys.exit(0 if len(sys.argv) > 1 else 2)
    try:
        install()
    except ImportError as error:
        sys.exit(f"roikit: error: {error}")
    script = sys.argv[1]
    if not os.path.isfile(script):
        sys.exit(f"roikit: error: {script}: no such script")
    sys.argv = sys.argv[1:]
    sys.path[0] = os.path.dirname(os.path.abspath(script))
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main()
