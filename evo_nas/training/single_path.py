"""The training of a supernet: in each step the weights of one path, drawn at random (Guo et al. 2020, section 3)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from evo_nas.errors import DataError, EvoNasError
from evo_nas.phenotypes.blueprint import load_network, save_tensors
from evo_nas.phenotypes.shared.supernet import Supernet
from evo_nas.system.terminal import duration
from evo_nas.training.loop import Training
from evo_nas.training.optimizers import path_optimizer_of
from evo_nas.training.recipes import Recipe
from evo_nas.training.task import Batch, Data, Diverged, Task
from genotypes.genotype import Genotype
from genotypes.space import SearchSpace

WEIGHTS: Final = "supernet.safetensors"
"""Name of the file of a trained supernet."""

_STATE: Final = "state-{:04d}.safetensors"
_ATTEMPTS: Final = 100
"""Draws of the paths of a step, where some are dead."""


def draw_uniform(space: SearchSpace, rng: np.random.Generator) -> list[Genotype]:
    """Return one genotype, drawn uniformly."""
    return [space.sample(rng)]


def draw_fair(space: SearchSpace, rng: np.random.Generator) -> list[Genotype]:
    """Return genotypes in which every option of every decision stands once (Chu et al. 2019, FairNAS, section 3.2).

    They are as many as the largest decision has options; an option of a smaller one stands once more or less than the
    others there.

    Raises:
        GenotypeError: if options of the space cannot be combined freely.
    """
    sizes = [len(decision.options) for decision in space.decisions]
    rounds = max(sizes)
    columns = [np.concatenate([rng.permutation(size) for _ in range(-(-rounds // size))])[:rounds] for size in sizes]
    return [space.genotype([int(column[row]) for column in columns]) for row in range(rounds)]


SAMPLINGS: Final[dict[str, Callable[[SearchSpace, np.random.Generator], list[Genotype]]]] = {
    "uniform": draw_uniform,
    "fair": draw_fair,
}
"""Name -> what draws the paths of a step."""


def count_paths(space: SearchSpace, sampling: str) -> int:
    """Count the paths of a step."""
    return len(SAMPLINGS[sampling](space, np.random.default_rng(0)))


class SinglePath(Task):
    """Another task, for paths of a supernet instead of a network.

    A step takes the same batch through each of its paths, one after another, and adds their gradients up. ``sampling``
    is a name of :data:`SAMPLINGS`; draws come from ``generator``. A draw with a dead path is repeated.
    """

    def __init__(self, task: Task, supernet: Supernet, sampling: str, generator: torch.Generator) -> None:
        self.inner, self.supernet, self.generator = task, supernet, generator
        self.goal = task.goal  # that of the inner one
        self._draw = SAMPLINGS[sampling]
        self._genotype: Genotype | None = None

    def split(self, batch: Batch, parts: int) -> Iterator[Batch]:
        """Yield the batch once per path, which is set before."""
        for genotype in self.draw():
            self._genotype = genotype
            yield batch

    def draw(self) -> list[Genotype]:
        """Return the paths of the next step."""
        space = self.supernet.space
        rng = np.random.default_rng(int(torch.randint(2**62, (1,), generator=self.generator)))
        for _ in range(_ATTEMPTS):
            drawn = self._draw(space, rng)
            if not any(map(self.supernet.is_dead, drawn)):
                break
        return drawn

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """Return the loss of the path that is set."""
        assert self._genotype is not None, "a batch is split before its loss is asked for"
        return self.inner.loss(self.supernet.path(self._genotype), batch)

    def measure(self, network: nn.Module, data: Data) -> dict[str, float]:
        """Return what the inner task measures, of a network."""
        return self.inner.measure(network, data)


def train_supernet(
    supernet: Supernet,
    task: Task,
    recipe: Recipe,
    data: Data,
    folder: Path,
    *,
    sampling: str,
    seed: int,
    hear: Callable[[str], None],
    what: str = "supernet",
) -> None:
    """Train a supernet into a file in a folder, and go on where an earlier call was killed.

    The weights lie in :data:`WEIGHTS`. Until they do, the folder holds the state after the last epoch. ``hear`` takes
    a line per epoch, which begins with ``what`` is trained. Torch's default generator must be seeded, before the
    supernet is made: then the file is the same however often the training was interrupted.

    Raises:
        EvoNasError: if the loss is no finite number any more.
        OSError: if the folder cannot be written.
    """
    generator = torch.Generator().manual_seed(seed)
    goal = SinglePath(task, supernet, sampling, generator)
    training = Training(supernet, goal, recipe, generator, optimizer=path_optimizer_of)
    if not (folder / WEIGHTS).exists():
        _restore(training, folder, hear)
        start, before, paths = time.monotonic(), training.done, count_paths(supernet.space, sampling)
        try:
            for epoch in training.epochs(data, None):
                save_tensors(folder / _STATE.format(training.done), training.state())
                _remove_states(folder, but=training.done)
                left = (time.monotonic() - start) / (training.done - before) * (recipe.epochs - training.done)
                words = f"{what}: epoch {training.done} of {recipe.epochs}, loss {epoch.loss / paths:.3f}"
                hear(words if training.done == recipe.epochs else f"{words}, ETA {duration(left)}")
        except Diverged as error:
            raise EvoNasError(
                f"{error}, in epoch {training.done + 1} of the supernet; a lower learning rate may help: "
                f"--set evaluator.learning_rate={recipe.learning_rate / 3:.2g}"
            ) from error
        save_tensors(folder / WEIGHTS, supernet.weights_by_name())
    _remove_states(folder)


def read_supernet(folder: Path) -> dict[str, Tensor]:
    """Return the weights of the trained supernet of a folder, by their names.

    Raises:
        DataError: if they are missing or damaged.
    """
    _, tensors = load_network(folder / WEIGHTS)
    return tensors


def load_supernet(folder: Path, space: SearchSpace, **size: Any) -> Supernet:
    """Return the trained supernet of a folder.

    Raises:
        DataError: if its weights are missing or damaged.
    """
    return Supernet(space, read_supernet(folder), **size)


def _restore(training: Training, folder: Path, hear: Callable[[str], None]) -> None:
    """Restore the latest state in a folder; a file that is damaged is removed, and the training begins anew.

    Raises:
        DataError: if it is the state of another training.
    """
    for path in sorted(folder.glob("state-*.safetensors"), reverse=True):
        try:
            _, tensors = load_network(path)
        except DataError as error:
            hear(f"the training of the supernet begins anew: {error}")
            path.unlink()
            continue
        try:
            training.restore(tensors, int(path.stem.rpartition("-")[2]))
        except ValueError as error:
            raise DataError(f"{path}: {error}; remove {folder}, and the supernet is trained anew") from error
        hear(f"the training of the supernet goes on after epoch {training.done} of {training.recipe.epochs}")
        return


def _remove_states(folder: Path, *, but: int | None = None) -> None:
    for path in folder.glob("state-*.safetensors"):
        if but is None or path.name != _STATE.format(but):
            path.unlink()
