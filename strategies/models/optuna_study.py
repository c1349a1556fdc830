"""A study of Optuna without a database: told trials to read, and one trial to ask for. Imports Optuna."""

from __future__ import annotations

import datetime
from collections.abc import Container, Mapping, Sequence
from typing import Any, Final, Never

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

_STUDY: Final = 0
_EPOCH: Final = datetime.datetime(2000, 1, 1)
"""When every trial began and ended: no sampler that we offer looks at the clock."""


def describe(sizes: Mapping[str, int], ordered: bool) -> dict[str, BaseDistribution]:
    """Return Optuna's description of decisions by name, each with its number of options: categories or whole numbers.

    Decisions without a choice are left out.
    """
    return {
        name: IntDistribution(0, size - 1) if ordered else _Categories(tuple(range(size)))
        for name, size in sizes.items()
        if size > 1
    }


def make_trial(
    number: int,
    space: Mapping[str, BaseDistribution],
    choices: Mapping[str, int],
    value: float | None,
    attributes: Mapping[str, Any],
) -> FrozenTrial:
    """Return a trial that is complete, or running if it has no ``value`` yet; ``number`` is its own in its study."""
    return FrozenTrial(
        number=number,
        trial_id=number,
        state=TrialState.RUNNING if value is None else TrialState.COMPLETE,
        value=value,
        values=None,
        datetime_start=_EPOCH,
        datetime_complete=None if value is None else _EPOCH,
        params={name: choices[name] for name in space},
        distributions=dict(space),
        user_attrs={},
        system_attrs=dict(attributes),
        intermediate_values={},
    )


def ask_sampler(
    sampler: BaseSampler, trials: Sequence[FrozenTrial], space: Mapping[str, BaseDistribution]
) -> tuple[dict[str, int], dict[str, Any]]:
    """Return the choices that a sampler proposes, to maximise, and the attributes that it gave the trial.

    The trials, of ascending numbers, stay as they are.
    """
    storage = _Ledger(trials)
    study = optuna.Study("evo_nas", storage, sampler=sampler)
    asked = study.ask(dict(space))
    return {name: int(choice) for name, choice in asked.params.items()}, storage.last.system_attrs


class _Categories(CategoricalDistribution):
    """Categories that know themselves: samplers compare the spaces of all trials, option by option, in every ask."""

    def __eq__(self, other: object) -> bool:
        return self is other or super().__eq__(other)

    __hash__ = CategoricalDistribution.__hash__


class _Ledger(BaseStorage):
    """The storage of one study, for one ask: what samplers read and write, and nothing else.

    Optuna's own storage in memory copies each trial that it is given, which takes longer than to sample.
    """

    def __init__(self, trials: Sequence[FrozenTrial]) -> None:
        self._trials = list(trials)
        self._by_number = {trial.number: trial for trial in trials}
        self._attributes: dict[str, Any] = {}

    @property
    def last(self) -> FrozenTrial:
        """The trial that was asked for."""
        return self._trials[-1]

    def get_study_id_from_name(self, study_name: str) -> int:
        return _STUDY

    def get_study_name_from_id(self, study_id: int) -> str:
        return "evo_nas"

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        return [StudyDirection.MAXIMIZE]

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        return {}

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        return self._attributes

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        self._attributes[key] = value

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        number = 1 + max(self._by_number, default=-1)
        self._by_number[number] = make_trial(number, {}, {}, None, {})
        self._trials.append(self._by_number[number])
        return number

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        self.last.params[param_name] = distribution.to_external_repr(param_value_internal)
        self.last.distributions[param_name] = distribution

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        if trial_id != self.last.number:
            raise NotImplementedError("a sampler writes to the trial that it is asked for")
        self.last.system_attrs[key] = value

    def get_trial(self, trial_id: int) -> FrozenTrial:
        return self._by_number[trial_id]

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        return [trial for trial in self._trials if states is None or trial.state in states]

    def _refuse(self, *given: object) -> Never:
        raise NotImplementedError("a study that is only asked")

    create_new_study: Any = _refuse
    delete_study: Any = _refuse
    set_study_user_attr: Any = _refuse
    get_all_studies: Any = _refuse
    set_trial_state_values: Any = _refuse
    set_trial_intermediate_value: Any = _refuse
    set_trial_user_attr: Any = _refuse
