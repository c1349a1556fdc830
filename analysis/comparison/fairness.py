"""Unfairness of a comparison of runs, in sentences: other things searched, measured otherwise, or for less long."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Final

from analysis.comparison.groups import Group, settings_of
from analysis.comparison.wording import by_value, join_words
from analysis.frames import Paths, RunRecord, find_runs
from evo_nas.storage.log import read_log
from evo_nas.storage.run_folder import measure_of
from genotypes.genotype import shorten
from genotypes.measure import common_measure

EARLY: Final = ("converged", "exhausted", "refused")
"""Reasons in a log for which a run ended before its budget because nothing was left to try: what it has is final."""

_MEASURED: Final = "their fitness is not measured alike"
_SEARCHED: Final = "they search different things"
_COUNTED: Final = "a network met again costs a training in some of them only"
_LIMITS: Final = ("max_parameters", "max_mult_adds")
_HARDWARE: Final = {
    "workers": "with more of them a strategy knows less when it asks",
    "trial_timeout": "what takes long fails in some of them only",
}


def warnings_of(paths: Paths) -> list[str]:
    """Return in sentences why runs cannot be compared as they are.

    Another space, evaluator, option of it, data set by its fingerprint, way of counting, limit, budget, number of
    workers or version of a library.

    Raises:
        HistoryError: if there is no such run.
    """
    runs = find_runs(paths)
    warnings = [f"{run.name} has no run.toml: nothing is known of how it was made." for run in runs if not run.config]
    runs = [run for run in runs if run.config]
    for subject, consequence in (("space", _SEARCHED), ("evaluator", _MEASURED)):
        names = {run.name: run.spell_entry(subject) for run in runs}
        if len(set(names.values())) > 1:
            warnings.append(f"The {subject} differs ({by_value(names)}): {consequence}.")
        for name in dict.fromkeys(names.values()):
            # Those that another name stands for have other options: that they differ was said with the name.
            alike = [run for run in runs if names[run.name] == name]
            for option in sorted({key for run in alike for key in run.table(subject)}):
                if (subject, option) != ("evaluator", "table"):  # the file is known by its fingerprint
                    warnings += _differing(alike, subject, option, consequence)
    warnings += _other_data(runs)
    for option in ("preset", "dataset", "data"):
        warnings += _differing(runs, "run", option, _MEASURED)
    warnings += _differing(runs, "run", "trials", "compare them at the same number of samples")
    warnings += _differing(runs, "run", "repeats", _COUNTED)
    for limit in _LIMITS:
        warnings += _differing(runs, "run", limit, _SEARCHED)
    for option, consequence in _HARDWARE.items():
        warnings += _differing(runs, "hardware", option, consequence)
    return warnings + _other_versions(runs)


def unlike(groups: Sequence[Group]) -> dict[tuple[str, str], tuple[str, ...]]:
    """Return for pairs of groups, by label, what keeps their fitness from being the same measure; empty if nothing.

    That is the evaluator, its options, its data, and whether repeats are trainings. The space is not among it: what two
    spaces hold can be measured alike.
    """
    found = {}
    for first, second in combinations(groups, 2):
        if first.settings["evaluator"] != second.settings["evaluator"]:
            reasons = ["evaluator"]
        else:
            names = [*first.settings, *(name for name in second.settings if name not in first.settings)]
            reasons = [
                name
                for name in names
                if (name.startswith("evaluator.") or name in ("data", "repeats"))
                and first.settings.get(name) != second.settings.get(name)
            ]
        if reasons:
            found[first.label, second.label] = tuple(reasons)
    return found


def list_unfinished_runs(runs: Sequence[RunRecord], samples: Mapping[str, int]) -> list[str]:
    """Return which runs are not over, or ended before their budget. ``samples``: run -> trainings that have ended."""
    sentences, short = [], {}
    early: dict[str, list[str]] = {}
    for run in runs:
        trials, done = run.table("run").get("trials"), samples.get(run.name, 0)
        if not isinstance(trials, int) or done >= trials:
            continue
        reason = ending(run)
        if reason in (*EARLY, "target"):
            early.setdefault(str(reason), []).append(run.name)
        else:
            short[run.name] = f"{done:,} of {trials:,} trainings"
    if short:
        sentences.append(f"Not finished: {join_words([f'{name} ({said})' for name, said in short.items()])}.")
    for reason, names in early.items():
        what = common_measure(measure_of(run.folder) for run in runs).name
        said = f"at their target {what}" if reason == "target" else f"because nothing was left to try ({reason})"
        sentences.append(f"Ended before the budget {said}: {join_words(names)}.")
    return sentences


def ending(run: RunRecord) -> str | None:
    """Return the reason with which the log of a run ends; ``None`` if it goes on, or did not end in order."""
    log = read_log(run.folder / "log.jsonl")
    return str(log.reason) if log.last == "end" else None


def _differing(runs: Sequence[RunRecord], table: str, option: str, consequence: str) -> list[str]:
    """Return a sentence if runs differ in one option; an option that only some name has its default in the others."""
    values = {run.name: shorten(str(run.table(table).get(option, "default"))) for run in runs}
    if len(set(values.values())) < 2:
        return []
    name = option if table in ("run", "hardware") else f"{table}.{option}"
    return [f"The runs differ in {name} ({by_value(values)}): {consequence}."]


def _other_data(runs: Sequence[RunRecord]) -> list[str]:
    """Return a sentence if runs of one evaluator read other data, though it may go by the same name."""
    sentences = []
    for evaluator in dict.fromkeys(run.spell_entry("evaluator") for run in runs):
        alike = [run for run in runs if run.spell_entry("evaluator") == evaluator]
        marks = {run.name: settings_of(run).get("data", "not known") for run in alike}
        if len(set(marks.values())) > 1:
            sentences.append(f"The fingerprints of the data differ ({by_value(marks)}): {_MEASURED}.")
        elif set(marks.values()) == {"not known"}:
            # Without fingerprints the path is all there is to go by.
            sentences += _differing(alike, "evaluator", "table", _MEASURED)
    return sentences


def _other_versions(runs: Sequence[RunRecord]) -> list[str]:
    """Return a sentence if runs were made with other versions of libraries, as far as ``env.json`` tells."""
    said: dict[str, Mapping[str, object]] = {}
    for run in runs:
        versions = run.environment().get("versions")
        if isinstance(versions, Mapping):
            said[run.name] = versions
    libraries = dict.fromkeys(str(name) for versions in said.values() for name in versions)
    other = []
    for library in libraries:
        values = {run: shorten(str(versions.get(library))) for run, versions in said.items()}
        if len(set(values.values())) > 1:
            other.append(f"{shorten(library)} {by_value(values)}")
    if not other:
        return []
    return [f"Made with other versions of libraries ({' / '.join(other[:4])}): the same seed may give other numbers."]
