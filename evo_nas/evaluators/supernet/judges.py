"""The judges of a supernet: the evaluators that know images, task, size and cost of its networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Final

from evo_nas.data.boxes.catalogue import BOX_SETS
from evo_nas.evaluators.detection.evaluator import DetectionEvaluator
from evo_nas.evaluators.proxy.evaluator import ProxyEvaluator

AUTO: Final = "auto"
"""An option that is left to the images."""

Judge = ProxyEvaluator | DetectionEvaluator

KINDS: Final[tuple[type[Judge], type[Judge]]] = (ProxyEvaluator, DetectionEvaluator)


def make_judge(options: Mapping[str, Any]) -> Judge:
    """Return the judge of the options that were given: the images decide which.

    Raises:
        ValueError: if an option is for the other one, unknown, or out of range.
    """
    dataset = options.get("dataset")
    kind, other = reversed(KINDS) if dataset in BOX_SETS else KINDS
    known, strange = ({field.name for field in fields(one)} for one in (kind, other))
    if misplaced := [name for name in options if name in strange - known]:
        whose, has = ("classifiers", "has boxes") if dataset in BOX_SETS else ("detectors", "has no boxes")
        raise ValueError(f"{misplaced[0]} is for {whose}, and {dataset or 'cifar10'} {has}: leave it out")
    return kind(**{name: value for name, value in options.items() if name in known})


def size_of(judge: Judge) -> dict[str, Any]:
    """Return the size of the networks, as :class:`evo_nas.phenotypes.shared.supernet.Supernet` takes it."""
    if isinstance(judge, DetectionEvaluator):
        return {"detects": True, **judge.size(), "neck": judge.neck}
    return {**judge.size(), "image_size": judge.integer("image_size")}
