"""Trials on a ray cluster: one actor a slot, on whichever node has room for it."""

from __future__ import annotations

import os
import sys
import logging
import math
import signal
import socket
import sysconfig
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from evo_nas.errors import UsageError
from evo_nas.evaluators.base import Evaluator, Job, evaluate_safely
from evo_nas.executors.pool import Pool, WorkerDied
from genotypes.individual import Evaluation

try:
    import ray
    from ray.exceptions import RayError, RayTaskError
except ImportError as error:
    raise UsageError("the ray executor needs ray: pip install 'evo_nas[ray]'") from error


class RayExecutor(Pool):
    def __init__(
        self,
        evaluator,
        slots,
        *,
        address=None,
        cpus=1.0,
        gpus=0.0,
        threads=None,
        trial_timeout=None,
        recycle_after=None,
    ):
        self._connected = _connect(address, slots, cpus)
        stored = ray.put(evaluator)
        threads = threads or max(1, int(cpus))
        actor = ray.remote(_Evaluating).options(
            max_restarts=0,
            max_task_retries=0,
            num_cpus=cpus,
            num_gpus=gpus,
            runtime_env={"env_vars": _environment(threads, gpus)},
        )
        super().__init__(
            lambda number: _Actor(actor.remote(stored, os.getcwd())),
            slots,
            trial_timeout=trial_timeout,
            recycle_after=recycle_after,
        )

    def close(self):
        super().close()
        if self._connected:
            ray.shutdown()


class _Evaluating:
    def __init__(self, evaluator, folder):
        with suppress(OSError):
            os.chdir(folder)
        for m in evaluator.preload:
            import_module(m)
        self._evaluator = evaluator

    def begin(self):
        pass

    def evaluate(self, job):
        return evaluate_safely(self._evaluator, job)


class _Actor:
    def __init__(self, handle):
        self._handle = handle

    def start(self, job):
        begun = self._handle.begin.remote().future()
        ended = self._handle.evaluate.remote(job).future()
        return _translated(begun), _translated(ended)

    def kill(self):
        ray.kill(self._handle, no_restart=True)


def _translated(future):
    ours = Future()

    def follow(done):
        error = done.exception()
        if isinstance(error, RayTaskError):
            ours.set_exception(error.cause)
        elif isinstance(error, RayError):
            ours.set_exception(WorkerDied(f"{type(error).__name__}: {error}"))
        elif error:
            ours.set_exception(error)
        else:
            ours.set_result(done.result())

    future.add_done_callback(follow)
    return ours


def _environment(threads, gpus):
    v = {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, sys.path)])}
    for n in ("OMP_NUM_THREADS",):
        v[n] = str(threads)
    return v


def _connect(address, slots, cpus):
    if ray.is_initialized():
        return False
    kw = dict(num_cpus=math.ceil(slots * cpus), include_dashboard=False) if not address else {}
    ray.init(address=address or "local", log_to_driver=False, logging_level=logging.ERROR, **kw)
    return True
