"""The controller: an LSTM that predicts the decisions of a search space one after another (Zoph et al. 2017, section 3)."""

from __future__ import annotations

import bisect
import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor, nn

from genotypes.space import Decision

if TYPE_CHECKING:
    import numpy as np

INITIAL: Final = 0.1
"""Weights start uniform in [-0.1, 0.1] (Zoph et al. 2017, appendix A.1)."""

_ABSENT: Final = -1e9
"""Logit of an option that a decision does not have: its probability is 0 exactly, where -inf would make entropies NaN."""

_START: Final = 0
"""Token that is fed in before the first decision; the options of all decisions are numbered on from 1."""


class Controller(nn.Module):
    """A policy over sequences of decisions: p(choices) is the product of one softmax a decision.

    One LSTM layer reads a learned start token, then the embedding of each choice made so far; a softmax with weights
    of its own predicts the next (Zoph & Le 2016, section 3.1, figure 2). Options have embeddings by decision, since
    option 3 of a hidden state and option 3 of an operation have nothing in common.

    T is the number of decisions, M the largest number of options, H the number of hidden units. The network lives on
    the CPU in float32. Its initial weights come from ``rng`` alone. Call it within :func:`isolated`.
    """

    def __init__(self, decisions: Sequence[Decision], hidden: int, rng: np.random.Generator) -> None:
        super().__init__()
        self.options = tuple(len(decision.options) for decision in decisions)
        count, widest = len(self.options), max(self.options)
        options = torch.tensor(self.options, dtype=torch.int64, device="cpu")
        self.first: Tensor  # (T,): the token of each decision's option 0
        self.register_buffer("first", options.cumsum(0) - options + _START + 1)
        self.absent: Tensor  # (T, M): true where the decision has no such option
        self.register_buffer("absent", torch.arange(widest, device="cpu") >= options.unsqueeze(1))

        # The constructors of nn draw from torch's global generator, unless there is no memory to draw into.
        nowhere = {"device": "meta", "dtype": torch.float32}
        self.embedding = nn.Embedding(1 + sum(self.options), hidden, **nowhere).to_empty(device="cpu")
        self.lstm = nn.LSTM(hidden, hidden, batch_first=True, **nowhere).to_empty(device="cpu")
        self.weight = nn.Parameter(torch.empty(count, widest, hidden, dtype=torch.float32, device="cpu"))
        self.bias = nn.Parameter(torch.empty(count, widest, dtype=torch.float32, device="cpu"))
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.from_numpy(rng.uniform(-INITIAL, INITIAL, tuple(parameter.shape))))

    @torch.no_grad()
    def sample(self, uniforms: Sequence[float]) -> tuple[tuple[int, ...], tuple[float, ...]]:
        """Draw one architecture from T numbers in [0, 1): its choices and their log-probabilities, T of each.

        Each number picks an option by the inverse of the decision's cumulative distribution.
        """
        choices: list[int] = []
        log_probs: list[float] = []
        first = self.first.tolist()
        weights = (self.lstm.weight_ih_l0, self.lstm.weight_hh_l0, self.lstm.bias_ih_l0, self.lstm.bias_hh_l0)
        state = cell = self.bias.new_zeros(1, self.lstm.hidden_size)
        token = _START
        for position, (options, uniform) in enumerate(zip(self.options, uniforms, strict=True)):
            state, cell = torch.lstm_cell(self.embedding.weight[token : token + 1], (state, cell), *weights)
            logits = self.weight[position, :options] @ state[0] + self.bias[position, :options]
            predicted = logits.double().log_softmax(0)
            # The last step of the cumulative distribution is left out: rounding may leave it below the number drawn.
            choice = bisect.bisect_right(predicted.exp().cumsum(0)[:-1].tolist(), uniform)
            choices.append(choice)
            log_probs.append(float(predicted[choice]))
            token = first[position] + choice
        return tuple(choices), tuple(log_probs)

    def forward(self, choices: Tensor) -> tuple[Tensor, Tensor]:
        """Give the log-probabilities of given choices, and the entropies in nats of the softmaxes that they were taken from.

        ``choices``, and both results, have the shape (n, T): n architectures, each fed in as a whole sequence. A
        decision with one option has log-probability 0 and entropy 0.
        """
        tokens = nn.functional.pad((choices + self.first)[:, :-1], (1, 0), value=_START)
        states, _ = self.lstm(self.embedding(tokens))  # (n, T, H)
        logits = torch.einsum("nth,tmh->ntm", states, self.weight) + self.bias
        log_probs = logits.masked_fill(self.absent, _ABSENT).log_softmax(-1)  # (n, T, M)
        entropies = -(log_probs.exp() * log_probs).sum(-1)
        return log_probs.gather(-1, choices.unsqueeze(-1)).squeeze(-1), entropies


@contextlib.contextmanager
def isolated() -> Iterator[None]:
    """Compute on one CPU thread, whatever the process has set torch to, and put its settings back afterwards.

    The order in which threads add up changes the last bits of a sum; a search that is told again must come out the same.
    """
    threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float32)
    try:
        with torch.device("cpu"), torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        torch.set_default_dtype(dtype)
        torch.set_num_threads(threads)
