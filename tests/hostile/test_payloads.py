"""Files that were made to harm: code in the place of data, headers that lie, links and paths that lead elsewhere.

Nothing of them is ever executed, nothing is written outside of the folder that was named, and each is refused in one
line with the exit code that it should have.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import random
import shutil
import sqlite3
import struct
import tarfile
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import torch
from PIL import Image

from analysis.frames import HistoryError
from evo_nas.cli import main
from evo_nas.commands.cell_sources import find_cells
from evo_nas.data.images import open_images
from evo_nas.data.sources.cifar import LAYOUTS
from evo_nas.data.sources.fetch import fetch
from evo_nas.errors import DataError
from evo_nas.phenotypes.blueprint import CellBlueprint, save_network
from evo_nas.run.search import Run
from evo_nas.storage.checksums import file_sum, sum_file
from evo_nas.storage.run_folder import TRACKERS
from evo_nas.storage.study_record import read_study
from evo_nas.training.resumable import _read_progress
from genotypes.cell import Block, Cell, CellPair, Edge

Capture = pytest.CaptureFixture[str]
Start = Callable[..., Run]

pytestmark = pytest.mark.usefixtures("bounded")

SIZE = ("--cells-per-stack", "1", "--filters", "4")
TRAINING = ("--preset", "cpu", "--dataset", "digits", "--image-size", "8", *SIZE, "--epochs", "1", "--threads", "1")
FEW = ("--train-images", "64", "--validation-images", "50")
ESCAPE = "\x1b[31mred\x1b[0m\n"


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder: whatever a test leaves behind, wanted or not, lies there."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


NO_ERRORS = ("training folder ", "study ", "stopped; ", "evo_nas: decoding the ")
"""How lines begin that say what is done, or how to go on."""


def ended(*words: str) -> int:
    """Run a command and give its exit code, however it ends."""
    try:
        return main(words)
    except SystemExit as end:  # argparse's way
        return int(str(end.code))


def refused(capsys: Capture, codes: int | tuple[int, ...], *words: str, says: str = "") -> str:
    """Run a command that must end with one of these exit codes and one line; give the line."""
    capsys.readouterr()
    return explained(capsys, ended(*words), codes, says)


def explained(capsys: Capture, code: int, codes: int | tuple[int, ...], says: str) -> str:
    """Check that a command has ended with one of these exit codes and one line; give the line."""
    out, err = capsys.readouterr()
    lines = [line for line in err.split("\n") if line and not line.startswith(NO_ERRORS)]
    assert code in ((codes,) if isinstance(codes, int) else codes), (code, err)
    assert out == ""
    assert len(lines) == 1, err
    assert lines[0].startswith("evo_nas: ")
    assert err.replace("\n", "").isprintable()
    assert len(lines[0]) < 1500
    assert says in lines[0]
    return lines[0]


# Code in the place of data -----------------------------------------------------------------------------------------


class Trap:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    return tmp_path / "sprung"


def written(write: Callable[[io.BytesIO], object]) -> bytes:
    file = io.BytesIO()
    write(file)
    return file.getvalue()


def payloads(mark: Path) -> dict[str, bytes]:
    """Make files whose loading by their own library would leave the mark."""
    trap = Trap(mark)
    tensors = {"network.classifier.bias": torch.ones(10), "trap": trap}
    return {
        "pickle 0": pickle.dumps(trap, protocol=0),
        "pickle 5": pickle.dumps({"space": "nasnet", "choices": trap}, protocol=5),
        "torch": written(lambda file: torch.save(tensors, file)),
        "torch of old": written(lambda file: torch.save(tensors, file, _use_new_zipfile_serialization=False)),
        "numpy": written(lambda file: np.save(file, np.array([trap], dtype=object), allow_pickle=True)),
        "numpy zip": written(lambda file: np.savez(file, a=np.array([trap], dtype=object))),
        "joblib": written(lambda file: joblib.dump([trap, np.ones(3)], file)),
        "shell": f"cposix\nsystem\n(S'touch {mark}'\ntR.".encode(),
        "Python": f"import pathlib\npathlib.Path({str(mark)!r}).touch()\n".encode(),
    }


PICKLED = ("pickle 5", "torch")
"""Where a file is looked for at the end of something that takes long, these stand for all."""


def test_the_traps_work(mark: Path) -> None:
    def loaded(name: str, content: bytes) -> None:
        file = io.BytesIO(content)
        if name.startswith("torch"):
            torch.load(file, weights_only=False)
        elif name.startswith("numpy"):
            found = np.load(file, allow_pickle=True)
            _ = found["a"] if name == "numpy zip" else found
        elif name == "joblib":
            joblib.load(file)
        elif name == "Python":
            exec(content)
        else:
            pickle.loads(content)

    for name, content in payloads(mark).items():
        loaded(name, content)
        assert mark.exists(), name
        mark.unlink()


FILES: dict[str, tuple[str, tuple[str, ...], tuple[int, ...]]] = {
    # What it is -> the name of the file, the command that reads it, its exit codes.
    "weights to begin with": ("x.pt", ("train", "--cell", "nasnet-a", *TRAINING, "--from", "FILE"), (4,)),
    "a network to begin with": ("best.safetensors", ("train", *TRAINING, "--from", "FILE"), (4,)),
    "weights to export": ("best.safetensors", ("export", "--weights", "FILE", "--format", "module"), (4,)),
    "weights to export, of cells": (
        "x.pt",
        ("export", "--cell", "nasnet-a", *SIZE, "--weights", "FILE", "--format", "safetensors"),
        (4,),
    ),
    "cells to count": ("x.json", ("count", "FILE", *SIZE), (2,)),
    "cells to count, by another name": ("x.pt", ("count", "FILE", *SIZE), (2,)),
    "weights in the place of cells": ("x.safetensors", ("count", "FILE", *SIZE), (2,)),
    "a history in the place of a run": ("history.db", ("count", "FILE", *SIZE), (2,)),
    "cells to export": ("x.json", ("export", "FILE", "--format", "json,dot"), (2,)),
    "cells to train": ("x.json", ("train", "FILE", *TRAINING), (2,)),
    "a configuration": ("run.toml", ("run", "--config", "FILE"), (2,)),
    "an archive": ("x.tar", ("data", "fetch", "--dataset", "folder", "--data-dir", "data", "--archive", "FILE"), (4,)),
}
for suffix in ("csv", "parquet", "pq", "pkl", "npy", "csv.gz", "csv.bz2", "csv.xz", "csv.zip"):
    flags = ("--space", "nasbench201", "--evaluator", "tabular", "--column", "accuracy", "--trials", "2")
    # Some payloads are text, and so tables without that column, which is a mistake of whoever names it.
    FILES[f"a table, {suffix}"] = (f"x.{suffix}", ("run", "--strategy", "random", *flags, "--table", "FILE"), (2, 4))


@pytest.mark.parametrize("what", FILES)
def test_code_in_the_place_of_data_is_refused_and_never_run(what: str, mark: Path, capsys: Capture) -> None:
    name, words, codes = FILES[what]
    for kind, content in payloads(mark).items():
        Path(name).write_bytes(content)
        said = refused(capsys, codes, *(name if word == "FILE" else word for word in words))
        assert not mark.exists(), kind
        assert name in said
    assert [path for path in Path().rglob("*") if path.is_file()] == [Path(name)]  # and nothing was begun


RUN_COMMANDS: dict[str, tuple[str, ...]] = {
    "show": ("show", "run"),
    "show --json": ("show", "run", "--json"),
    "plot": ("plot", "run"),
    "compare": ("compare", "run"),
    "resume": ("resume", "run"),
    "count": ("count", "run", *SIZE),
    "export": ("export", "run", "--format", "json"),
    "train": ("train", "run", *TRAINING),
    "train --top": ("train", "run", "--top", "2", *TRAINING, *FEW),
}


@pytest.mark.parametrize("command", RUN_COMMANDS)
def test_a_run_whose_history_is_code_is_unusable_and_nothing_is_run(
    command: str, toy_run: Start, mark: Path, capsys: Capture
) -> None:
    run = toy_run("run", trials=3, settings=("space.blocks=1",))
    for kind, content in payloads(mark).items():
        (run.path / "history.db").write_bytes(content)
        before = sorted(run.path.iterdir())
        refused(capsys, 3, *RUN_COMMANDS[command], says="history.db")
        assert not mark.exists(), kind
        assert (run.path / "history.db").read_bytes() == content
        assert [path for path in run.path.iterdir() if path not in before and "sum" not in path.name] == []


@pytest.mark.parametrize(("command", "code"), [("plot", 3), ("compare", 3), ("resume", 2)])
def test_a_run_whose_configuration_is_code_is_refused(
    command: str, code: int, toy_run: Start, mark: Path, capsys: Capture
) -> None:
    run = toy_run("run", trials=3, settings=("space.blocks=1",))
    for content in payloads(mark).values():
        (run.path / "run.toml").write_bytes(content)
        refused(capsys, code, command, str(run.path))
        assert not mark.exists()


def test_a_configuration_of_a_run_cannot_name_code(toy_run: Start, mark: Path, capsys: Capture) -> None:
    run = toy_run("run", trials=3, settings=("space.blocks=1",))
    Path("evil_plugin.py").write_text(f"import pathlib\npathlib.Path({str(mark)!r}).touch()\n")
    text = (run.path / "run.toml").read_text()
    for part, name in (("strategy", "random"), ("space", "nasnet"), ("evaluator", "toy")):
        (run.path / "run.toml").write_text(text.replace(f'{part} = "{name}"', f'{part} = "evil_plugin:Evil"'))
        refused(capsys, 2, "resume", str(run.path), says=f"name it on the command line too, with --{part}")
        for command in (("show", "run"), ("plot", "run"), ("compare", "run"), ("count", "run", *SIZE)):
            assert main(command) == 0
            capsys.readouterr()
    assert not mark.exists()


@pytest.mark.parametrize(
    ("name", "code", "says"),
    [
        ("train.json", 3, "train.json is damaged"),
        ("checkpoint.json", 4, "checkpoint.json is damaged"),
        ("state-0001.safetensors", 4, "holds no weights that can be read"),
        ("result.json", 3, "result.json is damaged"),
    ],
)
def test_a_training_whose_files_are_code_is_refused_and_nothing_is_run(
    name: str, code: int, says: str, mark: Path, capsys: Capture
) -> None:
    words = ("train", "--cell", "pnasnet-5", *TRAINING, *FEW, "--train-dir", "here")
    assert main(words) == 0
    for kind in PICKLED:
        Path("here", name).write_bytes(payloads(mark)[kind])
        refused(capsys, code, *words, says=says)
        assert not mark.exists()


def test_images_that_are_code_are_refused_and_never_run(mark: Path, capsys: Capture) -> None:
    for kind in PICKLED:
        content = payloads(mark)[kind]
        for dataset, layout in LAYOUTS.items():
            for name in (layout.meta, *layout.files["train"], *layout.files["test"]):
                file = Path("data", layout.folder, name)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
            arguments = ("--dataset", dataset, "--data-dir", "data")
            assert "its md5 is" in refused(capsys, 4, "train", "--cell", "nasnet-a", *TRAINING, *arguments)
        for part in ("train", "test"):
            for name in ("cat", "dog"):
                file = Path("pictures", part, name, "1.png")
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
        arguments = ("--dataset", "folder", "--data-dir", "pictures")
        refused(capsys, 4, "train", "--cell", "nasnet-a", *TRAINING, *arguments, says="cannot be decoded")
        assert not mark.exists()


def test_a_file_of_checked_cifar_is_not_opened_before_its_checksum(mark: Path, capsys: Capture) -> None:
    # The checksum of every file is looked at, that of the names of the classes too.
    for dataset, layout in LAYOUTS.items():
        folder = Path("data", layout.folder)
        folder.mkdir(parents=True)
        for name in (layout.meta, *layout.files["train"], *layout.files["test"]):
            (folder / name).write_bytes(payloads(mark)["pickle 5"])
        capsys.readouterr()
        assert main(["data", "check", "--dataset", dataset, "--data-dir", "data"]) == 4
        assert capsys.readouterr().err.count("its md5 is") >= 1 + len(layout.files["train"])
    assert not mark.exists()


# The decoded cache -------------------------------------------------------------------------------------------------


def array(descr: str, shape: tuple[Any, ...], data: bytes = b"") -> bytes:
    """Write an array whose header says what it likes."""
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    return written(lambda file: np.lib.format.write_array_header_1_0(file, header)) + data  # type: ignore[arg-type]


CACHED: dict[str, tuple[str, bytes]] = {
    "shape beyond the file": ("images.npy", array("|u1", (10**9, 8, 8, 1))),
    "shape beyond all": ("images.npy", array("|u1", (2**40, 2**40, 8, 1))),
    "fewer images": ("images.npy", array("|u1", (2, 8, 8, 1), b"\0" * 128)),
    "other pixels": ("images.npy", array("<f4", (1442, 8, 8, 1), b"\0" * 1442 * 64 * 4)),
    "header too long": ("images.npy", b"\x93NUMPY\x01\x00\xff\xff" + b"(" * 65535),
    "labels beyond the file": ("labels.npy", array("<i8", (2**40,))),
    "labels beyond all": ("labels.npy", array("<i8", (2**62,))),
    "labels of text": ("labels.npy", array("<U4", (1442,), b"\0" * 1442 * 16)),
    "labels that there are not": ("labels.npy", array("<i8", (1442,), struct.pack("<q", 10) * 1442)),
    "labels below zero": ("labels.npy", array("<i8", (1442,), struct.pack("<q", -1) * 1442)),
}


@pytest.mark.parametrize("what", [*CACHED, "pickle 5", "torch", "numpy", "numpy zip", "joblib"])
def test_a_decoded_copy_that_lies_or_is_code_is_made_again(
    what: str, mark: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("EVO_NAS_CACHE", str(tmp_path / "cache"))
    sound = open_images("digits").train
    pixels, labels = np.array(sound.images), np.array(sound.labels)
    folder = open_images("digits").entry.folder
    assert not caplog.records
    forged = (
        [CACHED[what]] if what in CACHED else [(name, payloads(mark)[what]) for name in ("images.npy", "labels.npy")]
    )
    for name, content in forged:
        (folder / name).write_bytes(content)
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest["bytes"][name] = len(content)
        (folder / "manifest.json").write_text(json.dumps(manifest))
        again = open_images("digits").train
        assert (again.images == pixels).all()
        assert (again.labels == labels).all()
        assert "is damaged and is made again" in caplog.text
        caplog.clear()
    assert not mark.exists()


@pytest.mark.parametrize(
    "change",
    [
        {"mean": ["0.5"]},
        {"mean": [0.5, 0.5]},
        {"std": [0.0]},
        {"std": [float("nan")]},
        {"classes": ["only one"]},
        {"classes": list(range(10))},
        {"images": 2},
        {"size": 9},
        {"channels": 3},
        {"bytes": {}},
        {"bytes": []},
        {"part": "test", "more": 1},
    ],
    ids=str,
)
def test_a_decoded_copy_whose_manifest_lies_is_made_again(
    change: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("EVO_NAS_CACHE", str(tmp_path / "cache"))
    sound = open_images("digits")
    manifest = sound.entry.folder / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | change))
    again = open_images("digits")
    assert (again.classes, again.mean, again.std) == (sound.classes, sound.mean, sound.std)
    assert "is damaged and is made again" in caplog.text


# Headers that lie --------------------------------------------------------------------------------------------------


def safetensors(header: object, data: bytes = b"\0" * 4, length: int | None = None) -> bytes:
    """Write a file of weights whose header, and its length, say what they like."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(dtype: object = "F32", shape: object = (1,), offsets: object = (0, 4), name: str = "a") -> dict[str, Any]:
    return {name: {"dtype": dtype, "shape": shape, "data_offsets": offsets}}


LIES: dict[str, bytes] = {
    "empty": b"",
    "three bytes": b"\1\0\0",
    "zeros": b"\0" * 100,
    "length of nothing": safetensors(tensor(), length=0),
    "length beyond the file": safetensors(tensor(), length=10**6),
    "length of 99 MB": safetensors(tensor(), length=99 * 10**6),
    "length of 2**63": safetensors(tensor(), length=2**63),
    "length of 2**64 - 1": safetensors(tensor(), length=2**64 - 1),
    "header no JSON": safetensors(b"hello"),
    "header no UTF-8": safetensors(b'{"\xff": 1}'),
    "header a list": safetensors([]),
    "header deep": safetensors(b'{"a":' * 100_000),
    "offsets beyond the end": safetensors(tensor(shape=(100,), offsets=(0, 400))),
    "offsets overlapping": safetensors(tensor() | tensor(name="b")),
    "offsets with a gap": safetensors(tensor() | tensor(name="b", offsets=(8, 12)), b"\0" * 12),
    "offsets reversed": safetensors(tensor(offsets=(4, 0))),
    "offsets negative": safetensors(tensor(offsets=(-4, 0))),
    "offsets of 64 bits": safetensors(tensor(shape=(2**62,), offsets=(0, 2**64 - 1))),
    "offsets missing": safetensors({"a": {"dtype": "F32", "shape": [1]}}),
    "data left over": safetensors(tensor(), b"\0" * 40),
    "shape huge": safetensors(tensor(shape=(10**12,))),
    "shape beyond all": safetensors(tensor(shape=(2**40, 2**40))),
    "shape beyond all, and nothing": safetensors(tensor(shape=(2**62, 2**62, 0), offsets=(0, 0)), b""),
    "shape negative": safetensors(tensor(shape=(-1,))),
    "shape a float": safetensors(tensor(shape=(1.5,))),
    "shape a text": safetensors(tensor(shape="1")),
    "dtype unknown": safetensors(tensor(dtype="Q9")),
    "dtype that a terminal would obey": safetensors(tensor(dtype=ESCAPE)),
    "dtype of another width": safetensors(tensor(dtype="F64")),
    "dtype a number": safetensors(tensor(dtype=3)),
    "metadata a list": safetensors({"__metadata__": [], **tensor()}),
    "metadata no texts": safetensors({"__metadata__": {"a": 1}, **tensor()}),
}


@pytest.mark.parametrize("what", LIES)
def test_a_header_that_lies_is_damage(what: str, capsys: Capture) -> None:
    Path("x.safetensors").write_bytes(LIES[what])
    for words in (
        ("export", "--weights", "x.safetensors", "--format", "module"),
        ("export", "--cell", "nasnet-a", *SIZE, "--weights", "x.safetensors", "--format", "module"),
        ("train", *TRAINING, "--from", "x.safetensors", "--train-dir", "out"),
    ):
        refused(capsys, 4, *words, says="x.safetensors holds no weights that can be read")
    assert os.listdir() == ["x.safetensors"]  # noqa: PTH208


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo], ids=["folder", "pipe"])
def test_what_is_no_file_holds_no_weights(make: Callable[[Path], None], capsys: Capture) -> None:
    make(Path("x.safetensors"))
    refused(capsys, 4, "export", "--weights", "x.safetensors", "--format", "module", says="is no file")
    refused(capsys, 4, "train", *TRAINING, "--from", "x.safetensors", says="is no file")


# Weights that are not what they say --------------------------------------------------------------------------------

_POOLS = Cell.join_leaves([Block(Edge(0, "max_pool_3x3"), Edge(1, "identity"))])
PLAN = CellBlueprint(
    CellPair(_POOLS, Cell.join_leaves([Block(Edge(0, "sep_conv_3x3"), Edge(1, "max_pool_3x3"))])),
    cells_per_stack=1,
    filters=4,
    classes=tuple("0123456789"),
    channels=1,
    image=8,
    mean=(0.5,),
    std=(0.5,),
)


@pytest.fixture
def weights() -> dict[str, torch.Tensor]:
    return PLAN.network().state_dict()


def forged(weights: dict[str, torch.Tensor], blueprint: object) -> None:
    """Write sound weights with a blueprint that says what it likes."""
    from safetensors.torch import save_file

    text = blueprint if isinstance(blueprint, str) else json.dumps(blueprint)
    save_file(weights, "x.safetensors", metadata={"evo_nas.blueprint": text})


def changed(**fields: Any) -> dict[str, Any]:
    return PLAN.to_json() | fields


def with_block(**fields: Any) -> dict[str, Any]:
    """Change the block of the normal cell."""
    cells = PLAN.cells.to_json()
    cells["normal"]["blocks"][0] |= fields
    return changed(cells=cells)


def deep() -> str:
    return json.dumps(changed(classes=0)).replace('"classes": 0', '"classes": ' + "[" * 500 + "]" * 500)


MANY = {"blocks": [{"left": [0, "identity"], "right": [1, "identity"]}] * 20_000}

BLUEPRINTS: dict[str, tuple[object, str]] = {
    "no JSON": ("hello", "is damaged"),
    "that a terminal would obey": (ESCAPE, "is damaged"),
    "a list": ("[]", "is damaged"),
    "deep": ("[" * 100_000, "is damaged"),
    "deep inside": (deep(), "is damaged"),
    "a field more": (changed(**{ESCAPE: 1}), "has no field"),
    "cells per stack beyond all": (changed(cells_per_stack=10**9), "operations of the largest network"),
    "cells per stack of 64 bits": (changed(cells_per_stack=2**64), "operations of the largest network"),
    "20,000 blocks": (changed(cells={"normal": MANY, "reduction": MANY}), "operations of the largest network"),
    "more cells than there are weights": (changed(cells_per_stack=9), "holds the weights of another network"),
    "wider than the weights": (changed(filters=10**5), "holds the weights of another network"),
    "filters beyond all": (changed(filters=10**12), "filters must be at most 1,000,000"),
    "filters of 64 bits": (changed(filters=2**63), "filters must be at most 1,000,000"),
    "filters a float": (changed(filters=4.0), "filters must be a whole number"),
    "stem beyond all": (changed(stem=10**12), "stem must be at most 1,000,000"),
    "channels beyond all": (changed(channels=10**9), "channels must be at most 10000"),
    "image beyond all": (changed(image=10**9), "image must be at most 10000"),
    "mean beyond all floats": (changed(mean=[10**400]), "is damaged"),
    "mean no number": (changed(mean=[float("nan")]), "mean must be finite"),
    "mean true": (changed(mean=[True]), "mean must be a list"),
    "std zero": (changed(std=[0]), "std positive"),
    "classes numbers": (changed(classes=[1] * 10), "classes must be a list"),
    "wiring a number": (changed(skip_reduction_input=1), "skip_reduction_input must be true, false or null"),
    "macro a table": (changed(macro={}), "is damaged"),
    "operation unknown": (with_block(left=[0, "sep_conv_3x4"]), "names the operation 'sep_conv_3x4'"),
    "operation that is code": (with_block(left=[0, "__import__('os')"]), "an operation is a word"),
    "combination unknown": (with_block(combine="multiply"), "names the combination 'multiply'"),
    "block that reads itself": (with_block(left=[2, "identity"]), "block 0 reads hidden state 2"),
}


@pytest.mark.parametrize("what", BLUEPRINTS)
def test_a_blueprint_that_is_nonsense_or_lies_is_damage(
    what: str, weights: dict[str, torch.Tensor], capsys: Capture
) -> None:
    blueprint, says = BLUEPRINTS[what]
    forged(weights, blueprint)
    refused(capsys, 4, "export", "--weights", "x.safetensors", "--format", "module", says=says)
    refused(capsys, 4, "train", *TRAINING[:6], "--from", "x.safetensors", "--train-dir", "out", says=says)
    assert os.listdir() == ["x.safetensors"]  # noqa: PTH208


def test_what_the_forged_ones_are_made_of_is_sound(weights: dict[str, torch.Tensor], capsys: Capture) -> None:
    forged(weights, PLAN.to_json())
    assert main(["export", "--weights", "x.safetensors", "--format", "module,safetensors"]) == 0
    words = (*TRAINING[:6], "--epochs", "1", *FEW, "--from", "x.safetensors", "--train-dir", "out")
    assert main(["train", *words]) == 0
    assert "tensors were loaded" in capsys.readouterr().err


@pytest.mark.parametrize(
    "dtype",
    [torch.complex64, torch.bool, torch.int64, torch.float8_e5m2, torch.uint64],
    ids=lambda dtype: str(dtype).removeprefix("torch."),
)
def test_numbers_of_another_kind_are_no_weights(
    dtype: torch.dtype, weights: dict[str, torch.Tensor], capsys: Capture
) -> None:
    floats = {name: tensor for name, tensor in weights.items() if tensor.is_floating_point()}
    other = {name: tensor.to(dtype) for name, tensor in floats.items()}
    save_network(Path("x.safetensors"), PLAN, weights | other)
    says = f"holds {dtype}, not torch.float32"
    refused(capsys, 4, "export", "--weights", "x.safetensors", "--format", "safetensors", says=says)
    refused(capsys, 4, "train", *TRAINING[:6], "--from", "x.safetensors", says=says)
    # Without a blueprint they are those of any network, and none of them is taken.
    from safetensors.torch import save_file

    save_file(weights | other, "x.safetensors")
    Path("cells.json").write_text(json.dumps(PLAN.cells.to_json()))
    words = ("cells.json", *TRAINING, "--from", "x.safetensors")
    refused(capsys, 2, "train", *words, says="holds the weights of another network: only ")


def test_names_of_tensors_never_reach_the_terminal_as_they_are(
    weights: dict[str, torch.Tensor], capsys: Capture
) -> None:
    save_network(Path("x.safetensors"), PLAN, weights | {ESCAPE: torch.ones(1)})
    refused(capsys, 4, "export", "--weights", "x.safetensors", "--format", "module", says="it has '\\x1b[31mred")
    from safetensors.torch import save_file

    save_file(weights | {ESCAPE: torch.ones(1)}, "x.safetensors")
    Path("cells.json").write_text(json.dumps(PLAN.cells.to_json()))
    words = ("cells.json", *TRAINING, *FEW, "--from", "x.safetensors", "--train-dir", "out")
    assert main(["train", *words]) == 0
    err = capsys.readouterr().err
    assert "1 of the file have no place in this network: '\\x1b[31mred" in err
    assert "\x1b" not in err


def test_a_state_that_was_tampered_with_is_refused(capsys: Capture) -> None:
    from safetensors.torch import load_file, save_file

    words = ("train", "--cell", "pnasnet-5", *TRAINING, *FEW, "--train-dir", "here")
    assert main([*words, "--epochs", "1"]) == 0
    state = Path("here/state-0001.safetensors")
    sound = load_file(state)
    changes: dict[str, dict[str, torch.Tensor]] = {
        "momentum of another shape": {"momentum.0": torch.ones(3)},
        "momentum of nothing": {"momentum.100000": torch.ones(3)},
        "momentum by another name": {"momentum.x": torch.ones(3)},
        "momentum of another kind": {"momentum.0": sound["momentum.0"].to(torch.complex64)},
        "weights of another kind": {"network.classifier.bias": torch.ones(10, dtype=torch.int64)},
        "random state too short": {"random.generator": torch.zeros(3, dtype=torch.uint8)},
        "random state of another kind": {"random.cpu": torch.ones(5056)},
        "something else": {ESCAPE: torch.ones(1)},
    }
    for change in changes.values():
        save_file(sound | change, state)
        refused(capsys, 4, *words, says="the checkpoint is not one of this training")
    save_file(sound, state)
    assert main(words) == 0


CHECKPOINTS: dict[str, dict[str, Any]] = {
    "state elsewhere": {"state": "../state-0001.safetensors"},
    "state absolute": {"state": "/etc/passwd"},
    "state the folder above": {"state": ".."},
    "state another file": {"state": "train.json"},
    "state nothing": {"state": ""},
    "state a number": {"state": 1},
    "state that a terminal would obey": {"state": ESCAPE},
    "curve a text": {"curve": "curve"},
    "curve a number": {"curve": 1},
    "curve of texts": {"curve": ["epoch"]},
    "accuracy a text": {"curve": [{"accuracy": "0.5"}]},
    "accuracy true": {"curve": [{"accuracy": True}]},
    "accuracy no number": {"curve": [{"accuracy": float("nan")}]},
    "loss missing": {"curve": [{"loss": None}]},
    "seconds beyond all": {"curve": [{"train_seconds": 10**400}]},
}


def test_a_checkpoint_that_leads_elsewhere_or_lies_is_damage(capsys: Capture) -> None:
    words = ("train", "--cell", "pnasnet-5", *TRAINING, *FEW, "--train-dir", "here")
    assert main(words) == 0
    file = Path("here/checkpoint.json")
    sound = json.loads(file.read_text())
    for name, change in CHECKPOINTS.items():
        record = sound | change
        if isinstance(change.get("curve"), list) and isinstance(change["curve"][0], dict):
            record["curve"] = [sound["curve"][0] | change["curve"][0]]
        file.write_text(json.dumps(record))
        with pytest.raises(DataError, match=r"checkpoint\.json is damaged") as caught:
            _read_progress(Path("here"))
        assert str(caught.value).isprintable(), name
    for text in ("[]", "null", "[" * 100_000, '{"state": {}}'):
        file.write_text(text)
        refused(capsys, 4, *words, says="checkpoint.json is damaged")
    file.write_text(json.dumps(sound))
    for name, says in (("train.json", "train.json is damaged"), ("result.json", "result.json is damaged")):
        whole = Path("here", name).read_text()
        record = json.loads(whole)
        texts = ["[]", "null", "3", "[" * 100_000, json.dumps(record | {ESCAPE: 1}), json.dumps(record | {"label": 1})]
        texts += [json.dumps(record | {"parameters": "1"})] if name == "result.json" else []
        for text in texts[: None if name == "result.json" else -1]:
            Path("here", name).write_text(text)
            refused(capsys, 3, *words, says=says)
        Path("here", name).write_text(whole)
    assert main(words) == 0


# Links -------------------------------------------------------------------------------------------------------------

MINE = "mine, and not to be written to\n"


def link(place: Path) -> None:
    """Put a link to somebody's file there."""
    Path("mine").write_text(MINE)
    place.unlink(missing_ok=True)
    place.symlink_to(Path("mine").absolute())


@pytest.mark.parametrize(
    "name",
    ["train.lock", "train.json", "env.json", "checkpoint.json", "curve.csv", "result.json", "last.safetensors"],
)
@pytest.mark.parametrize("is_new", [True, False], ids=["new", "begun"])
def test_a_training_is_not_written_through_a_link(name: str, is_new: bool, weights: Any, capsys: Capture) -> None:
    words = ("train", "--cell", "pnasnet-5", *TRAINING, *FEW, "--train-dir", "here")
    Path("here").mkdir()
    if not is_new:
        Path("here/train.lock").touch()
        Path("here/train.json").write_text("{}")
    link(Path("here", name))
    refused(capsys, 3, *words, says=f"here/{name} is a link to {Path('mine').absolute()}, and nothing is written")
    assert Path("mine").read_text() == MINE


@pytest.mark.parametrize("name", ["top.json", "01-trial2", "01-trial2/train.lock"])
def test_the_best_of_a_run_are_not_trained_through_a_link(name: str, toy_run: Start, capsys: Capture) -> None:
    run = toy_run("run", trials=2, settings=("space.blocks=1",))
    words = ("train", str(run.path), "--top", "1", *TRAINING, *FEW, "--train-dir", "here")
    found = main(["show", str(run.path), "--json"])
    best = json.loads(capsys.readouterr().out)["best"]["id"]
    assert found == 0
    place = Path("here", name.replace("trial2", f"trial{best}"))
    place.parent.mkdir(parents=True)
    link(place)
    if name.endswith("lock"):
        Path("here/top.json").write_text(
            json.dumps([{"folder": f"01-trial{best}", "task": f"run-trial{best}"}], indent=2) + "\n"
        )
    refused(capsys, 3, *words, says=f"{place} is a link")
    assert Path("mine").read_text() == MINE


def test_a_top_json_of_something_else_is_refused(toy_run: Start, capsys: Capture) -> None:
    run = toy_run("run", trials=2, settings=("space.blocks=1",))
    words = ("train", str(run.path), "--top", "1", *TRAINING, *FEW, "--train-dir", "here")
    Path("here").mkdir()
    for content in (b"", b"[]", b"\xff\xfe", b"[" * 100_000, b'[{"folder": "../../elsewhere", "task": "x"}]\n'):
        Path("here/top.json").write_bytes(content)
        refused(capsys, 3, *words, says="here holds other trainings")
    assert os.listdir("here") == ["top.json"]  # noqa: PTH208


STUDY = ("study", "--strategies", "random", "--seeds", "1", "--evaluator", "toy", "--set", "space.blocks=1")
STUDY += ("--trials", "3", "--study-dir", "study")


@pytest.mark.parametrize("name", ["study.lock", "study.json", "figures", "random-seed0"])
def test_a_study_is_not_written_through_a_link(name: str, capsys: Capture) -> None:
    assert main(STUDY) == 0
    place = Path("study", name)
    if place.is_dir():
        place.rename("moved")
    link(place)
    refused(capsys, 3, *STUDY, "--trials", "4", says=f"study/{name} is a link")
    assert Path("mine").read_text() == MINE


@pytest.mark.parametrize(
    "name",
    ["run.lock", "log.jsonl", "crash.txt", "history.db", "run.toml", "env.json", "weights", "figures", *TRACKERS],
)
def test_a_run_is_not_written_through_a_link(name: str, toy_run: Start, capsys: Capture) -> None:
    run = toy_run("run", trials=2, settings=("space.blocks=1",))
    place = run.path / name
    if name in TRACKERS:  # there only on request
        place.mkdir()
    if name == "crash.txt":  # there only of a search that is under way, or has crashed
        place.write_text("trial 1, attempt 1\n")
    if place.is_dir():
        place.rename("moved")
        Path("elsewhere").mkdir()
        Path("elsewhere/trial-000001.safetensors").write_text(MINE)
        place.symlink_to(Path("elsewhere").absolute())
    elif name == "history.db":
        place.rename("mine.db")
        place.symlink_to(Path("mine.db").absolute())
    else:
        content = place.read_text()
        link(place)
        Path("mine").write_text(content)
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file() and "run" not in path.parts}
    refused(capsys, 3, "resume", "run", "--trials", "4", says=f"run/{name} is a link")
    assert {path: path.read_bytes() for path in before} == before


def test_a_new_run_is_not_begun_through_a_link(capsys: Capture) -> None:
    Path("run").mkdir()
    link(Path("run/run.lock"))
    words = ("run", "--strategy", "random", "--evaluator", "toy", "--trials", "2", "--run-dir", "run")
    refused(capsys, 3, *words, says="run/run.lock is a link")
    assert Path("mine").read_text() == MINE


def test_pictures_are_not_drawn_through_a_link(toy_run: Start, capsys: Capture) -> None:
    run = toy_run("run", trials=2, settings=("space.blocks=1",))
    for command, name in (("plot", "accuracy"), ("compare", "compare")):
        for suffix in (".png", ".svg"):
            link(run.path / "figures" / f"{name}{suffix}")
        assert main([command, "run"]) == 0
        assert Path("mine").read_text() == MINE
        assert (run.path / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    shutil.rmtree(run.path / "figures")
    Path("elsewhere").mkdir()
    (run.path / "figures").symlink_to(Path("elsewhere").absolute())
    for command in ("plot", "compare"):
        refused(capsys, 3, command, "run", says="figures is a link, and no picture is written through it")
    assert os.listdir("elsewhere") == []  # noqa: PTH208


# Paths that lead elsewhere -----------------------------------------------------------------------------------------

STUDIES: dict[str, dict[str, Any]] = {
    "folder elsewhere": {"folder": "../../elsewhere"},
    "folder absolute": {"folder": "/tmp/elsewhere"},
    "folder with a NUL byte": {"folder": "a\0b"},
    "folder that a terminal would obey": {"folder": ESCAPE},
    "folder a number": {"folder": 3},
    "folder a list": {"folder": ["random"]},
    "folder null": {"folder": None},
    "label a list": {"label": ["random"]},
    "label a table": {"label": {}},
}


@pytest.fixture(scope="module")
def sound_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a study of one run."""
    path = tmp_path_factory.mktemp("sound") / "study"
    assert main([*STUDY[:-1], str(path)]) == 0
    return path


@pytest.fixture
def study(sound_study: Path) -> Any:
    """Return what the study.json of a sound study says; an attractive run lies outside of it."""
    shutil.copytree(sound_study, "inside/study")
    shutil.copytree("inside/study/random-seed0", "elsewhere-seed0")
    return json.loads(Path("inside/study/study.json").read_text())


@pytest.mark.parametrize("what", STUDIES)
def test_a_study_whose_runs_lie_elsewhere_is_refused(what: str, study: dict[str, Any], capsys: Capture) -> None:
    study["strategies"][0] |= STUDIES[what]
    Path("inside/study/study.json").write_text(json.dumps(study))
    said = refused(capsys, 3, *STUDY[:-1], "inside/study", says="inside/study/study.json is damaged")
    assert said.endswith("name another folder with --study-dir")  # before anything is run, not when it is looked at
    with pytest.raises(HistoryError, match=r"study\.json is damaged") as caught:
        read_study(Path("inside/study"))
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "change",
    [
        {"strategies": None},
        {"strategies": 3},
        {"strategies": ["random"]},
        {"strategies": [{}]},
        {"optimum": "best"},
        {"optimum": []},
        {"run": []},
        {"run": {ESCAPE: 1}},
        {"space": None},
        {"evaluator": 3},
        {"version": ESCAPE},
        {"version": None},
    ],
    ids=str,
)
def test_a_study_that_is_nonsense_is_refused_before_it_is_gone_on_with(
    change: dict[str, Any], study: dict[str, Any], capsys: Capture
) -> None:
    Path("inside/study/study.json").write_text(json.dumps(study | change))
    refused(capsys, 3, *STUDY[:-1], "inside/study", says="inside/study/study.json ")


@pytest.mark.parametrize(
    "change",
    [
        {"seeds": 1.0},
        {"seeds": -1},
        {"first_seed": "0"},
        {"trials": 0},
        {"trials": True},
        {"optimum": 7},
        {"optimum": float("nan")},
        {"strategies": {}},
    ],
    ids=str,
)
def test_a_study_that_is_nonsense_is_not_looked_back_on(change: dict[str, Any], study: dict[str, Any]) -> None:
    record = study | change
    if change == {"strategies": {}}:
        record = study | {"strategies": {"random": {}}}
    Path("inside/study/study.json").write_text(json.dumps(record))
    with pytest.raises(HistoryError, match=r"study\.json is damaged"):
        read_study(Path("inside/study"))


def test_a_study_that_is_code_or_no_text_is_refused(study: dict[str, Any], mark: Path, capsys: Capture) -> None:
    for content in (*payloads(mark).values(), b"", b"\xff", b"[" * 100_000, b"[]", b"null", b"3"):
        Path("inside/study/study.json").write_bytes(content)
        refused(capsys, 3, *STUDY[:-1], "inside/study", says="inside/study/study.json is damaged")
        with pytest.raises(HistoryError, match=r"study\.json is damaged"):
            read_study(Path("inside/study"))
        assert not mark.exists()


# Archives ----------------------------------------------------------------------------------------------------------


def picture() -> bytes:
    return written(lambda file: Image.new("RGB", (4, 4)).save(file, "PNG"))


PICTURES = [f"{part}/{name}/1.png" for part in ("train", "test") for name in ("cat", "dog")]


def packed_tar(mode: str, *odd: tuple[str, bytes, str]) -> bytes:
    """Pack sound pictures and odd members: name, kind, where a link leads."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as tar:  # type: ignore[call-overload]
        for name in PICTURES:
            member = tarfile.TarInfo(name)
            member.size = len(picture())
            tar.addfile(member, io.BytesIO(picture()))
        for name, kind, target in odd:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, target
            member.size = 4 if kind == tarfile.REGTYPE else 0
            tar.addfile(member, io.BytesIO(b"evil"))
    return file.getvalue()


def packed_zip(method: int, *odd: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name in PICTURES:
            archive.writestr(name, picture())
        for name in odd:
            archive.writestr(name, "evil")
    return file.getvalue()


FILE, LINK, HARD = tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE

ARCHIVES: dict[str, tuple[bytes, str]] = {
    "folder above": (packed_tar("w", ("../evil", FILE, "")), "would be unpacked outside"),
    "folder above, in between": (packed_tar("w:gz", ("train/../../evil", FILE, "")), "would be unpacked outside"),
    "absolute": (packed_tar("w", ("/evo_nas-evil/evil", FILE, "")), "would be unpacked outside"),
    "link": (packed_tar("w", ("train/cat/2.png", LINK, "/etc/passwd")), "is a link or a device"),
    "link to a folder, and a file through it": (
        packed_tar("w:xz", ("extra", LINK, "../../.."), ("extra/evil", FILE, "")),
        "is a link or a device",
    ),
    "hard link": (packed_tar("w", ("train/cat/2.png", HARD, "../../../mine")), "is a link or a device"),
    "pipe": (packed_tar("w", ("train/cat/2.png", tarfile.FIFOTYPE, "")), "is a link or a device"),
    "device": (packed_tar("w", ("train/cat/2.png", tarfile.BLKTYPE, "")), "is a link or a device"),
    "name that a terminal would obey": (packed_tar("w", (f"../{ESCAPE}", FILE, "")), r"'../\x1b[31mred"),
    "file in the place of a folder": (
        packed_tar("w", ("train", FILE, "")),
        "archive is damaged or no tar or zip archive (Is a directory)",
    ),
    "zip, folder above": (packed_zip(zipfile.ZIP_STORED, "../evil"), "would be unpacked outside"),
    "zip, absolute": (packed_zip(zipfile.ZIP_DEFLATED, "/tmp/evil"), "would be unpacked outside"),
    "zip, backslashes": (packed_zip(zipfile.ZIP_STORED, "..\\evil"), "would be unpacked outside"),
    "zip, name that a terminal would obey": (packed_zip(zipfile.ZIP_LZMA, f"../{ESCAPE}"), r"'../\x1b[31mred"),
}


def fetched(content: bytes, name: str) -> tuple[str, ...]:
    Path(name).write_bytes(content)
    return ("data", "fetch", "--dataset", "folder", "--data-dir", "place/data", "--archive", name)


@pytest.mark.parametrize("what", ARCHIVES)
def test_an_archive_that_reaches_outside_is_refused_and_leaves_nothing(what: str, capsys: Capture) -> None:
    content, says = ARCHIVES[what]
    Path("mine").write_text(MINE)
    refused(capsys, 4, *fetched(content, "archive"), says=says)
    assert sorted(os.listdir()) == ["archive", "mine"]  # noqa: PTH208
    assert Path("mine").read_text() == MINE


def test_five_hundred_damaged_archives_are_refused_in_one_line_or_whole(capsys: Capture) -> None:
    rng = random.Random("evo_nas archives")
    sound = [packed_tar(f"w:{kind}") for kind in ("", "gz", "bz2", "xz")]
    sound += [packed_zip(method) for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA)]
    for content in sound:
        assert main(fetched(content, "archive")) == 0
        shutil.rmtree("place")
    unharmed = 0
    for index in range(500):
        content = bytearray(rng.choice(sound))
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(content))
            kind = rng.randrange(8)
            if kind < 5:
                content[at] = rng.randrange(256)
            elif kind == 5:
                del content[at + 1 : at + rng.randint(2, 20)]
            elif kind == 6:
                content[at:at] = rng.randbytes(rng.randint(1, 9))
            else:
                del content[at + 1 :]
        words = fetched(bytes(content), "archive")
        try:
            fetch("folder", Path("place/data"), Path("archive"))
        except DataError as error:
            said = str(error)
        else:  # what is damaged is no part of what is needed
            unharmed += 1
            shutil.rmtree("place")
            continue
        assert said.isprintable()
        assert "archive" in said
        if index % 20 == 0:  # to parse the arguments takes longer than to read most archives
            refused(capsys, 4, *words, says=said)
        assert os.listdir() == ["archive"]  # noqa: PTH208
    assert 5 < unharmed < 250


def test_a_zip_that_lies_about_a_name_is_damaged(capsys: Capture) -> None:
    content = packed_zip(zipfile.ZIP_STORED, "a")
    # The name at the member itself: no UTF-8, though the member says that it is; and a member without a name.
    local = content.rindex(b"PK\x03\x04")
    bad = bytearray(content)
    bad[local + 6 : local + 8] = struct.pack("<H", 0x800)
    bad[local + 30] = 0xFF
    refused(capsys, 4, *fetched(bytes(bad), "archive"), says="is damaged or no tar or zip archive")
    central = content.rindex(b"PK\x01\x02")
    nameless = bytearray(content)
    nameless[central + 46] = 0
    refused(capsys, 4, *fetched(bytes(nameless), "archive"), says="is damaged or no tar or zip archive")
    assert os.listdir() == ["archive"]  # noqa: PTH208


# What a history may hold -------------------------------------------------------------------------------------------

ROWS: dict[str, tuple[str, object, tuple[int, ...]]] = {
    # What stands in the rows: column, value, exit codes of `show`, `count` and `export`.
    "genotype that a terminal would obey": ("genotype", ESCAPE, (0, 0, 0)),
    "genotype that is bytes": ("genotype", b"\0\xff", (3, 0, 0)),
    "genotype that is another file": ("genotype", "cells.json", (0, 0, 0)),
    "cell that is a number": ("cell", "5", (3, 2, 2)),
    "cell that is a list": ("cell", "[]", (3, 2, 2)),
    "cell of something else": ("cell", json.dumps({ESCAPE: ESCAPE}), (0, 2, 2)),
    "cell that is cut short": ("cell", '{"normal": ', (3, 3, 3)),
    "cell that is bytes": ("cell", b"\0\xff", (3, 3, 3)),
    "fitness that is a text": ("fitness", "best", (3, 0, 0)),
    "parameters that are a text": ("parameters", "many", (3, 0, 0)),
    "seconds that are a text": ("seconds", "few", (3, 0, 0)),
}


@pytest.mark.parametrize("what", ROWS)
def test_what_stands_in_a_history_is_shown_or_refused_and_never_obeyed(
    what: str, toy_run: Start, capsys: Capture
) -> None:
    column, value, codes = ROWS[what]
    run = toy_run("run", trials=2, settings=("space.blocks=1",))
    Path("cells.json").write_text(json.dumps(PLAN.cells.to_json()))
    history = run.path / "history.db"
    with closing(sqlite3.connect(history)) as connection:
        connection.execute(f"UPDATE trial SET {column} = ?", (value,))
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    # Whoever made it has made its checksum too.
    sum_file(history).write_text(f"{file_sum(history)}\n")
    commands = (("show", "run"), ("count", "run", *SIZE), ("export", "run", "--format", "json,module", *SIZE))
    for words, code in zip(commands, codes, strict=True):
        if code:
            refused(capsys, code, *words, says="run")
        else:
            assert main(words) == 0
            assert capsys.readouterr().out.replace("\n", "").isprintable()
    if codes[2] == 0:
        (file,) = Path("export").glob("*.json")
        assert find_cells(str(file), None).cells == find_cells("run", None).cells
