"""Slots: one worker process each, so that a crash costs its own trial only."""

from __future__ import annotations

import errno
import fcntl
import multiprocessing
import os
import pickle
import queue
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager, suppress
from multiprocessing import connection, forkserver, resource_tracker
from pathlib import Path
from typing import IO, Any, Final, TypeVar

from joblib.externals.loky import ProcessPoolExecutor, process_executor
from joblib.externals.loky.backend.reduction import dumps

from evo_nas.errors import UsageError, WorkersError
from evo_nas.evaluators.base import Evaluator, Job, evaluate_safely
from evo_nas.executors.guard import END, PARENT, divide_off_guard
from evo_nas.executors.pool import THREAD_VARIABLES, Pool, WorkerDied, explain_failed_start
from evo_nas.system.reasons import explain
from evo_nas.system.stops import STOPS
from genotypes.individual import Evaluation

T = TypeVar("T")

_PATIENCE: Final = 2.0
"""Seconds to wait for guards: for a lock that those of a run that was killed hold for an instant, until they have died,
and for one that is to end."""

_DESCRIPTORS: Final = 16
"""Files that a start of a worker opens, some of them for a moment: queues, pipes, a socket."""

_pickled: bytes | WorkersError = b""
"""The evaluator of a worker process, until its first job begins; or why there is none."""

_evaluator: Evaluator | None = None
"""The evaluator of a worker process; it keeps its data between trials."""


class SlotsExecutor(Pool):
    """Run each job in one of ``slots`` worker processes, which live as long as the run.

    A slot is a loky executor with a single worker, because an executor with several would lose the jobs of all when
    one worker is killed. Workers are forked from a server that has the slow imports done.

    ``alive`` is a file that this process locks for as long as it lives. Each worker has a guard that waits for that
    lock, and ends the worker and what it has started when it gets it: however this process dies, its
    workers die too.
    Parent ids and pipes do not tell that a process whose parent is the fork server has lost its master.

    ``gpus`` are what CUDA_VISIBLE_DEVICES may say; slot i sees only one, the i-th of them modulo their number. Several
    slots share a GPU if there are more slots. Untested on CUDA hardware.

    Raises:
        UsageError: if this process may start none, or the evaluator cannot be sent to them.
        WorkersError: if this machine does not let workers start.
    """

    start_limit = 300.0

    def __init__(
        self,
        evaluator: Evaluator,
        slots: int,
        alive: Path | None = None,
        *,
        trial_timeout: float | None = None,
        recycle_after: int | None = None,
        gpus: Sequence[str] = (),
    ) -> None:
        if multiprocessing.current_process().daemon:
            raise UsageError(
                "a daemonic process, such as a worker of multiprocessing.Pool, may start no workers: "
                'search there with executor="serial", workers=1'
            )
        try:
            pickled = bytes(dumps(evaluator))
        except Exception as error:
            raise UsageError(
                f"the evaluator {evaluator.name} cannot be sent to workers ({type(error).__name__}: {error}): let it "
                "make what cannot be pickled when it first evaluates, or use --executor serial --workers 1"
            ) from error
        word = f"process {os.getpid()}, {os.urandom(8).hex()}\n".encode()
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["evo_nas.executors.tether", __name__, *evaluator.preload])
        with _starting(), _block_stop_signals(), _name_parent():
            context.Lock()  # which lies in shared memory
            forkserver.ensure_running()

        def hire(number: int) -> _Process:
            variables = {"CUDA_VISIBLE_DEVICES": gpus[number % len(gpus)]} if gpus else {}
            placed = (alive, word) if alive and self._lock else None
            return _Process(context, (pickled, evaluator.placement.threads, placed, variables))

        self.hire = hire
        with _starting():
            super().__init__(hire, slots, trial_timeout=trial_timeout, recycle_after=recycle_after)
        self._lock = _lock_alive_file(alive, word) if alive else None

    def close(self) -> None:
        """Kill all workers, and release the lock that keeps them alive."""
        super().close()
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def try_worker(evaluator: Evaluator) -> None:
    """Start one worker, and end it.

    Raises:
        UsageError: if this process may start none, or the evaluator cannot be sent to it.
        WorkersError: if it does not start.
    """
    with closing(SlotsExecutor(evaluator, 1)) as executor:
        worker = executor.hire(0)
        try:
            worker.begin().result(executor.start_limit)
        except TimeoutError:
            raise WorkersError(f"cannot start workers: one took longer than {executor.start_limit:g} seconds") from None
        except Exception as error:
            raise WorkersError(f"cannot start workers: {explain_failed_start(error)}") from error
        finally:
            worker.kill()


class _Process:
    """A worker process of this machine: a guard, which loky knows, and its child, which works."""

    def __init__(self, context: Any, arguments: tuple[Any, ...]) -> None:
        with _starting(), _block_stop_signals():
            _require_descriptors()
            self._loky = ProcessPoolExecutor(
                max_workers=1, context=context, initializer=_start_worker, initargs=arguments
            )

    def begin(self) -> Future[None]:
        """Have the worker come up, or say that it is up."""
        return self._submit(_begin)

    def start(self, job: Job) -> tuple[Future[None], Future[Evaluation]]:
        """Send two tasks; the worker starts the second once it has completed the first, which is empty."""
        return self.begin(), self._submit(_evaluate, job)

    def kill(self) -> None:
        """End the process and all that it has started."""
        for guard in [*(self._loky._processes or {}).values()]:
            if not connection.wait([guard.sentinel], 0):
                with suppress(ProcessLookupError):
                    os.kill(guard.pid, END)
                connection.wait([guard.sentinel], _PATIENCE)  # one that cannot end is killed by loky
        # Of a task that waits, loky's thread would look for what it has just thrown away, and end with a traceback.
        with suppress(queue.Empty):
            while True:
                self._loky._work_ids.get_nowait()
        self._loky.shutdown(wait=True, kill_workers=True)

    def _submit(self, task: Any, *arguments: Any) -> Future[Any]:
        with _starting(), _without_main_module(), _block_stop_signals():
            try:
                return _translate(self._loky.submit(task, *arguments))
            except BrokenProcessPool as error:
                raise WorkerDied(str(error)) from error


def _translate(future: Future[T]) -> Future[T]:
    """Return a future that raises :class:`WorkerDied` for a dead worker."""
    ours: Future[T] = Future()

    def follow(done: Future[T]) -> None:
        if done.cancelled():
            ours.set_exception(WorkerDied("it was stopped"))
        elif isinstance(error := done.exception(), BrokenProcessPool):
            found = re.search(r"exit codes of the workers are \{(.*)\}", str(error))
            died = WorkerDied(f"the worker process died: {found[1] if found else error}")
            died.__cause__ = error
            ours.set_exception(died)
        elif error is not None:
            ours.set_exception(error)
        else:
            ours.set_result(done.result())

    future.add_done_callback(follow)
    return ours


def _lock_alive_file(alive: Path, word: bytes) -> IO[bytes] | None:
    """Lock the file that says that this process lives, and write its word; ``None`` if the file system cannot."""
    lock = alive.open("ab", buffering=0)
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            lock.truncate(0)
            lock.write(word)
            return lock
        except OSError as error:
            if isinstance(error, BlockingIOError) and time.monotonic() < deadline:
                time.sleep(_PATIENCE / 100)
                continue
            lock.close()
            return None


@contextmanager
def _starting() -> Iterator[None]:
    """Turn what the machine refuses to workers into an error that says so.

    Raises:
        WorkersError: with the reason and the mend.
    """
    try:
        yield
    except (OSError, EOFError, RuntimeError) as error:
        if isinstance(error, BrokenProcessPool):
            raise
        reason = explain(error)
        if isinstance(error, EOFError | ConnectionError):
            reason = "the process from which they are forked has died; what it said stands above"
        elif getattr(error, "errno", None) != errno.EMFILE and not _has_shared_memory():
            reason = f"shared memory (/dev/shm) cannot be written: {reason}"
        raise WorkersError(f"cannot start workers: {reason}; --executor serial --workers 1 needs none") from error


def _require_descriptors() -> None:
    """Raise unless as many files can be opened as a worker needs.

    A start that fails halfway leaves the fork server with half a message, of which it prints a traceback.

    Raises:
        OSError: if too many are open.
    """
    opened: list[int] = []
    try:
        while len(opened) < _DESCRIPTORS:
            opened.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    finally:
        for descriptor in opened:
            os.close(descriptor)


def _has_shared_memory() -> bool:
    try:
        multiprocessing.get_context("forkserver").Lock()
    except OSError:
        return False
    return True


def _forget_fork_server() -> None:
    """Let a process that was forked have a fork server of its own: that of its parent is no child of it."""
    server: Any = forkserver._forkserver
    if server._forkserver_pid is not None:
        os.close(server._forkserver_alive_fd)
        server.__init__()


os.register_at_fork(after_in_child=_forget_fork_server)


@contextmanager
def _block_stop_signals() -> Iterator[None]:
    """Block the stop signals for processes that are started in the block.

    A terminal or a scheduler sends them to all processes of a run, but only the main one handles them. Here a signal is
    delivered after the block; a process started in it inherits the blocked mask for ever.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    try:
        resource_tracker.ensure_running()  # which unblocks two of them when it starts
        signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _name_parent() -> Iterator[None]:
    """Name this process to a fork server that is started in the block, if it is to end with it.

    Linux tells the end of the thread that started it: another one may end before this process, and the server serves
    all.
    """
    if threading.current_thread() is threading.main_thread():
        os.environ[PARENT] = str(os.getpid())
    try:
        yield
    finally:
        os.environ.pop(PARENT, None)


@contextmanager
def _without_main_module() -> Iterator[None]:
    """Keep a worker that is started here from importing the main module, as multiprocessing has it do otherwise.

    A user's script calls ``evo_nas.search`` at its top level, and would search again in every worker. What an evaluator
    needs of the script is pickled by value.
    """
    main = sys.modules["__main__"]
    hidden: dict[str, Any] = {
        name: main.__dict__.pop(name) for name in ("__file__", "__spec__") if name in main.__dict__
    }
    main.__spec__ = None
    try:
        yield
    finally:
        main.__dict__.update(hidden)


def _start_worker(pickled: bytes, threads: int, alive: tuple[Path, bytes] | None, variables: dict[str, str]) -> None:
    """Prepare a worker process; what the evaluator needs is loaded by :func:`_begin`, whose errors are sent back."""
    global _pickled
    try:
        divide_off_guard(alive)
    except OSError as error:
        _pickled = WorkersError(explain(error))
        return
    for number in STOPS:  # the fork server blocks them already; a child of an evaluation may unblock them
        signal.signal(number, signal.SIG_IGN)
    os.environ.update(variables)
    process_executor._USE_PSUTIL = False  # loky would replace a worker that grows, under the name of its guard
    _use_threads(threads)
    _pickled = pickled


def _use_threads(threads: int) -> None:
    """Limit the threads of libraries that would each take all cores."""
    from threadpoolctl import threadpool_limits

    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
    threadpool_limits(threads)
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(threads)


def _begin() -> None:
    """Load the evaluator, once; the completion shows that the worker begins with the next task."""
    global _evaluator
    if isinstance(_pickled, WorkersError):
        raise _pickled
    if _evaluator is None:
        _evaluator = pickle.loads(_pickled)


def _evaluate(job: Job) -> Evaluation:
    assert _evaluator is not None, "its worker has begun"
    return evaluate_safely(_evaluator, job, in_worker=True)
