"""The configuration of a run: what is science apart from what is hardware, and TOML both ways.

A value is taken from the command line, else from ``EVO_NAS_*``, else from the TOML file, else from its default. All
of these are first brought into one form, tables of fields as they stand in TOML:

* ``[run]`` and the options of ``[space]``, ``[strategy]`` and ``[evaluator]`` are the science: they decide which trials
  are run and what comes out of them;
* ``[hardware]`` decides where and how fast, and may change from one part of a run to the next.
"""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final

from evo_nas.errors import UsageError
from evo_nas.storage.run_folder import TRACKERS
from evo_nas.system.cache import expand_home
from evo_nas.system.text import read_text
from genotypes.genotype import shorten
from genotypes.plain import plain, plain_in_json
from genotypes.ranges import check_ranges
from genotypes.registry import OptionError, build_with_options

Tables = dict[str, dict[str, Any]]
"""Table name -> field name -> value, as in a TOML file."""

OPTION_TABLES: Final = ("space", "strategy", "evaluator")
"""The tables whose fields are the options of the class that ``[run]`` names."""


@dataclass(frozen=True)
class Flag:
    """The flag of an option: what the help and the reference page say of it, and how it is read.

    Without a ``metavar`` it is a switch, and with ``is_off`` one that can only switch off: ``--no-aging``. ``default``
    is what holds without the flag, where the default value of the field does not say it. ``is_time`` takes ``2h30m``,
    and ``is_list`` several words.
    """

    help: str
    metavar: str | None = None
    default: str | None = None
    is_off: bool = False
    is_time: bool = False
    is_list: bool = False


def option(value: Any, help: str, metavar: str | None = None, **details: Any) -> Any:
    """Return a dataclass field that has a flag: its default value, and the arguments of :class:`Flag`.

    The command line, the variables, ``list options`` and docs/reference.md are made from these fields.
    """
    if metavar is not None and "default" not in details and value is not None:
        text = f"{value:g}" if isinstance(value, float) else str(value)
        details["default"] = f"{text} s" if details.get("is_time") else text
    return field(default=value, metadata={"flag": Flag(help, metavar, **details)})


BUDGET: Final = ("trials", "target_accuracy")
"""Fields of ``[run]`` that say how far a search goes, not which search it is: resuming may change them."""


@dataclass(frozen=True)
class SearchConfig:
    """The settings of a search, the ``[run]`` table: what is searched, how, and for how long.

    ``strategy``, ``space`` and ``evaluator`` are names of their catalogues or ``package.module:Class``. ``trials`` is
    the total of ended trainings, failed ones counted; ``target_accuracy``, a fraction in [0, 1], ends the run before,
    as soon as a fitness is as high. ``repeats`` says what becomes of a network that was trained before: ``reuse``
    takes its fitness over, ``retrain`` trains it again, as Real et al. 2018 do. ``max_repeats`` asks in a row that need
    no training end the run as converged, ``max_consecutive_failures`` failed trainings in a row end it as failed.
    ``max_parameters`` and ``max_mult_adds`` (of one image), if not ``None``, refuse larger networks.
    Of ``screen`` proposals of the strategy the one is tried that its scores before training speak for; ``None`` for
    one.
    ``fidelity`` is ``none``, or ``epochs``: trainings pause after ``fidelity_epochs``, ``fidelity_eta`` times as many
    and so on, and the best 1/eta go on (:mod:`evo_nas.evaluators.rungs`). One that is not among these leaves when
    ``fidelity_patience`` others have come to its rung after it.
    ``warm_start`` are run folders from which the strategy learns before it begins; they are kept as absolute paths.

    Raises:
        ValueError: if a number is out of range, ``repeats`` is neither, or a run to learn from is named twice.
    """

    strategy: str = option("evolution", "a name of `list strategies`, or package.module:Class", "NAME", default=None)
    space: str = option("nasnet", "search space, or package.module:Class", "NAME")
    evaluator: str = option("proxy", "a name of `list evaluators`, or package.module:Class", "NAME", default="by space")
    seed: int = option(0, "seed of everything random", "K")
    trials: int = option(1000, "trainings of a run in all, failed ones counted", "N")
    target_accuracy: float | None = option(None, "end at this fitness, a fraction in [0, 1]", "A")
    repeats: str = option("reuse", "reuse or retrain networks that were trained before", "HOW")
    max_repeats: int = option(1000, "end after R proposals in a row that are not trained", "R")
    max_parameters: int | None = option(None, "refuse networks with more parameters", "M")
    max_mult_adds: int | None = option(None, "refuse networks with more mult-adds per image", "M")
    max_consecutive_failures: int = option(10, "end after F failed trials in a row", "F")
    screen: int | None = option(None, "try one of M proposals, by what their scores let expect", "M")
    fidelity: str = option("none", "none, or epochs: trainings pause, and only the best of them go on", "HOW")
    fidelity_epochs: int = option(1, "epochs before the first pause", "E")
    fidelity_eta: int = option(3, "the best 1/F of a rung go on, for F times as many epochs", "F")
    fidelity_patience: int = option(9, "a paused trial leaves after N others at its rung", "N")
    warm_start: tuple[str, ...] | None = option(
        None, "learn from other runs in the same space first: their trials count for nothing else", "RUN", is_list=True
    )

    def __post_init__(self) -> None:
        counts = ("trials", "max_repeats", "max_parameters", "max_mult_adds", "max_consecutive_failures")
        check_ranges(self, target_accuracy="[0, 1]", screen="[2, inf)", **dict.fromkeys(counts, "[1, inf)"))
        check_ranges(self, fidelity_epochs="[1, inf)", fidelity_eta="[2, inf)", fidelity_patience="[1, inf)")
        if self.fidelity not in ("none", "epochs"):
            raise ValueError(f"fidelity must be none or epochs, not {shorten(self.fidelity)!r}")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed must be from 0 to 2^63 - 1, not {self.seed}")
        if self.repeats not in ("reuse", "retrain"):
            raise ValueError(f"repeats must be reuse or retrain, not {self.repeats!r}")
        if self.warm_start is not None:
            runs = tuple(str(expand_home(Path(run)).absolute()) for run in self.warm_start)
            if not runs or len(set(runs)) < len(runs):
                raise ValueError(f"warm_start names at least one run, each once, not {shorten(list(self.warm_start))}")
            object.__setattr__(self, "warm_start", runs)


@dataclass(frozen=True)
class Hardware:
    """The ``[hardware]`` table: where trials run.

    ``executor`` is ``serial`` (in this process), ``slots`` (a process per worker), ``ray`` (an actor per worker, on a
    cluster) or ``auto``: slots, but serial for one worker whose evaluator can do no harm. ``threads`` a worker; 0
    shares the cores out. ``data_dir`` is kept as an absolute path, because a run may be resumed from another folder
    than the one that it was started in. ``keep_weights`` is how many of the best trials keep their weights;
    ``tracker`` names the trackers that show the search while it goes on; ``none`` for none.

    A trial that takes longer than ``trial_timeout`` is stopped; after ``time_limit`` the run stops, and what is being
    trained when it is to stop has ``grace`` to end: all in seconds. After ``recycle_after`` trials a worker is
    replaced; 0 for never. ``ray_address`` is that of a cluster, ``None`` for one on this machine; ``cpus_per_trial``
    and ``gpus_per_trial`` may be fractions. ``device_url`` is the address of the agent that measures ``ort_latency``;
    ``None`` for this machine.

    Raises:
        ValueError: if a number is out of range, or a serial run is asked for what needs a process.
    """

    workers: int = option(1, "trials at a time", "W")
    executor: str = option("auto", "serial, slots, ray, or auto", "NAME")
    threads: int = option(0, "threads per worker", "T", default="the cores, shared out")
    device: str = option("auto", "auto, cpu, cuda, cuda:N or mps", "NAME")
    data_dir: Path | None = option(None, "where image sets lie", "DIR", default="EVO_NAS_DATA, or the cache")
    keep_weights: int = option(1, "keep the weights of the K best trials", "K")
    tracker: tuple[str, ...] = option(
        (), f"show the search while it goes on: {', '.join(TRACKERS)}, several with commas", "LIST", default="none"
    )
    trial_timeout: float | None = option(None, "stop a trial that takes longer than T", "T", is_time=True)
    time_limit: float | None = option(None, "stop after T, resumable: 90, 45m, 2h30m", "T", is_time=True)
    grace: float = option(30.0, "time to end for trials when we stop", "T", is_time=True)
    recycle_after: int = option(0, "replace a worker after N trials", "N", default="never")
    ray_address: str | None = option(None, "ray: the cluster to use", "ADDR", default="one on this machine")
    cpus_per_trial: float = option(1.0, "ray: cores per trial", "C")
    gpus_per_trial: float = option(0.0, "ray: GPUs per trial, also a fraction", "G")
    device_url: str | None = option(
        None, "ort-latency: the agent that measures it, see `measure --listen`", "URL", default="this machine measures"
    )

    def __post_init__(self) -> None:
        if self.data_dir is not None:
            object.__setattr__(self, "data_dir", expand_home(self.data_dir).absolute())
        check_ranges(
            self, workers="[1, 1024]", keep_weights="[0, 100]", trial_timeout="(0, inf)", time_limit="(0, inf)"
        )
        object.__setattr__(self, "tracker", tuple(dict.fromkeys(name for name in self.tracker if name != "none")))
        if unknown := [name for name in self.tracker if name not in TRACKERS]:
            raise ValueError(f"tracker must be of {', '.join(TRACKERS)}, or none, not {shorten(unknown[0])!r}")
        others = ("threads", "grace", "recycle_after", "cpus_per_trial", "gpus_per_trial")
        check_ranges(self, **dict.fromkeys(others, "[0, inf)"))
        if self.executor not in ("auto", "serial", "slots", "ray"):
            raise ValueError(f"executor must be auto, serial, slots or ray, not {self.executor!r}")
        if self.executor == "serial":
            if self.workers > 1:
                raise ValueError(f"the serial executor has one worker, not {self.workers}: use --executor slots")
            if self.trial_timeout is not None or self.recycle_after:
                raise ValueError(
                    "the serial executor can neither stop a trial nor replace itself: use --executor slots"
                )


def flags_of(kind: type) -> dict[str, Flag]:
    """Return the flags of a dataclass: field name -> flag."""
    return {f.name: f.metadata["flag"] for f in fields(kind) if "flag" in f.metadata}


FLAGS: Final[Mapping[str, Mapping[str, Flag]]] = {
    "run": flags_of(SearchConfig),
    # The classes of these are not imported to print a help: a test holds that each of them is an option of one.
    "strategy": {
        "population": Flag("evolution: size of the population", "P", "by space, up to 100"),
        "sample": Flag("evolution: size of the tournament", "S", "by space, up to 25"),
        "aging": Flag("evolution: the worst dies, not the oldest", is_off=True),
        "objective": Flag("evolution: accuracy, or pareto: the strategy's costs count too", "NAME", "accuracy"),
        "batch": Flag("rl: architectures per update of the controller", "B", "20"),
        "prior": Flag("guided: none, or scores: it learns how far to trust those before training", "NAME", "none"),
    },
    "evaluator": {
        "dataset": Flag("cifar10, digits, folder, ...; with boxes plates, scenes, ...", "NAME", "by space"),
        "preset": Flag("settings of the trainer: a name of `list presets`", "NAME", "by data set and device"),
        "metric": Flag(
            "proxy: accuracy, balanced_accuracy, f1_macro, auroc, likelihood, package.module:function", "NAME"
        ),
        "inherit": Flag("a child begins with the trained weights that it shares with its parent, and trains shorter"),
        "early_stopping": Flag("stop trainings that fall behind: none, median or halving", "RULE", "none"),
        "table": Flag("tabular: benchmark table, CSV or parquet", "FILE"),
        "column": Flag("tabular: column that the search sees", "NAME"),
        "test_column": Flag("tabular: column of the test fitness, which no search sees", "NAME"),
        "table_unit": Flag("tabular: percent or fraction", "UNIT", "fraction"),
        "benchmark": Flag("tabular: a published table instead, as nasbench201/cifar10", "NAME"),
    },
    "hardware": flags_of(Hardware),
}
"""Table -> field -> the flag that it has, and so a variable: ``--data-dir`` is ``EVO_NAS_DATA_DIR``."""

VARIABLES: Final = {f"EVO_NAS_{name.upper()}": (table, name) for table, names in FLAGS.items() for name in names} | {
    "EVO_NAS_DATA": ("hardware", "data_dir")
}
"""Environment variable -> table and field."""

RENAMED: Final = {"stopping": "early_stopping", "report_column": "test_column", "tensorboard": "tracker"}
"""Old name of a field that has a flag -> its name now."""


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides a run. The option tables hold what was given; the rest are the classes' defaults."""

    run: SearchConfig = field(default_factory=SearchConfig)
    space: Mapping[str, Any] = field(default_factory=dict)
    strategy: Mapping[str, Any] = field(default_factory=dict)
    evaluator: Mapping[str, Any] = field(default_factory=dict)
    hardware: Hardware = field(default_factory=Hardware)

    @classmethod
    def from_tables(cls, tables: Tables) -> RunConfig:
        """Check tables and build the configuration; the option tables are checked by those who own the options.

        Raises:
            UsageError: if a table or a field is unknown, or a value impossible.
        """
        known = [f.name for f in fields(cls)]
        for name in tables:
            if name not in known:
                raise UsageError(f"unknown table [{shorten(name)}]; the tables are: {', '.join(known)}")
        hardware = dict(tables.get("hardware", {}))
        if hardware.pop("tensorboard", False):  # of a run.toml that was written before there were others
            hardware.setdefault("tracker", ["tensorboard"])
        try:
            return cls(
                run=build_with_options(SearchConfig, "[run]", tables.get("run", {})),
                hardware=build_with_options(Hardware, "[hardware]", hardware),
                **{name: dict(tables.get(name, {})) for name in OPTION_TABLES},
            )
        except OptionError as error:
            raise UsageError(str(error)) from error

    def to_tables(self) -> Tables:
        """Return the tables back; what is ``None`` is left out, because TOML has no word for it."""
        tables: Tables = {
            "run": {f.name: getattr(self.run, f.name) for f in fields(SearchConfig)},
            **{name: dict(getattr(self, name)) for name in OPTION_TABLES},
            "hardware": {f.name: getattr(self.hardware, f.name) for f in fields(Hardware)},
        }
        return {name: {k: v for k, v in table.items() if v is not None} for name, table in tables.items()}

    def to_toml(self) -> str:
        """Write the configuration as TOML; :func:`read_toml` and :meth:`from_tables` read it back."""
        parts = []
        for name, table in self.to_tables().items():
            parts.append(f"[{name}]\n" + "".join(f"{key} = {_toml_value(value)}\n" for key, value in table.items()))
        return "\n".join(parts)


def read_toml(path: Path) -> Tables:
    """Read a TOML file into tables.

    Raises:
        UsageError: if the file cannot be read, is no TOML, or has fields outside of a table.
    """
    try:
        tables = tomllib.loads(read_text(path))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"cannot read the configuration {path}: {error}") from error
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise UsageError(f"{path}: {name!r} stands outside of a table; write it below [run] or [hardware]")
    return tables


def read_setting(text: str) -> tuple[str, str, Any]:
    """Read one ``--set TABLE.FIELD=VALUE``: the value as TOML where it is TOML, else as plain text.

    Raises:
        UsageError: if there is no table, no field or no equals sign.
    """
    left, equals, value = text.partition("=")
    table, dot, name = left.strip().partition(".")
    if not (equals and dot and table and name):
        raise UsageError(f"--set takes TABLE.FIELD=VALUE, as in evaluator.epochs=5, not {shorten(text)!r}")
    try:
        return table, name, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return table, name, value.strip()


def from_flags(flags: Mapping[str, Any], settings: Sequence[str] = ()) -> Tables:
    """Sort flags, of which those that are ``None`` were not given, and ``TABLE.FIELD=VALUE`` settings into tables.

    Raises:
        UsageError: if a flag or the form of a setting is unknown.
    """
    tables: Tables = {}
    for name, value in flags.items():
        table = next((table for table, names in FLAGS.items() if name in names), None)
        if table is None:
            raise UsageError(f"there is no flag {shorten(name)!r}; options of a part are set as TABLE.FIELD=VALUE")
        if value is not None:
            tables.setdefault(table, {})[name] = value
    for setting in settings:
        table, name, value = read_setting(setting)
        tables.setdefault(table, {})[name] = value
    return tables


def from_environment(environ: Mapping[str, str]) -> Tables:
    """Collect what the ``EVO_NAS_*`` variables say; empty ones say nothing.

    Raises:
        UsageError: if one has another name now.
    """
    tables: Tables = {}
    for old, new in RENAMED.items():
        variable, other = f"EVO_NAS_{old.upper()}", f"EVO_NAS_{new.upper()}"
        if other in VARIABLES and environ.get(variable, ""):
            raise UsageError(f"{variable} is now {other}")
    for variable, (table, name) in VARIABLES.items():
        if value := environ.get(variable, ""):
            tables.setdefault(table, {})[name] = value
    return tables


def merge(*layers: Tables) -> Tables:
    """Merge tables field by field; later layers win."""
    merged: Tables = {}
    for layer in layers:
        for name, table in layer.items():
            merged.setdefault(name, {}).update(table)
    return merged


def differences(old: Tables, new: Tables, names: Iterable[str]) -> Iterator[str]:
    """Yield a line for each field in which two configurations differ, in the tables of these names."""
    for name in names:
        before, after = old.get(name, {}), new.get(name, {})
        for key in sorted(before.keys() | after.keys()):
            if before.get(key) != after.get(key):
                yield f"{name}.{key} from {before.get(key)!r} to {after.get(key)!r}"


def _toml_value(value: object) -> str:
    """Write one value as TOML: JSON's strings, numbers, booleans and lists are TOML's too, but for two details.

    TOML knows no surrogate pairs, so that nothing is escaped that need not be; and it wants DEL escaped.

    Raises:
        UsageError: if the value is of a kind that no option of a run can have.
    """
    value = plain(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # inf, -inf and nan are TOML's words too
    if isinstance(value, Path):
        value = str(value)
    try:
        text = json.dumps(value, ensure_ascii=False, default=plain_in_json)
        text.encode()
    except (TypeError, UnicodeEncodeError) as error:
        raise UsageError(f"{shorten(value)} cannot be written to run.toml: {error}") from error
    if isinstance(value, dict):
        raise UsageError(f"{shorten(value)} cannot be written to run.toml: an option is a number, a text or a list")
    return text.replace("\x7f", "\\u007f")
