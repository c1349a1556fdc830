"""Reinforcement learning: a controller trained with PPO proposes architectures (Zoph et al. 2017, arXiv 1707.07012)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np
import torch
from torch import Tensor

from genotypes.donor import Donor, require_whole
from genotypes.genotype import Genotype
from genotypes.individual import Individual, Outcome, Proposal
from genotypes.population import Population
from genotypes.ranges import check_ranges
from genotypes.space import SearchSpace
from strategies.base import SearchStrategy
from strategies.models.controller import Controller, isolate
from strategies.models.evidence import is_misleading
from strategies.models.ranks import rank_values

_ROUNDING: Final = 1e-8
"""Differences between fitnesses that are no larger on average say nothing, and are not scaled up."""

_LESSONS: Final = 50
"""Most updates in which a controller is taught by what donors found, a second or two;"""

_FOCUS: Final = 0.6
"""and the share of its entropy at which that ends: with less it would know what to propose, and hardly learn."""


@dataclass
class PPOController(SearchStrategy):
    """An LSTM policy, improved by PPO after every ``batch`` told candidates.

    From Zoph et al. 2017, appendix A: ``batch`` architectures per update, ``hidden`` units in one LSTM layer, Adam at
    ``learning_rate``, ``entropy_weight`` for the entropy, and as baseline a moving average of rewards in which
    the past weighs ``baseline_decay``. The reward is the fitness.

    The paper leaves these open, so they are choices of ours:

    * ``clip``, how far a ratio of probabilities counts within an update: 0.2 (Schulman et al. 2017, table 1).
    * ``passes`` over the batch in an update, each of them one step of Adam on all of it. On NAS-Bench-201, 4 learn
      little within 500 trials; 20 are ahead of 10 for 300 trials, but settle early: from 500 on, 10 are ahead (50
      seeds, in docs/measurements/strategies.md), at half the cost.
    * ``temperature``, by which logits are divided: 1. On NAS-Bench-201, 0.5 was no better (10 seeds).
    * Ratios are taken and clipped for each decision on its own; see :func:`ppo_loss`.
    * Advantages are scaled to a root mean square of 1 in each batch. A step then depends neither on how far apart the
      fitnesses of a space lie, nor on one wreck among the first. They are not centred: that is the baseline's part.
    * The baseline starts as the mean reward of the first batch. It then follows reward by reward, in the order told,
      and each advantage is taken before its own reward goes in.

    A failure is rewarded with the lowest fitness told by the time of the update. As long as nothing has succeeded there
    is none, nor anything to tell good from bad: such a batch is dropped.

    The memo of a proposal holds the log-probability of each choice; by the ratio to these, candidates that come
    back updates later still count rightly. One without them came from elsewhere, and counts as if the policy had
    proposed it just before the update.

    After :meth:`use_knowledge` there are two controllers at first: one that was taught by the donors, updated on their
    networks with the ranks of their fitnesses as rewards, and an untaught one. They propose in turn. After the first
    batch the taught one goes on alone, unless what it proposed is worse than what the other did: then that does.

    Raises:
        ValueError: if an option is out of range.
    """

    name: ClassVar[str] = "rl"
    names_parents: ClassVar[bool] = False

    batch: int = 20
    hidden: int = 100
    learning_rate: float = 0.00035
    clip: float = 0.2
    passes: int = 10
    entropy_weight: float = 0.00001
    baseline_decay: float = 0.95
    temperature: float = 1.0

    def __post_init__(self) -> None:
        check_ranges(self, batch="[1, inf)", hidden="[1, inf)", passes="[1, inf)")
        check_ranges(self, learning_rate="(0, inf)", clip="(0, 1)", temperature="(0, inf)")
        check_ranges(self, entropy_weight="[0, inf)", baseline_decay="[0, 1)")
        self._donors: tuple[Donor, ...] = ()

    def use_knowledge(self, space: SearchSpace, donors: Sequence[Donor]) -> None:
        """Take the donors that teach a second controller.

        Raises:
            ValueError: if none of their networks is of the space itself.
        """
        self._donors = require_whole(donors, space.spelling)

    def start(self, space: SearchSpace, rng: np.random.Generator) -> None:
        """Create a controller for the decisions of ``space``, with initial weights from ``rng``."""
        super().start(space, rng)
        with isolate():
            self._controller = Controller(space.decisions, self.hidden, rng, self.temperature)
            self._optimizer = self._make_optimizer()
            self._untaught: Controller | None = None  # the rival of a taught controller, until the first batch is told
            if self._donors:
                self._untaught = deepcopy(self._controller)
                self._teach(rng)
                self._optimizer = self._make_optimizer()
        self._told: list[Individual] = []
        self._lowest = math.inf
        self._baseline: float | None = None

    def ask(self, population: Population, pending: Sequence[Proposal], rng: np.random.Generator) -> Proposal:
        """Propose a sample of the policy; the memo holds the log-probability of each choice."""
        uniforms = rng.random(len(self.space.decisions)).tolist()
        is_untaught = (len(self._told) + len(pending)) % 2  # by which the ids of its proposals are even
        with isolate():
            choices, log_probs = ((is_untaught and self._untaught) or self._controller).sample(uniforms)
        return Proposal(Genotype(self.space.spelling, choices), memo=log_probs)

    def tell(self, individual: Individual, rng: np.random.Generator) -> Mapping[str, float] | None:
        """Collect the candidate; with the last of a batch, update the policy and return notes on that.

        ``reward`` is the mean of the batch, and ``baseline`` what the baseline has become. ``entropy`` is that of the
        policy before the update, in nats per decision. ``loss`` and ``clip_fraction``, see :func:`ppo_loss`, are those
        of the last pass.
        """
        self._told.append(individual)
        if individual.fitness is not None:
            self._lowest = min(self._lowest, individual.fitness)
        if len(self._told) < self.batch:
            return None
        told, self._told = self._told, []
        self._choose_controller(told)
        if math.isinf(self._lowest):
            return None
        rewards = [self._lowest if one.fitness is None else one.fitness for one in told]
        mean = math.fsum(rewards) / len(rewards)
        advantages, self._baseline = compare(
            rewards, mean if self._baseline is None else self._baseline, self.baseline_decay
        )
        with isolate():
            notes = self._update(told, torch.tensor(advantages))
        return {"reward": mean, "baseline": self._baseline, **notes}

    def _make_optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self._controller.parameters(), lr=self.learning_rate, fused=True)

    def _teach(self, rng: np.random.Generator) -> None:
        """Update the controller on batches of the donors' networks, drawn at random, until it has an opinion."""
        networks: list[Individual] = []
        for donor in self._donors:
            ranks = rank_values(donor.fitnesses) / len(donor.fitnesses)
            for genotype, rank in zip(donor.genotypes, ranks.tolist(), strict=True):
                networks.append(Individual(1, genotype, Outcome.OK, rank))
        entropy = 0.0
        for _ in range(_LESSONS):
            batch = [networks[index] for index in rng.integers(len(networks), size=self.batch).tolist()]
            ranks = np.array([one.score for one in batch])
            advantages = (ranks - ranks.mean()) / max(float(ranks.std()), _ROUNDING)
            notes = self._update(batch, torch.tensor(advantages, dtype=torch.float32))
            entropy = entropy or notes["entropy"]
            if notes["entropy"] <= _FOCUS * entropy:
                break

    def _choose_controller(self, first: Sequence[Individual]) -> None:
        """Decide, by the first batch, which of the two controllers goes on."""
        if self._untaught is None:
            return
        advised, others = ([one.fitness for one in first if one.id % 2 == odd] for odd in (1, 0))
        if is_misleading(advised, others):
            self._controller = self._untaught
            with isolate():
                self._optimizer = self._make_optimizer()
        self._untaught = None

    def _update(self, told: Sequence[Individual], advantages: Tensor) -> dict[str, float]:
        """Improve the policy on a batch of n candidates with advantages of shape (n,)."""
        choices = torch.tensor([one.genotype.choices for one in told])
        for number in range(self.passes):
            log_probs, entropy = self._controller(choices)
            if number == 0:
                before = entropy.mean().item()
                old_log_probs = torch.tensor(
                    [
                        one.memo if len(one.memo) == len(row) else row
                        for one, row in zip(told, log_probs.tolist(), strict=True)
                    ]
                )
            surrogate, clip_fraction = ppo_loss(log_probs, old_log_probs, advantages, self.clip)
            loss = surrogate - self.entropy_weight * entropy.mean()
            self._optimizer.zero_grad()
            loss.backward()
            self._optimizer.step()
        return {
            "entropy": before,
            "loss": loss.item(),
            "clip_fraction": clip_fraction.item(),
        }


def compare(rewards: Sequence[float], baseline: float, decay: float) -> tuple[list[float], float]:
    """Return the advantages of a batch's rewards, scaled to a root mean square of 1, and the baseline after them.

    The baseline is a moving average: each reward is compared with it and then takes it ``1 - decay`` of the way.
    Rewards that differ from it by no more than rounding have advantages near 0.
    """
    advantages = []
    for reward in rewards:
        advantages.append(reward - baseline)
        baseline += (1.0 - decay) * (reward - baseline)
    scale = max(math.hypot(*advantages) / math.sqrt(len(advantages)), _ROUNDING)
    return [advantage / scale for advantage in advantages], baseline


def ppo_loss(log_probs: Tensor, old_log_probs: Tensor, advantages: Tensor, clip: float) -> tuple[Tensor, Tensor]:
    """Return PPO's clipped surrogate as a loss, and the fraction of ratios outside [1 - clip, 1 + clip]; both scalars.

    ``log_probs`` and ``old_log_probs`` have the shape (n, T): n architectures of T decisions, under the policy that
    learns and under the one that proposed; ``advantages`` has the shape (n,) (Schulman et al. 2017, equation 7).

    Each decision has its own ratio, and shares the advantage of its architecture. The ratio of a whole architecture,
    the product of NASNet's fifty, would be clipped as soon as each of them moves by 0.4 percent.
    """
    ratios = (log_probs - old_log_probs).exp()
    gains = advantages.unsqueeze(1)
    surrogate = torch.minimum(ratios * gains, ratios.clamp(1.0 - clip, 1.0 + clip) * gains)
    outside = (ratios - 1.0).abs() > clip
    return -surrogate.mean(), outside.to(surrogate.dtype).mean()
