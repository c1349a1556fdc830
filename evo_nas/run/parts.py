"""The parts of a run: a configuration becomes a space, a strategy and an evaluator that suit each other."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evo_nas.config import (
    BUDGET,
    OPTION_TABLES,
    Hardware,
    RunConfig,
    Tables,
    differences,
    from_environment,
    from_flags,
    merge,
    read_toml,
)
from evo_nas.errors import RunFolderError, UsageError, calling
from evo_nas.evaluators.base import Evaluator, Placement, check_evaluator, prepare_evaluator
from evo_nas.evaluators.catalogue import EVALUATORS, SUITED
from evo_nas.listeners.followers import require_trackers
from evo_nas.loop.rungs import make_race
from evo_nas.phenotypes.named import is_foreign, is_foreign_backbone
from evo_nas.storage.run_folder import RunFolder
from evo_nas.system.resources import usable_cores
from evo_nas.training.metrics import is_own
from genotypes.catalogue import SPACES, build_space
from genotypes.donor import Donor
from genotypes.genotype import shorten
from genotypes.registry import OptionError, Registry, default_options, option_types, options_of
from genotypes.space import SearchSpace, check_space
from genotypes.spaces.widths import WidthsSpace
from strategies.base import SearchStrategy, check_strategy
from strategies.catalogue import STRATEGIES, TAUGHT

if TYPE_CHECKING:
    from evo_nas.evaluators.scores.evaluator import ScoresEvaluator


@dataclass(frozen=True)
class Parts:
    """The three parts that a configuration names, built and bound to each other.

    ``scorer`` scores candidates before they are tried, if the strategy wants scores. ``donors`` are what it has learned
    from other runs.
    """

    space: SearchSpace
    strategy: SearchStrategy
    evaluator: Evaluator
    scorer: ScoresEvaluator | None = None
    donors: tuple[Donor, ...] = ()


def load_config(
    flags: Mapping[str, Any],
    *,
    settings: Sequence[str] = (),
    file: Path | None = None,
    environ: Mapping[str, str] = os.environ,
    beside: Sequence[str] = (),
) -> RunConfig:
    """Resolve a configuration: flags go before ``EVO_NAS_*`` variables, these before the TOML file.

    ``beside`` names other strategies that the same flags are meant for: an option that only they have is left out.

    Raises:
        UsageError: if a table, field, flag or name is unknown, or a value impossible.
    """
    from_file = read_toml(file) if file else {}
    from_command = from_flags(flags, settings)
    from_variables = from_environment(environ)
    for origin, tables in ((str(file), from_file), ("from the environment (EVO_NAS_*)", from_variables)):
        try:
            RunConfig.from_tables(tables)
        except UsageError as error:
            raise UsageError(f"{origin}: {error}") from error
    names = RunConfig.from_tables(choose_evaluator(merge(from_file, from_variables, from_command))).run
    # An exported variable is a habit, not a demand: where the chosen part has no such option it says nothing.
    for table, catalogue in (("strategy", STRATEGIES), ("evaluator", EVALUATORS)):
        if table in from_variables:
            known = option_types(_find(catalogue, getattr(names, table)))
            from_variables[table] = {k: v for k, v in from_variables[table].items() if k in known}
    tables = choose_evaluator(merge(from_file, from_variables, from_command))
    if beside and "strategy" in tables:
        known = option_types(_find(STRATEGIES, names.strategy))
        others = {option for name in beside for option in option_types(_find(STRATEGIES, name))} - known.keys()
        tables["strategy"] = {k: v for k, v in tables["strategy"].items() if k not in others}
    return RunConfig.from_tables(tables)


def choose_evaluator(tables: Tables) -> Tables:
    """Return the tables with the evaluator that suits their space, where they name none."""
    run = tables.get("run", {})
    space = str(run.get("space", "")).partition("(")[0]
    if "evaluator" in run or space not in SUITED:
        return tables
    return merge(tables, {"run": {"evaluator": SUITED[space]}})


def build(config: RunConfig) -> Parts:
    """Build space, strategy and evaluator.

    Raises:
        UsageError: if a name or an option is unknown, a value impossible, or the parts do not suit each other.
        PluginError: if one of them does not keep its contract.
    """
    require_trackers(config.hardware.tracker)
    try:
        name = config.run.space
        # A spelling alone imports no code; a plug-in is named by whoever runs the search.
        space = SPACES.build(name, config.space) if ":" in name else build_space(name, config.space)
        _refuse_front(config)
        given = STRATEGIES.build(config.run.strategy, config.strategy)
        evaluator = _build_evaluator(config, given)
        with calling(evaluator, "complete", ValueError):
            space = evaluator.complete(space, placement(config.hardware))
        with calling(space, "its decisions and spelling"):
            check_space(space)
        with calling(given, "suited", ValueError):
            strategy = given.suited(space)
        with calling(given, "its properties"):
            check_strategy(strategy)
        with calling(evaluator, "bind", ValueError):
            evaluator.bind(space, placement(config.hardware))
        with calling(evaluator, "its properties"):
            check_evaluator(evaluator)
    except ValueError as error:
        raise UsageError(str(error)) from error
    _refuse_missing_metrics(strategy, evaluator)
    if config.hardware.device_url is not None and not options_of(evaluator).get("ort_latency"):
        raise UsageError(
            "--device-url names who measures ort_latency, which this search does not want: add --cost ort-latency, or "
            "leave --device-url (EVO_NAS_DEVICE_URL) out"
        )
    _refuse_pauses(config, evaluator)
    if evaluator.inherits and not strategy.names_parents:
        raise UsageError(
            f"--inherit gives a child the weights of its parent, and the strategy {strategy.name} names no parents: "
            "choose one that does, such as evolution, or leave --inherit out"
        )
    if config.run.screen is not None:
        from strategies.screen import Screened  # and with it the libraries of its model

        strategy = Screened(strategy, config.run.screen)
    if not strategy.wants_scores:
        return Parts(space, strategy, evaluator)
    return Parts(space, strategy, evaluator, _build_scorer(config, space, strategy, evaluator))


def build_pair(
    space: str | SearchSpace, strategy: str | SearchStrategy, options: Mapping[str, object]
) -> tuple[SearchSpace, SearchStrategy]:
    """Build a space and a strategy that suit each other, without an evaluator; objects are taken as they are.

    ``options`` are those of a strategy that is named.

    Raises:
        UsageError: if a name or an option is unknown, a value impossible, or the two do not suit each other.
    """
    if options and not isinstance(strategy, str):
        raise UsageError("options are those of a strategy that is named; an object has its own")
    try:
        built = build_space(space) if isinstance(space, str) else space
        check_space(built)
        suited = (STRATEGIES.build(strategy, options) if isinstance(strategy, str) else strategy).suited(built)
        check_strategy(suited)
        if isinstance(strategy, str) and suited.wants_scores:
            raise ValueError(
                f"the strategy {strategy} wants scores, and there is no evaluator to compute them; build it yourself, "
                "call its use_scores, and give the object"
            )
        return built, suited
    except ValueError as error:
        raise UsageError(str(error)) from error


def _build_scorer(
    config: RunConfig, space: SearchSpace, strategy: SearchStrategy, evaluator: Evaluator
) -> ScoresEvaluator:
    """Build what scores candidates: the evaluator itself if it scores, else one for the same images, on one core.

    Raises:
        UsageError: if what is searched has no scores.
    """
    from evo_nas.evaluators.scores.evaluator import ScoresEvaluator

    if isinstance(evaluator, ScoresEvaluator):
        return evaluator
    dataset = options_of(evaluator).get("dataset") or ScoresEvaluator.dataset
    try:
        scorer = ScoresEvaluator(dataset=dataset, seed=config.run.seed)
        scorer.bind(space, replace(placement(config.hardware), device="cpu", threads=1))
    except ValueError as error:
        what = "--screen" if config.run.screen is not None else f"the prior of {strategy.name}"
        raise UsageError(f"{what}: {error}") from error
    return scorer


def _build_evaluator(config: RunConfig, strategy: SearchStrategy) -> Evaluator:
    """Build the evaluator, with what run and strategy want of it where the configuration leaves that open."""
    kind = _find(EVALUATORS, config.run.evaluator)
    known = option_types(kind)
    with calling(strategy, "its properties"):
        wanted = {name: value for name, value in strategy.evaluator_options.items() if name in known}
    if "seed" in known and getattr(kind, "seed", 0) is None:
        wanted["seed"] = config.run.seed
    return EVALUATORS.build(config.run.evaluator, wanted | dict(config.evaluator))


def prepare(parts: Parts, folder: Path) -> None:
    """Have evaluator and strategy prepare for the run in a folder.

    Raises:
        UsageError: if they do not suit each other, as a budget that no network is within.
        DataError: if the evaluator's data is missing or damaged.
        PluginError: if one of them does not keep its contract.
    """
    prepare_evaluator(parts.evaluator, folder)
    if parts.scorer not in (None, parts.evaluator):
        prepare_evaluator(parts.scorer, folder)
    try:
        with calling(parts.strategy, "use_cost", ValueError):
            parts.strategy.use_cost(parts.space, parts.evaluator.cost)
        if parts.scorer is not None:
            with calling(parts.strategy, "use_scores"):
                parts.strategy.use_scores(parts.scorer.rate)
    except ValueError as error:
        raise UsageError(str(error)) from error


def teach(parts: Parts, donors: Sequence[Donor]) -> Parts:
    """Return the parts with what other runs found, if anything, which the strategy has taken.

    Raises:
        UsageError: if the strategy cannot learn from them.
        PluginError: if it does not keep its contract.
    """
    if not donors:
        return parts
    try:
        with calling(parts.strategy, "use_knowledge", ValueError):
            parts.strategy.use_knowledge(parts.space, donors)
    except ValueError as error:
        raise UsageError(f"--warm-start: {error}; those that can are {', '.join(TAUGHT)}") from error
    return replace(parts, donors=tuple(donors))


def list_defaults(table: str, name: str) -> dict[str, Any]:
    """Return the options of a strategy or an evaluator, as ``table`` says, that need not be given: name -> default.

    Raises:
        UsageError: if there is none of this name.
    """
    catalogues: dict[str, Registry[Any]] = {"strategy": STRATEGIES, "evaluator": EVALUATORS}
    return default_options(_find(catalogues[table], name))


def _refuse_front(config: RunConfig) -> None:
    """Raise if a front of fitness and costs is wanted of a strategy that searches none.

    Raises:
        UsageError: naming those that do.
    """
    if "objective" in config.strategy and "objective" not in option_types(STRATEGIES.find(config.run.strategy)):
        able = [name for name in STRATEGIES if "objective" in option_types(STRATEGIES.find(name))]
        raise UsageError(
            f"the strategy {config.run.strategy} searches no front of fitness and costs (--cost, --objective), which "
            f"{', '.join(able)} can: add --strategy {able[0]}"
        )


def _refuse_missing_metrics(strategy: SearchStrategy, evaluator: Evaluator) -> None:
    """Refuse a strategy that compares by what the evaluator is known not to measure.

    Raises:
        UsageError: naming what is missing, what there is, and how to mend it.
    """
    given = evaluator.metrics
    if given is None or not (missing := [name for name in strategy.needs if name not in given]):
        return
    name = shorten(missing[0])
    if options_of(evaluator).get(missing[0]) is False:
        mend = f"switch it on with --set evaluator.{name}=true"
    else:
        mend = "choose among these, or another evaluator"
    raise UsageError(
        f"the strategy {strategy.name} needs the metric {name!r}, and the evaluator {evaluator.name} "
        f"gives {', '.join(given) or 'no metrics'}: {mend}"
    )


def _refuse_pauses(config: RunConfig, evaluator: Evaluator) -> None:
    """Refuse rungs for trainings that cannot pause, or whose rungs would not fit.

    Raises:
        UsageError: saying why, and how to mend it.
    """
    if config.run.fidelity == "none":
        return
    try:
        with calling(evaluator, "count_pausable_epochs", ValueError):
            make_race(config.run, evaluator)
    except ValueError as error:
        raise UsageError(f"--fidelity {config.run.fidelity}: {error}") from error
    if config.hardware.executor == "ray":
        raise UsageError(
            f"--fidelity {config.run.fidelity}: a paused training lies in the run folder, which the nodes of a cluster "
            "may not share: use --executor slots"
        )


def fill_options(config: RunConfig, parts: Parts) -> RunConfig:
    """Fill the option tables with every option that the parts have, so that later defaults cannot change the run."""
    chosen = parts.strategy
    if config.run.screen is not None:
        from strategies.screen import Screened

        assert isinstance(chosen, Screened)
        chosen = chosen.strategy
    space, strategy, evaluator = map(options_of, (parts.space, chosen, parts.evaluator))
    return replace(config, space=space, strategy=strategy, evaluator=evaluator)


def new_folder(config: RunConfig, parts: Parts) -> Path:
    """Name a folder below ``runs/`` that does not exist: strategy, what is searched on, seed, time."""
    what = options_of(parts.evaluator).get("dataset") or config.run.evaluator.rpartition(":")[2]
    name = f"{config.run.strategy.rpartition(':')[2]}-{what}-seed{config.run.seed}"
    stamp = time.strftime("%Y%m%d-%H%M%S")
    candidates = (Path("runs") / f"{name}-{stamp}{suffix}" for suffix in ("", *(f"-{n}" for n in range(2, 1000))))
    return next(path for path in candidates if not path.exists())


def read_stored_config(path: Path, given: Tables | None = None, plugins: Sequence[str] = ()) -> RunConfig:
    """Read the configuration of a run, with a new budget or other hardware if ``given`` says so.

    A run folder is data, never code: what it names as ``package.module:Class`` is imported only if the caller names
    it in ``plugins`` too, and a network of a user's own in ``given``.

    Raises:
        RunFolderError: if the folder holds no run.
        UsageError: if ``given`` changes the science of the run, or a plug-in was not named.
    """
    folder = RunFolder.existing(path)
    if not folder.config.is_file():
        raise RunFolderError(f"{path} holds no run: there is no run.toml in it")
    old = RunConfig.from_tables(read_toml(folder.config))
    given = given or {}
    new = RunConfig.from_tables(merge(old.to_tables(), given))
    same = replace(old, run=replace(old.run, **{name: getattr(new.run, name) for name in BUDGET}))
    if changed := list(differences(same.to_tables(), new.to_tables(), (*OPTION_TABLES, "run"))):
        raise UsageError(f"resume continues the same search, it cannot change {'; '.join(changed)}")
    named = {
        *plugins,
        given.get("space", {}).get("network"),
        *map(given.get("evaluator", {}).get, ("backbone", "metric")),
    }
    for flag, name in plugins_of(old):
        if name not in named:
            raise UsageError(
                f"the run uses the plug-in {name}; name it on the command line too, with {flag}{name}, "
                "because a run folder alone imports no code"
            )
    return new


def plugins_of(config: RunConfig) -> Iterator[tuple[str, str]]:
    """Yield the names in a configuration whose code is imported, each with the flag that says it."""
    for part in OPTION_TABLES:
        if ":" in (name := getattr(config.run, part)):
            yield f"--{part} ", name
    network = config.space.get("network")
    if config.run.space == WidthsSpace.name and isinstance(network, str) and is_foreign(network):
        yield "--set space.network=", network
    backbone = config.evaluator.get("backbone")
    if config.run.evaluator == "detection" and isinstance(backbone, str) and is_foreign_backbone(backbone):
        yield "--set evaluator.backbone=", backbone
    metric = config.evaluator.get("metric")
    if isinstance(metric, str) and is_own(metric):
        yield "--metric ", metric


def placement(hardware: Hardware) -> Placement:
    """Return where evaluations run; the cores are shared out among the workers unless ``threads`` is given."""
    cores = hardware.cpus_per_trial if hardware.executor == "ray" else usable_cores() / hardware.workers
    return Placement(
        device=hardware.device,
        data_dir=hardware.data_dir,
        threads=hardware.threads or max(1, int(cores)),
        keep_weights=hardware.keep_weights > 0,
        workers=hardware.workers,
        device_url=hardware.device_url,
    )


def _find(catalogue: Registry[Any], name: str) -> type:
    try:
        return catalogue.find(name)
    except OptionError as error:
        raise UsageError(str(error)) from error
