"""A cache folder of its own for these tests, and where the real data set is."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    before = os.environ.get("ROIKIT_CACHE")
    os.environ["ROIKIT_CACHE"] = str(folder)
    yield folder
    if before is None:
        del os.environ["ROIKIT_CACHE"]
    else:
        os.environ["ROIKIT_CACHE"] = before


@pytest.fixture(scope="session")
def bccd():
    folder = Path(os.environ.get("ROIKIT_BCCD") or Path(__file__).parents[2].parent / "shared" / "data" / "bccd")
    if not (folder / "Annotations").is_dir():
        pytest.skip("BCCD is not here (set ROIKIT_BCCD to its folder)")
    return folder
