"""The evaluators by name. Imported when asked for: the proxy trainer needs torch."""

from __future__ import annotations

from importlib import import_module
from typing import Final

from evo_nas.evaluators.base import Evaluator

EVALUATORS: Final[dict[str, str]] = {
    "proxy": "evo_nas.evaluators.proxy:ProxyEvaluator",
    "toy": "evo_nas.evaluators.toy:ToyEvaluator",
}
"""Name -> module and class. A new evaluator is a file beside this one and a line here."""


def evaluator_class(name: str) -> type[Evaluator]:
    """Import the class of an evaluator.

    Raises:
        ValueError: if there is no evaluator of that name.
    """
    if name not in EVALUATORS:
        raise ValueError(f"there is no evaluator {name!r}; the evaluators are: {', '.join(EVALUATORS)}")
    module, _, attribute = EVALUATORS[name].partition(":")
    kind: type[Evaluator] = getattr(import_module(module), attribute)
    return kind
