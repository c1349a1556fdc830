"""Times of ONNX models in ONNX Runtime on the CPU: which are refused, how long an inference takes, and on what.

Everything here does without torch. Models of others are timed by :func:`answer_on_stdout`, in a process of its own.
"""

from __future__ import annotations

import json
import math
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from evo_nas.errors import DataError, EvoNasError, UsageError
from genotypes.genotype import shorten
from genotypes.ranges import check_ranges

if TYPE_CHECKING:
    import onnx

REPEATS: Final = 100
"""Inferences that are counted, at most."""

STEADY: Final = 0.1
"""Interquartile range of the counted ones, as a fraction of their median, up to which a measurement is steady."""

_WARM_UP: Final = 5
_FEWEST: Final = 10
_SECONDS: Final = 2.0
"""After which a model is not run more often than :data:`_FEWEST` times: large ones take long, and vary less."""

_ROUNDS: Final = 20
_FEWEST_ROUNDS: Final = 5
_MINUTE: Final = 60.0
_TURN: Final = 2e-3

_MEMORY: Final = 1 << 34
"""Bytes of address space for a process that times a model of others: a small file can ask for any size of tensor."""

_INPUTS: Final = 1 << 28
"""Numbers in all inputs together."""

_DOMAINS: Final = ("", "ai.onnx")
"""Where the operators of a model may come from: ONNX's own, which every runtime brings."""


@dataclass(frozen=True)
class TimingSettings:
    """The settings of a measurement: ``threads`` of the CPU, images at a time, and inferences that are counted.

    Raises:
        ValueError: if one is out of range.
    """

    ranges: ClassVar[dict[str, str]] = {"threads": "[1, 64]", "batch": "[1, 1024]", "repeats": "[2, 1000]"}

    threads: int = 1
    batch: int = 1
    repeats: int = REPEATS

    def __post_init__(self) -> None:
        check_ranges(self, **self.ranges)


@dataclass(frozen=True)
class Timing:
    """The time of an inference: the median in seconds for a batch, its spread, and whether it is not to be trusted.

    ``spread`` is the interquartile range as a fraction of the median. ``device`` describes the machine.
    """

    latency: float
    spread: float
    is_noisy: bool
    repeats: int
    device: str


def require_onnx() -> None:
    """Raise unless onnx and onnxruntime are installed.

    Raises:
        UsageError: naming what is missing.
    """
    if missing := list_missing():
        raise UsageError(f"measuring ONNX models needs {' and '.join(missing)}: python -m pip install 'evo_nas[onnx]'")


def list_missing() -> list[str]:
    """Return which of the packages that it takes to time a model are not installed."""
    return [name for name in ("onnx", "onnxruntime") if find_spec(name) is None]


def describe_device() -> str:
    """Return what a latency is the latency of: runtime, processor and cores of this machine, in one line."""
    import platform

    from evo_nas.system.resources import processor, usable_cores

    runtime = "no onnxruntime"
    with suppress(PackageNotFoundError):
        runtime = f"onnxruntime {version('onnxruntime')}"
    name = processor()[0] or "unknown processor"
    return f"{runtime}, {name}, {platform.machine()}, {usable_cores()} cores, {platform.system()}"


def time_model(content: bytes, settings: TimingSettings) -> Timing:
    """Time inferences of a model on zeros; by the clock of the wall, so that what else runs counts too.

    It is the median over at most ``settings.repeats`` inferences, or about two seconds of them, after a warm-up.

    Raises:
        DataError: if the model is refused: see :func:`check_model`; or ONNX Runtime cannot run it.
    """
    check_model(content, settings.batch)
    try:
        seconds = time_inferences(open_model(content, settings), settings.repeats)
    except EvoNasError:
        raise
    except Exception as error:  # of many kinds, all of them of the runtime
        words = shorten(" ".join(str(error).split()), 200)
        raise DataError(f"ONNX Runtime cannot run the model: {words}") from error
    median, spread, noisy = summarise_times(seconds, workers=1)
    return Timing(median, spread, bool(noisy), len(seconds), describe_device())


def time_inferences(infer: Callable[[], Any], repeats: int = REPEATS) -> list[float]:
    """Return the seconds of so many calls, or of as many as two seconds have room for, after a warm-up."""
    seconds: list[float] = []
    for _ in range(_WARM_UP):
        infer()
    while len(seconds) < repeats and (len(seconds) < min(_FEWEST, repeats) or sum(seconds) < _SECONDS):
        start = time.perf_counter()
        infer()
        seconds.append(time.perf_counter() - start)
    return seconds


def time_in_turns(contents: Sequence[bytes], settings: TimingSettings) -> NDArray[Any]:
    """Return the seconds of an inference of each model, of shape (rounds, models), one round after another.

    There are :data:`_ROUNDS` rounds, or as many as a minute has room for, but at least :data:`_FEWEST_ROUNDS`. So what
    disturbs the machine for some seconds disturbs some rounds, and all models in them alike. In a round a model runs
    once, or as often as two milliseconds have room for, and the median counts. With one thread the seconds are those of
    the processor, so that others who have it meanwhile do not count.
    """
    models = [open_model(content, settings) for content in contents]
    clock = time.thread_time if settings.threads == 1 else time.perf_counter
    rounds: list[list[float]] = []
    end = time.perf_counter() + _MINUTE
    while len(rounds) < _FEWEST_ROUNDS or (len(rounds) < _ROUNDS and time.perf_counter() < end):
        rounds.append([])
        for infer in models:
            infer()  # what ran before has taken the caches
            seconds: list[float] = []
            while sum(seconds) < _TURN:
                start = clock()
                infer()
                seconds.append(clock() - start)
            rounds[-1].append(statistics.median(seconds))
    return np.array(rounds)


def open_model(content: bytes, settings: TimingSettings) -> Callable[[], Any]:
    """Return a function that runs a model of fixed sizes on a batch of zeros in ONNX Runtime."""
    session = start_session(content, settings.threads)
    kinds = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16}
    kinds |= {f"tensor({name})": np.dtype(name).type for name in ("int64", "int32", "uint8", "int8", "bool")}
    feed = {}
    for each in session.get_inputs():
        shape = [size if isinstance(size, int) else settings.batch for size in each.shape]
        feed[each.name] = np.zeros(shape, kinds[each.type])
    return lambda: session.run(None, feed)


def start_session(content: bytes, threads: int) -> Any:
    """Return a session of ONNX Runtime for a model, on so many threads of the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # it warns of what it cannot know of the machine, and errors are raised
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def summarise_times(seconds: Sequence[float], workers: int) -> tuple[float, float, float]:
    """Return median, spread and noisiness of measured times.

    The spread is the interquartile range as a fraction of the median. Noisy is 1.0 where ``workers`` is more than one,
    so that others were at work meanwhile, or the spread is above :data:`STEADY`; else 0.0.
    """
    quarter, median, three_quarters = statistics.quantiles(seconds, n=4)
    spread = (three_quarters - quarter) / median
    return median, spread, float(workers > 1 or spread > STEADY)


def check_model(content: bytes, batch: int) -> None:
    """Raise unless a model is plain ONNX that can be timed: one file, ONNX's own operators, inputs of known sizes.

    Raises:
        DataError: naming what is refused.
    """
    import onnx

    try:
        model = onnx.load_model_from_string(content)
        refuse_code(model)
        onnx.checker.check_model(model)
    except EvoNasError:
        raise
    except Exception as error:  # of many kinds: those of the parser, and those of the checker
        words = shorten(" ".join(str(error).split()), 200)
        raise DataError(f"it is no valid ONNX model: {words}") from error
    constants = {each.name for each in model.graph.initializer}
    _refuse_inputs([each for each in model.graph.input if each.name not in constants], batch)


def refuse_code(model: onnx.ModelProto) -> None:
    """Raise if a model holds more than a graph of ONNX's own operators with its numbers inside.

    Raises:
        DataError: if it has data in other files, operators of other domains, functions, or steps of a training.
    """
    if model.functions:
        raise DataError("the model defines functions of its own: export it with ONNX's operators alone")
    if model.training_info:
        raise DataError("the model holds steps of a training: export it for inference")
    for graph in _list_graphs(model.graph):
        for tensor in _list_tensors(graph):
            if tensor.external_data or tensor.data_location:
                raise DataError("the model has external data: save it as one file, with its weights inside")
        for node in graph.node:
            if node.domain not in _DOMAINS:
                name = shorten(f"{node.domain}:{node.op_type}", 60)
                raise DataError(f"the model has the operator {name}, which is none of ONNX's own")
    for opset in model.opset_import:
        if opset.domain not in _DOMAINS:
            raise DataError(f"the model imports operators of {shorten(opset.domain, 60)}: only ONNX's own are run")


def _list_graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """Yield a graph and those that its nodes hold, at any depth."""
    stack = [graph]
    while stack:
        each = stack.pop()
        yield each
        for node in each.node:
            for attribute in node.attribute:
                stack += [attribute.g] if attribute.HasField("g") else []
                stack += attribute.graphs


def _list_tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Yield the constants of a graph, and those among the attributes of its nodes."""
    yield from graph.initializer
    sparse = list(graph.sparse_initializer)
    for node in graph.node:
        for attribute in node.attribute:
            yield attribute.t
            yield from attribute.tensors
            sparse += [attribute.sparse_tensor, *attribute.sparse_tensors]
    for each in sparse:
        yield from (each.values, each.indices)


def _refuse_inputs(inputs: Sequence[onnx.ValueInfoProto], batch: int) -> None:
    """Raise unless all sizes but the first of the inputs are known.

    Raises:
        DataError: naming the input.
    """
    if not inputs:
        raise DataError("the model has no input")
    numbers = 0
    for each in inputs:
        name = shorten(repr(each.name), 60)
        sizes = [size.dim_value if size.HasField("dim_value") else None for size in each.type.tensor_type.shape.dim]
        if not sizes:
            raise DataError(f"the input {name} of the model has no shape")
        if any(size is None or size < 1 for size in sizes[1:]):
            raise DataError(f"the input {name} of the model has an open size: export it with sizes but for the batch")
        if sizes[0] not in (None, batch):
            raise DataError(f"the model takes batches of {sizes[0]}, not of {batch}: set --batch {sizes[0]}")
        numbers += math.prod([batch, *(size for size in sizes[1:] if size)])
    if numbers > _INPUTS:
        raise DataError(f"the inputs of the model have {numbers:,} numbers, more than {_INPUTS:,}")


def answer_on_stdout(settings: str) -> None:
    """Time the model on stdin with these settings, JSON; print the answer, or the error, as JSON.

    The process may use less memory afterwards, so it is to end.
    """
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        answer = asdict(time_model(sys.stdin.buffer.read(), TimingSettings(**json.loads(settings))))
    except DataError as error:
        answer = {"error": str(error)}
    except MemoryError:
        answer = {"error": f"the model needs more than {_MEMORY >> 30} GiB of memory"}
    print(json.dumps(answer))
