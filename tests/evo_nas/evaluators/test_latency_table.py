"""Latencies that are added up of pieces: the sum, the table's file, and searches that predict instead of measuring."""

from __future__ import annotations

import json
import pickle
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from analysis.frames import load_history, load_metrics
from evo_nas.cli import main
from evo_nas.errors import DataError
from evo_nas.evaluators.base import Job, Placement
from evo_nas.evaluators.deployment import Deployment
from evo_nas.evaluators.devices import agent as agents
from evo_nas.evaluators.devices.agent import Agent, AgentLimits
from evo_nas.evaluators.devices.client import TOKEN
from evo_nas.evaluators.devices.timing import TimingSettings, time_in_turns
from evo_nas.evaluators.latency_table import METRICS, LatencyTable, measure_table, read_table, spell_table
from evo_nas.evaluators.proxy import deploying
from evo_nas.evaluators.proxy.deploying import TABLE, Deployed
from evo_nas.evaluators.proxy.evaluator import ProxyEvaluator
from evo_nas.phenotypes.onnx.pieces import Piece, write_piece
from evo_nas.system.cache import writable_cache
from genotypes.catalogue import build_space
from tests.evo_nas.evaluators.test_devices import SECRET, address, serve

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

SPELLING = "nasnet(blocks=1)"
OPTIONS = (
    *("ort_latency=true", "deploy_table=true", "deploy_cells_per_stack=1", "deploy_filters=4", "deploy_image_size=8"),
    *("epochs=1", "train_images=64", "filters=2"),
)
CALL = 0.5


def seconds_of(content: bytes) -> float:
    """Return what a model takes in these tests: a call, and a second for each byte of its weights and node."""
    graph = onnx.load_model_from_string(content).graph
    return CALL + float(sum(len(node.op_type) for node in graph.node if node.op_type != "Flatten"))


def take_turns(contents: Sequence[bytes], settings: TimingSettings | None = None) -> NDArray[Any]:
    """Stand for ``time_in_turns``: two rounds, alike."""
    return np.array([[seconds_of(content) for content in contents]] * 2)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Let models take what :func:`seconds_of` says, of few networks; yield the numbers of models that were timed."""
    timed: list[int] = []

    def count(contents: Sequence[bytes], settings: TimingSettings) -> NDArray[Any]:
        timed.append(len(contents))
        return take_turns(contents)

    monkeypatch.setattr(deploying, "time_in_turns", count)
    monkeypatch.setattr(deploying, "_DRAWN", 4)
    monkeypatch.setattr(deploying, "_WHOLE", 2)
    yield timed
    shutil.rmtree(writable_cache() / "groundwork", ignore_errors=True)


def run(folder: Path, *more: str, without: str = "") -> int:
    words = ["run", "--strategy", "random", "--space", SPELLING, "--dataset", "digits", "--run-dir", str(folder)]
    for option in OPTIONS:
        words += ["--set", f"evaluator.{option}"] if option != without else []
    return main([*words, "--executor", "serial", *more])


def relu(channels: int, side: int = 4) -> Piece:
    return Piece("Relu", ((channels, side, side),), (), (), (channels, side, side))


def pool(kernel: int, side: int) -> Piece:
    attributes = (("kernel_shape", (kernel, kernel)), ("pads", (0, 0, 0, 0)), ("strides", (1, 1)))
    return Piece("MaxPool", ((3, side, side),), (), attributes, (3, side - kernel + 1, side - kernel + 1))


def test_sums_are_brought_to_whole_networks() -> None:
    """Pieces of 3, 4 and 5 s alone, beside a call of 0.5 s, in networks that take 0.9 of their sums, or a bit more."""
    known = [relu(3), relu(4), relu(5)]
    alone = {piece: float(piece.inputs[0][0]) for piece in known}
    networks: list[Mapping[Piece, int]] = [{known[0]: 2, known[1]: 1}, {known[2]: 3}, {known[1]: 1}]
    shares = (0.9, 0.9, 0.99)

    def time_all(contents: Sequence[bytes]) -> NDArray[Any]:
        pieces = [alone[piece] + CALL for piece in known]
        wholes = [
            share * sum(count * alone[piece] for piece, count in each.items()) + CALL
            for each, share in zip(networks, shares, strict=True)
        ]
        assert contents[1 : 1 + len(known)] == [write_piece(piece) for piece in known]
        quiet = np.array([CALL, *pieces, *wholes])
        return np.array([quiet, quiet, 3 * quiet])

    table, error = measure_table([*known, known[0]], [(b"", each) for each in networks], time_all, "a board")
    assert error == pytest.approx((1 - 0.9 / 0.99) / 3)
    told = table.predict({known[0]: 1, known[2]: 10})
    assert told == {"ort_latency": pytest.approx(0.9 * 53), "ort_latency_tabled": 1.0}


def test_a_piece_that_is_not_in_the_table_is_judged_by_the_nearest_of_its_kind() -> None:
    rows = {pool(3, 9).kin: {pool(3, 9).sizes: (100.0, 1.0), pool(3, 5).sizes: (3000.0, 9.0)}}
    rows[relu(3).kin] = {relu(3).sizes: (48.0, 6.0)}
    table = LatencyTable("a board", rows)
    assert table.predict({pool(3, 9): 1, relu(6): 2}) == {"ort_latency": 25.0, "ort_latency_tabled": 1 / 25}
    other = pool(5, 9)
    assert table.predict({other: 1})["ort_latency"] == pytest.approx(9.0 * other.work / 3000), "of its operation"
    strange = Piece("Sigmoid", ((3, 4, 4),), (), (), (3, 4, 4))
    assert table.predict({strange: 1})["ort_latency"] == pytest.approx(6.0), "of all"


def test_networks_that_take_no_longer_than_a_call_have_no_table() -> None:
    with pytest.raises(DataError, match="too small for a table"):
        measure_table([relu(3)], [(b"", {relu(3): 1})], lambda contents: np.full((2, 3), CALL), "a board")


def test_a_network_is_the_sum_of_its_pieces(clock: list[int]) -> None:
    size = {"cells_per_stack": 3, "filters": 4, "classes": 3}
    deployed = Deployed(build_space(SPELLING), Deployment(3, 8), "cifar", size)
    lines: list[str] = []
    table = deployed.measure_table(lines.append)
    assert lines[-1].startswith("latency table: its sums differ")
    genotype = deployed.space.sample(np.random.default_rng(0))
    told = deployed.predict(genotype, table)
    assert told["ort_latency_tabled"] == 1.0
    expected = sum(
        count * table.rows[piece.kin][piece.sizes][1] for piece, count in deployed.count_pieces(genotype).items()
    )
    assert told["ort_latency"] == pytest.approx(expected)
    assert clock == [1 + sum(map(len, table.rows.values())) + 2]


@pytest.mark.parametrize("spelling", ["nasnet(blocks=2)", "darts(blocks=2)", "nasbench201"])
def test_the_table_of_a_space_has_most_pieces_of_its_networks(
    spelling: str, clock: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deploying, "_DRAWN", 12)
    size = {"cells_per_stack": 1, "filters": 4, "classes": 3}
    deployed = Deployed(build_space(spelling), Deployment(3, 8), "cifar", size)
    table = deployed.measure_table(lambda line: None)
    rng = np.random.default_rng(1)
    tabled = [deployed.predict(deployed.space.sample(rng), table)["ort_latency_tabled"] for _ in range(3)]
    assert np.mean(tabled) > 0.8


def test_models_are_timed_in_turns() -> None:
    times = time_in_turns([write_piece(relu(3)), write_piece(relu(4))], TimingSettings())
    assert times.shape[1] == 2
    assert (times > 0).all()


def test_a_search_predicts_and_is_resumed_with_its_table(
    tmp_path: Path, clock: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    assert run(folder, "--trials", "1") == 0
    assert "latency table: timing" in capsys.readouterr().err
    shutil.rmtree(writable_cache() / "groundwork")
    assert main(["resume", str(folder), "--trials", "3"]) == 0
    assert len(clock) == 1, "the table of the run folder is enough"
    metrics = load_metrics(folder)
    assert "ort_latency_noisy" not in set(metrics["name"])
    record = json.loads((folder / TABLE).read_text())
    table = read_table(folder / TABLE, record["key"])
    deployed = Deployed(build_space(SPELLING), Deployment(1, 8), "cifar", record["key"]["size"])
    expected = [deployed.predict(deployed.space.parse(text), table) for text in load_history(folder)["genotype"]]
    for name in METRICS:
        assert metrics[metrics["name"] == name]["value"].tolist() == [each[name] for each in expected]
    assert len({each["ort_latency"] for each in expected}) > 1
    some = next(iter(record["pieces"].values()))
    some[next(iter(some))][1] += 1.0
    (folder / TABLE).write_text(json.dumps(record))
    capsys.readouterr()
    assert main(["resume", str(folder), "--trials", "4"]) == 2
    assert "latency table" in capsys.readouterr().err


def test_workers_read_one_table(tmp_path: Path, clock: list[int]) -> None:
    evaluator = ProxyEvaluator(
        dataset="digits", epochs=1, train_images=64, filters=2, ort_latency=True, deploy_table=True, deploy_filters=4
    )
    space = build_space(SPELLING)
    evaluator.bind(space, Placement(device="cpu", workers=2))
    evaluator.prepare(tmp_path)
    evaluator.groundwork(lambda line: None)
    job = Job(1, space.sample(np.random.default_rng(5)), 0)
    here, there = (each.evaluate(job) for each in (evaluator, pickle.loads(pickle.dumps(evaluator))))
    assert here.metrics["ort_latency"] == there.metrics["ort_latency"]
    assert set(here.metrics) == set(evaluator.metrics)
    assert len(clock) == 1


def test_an_agent_times_the_pieces(
    tmp_path: Path, clock: list[int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sent: Counter[str] = Counter()

    def measure(content: bytes, settings: TimingSettings, seconds: float) -> dict[str, Any]:
        sent.update(["models"])
        return {"latency": seconds_of(content), "spread": 0.0, "is_noisy": False, "repeats": 2, "device": "a board"}

    monkeypatch.setenv(TOKEN, SECRET)
    monkeypatch.setattr(agents, "time_apart", measure)
    with serve(AgentLimits()) as agent:
        assert isinstance(agent, Agent)
        agent.device = "a board"
        assert run(tmp_path / "run", "--trials", "2", "--device-url", address(agent)) == 0
    assert list(load_history(tmp_path / "run")["outcome"]) == ["ok", "ok"]
    table = json.loads((tmp_path / "run" / TABLE).read_text())
    assert table["device"] == "a board"
    assert sent["models"] == 1 + sum(map(len, table["pieces"].values())) + 2, "and none of the trials'"
    assert clock == []


def test_a_table_without_a_use_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path / "run", "--trials", "2", without="ort_latency=true") == 2
    error = capsys.readouterr().err
    assert "deploy_table predicts ort_latency" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    "change", [{"key": {}}, {"pieces": {}}, {"pieces": {"Relu": {"3x4x4 -> 3x4x4": [1, -1]}}}, {"pieces": 3}]
)
def test_a_damaged_table_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    text = spell_table(LatencyTable("a board", {"Relu": {"3x4x4 -> 3x4x4": (48.0, 1.0)}}), {"space": "bits"})
    path = tmp_path / TABLE
    path.write_text(text)
    assert read_table(path, {"space": "bits"}).predict({relu(3): 2})["ort_latency"] == 2.0
    path.write_text(json.dumps({**json.loads(text), **change}))
    for key in ({"space": "bits"}, {"space": "nasnet"}):
        with pytest.raises(DataError, match=r"the latency table .* is damaged"):
            read_table(path, key)
