"""The campaign against faults, in its short form; `python tests/kill/campaign.py` is the long one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import tiny_run


@pytest.mark.xdist_group("processes")
def test_faults_at_random_moments():
    flags = ["--kills=3", "--full=1", "--frozen=0", "--clocks=0", "--pairs=0"]
    command = [sys.executable, str(Path(__file__).with_name("campaign.py")), *flags]
    done = subprocess.run(command, env=tiny_run.ENVIRONMENT, capture_output=True, text=True, timeout=280, check=False)
    print(done.stdout)  # the seed, where it fails
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    rows = (line.strip().partition("  ") for line in done.stdout.splitlines() if line.startswith("    "))
    counts = {what: int(count) for count, _, what in rows}
    assert sum(count for what, count in counts.items() if what.startswith("kills")) == 3
    assert counts["runs that ended to the same bits"] >= 2
