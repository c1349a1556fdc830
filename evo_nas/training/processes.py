"""One training in several processes of this machine: each has its share of every batch, and gradients are averaged.

The first process is the one that was started; it alone measures and writes. The others follow step by step, and end
with it. They talk through gloo, which torch brings along, on the CPU.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import wait
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, distributed, nn

from evo_nas.errors import EvoNasError

_PATIENCE: Final = timedelta(days=30)
"""How long one waits for another, as all wait while the first measures; the end of one is seen at once."""


@dataclass(frozen=True)
class Ranks:
    """The place of this process among ``count``: ``rank`` 0 is the first."""

    rank: int
    count: int

    def share(self, images: Tensor, targets: Any) -> tuple[Tensor, Any]:
        """Return the part of a batch that is this process's; parts differ by one image at most."""
        start, end = (len(images) * place // self.count for place in (self.rank, self.rank + 1))
        return images[start:end], targets[start:end]

    def add_up(self, parameters: Sequence[nn.Parameter], loss: float) -> float:
        """Add the gradients of all processes, and leave the sums with the parameters; return the sum of the losses.

        Raises:
            EvoNasError: if another process has ended.
        """
        gradients = [torch.zeros_like(each) if each.grad is None else each.grad for each in parameters]
        vector = torch.cat([*(each.reshape(-1) for each in gradients), torch.tensor([loss])])
        try:
            distributed.all_reduce(vector)
        except RuntimeError as error:
            raise LostProcess("a process of the training has ended, and the others cannot go on without it") from error
        *sums, total = torch.split(vector, [*(each.numel() for each in gradients), 1])
        for parameter, summed in zip(parameters, sums, strict=True):
            parameter.grad = summed.view(parameter.shape)
        return total.item()

    def seed_epoch(self, seed: int, epoch: int) -> None:
        """Let all but the first process draw from a stream of its own, which depends on seed, epoch and rank alone."""
        if self.rank:
            (state,) = np.random.SeedSequence([seed, epoch, self.rank]).generate_state(1, np.uint64)
            torch.default_generator.manual_seed(int(state))


class LostProcess(EvoNasError):
    """Another process of a training has ended."""


@contextmanager
def start_followers(count: int, follow: Callable[..., None], *arguments: Any) -> Iterator[Ranks]:
    """Start all processes but this one, join with them, and yield this one's place; end them afterwards.

    ``follow`` is a function of a module, called in each of them with its :class:`Ranks` and ``arguments``.

    Raises:
        EvoNasError: if one ends before it has joined.
    """
    context = multiprocessing.get_context("spawn")
    with TemporaryDirectory() as folder:
        meeting = Path(folder) / "meeting"
        processes, ready = [], []
        try:
            for rank in range(1, count):
                ours, theirs = context.Pipe(duplex=False)
                words = (theirs, meeting, Ranks(rank, count), follow, arguments)
                process = context.Process(target=_run_follower, args=words, daemon=True)
                process.start()
                theirs.close()
                processes.append(process)
                ready.append(ours)
            for process, pipe in zip(processes, ready, strict=True):
                wait([pipe, process.sentinel])
                if not pipe.poll():
                    raise LostProcess("a process of the training ended at its beginning")
            with _join(meeting, Ranks(0, count)) as ranks:
                yield ranks
        finally:
            for process in processes:
                process.terminate()
                process.join()


def _run_follower(
    ready: Any, meeting: Path, ranks: Ranks, follow: Callable[..., None], arguments: Sequence[Any]
) -> None:
    """Follow the first process, and end without a word when it is gone: what is to be said, it says."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the first one's
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with suppress(Exception):
        ready.send(True)
        with _join(meeting, ranks):
            follow(ranks, *arguments)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None, "it has been started by the first process"
    wait([parent.sentinel])
    os._exit(1)


@contextmanager
def _join(meeting: Path, ranks: Ranks) -> Iterator[Ranks]:
    names = {name for _, name in socket.if_nameindex()}
    if "GLOO_SOCKET_IFNAME" not in os.environ and (loopback := names & {"lo", "lo0"}):
        os.environ["GLOO_SOCKET_IFNAME"] = loopback.pop()  # nothing outside this machine is to reach it
    distributed.init_process_group(
        "gloo", init_method=f"file://{meeting}", rank=ranks.rank, world_size=ranks.count, timeout=_PATIENCE
    )
    try:
        yield ranks
    finally:
        distributed.destroy_process_group()
