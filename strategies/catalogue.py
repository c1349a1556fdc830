"""The search strategies by name. A strategy's file is imported when it is asked for: the controller needs torch."""

from __future__ import annotations

from typing import Final

from genotypes.registry import Registry
from strategies.base import SearchStrategy

STRATEGIES: Final = Registry(
    "strategy",
    SearchStrategy,  # type: ignore[type-abstract]
    {
        "random": "strategies.random_search:RandomSearch",
        "evolution": "strategies.evolution:RegularizedEvolution",
        "rl": "strategies.reinforcement:PPOController",
        "pnas": "strategies.progressive:ProgressiveSearch",
        "local": "strategies.local:LocalSearch",
        "guided": "strategies.guided:GuidedEvolution",
        "genetic": "strategies.genetic:GeneticSearch",
        "optuna": "strategies.optuna_sampler:OptunaSampler",
        "nevergrad": "strategies.nevergrad_optimizer:NevergradOptimizer",
        "hyperopt": "strategies.hyperopt_algorithm:HyperoptAlgorithm",
        "morphnet": "strategies.morphnet:MorphNet",
        "multiplier": "strategies.morphnet:Multiplier",
    },
)
"""A new strategy is a file beside this one and a line here."""

TAUGHT: Final = ("evolution", "rl", "pnas", "guided")
"""Names of the strategies that learn from other runs: those that override ``use_knowledge``."""
