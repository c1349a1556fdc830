"""The self-check: what crashes or is wrong in a child is known to later processes, and not tried again."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from evo_nas.phenotypes import self_check
from evo_nas.phenotypes.self_check import find_fault, run_probe

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache; returns the folder of the verdicts."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "evo_nas" / "self-check"


@pytest.fixture
def probe(tmp_path: Path) -> Callable[[], str | None]:
    """A probe that finds nothing, and counts how often it ran: once a byte of a file."""

    def counted() -> str | None:
        with (tmp_path / "runs").open("a") as file:
            file.write(".")
        return None

    return counted


def runs(tmp_path: Path) -> int:
    return (tmp_path / "runs").stat().st_size


def fail() -> None:
    raise ValueError("two\nlines")


def run_out_of_memory() -> None:
    raise MemoryError


@pytest.mark.parametrize(
    ("probe", "fault"),
    [
        (lambda: None, None),
        (lambda: "a sum is wrong", "a sum is wrong"),
        (os.abort, "it crashed (SIGABRT) in the self-check"),
        (lambda: os.kill(os.getpid(), 11), "it crashed (SIGSEGV) in the self-check"),
    ],
)
def test_a_fault_is_told_in_one_line_and_kept(
    probe: Callable[[], str | None], fault: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_fault("any", probe) == fault
    monkeypatch.setattr(os, "fork", None)  # whoever checks again fails
    assert find_fault("any", probe) == fault


@pytest.mark.parametrize(
    ("probe", "reason"),
    [
        (fail, "ValueError: two lines"),
        (run_out_of_memory, "MemoryError"),
        (lambda: os._exit(3), "it ended with exit code 3"),
        (lambda: os.kill(os.getpid(), signal.SIGTERM), "it was ended by SIGTERM"),
        (lambda: os.kill(os.getpid(), signal.SIGHUP), "it was ended by SIGHUP"),
        (lambda: os.kill(os.getpid(), signal.SIGRTMIN + 1), f"it was ended by signal {signal.SIGRTMIN + 1}"),
    ],
)
def test_a_check_that_does_not_come_to_its_end_is_no_verdict(
    probe: Callable[[], str | None], reason: str, cache: Path
) -> None:
    assert find_fault("any", probe) == f"the self-check could not run: {reason}"
    assert not cache.exists()
    assert find_fault("any", lambda: None) is None


def test_a_signal_to_all_processes_is_the_parents_to_answer(cache: Path) -> None:
    def interrupted() -> str | None:
        os.kill(os.getpid(), signal.SIGINT)  # as Ctrl-C does
        os.kill(os.getpid(), signal.SIGUSR1)
        return None

    before = signal.signal(signal.SIGUSR1, lambda number, frame: os._exit(1))
    try:
        assert find_fault("any", interrupted) is None
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        assert not signal.pthread_sigmask(signal.SIG_BLOCK, ())
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert cache.exists()


def test_an_interrupted_parent_leaves_no_child(tmp_path: Path) -> None:
    """The probe would last for ever; the parent is interrupted while it waits."""

    def stall() -> None:
        (tmp_path / "child").write_text(str(os.getpid()))
        os.kill(os.getppid(), signal.SIGINT)
        time.sleep(1000)

    with pytest.raises(KeyboardInterrupt):
        run_probe(stall)
    with pytest.raises(ChildProcessError):
        os.waitpid(int((tmp_path / "child").read_text()), os.WNOHANG)


CLOSED = """
import os
from evo_nas.phenotypes.self_check import run_probe
for stream in range(3):
    os.close(stream)
answer = run_probe(lambda: "a sum is wrong")
with open("answer", "w") as file:
    file.write(answer)
"""


@pytest.mark.slow
def test_a_process_without_its_three_streams_gets_an_answer(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", CLOSED], cwd=tmp_path, env=environment, check=True)
    assert (tmp_path / "answer").read_text() == "a sum is wrong"


def test_a_thread_may_ask() -> None:
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(run_probe, lambda: "a sum is wrong").result() == "a sum is wrong"


def test_a_child_has_one_thread_and_leaves_the_parents_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    assert run_probe(lambda: f"{torch.get_num_threads()} thread") == "1 thread"
    assert torch.get_num_threads() == before


def test_another_torch_processor_or_setting_is_another_check(
    probe: Callable[[], str | None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find_fault("any", probe)
    find_fault("any", probe)
    assert runs(tmp_path) == 1
    changes: list[Callable[[], None]] = [
        lambda: monkeypatch.setattr(torch, "__version__", "0.0.1"),
        lambda: monkeypatch.setattr(self_check, "__version__", "0.0.1"),
        lambda: monkeypatch.setattr(self_check, "processor", lambda: ("another", "flags")),
        lambda: monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "SSE41"),
    ]
    for change in changes:
        ran = runs(tmp_path)
        change()
        find_fault("any", probe)
        find_fault("any", probe)
        assert runs(tmp_path) == ran + 1
    find_fault("any", probe, depends="other kernels")
    find_fault("another", probe)
    assert runs(tmp_path) == 7


@pytest.mark.parametrize(
    "kept", ["", "{", "[]", "null", '{"fault": 1}', '{"fault": "\\u001b[2J"}', '{"fault": "%s"}' % ("x" * 2000)]
)
def test_a_damaged_verdict_is_made_again(
    kept: str, probe: Callable[[], str | None], cache: Path, tmp_path: Path
) -> None:
    find_fault("any", probe)
    [file] = cache.iterdir()
    file.write_text(kept)
    assert find_fault("any", probe) is None
    assert runs(tmp_path) == 2
    assert file.read_text() == '{"fault": null}\n'


def test_where_nothing_can_be_kept_each_process_checks(
    probe: Callable[[], str | None], cache: Path, tmp_path: Path
) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_text("a file in its place")
    assert find_fault("any", probe) is None
    assert find_fault("any", probe) is None
    assert runs(tmp_path) == 2


def test_a_machine_without_another_process_is_not_trusted_and_asked_again(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full() -> int:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fork", full)
        assert find_fault("any", lambda: None) == f"the self-check could not run: {os.strerror(errno.EAGAIN)}"
    assert not cache.exists()
    assert find_fault("any", lambda: None) is None


def test_a_probe_that_hangs_is_ended_and_asked_again(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(self_check, "SECONDS", 1)
    assert find_fault("any", lambda: time.sleep(1000)) == "the self-check could not run: it was ended by SIGALRM"
    assert not cache.exists()


def test_no_pipe_and_no_child_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    children: list[int] = []
    fork = os.fork

    def noted() -> int:
        children.append(fork())
        return children[-1]

    def open_files() -> int:
        return sum(1 for _ in Path("/proc/self/fd").iterdir()) if Path("/proc/self/fd").exists() else 0

    monkeypatch.setattr(os, "fork", noted)
    before = open_files()
    run_probe(lambda: None)
    run_probe(os.abort)
    assert open_files() == before
    assert len(children) == 2
    for child in children:
        with pytest.raises(ChildProcessError):
            os.waitpid(child, os.WNOHANG)


def test_a_pipe_in_the_place_of_a_verdict_is_not_waited_for(
    probe: Callable[[], str | None], cache: Path, tmp_path: Path
) -> None:
    find_fault("any", probe)
    [file] = cache.iterdir()
    file.unlink()
    os.mkfifo(file)
    assert find_fault("any", probe) is None
    assert runs(tmp_path) == 2
