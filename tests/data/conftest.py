"""A cache folder of its own for these tests, and where the real data set is."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def cache_of_the_session(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module", autouse=True)
def cache(cache_of_the_session):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROIKIT_CACHE", str(cache_of_the_session))
        yield cache_of_the_session


@pytest.fixture(scope="session")
def bccd():
    folder = Path(os.environ.get("ROIKIT_BCCD") or Path(__file__).parents[2].parent / "shared" / "data" / "bccd")
    if not (folder / "Annotations").is_dir():
        pytest.skip("BCCD is not here (set ROIKIT_BCCD to its folder)")
    return folder
