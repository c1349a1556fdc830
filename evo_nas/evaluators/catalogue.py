"""The evaluators by name. Imported when asked for: the proxy trainer needs torch."""

from __future__ import annotations

from typing import Final

from evo_nas.evaluators.base import Evaluator
from genotypes.registry import Registry

EVALUATORS: Final = Registry(
    "evaluator",
    Evaluator,  # type: ignore[type-abstract]
    {
        "proxy": "evo_nas.evaluators.proxy.evaluator:ProxyEvaluator",
        "tabular": "evo_nas.evaluators.tabular.evaluator:TabularEvaluator",
        "toy": "evo_nas.evaluators.toy:ToyEvaluator",
    },
)
"""A new evaluator is a file beside this one and a line here."""
