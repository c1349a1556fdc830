"""The controller: an LSTM that predicts the decisions of a search space one after another (Zoph et al. 2017)."""

from __future__ import annotations

import bisect
import contextlib
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from genotypes.space import Decision

INITIAL_RANGE: Final = 0.1
"""Weights start uniform in [-0.1, 0.1] (Zoph et al. 2017, appendix A)."""

_START: Final = 0
"""Token that is read before the first decision; the options of all decisions are numbered on from 1."""

_ABSENT: Final = -1e9
"""Logit of an option that a decision lacks: the probability is exactly 0, where -inf would make entropies NaN."""


class Controller(nn.Module):
    """A policy over architectures: the probability of one is the product of a softmax for each decision.

    One LSTM layer reads a learned start token, then the embedding of each choice made so far; a softmax with weights
    of its own predicts the next choice (Zoph & Le 2016, section 3.1). Each decision has its own embeddings too:
    option 3 of a hidden state and option 3 of an operation have nothing in common.

    T is the number of decisions, M the largest number of options, H the number of hidden units. Logits are divided by
    ``temperature`` before the softmax. The network lives on
    the CPU in float32; its initial weights come from ``rng`` alone. Use it within :func:`isolate`.
    """

    first: Tensor  # (T,): the token of each decision's option 0
    absent: Tensor  # (T, M): true where the decision has no such option

    def __init__(
        self, decisions: Sequence[Decision], hidden: int, rng: np.random.Generator, temperature: float = 1.0
    ) -> None:
        super().__init__()
        self.temperature = temperature
        self.options = tuple(len(decision.options) for decision in decisions)
        options = torch.tensor(self.options)
        self.register_buffer("first", options.cumsum(0) - options + _START + 1)
        self.register_buffer("absent", torch.arange(max(self.options)) >= options.unsqueeze(1))

        # The constructors of nn draw from torch's global generator, unless there is no memory to draw into.
        with torch.device("meta"):
            self.embedding = nn.Embedding(1 + sum(self.options), hidden)
            self.lstm = nn.LSTM(hidden, hidden, batch_first=True)
        self.embedding.to_empty(device="cpu")
        self.lstm.to_empty(device="cpu")
        self.weight = nn.Parameter(torch.empty(*self.absent.shape, hidden))
        self.bias = nn.Parameter(torch.empty(self.absent.shape))
        with torch.no_grad():
            for parameter in self.parameters():
                draws = rng.uniform(-INITIAL_RANGE, INITIAL_RANGE, tuple(parameter.shape))
                parameter.copy_(torch.from_numpy(draws))

    @torch.no_grad()
    def sample(self, uniforms: Sequence[float]) -> tuple[tuple[int, ...], tuple[float, ...]]:
        """Return a random architecture: T choices and their T log-probabilities.

        ``uniforms`` are T numbers in [0, 1); each picks an option by inverting the decision's cumulative distribution.
        """
        choices: list[int] = []
        log_probs: list[float] = []
        first = self.first.tolist()
        input_weight, state_weight, input_bias, state_bias = self.lstm.all_weights[0]
        heads = zip(self.weight.unbind(), self.bias.tolist(), self.options, strict=True)
        state = cell = self.bias.new_zeros(1, self.lstm.hidden_size)
        token = _START
        for position, ((weight, bias, options), uniform) in enumerate(zip(heads, uniforms, strict=True)):
            read = self.embedding.weight[token : token + 1]
            state, cell = torch.lstm_cell(read, (state, cell), input_weight, state_weight, input_bias, state_bias)
            # A softmax of a dozen numbers is faster outside of torch.
            sums = torch.mv(weight, state[0]).tolist()
            logits = [(sums[option] + bias[option]) / self.temperature for option in range(options)]
            largest = max(logits)
            total = math.fsum(math.exp(logit - largest) for logit in logits)
            edges = itertools.accumulate(math.exp(logit - largest) / total for logit in logits)
            # Without the last edge, which should be 1 but may be rounded to less than the number drawn.
            choice = bisect.bisect_right(list(edges)[:-1], uniform)
            choices.append(choice)
            log_probs.append(logits[choice] - largest - math.log(total))
            token = first[position] + choice
        return tuple(choices), tuple(log_probs)

    def forward(self, choices: Tensor) -> tuple[Tensor, Tensor]:
        """Return the log-probabilities of choices already made, and the entropies of the softmaxes that they came from.

        ``choices`` are option indices of shape (n, T): n architectures, each read as one sequence. Both results have
        the shape (n, T) and are in nats. A decision with one option has log-probability 0 and entropy 0.
        """
        tokens = nn.functional.pad((choices + self.first)[:, :-1], (1, 0), value=_START)
        states, _ = self.lstm(self.embedding(tokens))  # (n, T, H)
        logits = (torch.einsum("nth,tmh->ntm", states, self.weight) + self.bias) / self.temperature
        log_probs = logits.masked_fill(self.absent, _ABSENT).log_softmax(-1)  # (n, T, M)
        entropies = -(log_probs.exp() * log_probs).sum(-1)
        return log_probs.gather(-1, choices.unsqueeze(-1)).squeeze(-1), entropies


@contextlib.contextmanager
def isolate() -> Iterator[None]:
    """Compute in float32 on one CPU thread, whatever torch is set to, and put its settings back afterwards.

    Several threads may add in another order, which changes the last bits of a sum; a replayed search must give the same
    result.
    """
    threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
    cpu = torch.device("cpu")
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float32)
    try:
        # A default device, even this one, doubles the time of small operations: torch then asks about each of them.
        device = contextlib.nullcontext() if torch.empty(0).device == cpu else cpu
        with device, torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        torch.set_default_dtype(dtype)
        torch.set_num_threads(threads)
