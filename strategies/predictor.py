"""The surrogate of progressive search: it predicts a cell's fitness from its choices (Liu et al. 2017, section 4.2)."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from genotypes.space import Decision
from strategies.controller import isolated

EMBEDDING: Final = 100
"""Size of an embedding (Liu et al. 2017, supplement)."""
HIDDEN: Final = 100
"""Units of the LSTM, and of each of the two hidden layers of the MLP (Liu et al. 2017, supplement)."""
INITIAL_RANGE: Final = 0.1
"""Weights start uniform in [-0.1, 0.1] (Liu et al. 2017, supplement)."""
FIRST_RATE: Final = 0.01
"""Adam's learning rate at the first fit (Liu et al. 2017, supplement)."""
LATER_RATE: Final = 0.002
"""Adam's learning rate at the later fits, which go on from the weights of the one before (ibid.)."""
BATCH: Final = 32
"""Cells a step of Adam; the paper does not say."""
_AT_ONCE: Final = 40_000
"""How many children are predicted at once: a few hundred MB for five LSTMs."""

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of a block: decisions with the same options have the same tokens, and so share an embedding.

    In the PNAS space those are I1 and I2 on one hand, O1 and O2 on the other, as in the paper. What a space decides
    besides, such as how to combine, has tokens of its own. ``first`` is the token of option 0 of each of a block's w
    decisions; ``size`` counts the tokens.
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
    Weights come from ``rng`` alone. Use it within :func:`strategies.controller.isolated`.
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
    def children(self, parents: Tensor, ways: Tensor) -> Tensor:
        """Predict what p parents, (p, b, w), would score with one more block, each of m, (m, w): (E, p, m)."""

    def _squashed(self, hidden: Tensor) -> Tensor:
        """Map the last hidden layer, (E, n, H), to fitnesses, (E, n)."""
        return torch.baddbmm(self.last_bias, hidden, self.last).squeeze(-1).sigmoid()


class MLP(Network):
    """Embeddings of a block concatenated, their mean over the blocks, two hidden layers.

    A mean of embeddings is the share of each token times its embedding, for each decision of a block. So what is
    computed are shares, (n, w V) for V tokens, times the product of embeddings and first layer.
    """

    def __init__(self, vocabulary: Vocabulary, members: int, rng: np.random.Generator) -> None:
        super().__init__(vocabulary, members, rng)
        self.first = _weight(rng, members, len(vocabulary), EMBEDDING, HIDDEN)
        self.second = _weight(rng, members, HIDDEN, HIDDEN)
        self.first_bias = nn.Parameter(torch.zeros(members, 1, HIDDEN))
        self.second_bias = nn.Parameter(torch.zeros(members, 1, HIDDEN))

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens of cells, (n, b, w), to predicted fitnesses, (E, n)."""
        return self._read(self._counts(tokens).mean(1))

    def children(self, parents: Tensor, ways: Tensor) -> Tensor:
        """Predict what parents would score with one more block; see :meth:`Network.children`."""
        counts = self._counts(parents).sum(1).unsqueeze(1) + self._counts(ways)  # (p, m, w V)
        return self._read(counts.flatten(0, 1) / (parents.shape[1] + 1)).unflatten(1, counts.shape[:2])

    def _counts(self, tokens: Tensor) -> Tensor:
        """Mark the tokens of blocks, (..., w): (..., w V)."""
        return nn.functional.one_hot(tokens, self.vocabulary.size).flatten(-2).float()

    def _read(self, shares: Tensor) -> Tensor:
        fused = torch.einsum("evd,ewdh->ewvh", self.embedding, self.first).flatten(1, 2)  # (E, w V, H)
        hidden = torch.baddbmm(self.first_bias, shares.expand(len(fused), -1, -1), fused).relu()
        return self._squashed(torch.baddbmm(self.second_bias, hidden, self.second).relu())


class LSTM(Network):
    """One LSTM layer over the tokens of all blocks, one after another; its last state is read."""

    def __init__(self, vocabulary: Vocabulary, members: int, rng: np.random.Generator) -> None:
        super().__init__(vocabulary, members, rng)
        self.input = _weight(rng, members, EMBEDDING, 4 * HIDDEN)
        self.state = _weight(rng, members, HIDDEN, 4 * HIDDEN)
        self.bias = nn.Parameter(torch.zeros(members, 1, 4 * HIDDEN))

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens of cells, (n, b, w), to predicted fitnesses, (E, n)."""
        return self._squashed(self._run(tokens, self._inputs())[0])

    def children(self, parents: Tensor, ways: Tensor) -> Tensor:
        """Predict what parents would score with one more block; see :meth:`Network.children`.

        Blocks that begin alike share what comes of the beginning, so that most of the work is done once.
        """
        inputs = self._inputs()
        hidden, cell = (state.unsqueeze(2) for state in self._run(parents, inputs))  # (E, p, 1, H)
        before = torch.zeros(len(ways), dtype=torch.long)
        for step in range(ways.shape[1]):
            starts, now = ways[:, : step + 1].unique(dim=0, return_inverse=True)
            source = before.new_zeros(len(starts)).scatter(0, now, before)  # the start that this one goes on from
            recurrent = (hidden.flatten(1, 2) @ self.state).unflatten(1, hidden.shape[1:3])
            gates = recurrent[:, :, source] + inputs[:, starts[:, -1]].unsqueeze(1)
            hidden, cell = _step(gates, cell[:, :, source])
            before = now
        return self._squashed(hidden.flatten(1, 2)).unflatten(1, hidden.shape[1:3])[:, :, before]

    def _inputs(self) -> Tensor:
        """Give what each token adds to the gates: (E, V, 4 H)."""
        return torch.baddbmm(self.bias, self.embedding, self.input)

    def _run(self, tokens: Tensor, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Read cells from the start; give hidden and cell state, both (E, n, H)."""
        hidden = cell = inputs.new_zeros(len(inputs), len(tokens), HIDDEN)
        for token in tokens.flatten(1).unbind(1):
            hidden, cell = _step(torch.baddbmm(inputs[:, token], hidden, self.state), cell)
        return hidden, cell


def _step(gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """Take one step of an LSTM from gates, (..., 4 H), and cell state, (..., H)."""
    let_in, forget, out, new = gates.split(HIDDEN, -1)
    cell = forget.sigmoid() * cell + let_in.sigmoid() * new.tanh()
    return out.sigmoid() * cell.tanh(), cell


def _logit(fitness: Sequence[float]) -> float:
    """Give the logit of the mean of fractions, within [-4, 4]."""
    mean = min(max(math.fsum(fitness) / len(fitness), 0.018), 0.982)
    return math.log(mean / (1 - mean))


def _weight(rng: np.random.Generator, *shape: int) -> nn.Parameter:
    return nn.Parameter(torch.from_numpy(rng.uniform(-INITIAL_RANGE, INITIAL_RANGE, shape).astype(np.float32)))


KINDS: Final[dict[str, tuple[type[Network], ...]]] = {"mlp": (MLP,), "lstm": (LSTM,), "both": (MLP, LSTM)}
"""Which networks a surrogate may be made of; the paper's main search uses the MLP."""


class Surrogate:
    """An ensemble of networks, fitted level by level; what it predicts is their mean.

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
        with isolated():
            self._networks = [network(self._vocabulary, members, rng) for network in KINDS[kind]]

    def fit(self, choices: Ints, fitness: Sequence[float], rng: np.random.Generator) -> None:
        """Go on from the present weights, on what cells of one level, (n, b, w), scored, (n,).

        Before the first fit the bias of the last layer is set so that the sigmoid starts at the mean score. In the paper
        it starts at 1.8, the same for its mean accuracy of 0.86; but where scores lie elsewhere, as far down as a
        tenth, all networks would die on the long way there.
        """
        with isolated():
            for network in self._networks:
                if self._rate == FIRST_RATE:
                    network.last_bias.data.fill_(_logit(fitness))
                self._fit(network, self._tokens(choices), torch.tensor(fitness), rng)
        self._rate = LATER_RATE

    def predict(self, choices: Ints) -> Floats:
        """Give the fitness of cells, (n, b, w), as each network predicts it: (networks, n)."""
        with isolated(), torch.no_grad():
            tokens = self._tokens(choices)
            return torch.cat([network(tokens) for network in self._networks]).numpy()

    def children(self, parents: Ints, ways: Ints) -> Floats:
        """Predict what p parents, (p, b, w), would score with one more block, each of m, (m, w): (p, m)."""
        with isolated(), torch.no_grad():
            blocks = self._tokens(ways)
            few = max(1, _AT_ONCE // len(ways))
            means = [
                torch.cat([network.children(some, blocks) for network in self._networks]).mean(0)
                for some in self._tokens(parents).split(few)
            ]
            return torch.cat(means).numpy()

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
            for batch in torch.from_numpy(rng.permutation(len(fitness))).split(BATCH):
                errors = (network(tokens[batch]) - fitness[batch]).abs() * taught[:, batch]
                # A sum over members: each moves as if it were fitted alone.
                loss = (errors.sum(1) / taught[:, batch].sum(1).clamp(min=1)).sum()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
