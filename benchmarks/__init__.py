"""Measurements of a checkout: ``python -m benchmarks.speed`` and others."""

import os

# before any module here imports torch; roikit/cli.py says why
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
