"""The fork server ends with its main process, whatever it is doing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from evo_nas.executors.guard import PARENT
from tests.waiting import is_alive, wait_for

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PLUGIN = """
from dataclasses import dataclass
from evo_nas.evaluators.toy import ToyEvaluator

@dataclass
class Slow(ToyEvaluator):
    preload = ("endless",)
"""
ENDLESS = """
import os, time
from pathlib import Path

Path("pid.partial").write_text(str(os.getpid()))
Path("pid.partial").rename("pid")
while True:
    time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is of Linux")
def test_a_fork_server_that_still_imports_ends_with_a_search_that_is_killed(tmp_path: Path) -> None:
    """torch takes seconds to import; what hangs there would stay for ever."""
    (tmp_path / "plugin.py").write_text(PLUGIN)
    (tmp_path / "endless.py").write_text(ENDLESS)
    command = [sys.executable, "-m", "evo_nas", "run", "--strategy", "random", "--evaluator", "plugin:Slow"]
    command += ["--workers", "2", "--run-dir", "run"]
    with subprocess.Popen(command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}) as main:
        wait_for((tmp_path / "pid").exists)
        main.kill()
    server = int((tmp_path / "pid").read_text())
    wait_for(lambda: not is_alive(server))


@pytest.mark.parametrize("is_dead", [False, True])
def test_a_fork_server_that_came_too_late_ends_before_it_imports(is_dead: bool) -> None:
    parent = subprocess.Popen(["true"])
    parent.wait()
    environment = os.environ | {"PYTHONPATH": str(ROOT), PARENT: str(parent.pid if is_dead else os.getpid())}
    words = "import evo_nas.executors.tether, os; print(sorted(os.environ))"
    done = subprocess.run([sys.executable, "-c", words], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, bool(done.stdout)) == ((1, False) if is_dead else (0, True))
    assert PARENT not in done.stdout, "no evaluation finds it"
