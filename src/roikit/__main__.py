"""`python -m roikit`, which `accelerate launch -m roikit train ...` needs."""

import sys

from roikit.cli import main

if __name__ == "__main__":
    sys.exit(main())
