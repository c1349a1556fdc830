"""The evaluators by name. Imported when asked for: the proxy trainer needs torch."""

from __future__ import annotations

from typing import Final

from evo_nas.evaluators.base import Evaluator
from genotypes.registry import Registry

EVALUATORS: Final = Registry(
    "evaluator",
    Evaluator,  # type: ignore[type-abstract]
    {
        "blend": "evo_nas.evaluators.blend:BlendEvaluator",
        "detection": "evo_nas.evaluators.detection.evaluator:DetectionEvaluator",
        "proxy": "evo_nas.evaluators.proxy.evaluator:ProxyEvaluator",
        "scores": "evo_nas.evaluators.scores.evaluator:ScoresEvaluator",
        "supernet": "evo_nas.evaluators.supernet.evaluator:SupernetEvaluator",
        "tabular": "evo_nas.evaluators.tabular.evaluator:TabularEvaluator",
        "toy": "evo_nas.evaluators.toy:ToyEvaluator",
        "widths": "evo_nas.evaluators.widths:WidthsEvaluator",
    },
)
"""A new evaluator is a file beside this one and a line here."""

SUITED: Final = {"nasfpn": "detection"}
"""Name of a space -> the evaluator that a search of it has by default, where that is not the proxy trainer."""
