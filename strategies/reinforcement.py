"""Reinforcement learning: a controller trained with PPO proposes architectures (Zoph et al. 2017, arXiv 1707.07012)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from genotypes.genotype import Genotype
from genotypes.individual import Individual
from genotypes.population import Population
from genotypes.space import SearchSpace
from strategies.base import Proposal, SearchStrategy
from strategies.controller import Controller, isolated

if TYPE_CHECKING:
    import numpy as np


@dataclass
class ReinforcementLearning(SearchStrategy):
    """Sample from an LSTM policy; after every ``batch`` told candidates, improve it with PPO.

    From Zoph et al. 2017, appendix A.1: ``batch`` architectures an update; ``hidden`` units in one LSTM layer; Adam with
    ``learning_rate``; ``entropy_weight`` on the entropy; and ``baseline_decay``, the weight of the past in the moving
    average of rewards that serves as the baseline. The reward is the fitness.

    The paper is silent on these, so they are our choices:

    * ``clip``, how far a probability may move within an update: 0.2, as in Schulman et al. 2017, section 6.1.
    * ``passes`` over the batch within an update, each one step of Adam on the whole of it. TODO
    * The ratio is taken, and clipped, for each decision; see :func:`ppo_loss`.
    * Advantages are scaled to a root mean square of 1 in each batch, so that neither the spread of fitnesses in a
      space, nor its decline as the policy settles, sets the length of a step. They are not centred: that is the
      baseline's part.
    * The baseline starts as the mean reward of the first batch. From there on it follows reward by reward, in the order
      told, and each advantage is taken before its own reward goes in.

    A failed candidate is rewarded with the lowest fitness told by the time of the update; so is a combination that the
    space does not contain, once it comes back as invalid. While nothing at all has succeeded there is no lowest fitness
    and nothing to tell good from bad, and a batch of failures is dropped.

    The memo of a proposal holds the log-probability of each choice. A candidate that comes back after further updates is
    put right by the ratio to these. One without them, proposed by somebody else, counts as if the policy at the
    time of the update had proposed it.

    Raises:
        ValueError: if an option is out of range.
    """

    name: ClassVar[str] = "rl"

    batch: int = 20
    hidden: int = 100
    learning_rate: float = 0.00035
    clip: float = 0.2
    passes: int = 20
    entropy_weight: float = 0.00001
    baseline_decay: float = 0.95

    def __post_init__(self) -> None:
        for option in ("batch", "hidden", "passes"):
            if getattr(self, option) < 1:
                raise ValueError(f"strategy {self.name}: {option} must be at least 1, not {getattr(self, option)}")
        if not 0.0 < self.learning_rate < math.inf:
            raise ValueError(
                f"strategy {self.name}: learning_rate must be finite and above 0, not {self.learning_rate}"
            )
        if not 0.0 < self.clip < 1.0:
            raise ValueError(f"strategy {self.name}: clip must be between 0 and 1, not {self.clip}")
        if not 0.0 <= self.entropy_weight < math.inf:
            raise ValueError(
                f"strategy {self.name}: entropy_weight must be finite and at least 0, not {self.entropy_weight}"
            )
        if not 0.0 <= self.baseline_decay < 1.0:
            raise ValueError(
                f"strategy {self.name}: baseline_decay must be at least 0 and below 1, not {self.baseline_decay}"
            )

    def start(self, space: SearchSpace, rng: np.random.Generator) -> None:
        """Make a fresh controller for the decisions of ``space``, with initial weights from ``rng``."""
        super().start(space, rng)
        with isolated():
            self._controller = Controller(space.decisions, self.hidden, rng)
            self._optimizer = torch.optim.Adam(self._controller.parameters(), lr=self.learning_rate)
        self._told: list[Individual] = []
        self._lowest: float | None = None
        self._baseline: float | None = None

    def ask(self, population: Population, pending: Sequence[Proposal], rng: np.random.Generator) -> Proposal:
        """Propose a sample of the policy; the memo holds the log-probability of each choice."""
        uniforms = rng.random(len(self.space.decisions)).tolist()
        with isolated():
            choices, log_probs = self._controller.sample(uniforms)
        return Proposal(Genotype(self.space.spelling, choices), memo=log_probs)

    def tell(self, individual: Individual, rng: np.random.Generator) -> Mapping[str, float] | None:
        """Collect the candidate; with the last of a batch, update the policy and return notes on it.

        The notes are ``reward``, the mean of the batch; ``baseline`` after it; ``entropy``, in nats a decision with a
        choice, of the policy before the update; and of the last pass the ``loss`` and the ``clip_fraction``, the
        part of all ratios that lay outside the clip range.
        """
        self._told.append(individual)
        if individual.fitness is not None:
            self._lowest = min(individual.fitness, self._lowest if self._lowest is not None else math.inf)
        if len(self._told) < self.batch:
            return None
        told, self._told = self._told, []
        if self._lowest is None:
            return None
        rewards = [self._lowest if one.fitness is None else one.fitness for one in told]
        advantages = self._advantages(rewards)
        with isolated():
            notes = self._update(told, torch.tensor(advantages))
        return {"reward": math.fsum(rewards) / len(rewards), "baseline": self._baseline, **notes}

    def _advantages(self, rewards: Sequence[float]) -> list[float]:
        """Compare each reward of a batch with the baseline before it, move the baseline on, and scale the batch."""
        baseline = self._baseline if self._baseline is not None else math.fsum(rewards) / len(rewards)
        advantages = []
        for reward in rewards:
            advantages.append(reward - baseline)
            baseline += (1.0 - self.baseline_decay) * (reward - baseline)
        self._baseline = baseline
        scale = math.hypot(*advantages) / math.sqrt(len(advantages))
        # A batch without differences says nothing; scaled up, its rounding errors would seem to.
        return [advantage / max(scale, 1e-8) for advantage in advantages]

    def _update(self, told: Sequence[Individual], advantages: Tensor) -> dict[str, float]:
        """Go ``passes`` times over a batch with its advantages of shape (n,)."""
        choices = torch.tensor([one.genotype.choices for one in told])
        with torch.no_grad():
            current, _ = self._controller(choices)
        asked = torch.stack(
            [
                torch.tensor(one.memo) if len(one.memo) == len(now) else now
                for one, now in zip(told, current, strict=True)
            ]
        )
        for step in range(self.passes):
            log_probs, entropies = self._controller(choices)
            entropy = entropies.mean()
            surrogate, clip_fraction = ppo_loss(log_probs, asked, advantages, self.clip)
            loss = surrogate - self.entropy_weight * entropy
            if step == 0:
                before = entropy.item()
            self._optimizer.zero_grad()
            loss.backward()
            self._optimizer.step()
        return {"entropy": before, "loss": loss.item(), "clip_fraction": clip_fraction.item()}


def ppo_loss(log_probs: Tensor, old_log_probs: Tensor, advantages: Tensor, clip: float) -> tuple[Tensor, Tensor]:
    """Return PPO's clipped surrogate as a loss, and the part of the ratios that lie outside [1 - clip, 1 + clip].

    ``log_probs`` and ``old_log_probs`` have the shape (n, T): n architectures of T decisions, under the policy that is
    learning and under the one that proposed; ``advantages`` has the shape (n,). Both results are scalars (Schulman
    et al. 2017, equation 7).

    Each decision has a ratio of its own, and all decisions of an architecture share its advantage. The ratio of whole
    architectures, the product of fifty, would leave the clip range as soon as each moves by half a percent.
    """
    ratios = (log_probs - old_log_probs).exp()
    gains = advantages.unsqueeze(1)
    surrogate = torch.minimum(ratios * gains, ratios.clamp(1.0 - clip, 1.0 + clip) * gains)
    outside = (ratios - 1.0).abs() > clip
    return -surrogate.mean(), outside.to(surrogate.dtype).mean()
