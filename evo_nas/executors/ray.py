"""Trials on a ray cluster: one actor per slot, on whichever node has room for it."""

from __future__ import annotations

import logging
import math
import os
import signal
import socket
import sys
import sysconfig
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Final, TypeVar

from evo_nas.errors import UsageError
from evo_nas.evaluators.base import Evaluator, Job, evaluate_safely
from evo_nas.executors.pool import THREAD_VARIABLES, Pool, WorkerDied
from genotypes.individual import Evaluation

try:
    import ray
    from ray.exceptions import RayError, RaySystemError, RayTaskError
except ImportError as error:
    raise UsageError("the ray executor needs ray: pip install 'evo_nas[ray]'") from error

_KNOCKING: Final = 5.0
"""Seconds that the head of a cluster may take to answer at all."""

_WATCHING: Final = 0.5
"""Seconds between two looks of an actor at whether its raylet lives."""

_NOBODY: Final = (
    "evo_nas: warning: for {:g} seconds no worker has come up on the ray cluster; still waiting. `ray status` tells "
    "what is free, and ray's logs on the nodes why workers do not start"
)

_HOME: Final = Path(__file__).resolve().parents[2]

T = TypeVar("T")


class RayExecutor(Pool):
    """Run each job in one of ``slots`` actors of a ray cluster, which live as long as the run.

    ``address`` is the ``host:port`` of a cluster that this machine is a node of, or ``auto`` for the one that it knows
    of. Without one it is that of the variable RAY_ADDRESS, or a cluster is started on this machine alone and ended
    with the executor. Each actor asks for ``cpus`` and ``gpus``, which may be fractions, of GPUs below 1, and sees the
    GPUs that it was given and no others.

    Nothing is ever restarted or tried again by ray: an actor that dies costs the job that it had. Nodes are taken to
    have the same Python, the same packages and the same folders at the same places; see docs/clusters.md.

    Raises:
        UsageError: if there is no such cluster, or none of its nodes has what a trial asks for.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        slots: int,
        *,
        address: str | None = None,
        cpus: float = 1.0,
        gpus: float = 0.0,
        trial_timeout: float | None = None,
        recycle_after: int | None = None,
    ) -> None:
        if gpus > 1 and gpus % 1:
            raise UsageError(f"a trial takes a part of one GPU or whole ones, not {gpus:g}: mend --gpus-per-trial")
        with ExitStack() as stack:
            stack.enter_context(_connection(address, math.ceil(slots * cpus)))
            _check_room(cpus, gpus)
            actor = ray.remote(
                num_cpus=cpus,
                num_gpus=gpus,
                max_restarts=0,
                max_task_retries=0,
                runtime_env={"env_vars": _variables(evaluator.placement.threads, gpus)},
            )(_Trainer)
            stored = ray.put(evaluator)
            self._connection = stack.pop_all()
        self._has_warned = False

        def hire(number: int) -> _Actor:
            return _Actor(actor.remote(stored, Path.cwd()))

        super().__init__(hire, slots, trial_timeout=trial_timeout, recycle_after=recycle_after)

    def next(self, timeout: float | None) -> list[tuple[int, Evaluation]]:
        """Return the jobs that ended; print a line, once, if no worker starts for a long time."""
        if any(slot.began is not None for slot in self._busy.values()):
            return super().next(timeout)
        ended = super().next(self.patience if timeout is None else min(timeout, self.patience))
        late = time.monotonic() - self.patience
        if self._busy and all(slot.began is None and slot.submitted <= late for slot in self._busy.values()):
            if not self._has_warned:
                print(_NOBODY.format(self.patience), file=sys.stderr, flush=True)
            self._has_warned = True
        return ended

    def close(self) -> None:
        """Kill all actors, and leave the cluster."""
        super().close()
        self._connection.close()


class _Actor:
    """An actor somewhere in the cluster, as this process sees it."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    def start(self, job: Job) -> tuple[Future[None], Future[Evaluation]]:
        """Call two methods, the second once we know that the first, which is empty, has come back.

        Called at once, the second could end the process before the answer to the first has left it: then a training
        that kills its worker would be taken for a worker that does not start.
        """
        begun: Future[None] = _translate(self._handle.begin.remote().future())
        ended: Future[Evaluation] = Future()

        def go_on(done: Future[None]) -> None:
            try:
                done.result()
                _translate(self._handle.evaluate.remote(job).future(), ended)
            except Exception as error:
                ended.set_exception(error)

        begun.add_done_callback(go_on)
        return begun, ended

    def kill(self) -> None:
        """Kill the process and its children through the cluster, or forget an actor that has no place yet."""
        with suppress(RayError):  # we are not connected any more
            ray.kill(self._handle, no_restart=True)


class _Trainer:
    """The remote side of an actor: it keeps the evaluator, which keeps its data between trials."""

    def __init__(self, evaluator: Evaluator, folder: Path) -> None:
        with suppress(OSError):  # a leader already
            os.setpgid(0, 0)  # what an evaluation starts dies with it
        threading.Thread(target=_die_with_raylet, args=(os.getppid(),), daemon=True).start()
        with suppress(OSError):  # there is no such folder on this node
            os.chdir(folder)  # relative paths mean what they mean in the main process
        for module in evaluator.preload:
            import_module(module)
        self._evaluator = evaluator

    def begin(self) -> None:
        """Do nothing: its completion shows that the actor begins with the next call."""

    def evaluate(self, job: Job) -> Evaluation:
        return evaluate_safely(self._evaluator, job, in_worker=True)


def _die_with_raylet(pid: int) -> None:
    """Wait until the raylet of this node has died, and end this process and its children.

    Ray would let the trial run, and report its death 10 seconds later.
    """
    while os.getppid() == pid:
        time.sleep(_WATCHING)
    os.killpg(0, signal.SIGKILL)


def _translate(future: Future[T], into: Future[T] | None = None) -> Future[T]:
    """Return a future, a new one by default, that raises :class:`WorkerDied` for a dead actor.

    Other errors come without ray's wrapping.
    """
    ours: Future[T] = Future() if into is None else into

    def follow(done: Future[T]) -> None:
        error = done.exception()
        if error is None:
            ours.set_result(done.result())
        elif isinstance(error, RayTaskError):
            ours.set_exception(error.cause or error)
        elif not isinstance(error, RayError) or isinstance(error, RaySystemError):  # as a result that cannot be read
            ours.set_exception(error)
        else:
            died = WorkerDied(f"the worker died: {_explain(error)}")
            died.__cause__ = error
            ours.set_exception(died)

    future.add_done_callback(follow)
    return ours


def _explain(error: BaseException) -> str:
    """Return ray's reason in one line, without its boilerplate, and with a part of its memory report."""
    words = " ".join(str(error).split()).partition(" Some common causes include")[0]
    return words if len(words) <= 500 else f"{words[:300]} ... {words[-200:]}"


@contextmanager
def _connection(address: str | None, cores: int) -> Iterator[None]:
    """Connect to a cluster for the block; a script that was connected before stays connected.

    Raises:
        UsageError: if that fails.
    """
    if ray.is_initialized():
        yield
        return
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    own: dict[str, Any] = {}
    if address == "local":
        own = {"num_cpus": cores, "include_dashboard": False}
    elif address != "auto":
        _knock(address)
    try:
        with _own_sigterm():
            ray.init(address, log_to_driver=False, logging_level=logging.CRITICAL, **own)
    except Exception as error:
        ray.shutdown()
        if own:
            raise UsageError(f"ray cannot be started on this machine: {_explain(error)}") from error
        raise UsageError(
            f"the ray cluster at {address} cannot be joined: {_explain(error)} (this machine must be a node of it, "
            "with the same versions of ray and Python, and the variable RAY_AUTH_MODE must be what it is for the head)"
        ) from error
    try:
        with _quiet():
            yield
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Raise unless something like ray listens at the address; ray itself may take minutes to notice.

    Raises:
        UsageError: if not.
    """
    host, _, port = address.rpartition(":")
    if "://" in address or not host or not port.isdecimal():
        raise UsageError(
            f"{address!r} is not the address of a ray cluster: write host:port as `ray start --head` prints it, or "
            "auto, on a machine that is a node of the cluster"
        )
    try:
        with socket.create_connection((host, int(port)), _KNOCKING) as connection:
            if os.environ.get("RAY_USE_TLS", "0") == "0":
                # Both sides of HTTP/2, which gRPC speaks, begin with a frame of settings, type 4: RFC 9113, 3.4.
                connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0)))
                if connection.recv(9)[3:4] != b"\x04":
                    raise OSError("whoever listens there is not ray")
    except (OSError, OverflowError) as error:
        raise UsageError(
            f"no ray cluster answers at {address} ({error}): start one with `ray start --head`, "
            "or leave --ray-address out"
        ) from error


def _check_room(cpus: float, gpus: float) -> None:
    """Raise unless some node has room for a trial: the run would wait for ever.

    Raises:
        UsageError: if there is none.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    if not any(node.get("CPU", 0) >= cpus and node.get("GPU", 0) >= gpus for node in nodes):
        there = ", ".join(sorted({f"{node.get('CPU', 0):g} and {node.get('GPU', 0):g}" for node in nodes}))
        raise UsageError(
            f"no node of the ray cluster has the {cpus:g} CPUs and {gpus:g} GPUs that a trial asks for "
            f"(its nodes have {there}): mend --cpus-per-trial or --gpus-per-trial, or add a node"
        )


def _variables(threads: int, gpus: float) -> dict[str, str]:
    """Return the environment variables of an actor: module paths, EVO_NAS_* variables, threads and GPUs."""
    library = Path(sysconfig.get_path("stdlib"))
    code = []
    for path in (_HOME, *(Path(entry or ".").absolute() for entry in sys.path)):
        is_installed = path.is_relative_to(library) or {"site-packages", "dist-packages"} & {*path.parts}
        if path.is_dir() and not is_installed:  # those each node has of its own
            code.append(path)
    variables = {name: value for name, value in os.environ.items() if name.startswith("EVO_NAS_")}
    variables["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(map(str, code)))
    variables |= dict.fromkeys(THREAD_VARIABLES, str(threads))
    if not gpus:  # some versions of ray hide the GPUs then, others do not
        variables["CUDA_VISIBLE_DEVICES"] = ""
    return variables


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """Keep our handler of SIGTERM: ray puts two of its own in its place, and the second prints a stack trace."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if before is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep ray's messages about dead workers and nodes off the standard output, where results go.

    ``log_to_driver=False`` does not cover it, and there is no other switch.
    """
    module = sys.modules.get("ray._private.worker")
    printer = getattr(module, "print_to_stdstream", None)
    if module is None or printer is None:
        yield
        return
    module.print_to_stdstream = lambda *_, **__: None  # type: ignore[attr-defined]
    try:
        yield
    finally:
        module.print_to_stdstream = printer  # type: ignore[attr-defined]
