"""Models timed by an agent over loopback: what it refuses, and what its client makes of agents that are none."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np
import pytest

from analysis.frames import load_history, load_metrics
from evo_nas.cli import main
from evo_nas.errors import DataError, UsageError
from evo_nas.evaluators.devices import agent as agents
from evo_nas.evaluators.devices.agent import Agent, AgentLimits
from evo_nas.evaluators.devices.client import TOKEN, TOKEN_FILE, Device, read_token
from evo_nas.evaluators.devices.timing import TimingSettings, check_model, time_model
from evo_nas.storage.run_folder import RunFolder
from tests.waiting import wait_for

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

SECRET = "correct-horse-battery"
ANSWER = {"latency": 0.25, "spread": 0.5, "is_noisy": True, "repeats": 7, "device": "a board"}


def model(*, size: int | str = 4, op: str = "Relu", domain: str = "", batch: int | str = "batch", **more: Any) -> Any:
    """Return a model of one node."""
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    values = [helper.make_tensor_value_info(name, kind, [batch, size]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node(op, ["x"], ["y"], domain=domain, **more)], "g", values[:1], values[1:])
    opsets = [helper.make_opsetid("", 18), *([helper.make_opsetid(domain, 1)] if domain else [])]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN, SECRET)


@contextmanager
def serve(limits: AgentLimits, tell: Callable[[str], None] = print) -> Iterator[Agent]:
    """Have an agent at work on loopback."""
    with Agent(("127.0.0.1", 0), SECRET, limits, tell) as agent:
        thread = Thread(target=agent.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield agent
        finally:
            agent.shutdown()
            thread.join()


@pytest.fixture
def agent() -> Iterator[Agent]:
    with serve(AgentLimits(model=5000)) as agent:
        yield agent


def address(agent: Agent) -> str:
    return f"http://127.0.0.1:{agent.server_address[1]}"


def test_a_model_is_timed_in_a_process_of_its_own(agent: Agent) -> None:
    device = Device(address(agent))
    timing = device.measure(model().SerializeToString(), TimingSettings(threads=1, batch=3, repeats=20))
    assert 0 < timing.latency < 1
    assert timing.repeats == 20
    assert timing.device == device.describe() == agent.device
    assert "onnxruntime" in timing.device


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"nothing of the kind", "no valid ONNX model"),
        (model(op="Launch", domain="com.example").SerializeToString(), "com.example:Launch"),
        (model(op="Gelu", domain="com.microsoft").SerializeToString(), "com.microsoft:Gelu"),
        (model(op="NoSuchOperator").SerializeToString(), "no valid ONNX model"),
        (model(size="width").SerializeToString(), "has an open size"),
        (model(size=2**29).SerializeToString(), "numbers, more than"),
        (model(batch=2).SerializeToString(), "takes batches of 2, not of 1: set --batch 2"),
    ],
)
def test_what_is_no_plain_model_is_refused(content: bytes, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        check_model(content, 1)


def test_data_in_other_files_and_functions_are_refused(tmp_path: Path) -> None:
    outside = onnx.numpy_helper.from_array(np.zeros(1, np.float32), "w")
    onnx.external_data_helper.set_external_data(outside, str(tmp_path / "passwd"))
    held, inside = model(), model(op="Constant")
    held.graph.initializer.append(outside)
    inside.graph.node[0].attribute.append(onnx.helper.make_attribute("value", outside))
    deep = model()
    deep.graph.node[0].attribute.append(onnx.helper.make_attribute("then_branch", inside.graph))
    for each in (held, inside, deep):
        with pytest.raises(DataError, match="external data"):
            check_model(each.SerializeToString(), 1)
    defining = model()
    defining.functions.append(onnx.helper.make_function("f", "F", [], [], [], []))
    with pytest.raises(DataError, match="functions of its own"):
        check_model(defining.SerializeToString(), 1)


def test_what_the_runtime_cannot_run_is_one_line() -> None:
    broken = model(op="Reshape")
    broken.graph.node[0].input.append("shape")
    broken.graph.initializer.append(onnx.numpy_helper.from_array(np.array([7, 7]), "shape"))
    with pytest.raises(DataError, match="ONNX Runtime cannot run the model") as refused:
        time_model(broken.SerializeToString(), TimingSettings())
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/measure", {"Authorization": "Bearer another-token-here"}, 401),
        ("/measure", {"Authorization": ""}, 401),
        ("/measure", {"Content-Length": "5001"}, 413),
        ("/measure", {"Content-Length": "many"}, 411),
        ("/measure?threads=0", {}, 400),
        ("/measure?threads=1e3", {}, 400),
        ("/measure?batch=1025", {}, 400),
        ("/measure?priority=1", {}, 400),
        ("/etc/passwd", {}, 404),
    ],
)
def test_a_request_out_of_bounds_is_refused(
    path: str, headers: dict[str, str], status: int, agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agents, "time_apart", lambda *arguments: pytest.fail("nothing is to be measured"))
    connection = http.client.HTTPConnection(*agent.server_address[:2])  # type: ignore[arg-type]
    connection.request("POST", path, headers={"Authorization": f"Bearer {SECRET}", "Content-Length": "0", **headers})
    reply = connection.getresponse()
    assert reply.status == status
    assert set(json.loads(reply.read())) == {"error"}
    connection.close()


def test_a_model_that_takes_too_long_or_crashes_ends_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for program, seconds, reason in (
        ("import time; time.sleep(60)", 0.05, "not measured within 0.05 s"),
        ("import os; os._exit(9)", 60.0, "took its process down"),
    ):
        monkeypatch.setattr(agents, "_START", program)
        with serve(AgentLimits(seconds=seconds)) as agent, pytest.raises(DataError, match=reason):
            Device(address(agent)).measure(b"", TimingSettings())


def test_one_model_is_measured_at_a_time(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    go, come, inside, most = Event(), [], [], []
    read = agents._read_settings

    def measure(*arguments: Any) -> dict[str, Any]:
        inside.append(1)
        most.append(len(inside))
        go.wait()
        inside.pop()
        return ANSWER

    monkeypatch.setattr(agents, "time_apart", measure)
    monkeypatch.setattr(agents, "_read_settings", lambda query: come.append(query) or read(query))
    ask = [Thread(target=Device(address(agent)).measure, args=(b"", TimingSettings())) for _ in range(3)]
    for thread in ask:
        thread.start()
    wait_for(lambda: len(come) == 3 and inside)
    go.set()
    for thread in ask:
        thread.join()
    assert most == [1, 1, 1]


def test_a_model_too_large_for_the_agent_is_one_line(agent: Agent) -> None:
    with pytest.raises(DataError, match=r"refuses: the model has 3,000,000 bytes, and this agent takes 5,000"):
        Device(address(agent)).measure(b"0" * 3_000_000, TimingSettings())


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "speaks no HTTP"),
        (b"", "cannot be asked"),
        (b"HTTP/1.0 200 OK\r\n\r\n<html>", "no JSON"),
        (b"HTTP/1.0 200 OK\r\n\r\n[1]", "no JSON object"),
        (b"HTTP/1.0 200 OK\r\n\r\n" + b"[" * 60_000, "no JSON"),
        (b"HTTP/1.0 200 OK\r\n\r\n" + b" " * 70_000, "more than 65,536 bytes"),
        (b"HTTP/1.0 401 No\r\n\r\n{}", "refuses the token"),
        (b'HTTP/1.0 422 No\r\n\r\n{"error": "a\\u001b[31mb"}', "refuses: a.*b$"),
        *(
            (b"HTTP/1.0 200 OK\r\n\r\n" + json.dumps({**ANSWER, **wrong}).encode(), f"{next(iter(wrong))} is ")
            for wrong in (
                *({"latency": value} for value in (0, -1.0, float("nan"), float("inf"), 10**400, "1", None, True)),
                *({"spread": -0.1}, {"is_noisy": 1}, {"repeats": 0}, {"repeats": True}),
            )
        ),
        (b"HTTP/1.0 200 OK\r\n\r\n" + json.dumps({**ANSWER, "device": ""}).encode(), "what it is"),
    ],
)
def test_an_agent_that_answers_nonsense_is_one_line(reply: bytes, reason: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            peer, _ = server.accept()
            with peer:
                received = b""
                while b"\r\n\r\nmodel" not in received:
                    received += peer.recv(1 << 16)
                peer.sendall(reply)

        thread = Thread(target=answer)
        thread.start()
        with pytest.raises(DataError, match=reason) as refused:
            Device(f"http://127.0.0.1:{server.getsockname()[1]}").measure(b"model", TimingSettings())
        thread.join()
    assert "\n" not in str(refused.value)
    assert "\x1b" not in str(refused.value)
    assert len(str(refused.value)) < 500


def test_an_agent_that_drips_or_is_not_there_is_one_line() -> None:
    over = Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"

        def drip() -> None:
            peer, _ = server.accept()
            with peer, suppress(OSError):
                while not over.is_set():
                    peer.sendall(b"H")
                    time.sleep(0.01)

        thread = Thread(target=drip)
        thread.start()
        with pytest.raises(DataError, match=r"did not answer in time \(0\.2 s\)"):
            Device(url, patience=0.2).measure(b"model", TimingSettings())
        over.set()
        thread.join()
    with pytest.raises(DataError, match=r"cannot be asked: .*is measure --listen at work"):
        Device(url).describe()


@pytest.mark.parametrize("url", ["board", "ftp://board", "http://", "http://a:b", "http://board/path", "http://[::1"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="named by its address"):
        Device(url)


def test_the_token_comes_from_a_variable_or_a_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{SECRET}\n")
    assert read_token({TOKEN_FILE: str(file)}) == SECRET
    assert read_token({TOKEN_FILE: str(file), TOKEN: "another-token-here"}) == "another-token-here"
    for variables, reason in (
        ({}, "set EVO_NAS_DEVICE_TOKEN"),
        ({TOKEN: "short"}, "at least 16"),
        ({TOKEN: "sixteen characters of it"}, "without spaces"),
        ({TOKEN_FILE: str(tmp_path / "none")}, "cannot read the token"),
    ):
        with pytest.raises(UsageError, match=reason):
            read_token(variables)


def test_measure_prints_what_the_device_says(
    agent: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(agents, "time_apart", lambda content, settings, seconds: ANSWER | {"repeats": settings.repeats})
    file = tmp_path / "m.onnx"
    file.write_bytes(model().SerializeToString())
    assert main(["measure", str(file), "--device-url", address(agent), "--batch", "2", "--repeats", "9"]) == 0
    assert capsys.readouterr().out.splitlines()[-3:] == [
        "250 ms for 2 images with 1 thread: the median of 9 inferences",
        "spread 50.0 % (interquartile range): noisy, measure again on an idle machine",
        "device a board",
    ]
    assert main(["measure", str(file), "--repeats", "10", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["repeats"] == 10


@pytest.mark.parametrize(
    ("words", "code", "reason"),
    [
        ([], 2, "name an ONNX file"),
        (["none.onnx"], 4, "cannot read the model"),
        (["--listen", "8711"], 2, "takes HOST:PORT"),
        (["--listen", "127.0.0.1:99999"], 2, "takes HOST:PORT"),
        (["m.onnx", "--listen", "127.0.0.1:0"], 2, "leave MODEL out"),
        (["--listen", "127.0.0.1:0", "--threads", "2"], 2, "leave --threads out"),
        (["m.onnx", "--limit", "3"], 2, "is for the agent"),
    ],
)
def test_a_wrong_call_is_one_line(words: list[str], code: int, reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["measure", *words]) == code
    error = capsys.readouterr().err
    assert reason in error
    assert error.count("\n") == 1


def test_a_search_measures_on_one_device_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Networks are sent to the agent; a run is resumed with no other device, and begins with none that is not there."""
    sent: list[bytes] = []
    answer = dict(ANSWER)

    def measure(content: bytes, settings: TimingSettings, seconds: float) -> dict[str, Any]:
        sent.append(content)
        if len(sent) == 2:
            raise agents._Refusal(422, "the model took its process down")
        return answer

    monkeypatch.setattr(agents, "time_apart", measure)
    path = tmp_path / "run"
    words = ["run", "--strategy", "random", "--space", "nasnet", "--dataset", "digits", "--run-dir", str(path)]
    words += ["--executor", "serial", "--set", "space.blocks=1"]
    for option in ("ort_latency=true", "epochs=1", "train_images=64", "filters=2", "deploy_cells_per_stack=1"):
        words += ["--set", f"evaluator.{option}"]
    with serve(AgentLimits()) as agent:
        agent.device = "a board"
        url = ["--device-url", address(agent)]
        assert main([*words, "--trials", "3", *url]) == 0
        assert len(sent) == 3
        check_model(sent[0], 1)
        told = load_history(path)
        assert list(told["outcome"]) == ["ok", "error", "ok"]
        assert "took its process down" in told["error"][1]
        metrics = load_metrics(path)
        assert list(metrics[metrics["name"] == "ort_latency"]["value"]) == [0.25, 0.25]
        assert json.loads(RunFolder.existing(path).environment.read_text())["data"]["latency device"] == "a board"
        capsys.readouterr()
        agent.device = "another board"
        assert main(["resume", str(path), "--trials", "4"]) == 2
        assert "latency device from 'a board' to 'another board'" in capsys.readouterr().err
        agent.device, answer["device"] = "a board", "another board"
        assert main(["resume", str(path), "--trials", "4"]) == 0
        assert "is now another board" in load_history(path)["error"].iloc[-1]
    capsys.readouterr()
    gone = tmp_path / "gone"
    words[words.index(str(path))] = str(gone)
    assert main([*words, "--trials", "3", *url]) == 4
    assert "is measure --listen at work?" in capsys.readouterr().err
    assert not gone.exists()
    words[words.index("evaluator.ort_latency=true")] = "evaluator.ort_latency=false"
    assert main([*words, "--trials", "3", *url]) == 2
    assert "--device-url names who measures ort_latency" in capsys.readouterr().err
