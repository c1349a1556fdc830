"""What every room shares: where the shared data lies, a cache that is not the user's, hypothesis without deadlines."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# Networks of the tests are small: two threads wait for each other longer than they compute, on a busy machine most of
# all. Set before torch is imported, and inherited by every process that a test starts.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Timings on a busy machine are no property of the code.
settings.register_profile("evo_nas", deadline=None, database=None, derandomize=True)
settings.load_profile("evo_nas")


@pytest.fixture(scope="session", autouse=True)
def cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Decoded images go to a folder that ends with the session."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EVO_NAS_CACHE", str(tmp_path_factory.mktemp("decoded")))
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the shared data sets, beside the project; EVO_NAS_SHARED overrides it."""
    shared = Path(os.environ.get("EVO_NAS_SHARED", Path(__file__).parents[2] / "shared"))
    if not (shared / "data").is_dir():
        pytest.skip(f"the shared data is not there: {shared / 'data'}")
    return shared / "data"
