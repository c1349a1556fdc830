"""What a notebook needs can be had from evo_nas itself, and is loaded when it is asked for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import evo_nas

ROOT = Path(__file__).parents[2]
NEEDED = {"search", "resume", "load_history", "load_metrics", "plot", "compare", "train", "export"}


def test_every_name_is_there_sorted_and_told_by_dir() -> None:
    assert set(evo_nas.__all__) >= NEEDED
    assert sorted(evo_nas.__all__, key=lambda name: (not name[0].isupper(), name)) == evo_nas.__all__
    assert set(dir(evo_nas)) >= set(evo_nas.__all__)
    assert all(getattr(evo_nas, name).__doc__ for name in NEEDED)


def test_what_is_not_there_is_an_ordinary_missing_name() -> None:
    with pytest.raises(AttributeError, match="module 'evo_nas' has no attribute 'sarch'"):
        evo_nas.sarch  # noqa: B018
    assert not hasattr(evo_nas, "nothing")


def test_each_name_loads_what_it_needs_and_no_more() -> None:
    code = (
        "import sys, evo_nas\n"
        "evo_nas.load_history, evo_nas.load_metrics\n"
        "assert not {'torch', 'matplotlib', 'strategies'} & set(sys.modules)\n"
        "from evo_nas import plot, compare\n"
        "assert not {'torch', 'strategies'} & set(sys.modules)\n"
        "evo_nas.search, evo_nas.resume\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
