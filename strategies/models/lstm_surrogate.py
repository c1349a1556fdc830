"""The surrogate of progressive search: it predicts a cell's fitness from its choices (Liu et al. 2017, section 4.2)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from genotypes.space import Decision
from strategies.models.controller import isolate

EMBEDDING: Final = 100
"""Size of an embedding (Liu et al. 2017, supplement)."""
HIDDEN: Final = 100
"""Units of the LSTM, and of each of the two hidden layers of the MLP (Liu et al. 2017, supplement)."""
INITIAL_RANGE: Final = 0.1
"""Weights start uniform in [-0.1, 0.1] (Liu et al. 2017, supplement)."""
FIRST_RATE: Final = 0.01
"""Adam's learning rate at the first fit (Liu et al. 2017, supplement)."""
LATER_RATE: Final = 0.002
"""Adam's learning rate at the later fits, which start from the previous weights (ibid.)."""
BATCH: Final = 32
"""Cells a step of Adam; the paper does not say."""
_AT_ONCE: Final = 10_000
"""Number of children that are predicted at once: about 200 MB for five LSTMs."""
_EDGE: Final = 0.02
"""Mean scores nearer to 0 or 1 than this are taken for this, where the sigmoid is not yet flat."""

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of a block: decisions with the same options have the same tokens, and so share an embedding.

    In the PNAS space those are I1 and I2 on one hand, O1 and O2 on the other, as in the paper. Further
    decisions of a space, such as the combination, have tokens of their own. ``first`` is the token of option 0 of each
    of a block's w decisions; ``size`` counts the tokens.
    """

    first: tuple[int, ...]
    size: int

    @classmethod
    def of(cls, block: Sequence[Decision]) -> Vocabulary:
        """Number the options of a block's decisions, of the last block of a whole cell, which has the most of them."""
        first: dict[tuple[str, ...], int] = {}
        size = 0
        for decision in block:
            if decision.options not in first:
                first[decision.options] = size
                size += len(decision.options)
        return cls(tuple(first[decision.options] for decision in block), size)

    def __len__(self) -> int:
        return len(self.first)


class Network(nn.Module):
    """E networks of one kind, computed at once; they share nothing but their input.

    Tokens of n cells of b blocks have the shape (n, b, w); D is the size of an embedding and H of a hidden layer.
    Weights come from ``rng`` alone. Use it within :func:`strategies.models.controller.isolate`.
    """

    def __init__(self, vocabulary: Vocabulary, members: int, rng: np.random.Generator) -> None:
        super().__init__()
        self.vocabulary = vocabulary
        self.embedding = _weight(rng, members, vocabulary.size, EMBEDDING)
        self.last = _weight(rng, members, HIDDEN, 1)
        self.last_bias = nn.Parameter(torch.zeros(members, 1, 1))

    @abstractmethod
    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens of cells, (n, b, w), to predicted fitnesses, (E, n), fractions in [0, 1]."""

    @abstractmethod
    def predict_children(self, parents: Tensor, ways: Tensor) -> Tensor:
        """Predict what p parents, (p, b, w), would score with one more block, each of m, (m, w): (E, p, m)."""

    def _squash(self, hidden: Tensor) -> Tensor:
        """Map the last hidden layer, (E, n, H), to fitnesses, (E, n)."""
        return torch.baddbmm(self.last_bias, hidden, self.last).squeeze(-1).sigmoid()


class MLP(Network):
    """Embeddings of a block concatenated, their mean over the blocks, two hidden layers.

    The first layer of a mean of embeddings is a mean of what each token of a block adds to that layer: so a parent's
    part, and a new block's, are computed once, and not for each child.
    """

    def __init__(self, vocabulary: Vocabulary, members: int, rng: np.random.Generator) -> None:
        super().__init__(vocabulary, members, rng)
        self.first = _weight(rng, members, len(vocabulary), EMBEDDING, HIDDEN)
        self.second = _weight(rng, members, HIDDEN, HIDDEN)
        self.first_bias = nn.Parameter(torch.zeros(members, 1, HIDDEN))
        self.second_bias = nn.Parameter(torch.zeros(members, 1, HIDDEN))

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens of cells, (n, b, w), to predicted fitnesses, (E, n)."""
        return self._read(self._sum_blocks(tokens) / tokens.shape[1])

    def predict_children(self, parents: Tensor, ways: Tensor) -> Tensor:
        """Predict what parents would score with one more block; see :meth:`Network.predict_children`."""
        blocks = parents.shape[1] + 1
        parts = (self._sum_blocks(parents) / blocks).unsqueeze(2) + (
            self._sum_blocks(ways.unsqueeze(1)) / blocks
        ).unsqueeze(1)
        return self._read(parts.flatten(1, 2)).view(parts.shape[:3])  # of (E, p, m, H)

    def _sum_blocks(self, tokens: Tensor) -> Tensor:
        """Return the sum over the blocks of cells, (n, b, w), of their parts of the first layer: (E, n, H)."""
        counts = nn.functional.one_hot(tokens, self.vocabulary.size).sum(1).flatten(1).float()  # (n, w V)
        fused = torch.einsum("evd,ewdh->ewvh", self.embedding, self.first).flatten(1, 2)  # (E, w V, H)
        return counts @ fused

    def _read(self, first: Tensor) -> Tensor:
        """Map the first layer, (E, n, H), to fitnesses, (E, n)."""
        hidden = (first + self.first_bias).relu_()
        return self._squash(torch.baddbmm(self.second_bias, hidden, self.second).relu_())


class LSTM(Network):
    """One LSTM layer over the tokens of all blocks, one after another; its last state is read."""

    def __init__(self, vocabulary: Vocabulary, members: int, rng: np.random.Generator) -> None:
        super().__init__(vocabulary, members, rng)
        self.input = _weight(rng, members, EMBEDDING, 4 * HIDDEN)
        self.state = _weight(rng, members, HIDDEN, 4 * HIDDEN)
        self.bias = nn.Parameter(torch.zeros(members, 1, 4 * HIDDEN))

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens of cells, (n, b, w), to predicted fitnesses, (E, n)."""
        return self._squash(self._run(tokens, self._inputs())[0])

    def predict_children(self, parents: Tensor, ways: Tensor) -> Tensor:
        """Predict what parents would score with one more block; see :meth:`Network.predict_children`.

        Blocks that begin alike share what comes of the beginning, so that most of the work is done once.
        """
        inputs = self._inputs()
        hidden, cell = (state.unsqueeze(2) for state in self._run(parents, inputs))  # (E, p, 1, H)
        before = torch.zeros(len(ways), dtype=torch.long)
        for step in range(ways.shape[1]):
            starts, now = torch.unique(ways[:, : step + 1], dim=0, return_inverse=True)
            source = torch.zeros(len(starts), dtype=torch.long).scatter(0, now, before)  # what each start goes on from
            recurrent = (hidden.flatten(1, 2) @ self.state).view(*hidden.shape[:3], -1)
            gates = recurrent[:, :, source] + inputs[:, starts[:, -1]].unsqueeze(1)
            hidden, cell = _step(gates, cell[:, :, source])
            before = now
        return self._squash(hidden.flatten(1, 2)).view(hidden.shape[:3])[:, :, before]

    def _inputs(self) -> Tensor:
        """Return what each token adds to the gates: (E, V, 4 H)."""
        return torch.baddbmm(self.bias, self.embedding, self.input)

    def _run(self, tokens: Tensor, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Read cells from the start; return hidden and cell state, both (E, n, H)."""
        hidden = cell = inputs.new_zeros(len(inputs), len(tokens), HIDDEN)
        for token in tokens.flatten(1).unbind(1):
            hidden, cell = _step(torch.baddbmm(inputs[:, token], hidden, self.state), cell)
        return hidden, cell


def _step(gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """Take one step of an LSTM from gates, (..., 4 H), and cell state, (..., H)."""
    let_in, forget, out, new = gates.chunk(4, -1)
    cell = forget.sigmoid() * cell + let_in.sigmoid() * new.tanh()
    return out.sigmoid() * cell.tanh(), cell


def _weight(rng: np.random.Generator, *shape: int) -> nn.Parameter:
    return nn.Parameter(torch.from_numpy(rng.uniform(-INITIAL_RANGE, INITIAL_RANGE, shape).astype(np.float32)))


KINDS: Final[dict[str, tuple[type[Network], ...]]] = {"mlp": (MLP,), "lstm": (LSTM,), "both": (MLP, LSTM)}
"""Which networks a surrogate may be made of; the paper's main search uses the MLP."""


class Surrogate:
    """An ensemble of networks, fitted level by level; it predicts their mean.

    ``kind`` is a name of :data:`KINDS`; of each kind there are ``members``, each fitted on what remains when its share
    of the data, one of as many as there are members, is left out; a single one is fitted on all. Choices are given as
    arrays of option indices, (n, b, w): n cells of b blocks with w decisions each.
    """

    def __init__(
        self, block: Sequence[Decision], kind: str, members: int, epochs: int, rng: np.random.Generator
    ) -> None:
        self._vocabulary = Vocabulary.of(block)
        self._members = members
        self._epochs = epochs
        self._rate = FIRST_RATE
        with isolate():
            self._networks = [network(self._vocabulary, members, rng) for network in KINDS[kind]]

    def fit(self, choices: Ints, fitness: Sequence[float], rng: np.random.Generator) -> None:
        """Fit the networks, from their present weights, to the scores, (n,), of cells of one level, (n, b, w).

        First the bias of each last layer is moved, so that the mean prediction is near the mean score. The paper sets
        it once, to 1.8, which is its mean accuracy of one-block cells, 0.86, before the sigmoid. But where scores lie
        elsewhere, or rise from level to level, the way there is too far for Adam's few steps: networks die.
        """
        with isolate():
            tokens, scores = self._tokens(choices), torch.tensor(fitness)
            for network in self._networks:
                with torch.no_grad():
                    means = network(tokens).mean(1)[:, None, None]
                    network.last_bias.add_(torch.logit(scores.mean(), _EDGE) - torch.logit(means, _EDGE))
                self._fit(network, tokens, scores, rng)
        self._rate = LATER_RATE

    def predict(self, choices: Ints) -> Floats:
        """Return each network's predicted fitness of cells, (n, b, w): (networks, n)."""
        with isolate(), torch.no_grad():
            tokens = self._tokens(choices)
            return torch.cat([network(tokens) for network in self._networks]).numpy()

    def predict_children(self, parents: Ints, ways: Ints) -> Floats:
        """Predict what p parents, (p, b, w), would score with one more block, each of m, (m, w): (p, m)."""
        with isolate(), torch.no_grad():
            blocks = self._tokens(ways)
            cells = self._tokens(parents)
            few = max(1, _AT_ONCE // len(ways))
            means = torch.empty(len(cells), len(ways))
            for start in range(0, len(cells), few):
                predictions = [
                    network.predict_children(cells[start : start + few], blocks) for network in self._networks
                ]
                torch.mean(torch.cat(predictions), 0, out=means[start : start + few])
            return means.numpy()

    def _tokens(self, choices: Ints) -> Tensor:
        return torch.from_numpy(choices + np.array(self._vocabulary.first))

    def _fit(self, network: Network, tokens: Tensor, fitness: Tensor, rng: np.random.Generator) -> None:
        """Minimise each member's mean absolute error on its part of the data."""
        taught = torch.ones(self._members, len(fitness))  # which member sees which cell
        if self._members > 1:
            folds = torch.from_numpy(rng.permutation(len(fitness)) % self._members)
            taught = (folds != torch.arange(self._members).unsqueeze(1)).float()
        optimizer = torch.optim.Adam(network.parameters(), lr=self._rate)
        for _ in range(self._epochs):
            order = torch.from_numpy(rng.permutation(len(fitness)))
            for start in range(0, len(order), BATCH):
                batch = order[start : start + BATCH]
                errors = (network(tokens[batch]) - fitness[batch]).abs() * taught[:, batch]
                # A sum over members: each moves as if it were fitted alone.
                loss = (errors.sum(1) / taught[:, batch].sum(1).clamp(min=1)).sum()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
