"""Fixtures that every room shares: where the shared data lies, and hypothesis without deadlines."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# Timings on a busy machine are no property of the code.
settings.register_profile("evo_nas", deadline=None, database=None, derandomize=True)
settings.load_profile("evo_nas")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the shared data sets, beside the project; EVO_NAS_SHARED overrides it."""
    shared = Path(os.environ.get("EVO_NAS_SHARED", Path(__file__).parents[2] / "shared"))
    if not (shared / "data").is_dir():
        pytest.skip(f"the shared data is not there: {shared / 'data'}")
    return shared / "data"
