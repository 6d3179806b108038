"""The fuzz campaign, in its short form; `python tests/fuzz/campaign.py` is the long one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
COUNTS = {"operators": 25, "extractors": 80, "states": 60, "configurations": 10, "files": 150, "pictures": 150}


def test_there_are_no_findings():
    """In a process of its own, which a finding may end; other inputs where ROIKIT_SEED says so."""
    seed = os.environ.get("ROIKIT_SEED", "0")
    command = [sys.executable, "-c", PROGRAM, str(HERE), "0" if seed == "random" else seed]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    assert done.stdout.count(" 0 findings") == len(COUNTS)


PROGRAM = f"""
import sys
sys.path.insert(0, sys.argv[1])
import campaign
known = campaign.targets()
found = [campaign.search(name, *known[name], count, 100.0, int(sys.argv[2])) for name, count in {COUNTS!r}.items()]
sys.exit(any(found))
"""


def test_a_finding_is_found(capsys, monkeypatch):
    """The campaign sees a value that is another than the definition's, and makes its input small."""
    monkeypatch.syspath_prepend(str(HERE))
    import campaign
    from hypothesis import strategies as st

    def check(value: int) -> None:
        assert value < 1000, "too large"

    assert campaign.search("numbers", st.integers(0, 10**6), check, 300, 20.0, 0) == 1
    assert "numbers, seed 0: 1000\n" in capsys.readouterr().out


@pytest.mark.parametrize("layout", ["coco", "voc", "yolo"])
def test_what_is_changed_was_right(layout, monkeypatch):
    """Without a change the files are a data set with boxes: otherwise every input would be refused."""
    monkeypatch.syspath_prepend(str(HERE))
    import json

    import files

    from roikit.data import open_dataset

    box = "<xmin>2</xmin><ymin>2</ymin><xmax>9</xmax><ymax>7</ymax>"
    right = {
        "coco": {"annotations/instances_train.json": json.dumps(files.coco())},
        "voc": {
            "Annotations/1.xml": f"<annotation><object><name>cat</name><bndbox>{box}</bndbox></object></annotation>",
            "ImageSets/Main/train.txt": "1\n",
        },
        "yolo": {"data.yaml": "names: [a]\ntrain: images\n", "labels/1.txt": "0 0.5 0.5 0.4 0.4\n"},
    }[layout]
    files.check((layout, {name: text.encode() for name, text in right.items()}, False))
    assert len(open_dataset(files.PLACE / layout, "train")[0][1]["boxes"]) == 1
