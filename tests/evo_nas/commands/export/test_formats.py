"""Exported files hold the network: each is read back by what it is meant for, and its outputs are compared."""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import torch.fx
from torch import Tensor, nn

from evo_nas.cli import main
from evo_nas.commands.cell_sources import find_cells
from evo_nas.commands.export import formats as export_file
from evo_nas.commands.export.formats import FORMATS
from evo_nas.commands.export.standalone import standalone
from evo_nas.phenotypes.blueprint import Blueprint, CellBlueprint, load_network, save_network
from evo_nas.phenotypes.network import CellNetwork, UnreadCell
from evo_nas.phenotypes.onnx.graph import OPSET
from genotypes.catalogue import build_space
from genotypes.cell import Block, Cell, CellPair, Edge
from genotypes.operations import COMBINES, OPERATIONS
from genotypes.stacking import STACKINGS
from genotypes.zoo import CELLS, NASNET_A
from tests.soaked import soak

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[4]
MACROS = ("cifar", "imagenet")
EVERYTHING = f"nasnet(combines={'+'.join(COMBINES)},ops={'+'.join(OPERATIONS)})"
SPACES = ("nasnet", "amoebanet", "pnas", "darts", EVERYTHING)


def blueprint(cells: CellPair, **options: Any) -> Blueprint:
    channels = options.get("channels", 3)
    small: dict[str, Any] = {"cells_per_stack": 2, "filters": 8, "classes": ("cat", "dog", "eel"), "image": 16}
    return CellBlueprint(cells, **small | {"mean": (0.4,) * channels, "std": (0.2,) * channels} | options)


def trained(plan: Blueprint, seed: int = 0, **training: Any) -> CellNetwork:
    """Build a network in which nothing has its first value: running means, norms and biases included."""
    generator = torch.Generator().manual_seed(seed)
    network = plan.network(**training)
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            low, high = (0.5, 1.5) if "var" in name or tensor.dim() == 1 else (-0.4, 0.4)
            tensor.uniform_(low, high, generator=generator)
    return network.eval()


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Threads cost more than they bring in networks as small as these, above all where others work too."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def imported(tmp_path: Path) -> Callable[[str], ModuleType]:
    """Import a text as a module."""

    def load(text: str) -> ModuleType:
        path = tmp_path / "exported.py"
        path.write_text(text, "utf-8")
        spec = importlib.util.spec_from_file_location("exported", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


def same_outputs(plan: Blueprint, module: ModuleType) -> None:
    """Compare in float64, with the same weights, on images of even, odd and oblong sizes; traced by torch.fx too."""
    network = trained(plan)
    other: nn.Module = module.Network()
    assert list(other.state_dict()) == list(network.state_dict())
    other.load_state_dict(network.state_dict())
    network.double()
    other.double().eval()
    traced = torch.fx.symbolic_trace(other)
    for size in ((8, 8), (9, 14), (17, 17)):
        images = torch.randn(2, plan.channels, *size, dtype=torch.float64)
        with torch.no_grad():
            expected = network(images)
            torch.testing.assert_close(other(images), expected, rtol=1e-12, atol=0)
            torch.testing.assert_close(traced(images), expected, rtol=1e-12, atol=0)


def block(left: tuple[int, str], right: tuple[int, str], combine: str = "add") -> Block:
    return Block(Edge(*left), Edge(*right), combine)


def every_operation() -> CellPair:
    """Make a cell of all operations and combinations that puts its inputs out too."""
    ops = [*OPERATIONS, "identity"]
    combines = [*COMBINES] * 3
    pairs = zip(ops[::2], ops[1::2], strict=True)
    blocks = tuple(block((i % 5, left), (i % 2, right), combines[i]) for i, (left, right) in enumerate(pairs))
    cell = Cell(blocks, tuple(range(len(blocks) + 2)))
    return CellPair(cell, cell, "pnasnet")  # fewer cells than in other stackings


READS_ONLY = Cell((block((1, "sep_conv_3x3"), (1, "max_pool_3x3")),), (2,))
"""Reads h_{i-1} alone, so that every second cell is read by nobody."""
ODD_PAIRS = {
    "puts out its inputs alone": Cell((block((0, "identity"), (1, "identity")),), (0, 1)),
    "puts out one input": Cell((block((0, "conv_1x1"), (0, "identity")),), (1, 2)),
    "reads h_i alone": Cell((block((0, "skip_connect"), (0, "avg_pool_2x2"), "concat"),), (2,)),
    "reads h_i-1 alone": READS_ONLY,
    "concatenates concatenations": Cell(
        (block((1, "skip_connect"), (0, "identity"), "concat"), block((2, "identity"), (2, "sep_conv_3x3"), "concat")),
        (2, 3),
    ),
    "has a dead block": Cell(
        (block((0, "identity"), (0, "identity")), block((0, "conv_3x3"), (1, "dil_conv_3x3"), "add_layer_norm")), (3,)
    ),
}


# The stand-alone module --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "macro"), list(zip(CELLS, itertools.cycle(MACROS), strict=False)))
def test_the_module_of_a_published_cell_computes_the_same(
    name: str, macro: str, imported: Callable[[str], ModuleType]
) -> None:
    plan = blueprint(CELLS[name], macro=macro)
    same_outputs(plan, imported(standalone(plan)))


@pytest.mark.parametrize("space", soak(SPACES, {"amoebanet", "pnas"}), ids=[*SPACES[:-1], "everything"])
@pytest.mark.parametrize("seed", range(1))
def test_the_module_of_any_genotype_in_any_stacking_computes_the_same(
    space: str, seed: int, imported: Callable[[str], ModuleType]
) -> None:
    rng = np.random.default_rng([seed, len(space)])
    for stacking in STACKINGS:
        genotype = build_space(space).sample(rng)
        plan = blueprint(
            replace(build_space(space).decode(genotype), stacking=stacking),
            macro=MACROS[int(rng.integers(2))],
            cells_per_stack=int(rng.integers(1, 4)),
            filters=int(rng.integers(8, 12)),
            channels=(channels := int(rng.choice([1, 3]))),
            mean=(0.5,) * channels,
            std=(0.5,) * channels,
            average=str(rng.choice(["same", "zeros"])),
            skip_reduction_input=bool(rng.integers(2)),
            stem=[None, 6][int(rng.integers(2))],
        )
        module = imported(standalone(plan, str(genotype)))
        assert str(genotype) == module.GENOTYPE
        same_outputs(plan, module)


@pytest.mark.parametrize("macro", MACROS)
@pytest.mark.parametrize("stacking", STACKINGS)
@pytest.mark.parametrize("cell", ODD_PAIRS.values(), ids=ODD_PAIRS)
def test_the_module_of_an_odd_cell_computes_the_same(
    cell: Cell, stacking: str, macro: str, imported: Callable[[str], ModuleType]
) -> None:
    plan = blueprint(CellPair(cell, cell, stacking), macro=macro, filters=9)
    same_outputs(plan, imported(standalone(plan)))


def test_cells_that_nobody_reads_are_among_those_tested() -> None:
    network = blueprint(CellPair(READS_ONLY, READS_ONLY)).network()
    assert any(isinstance(cell, UnreadCell) for cell in network.cells)


def test_the_module_says_what_the_network_is_for(imported: Callable[[str], ModuleType]) -> None:
    plan = blueprint(NASNET_A, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    module = imported(standalone(plan))
    assert module.CLASSES == ("cat", "dog", "eel")
    assert CellPair.from_json(module.CELLS) == NASNET_A
    images = torch.rand(2, 3, 8, 8)
    for channel in range(3):
        expected = (images[:, channel] - plan.mean[channel]) / plan.std[channel]
        torch.testing.assert_close(module.normalised(images)[:, channel], expected)


def test_the_module_begins_with_the_weights_that_the_network_begins_with(
    imported: Callable[[str], ModuleType],
) -> None:
    plan = blueprint(NASNET_A)
    module = imported(standalone(plan))
    torch.manual_seed(3)
    network = plan.network()
    torch.manual_seed(3)
    other = module.Network()
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name


def test_the_module_holds_the_operations_of_its_network_alone() -> None:
    text = standalone(blueprint(CellPair(READS_ONLY, READS_ONLY)))
    assert "def sep_conv(" in text
    assert "class SamePool2d" in text
    unused = ("conv_3x3", "conv_1xk_kx1", "skip_connect", "identity", "conv_1x1")
    assert [name for name in unused if f"def {name}(" in text or f'"{name}":' in text] == []


@pytest.mark.parametrize("macro", MACROS)
def test_the_module_is_trained_after_it_was_traced(macro: str, imported: Callable[[str], ModuleType]) -> None:
    """In training mode: the same gradients, and the same running means."""
    plan = blueprint(every_operation(), macro=macro, average="zeros")
    module = imported(standalone(plan))
    networks = [module.Network().double().train() for _ in range(2)]
    networks[1].load_state_dict(networks[0].state_dict())
    images = torch.randn(4, 3, 13, 16, dtype=torch.float64)
    for network in (networks[0], torch.fx.symbolic_trace(networks[1])):
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
        loss = nn.functional.cross_entropy(network(images), torch.tensor([0, 1, 2, 0]))
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    for (name, mine), (_, traced) in zip(*(one.state_dict().items() for one in networks), strict=True):
        assert torch.equal(mine, traced), name


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")  # torch: it is deprecated
def test_what_was_traced_is_torchscript_too(imported: Callable[[str], ModuleType]) -> None:
    network = imported(standalone(blueprint(every_operation()))).Network().double().eval()
    scripted = torch.jit.script(torch.fx.symbolic_trace(network))
    for size in ((8, 8), (9, 14)):
        images = torch.randn(2, 3, *size, dtype=torch.float64)
        torch.testing.assert_close(scripted(images), network(images), rtol=1e-12, atol=0)


def test_a_network_of_ours_is_traced_as_it_is() -> None:
    network = trained(blueprint(NASNET_A)).double()
    images = torch.randn(2, 3, 9, 14, dtype=torch.float64)
    assert torch.equal(torch.fx.symbolic_trace(network)(images), network(images))


def test_the_module_is_written_as_this_project_is(tmp_path: Path) -> None:
    pairs = [*CELLS.values(), every_operation(), *(CellPair(cell, cell) for cell in ODD_PAIRS.values())]
    names = tuple(f"a class with the long name number {index}" for index in range(20))
    for index, pair in enumerate(pairs):
        for macro in MACROS:
            plan = blueprint(pair, macro=macro, classes=names, average="zeros", skip_reduction_input=macro == "cifar")
            text = standalone(plan, "nasnet:" + "1." * 100 + "1")
            (tmp_path / f"network_{index}_{macro}.py").write_text(text, "utf-8")
    config = ("--config", str(ROOT / "pyproject.toml"), str(tmp_path))
    for words in (("check",), ("format", "--diff")):
        ruff = [sys.executable, "-m", "ruff", *words, *config]
        done = subprocess.run(ruff, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


def test_the_module_of_a_network_is_always_the_same() -> None:
    texts = []
    for seed in ("1", "2"):  # the order of sets differs
        code = (
            "from evo_nas.phenotypes.blueprint import CellBlueprint\n"
            "from evo_nas.commands.export.standalone import standalone\n"
            "from genotypes.zoo import CELLS\n"
            "print(standalone(CellBlueprint(CELLS['amoebanet-d'], 1, 4, classes=('a', 'b'))))\n"
        )
        environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
        texts.append(done.stdout)
    assert texts[0] == texts[1]


def test_names_from_a_file_of_weights_are_never_code(imported: Callable[[str], ModuleType]) -> None:
    names = (
        '"""',
        "'",
        "a\\",
        '"); raise SystemExit(',
        "\n\nraise SystemExit",
        "\u2028",
        "\x00",
        "\U0001f600",
        "{0}",
        "'\"",
    )
    module = imported(standalone(blueprint(NASNET_A, classes=names)))
    assert names == module.CLASSES


# The command -------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """Return the file of a trained network that has an auxiliary classifier."""
    plan = blueprint(every_operation(), cells_per_stack=1, filters=4, channels=1, image=9)
    path = tmp_path / "trained.safetensors"
    save_network(path, plan, trained(plan, auxiliary_image=9).state_dict())
    return path


def refused(capsys: pytest.CaptureFixture[str], code: int, *words: str, says: str) -> None:
    """Run a command that must end with one line and this code."""
    try:
        ended: object = main(["export", *words])
    except SystemExit as end:
        ended = end.code
    out, err = capsys.readouterr()
    assert (ended, out) == (code, ""), err
    lines = [line for line in err.splitlines() if "note:" not in line]
    assert len(lines) == 1, err
    assert says in lines[0]


def files() -> set[str]:
    return {path.name for path in Path().rglob("*") if path.is_file()}


def test_every_format_is_listed_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["export", "--help"])
    text = capsys.readouterr().out
    assert [name for name in FORMATS if f"  {name} " not in text] == []


def test_a_genotype_goes_to_json_and_comes_back(capsys: pytest.CaptureFixture[str]) -> None:
    genotype = str(build_space("amoebanet").sample(np.random.default_rng(0)))
    assert main(["export", genotype, "--format", "json,cells", "--format", "json", "-o", "out"]) == 0
    paths = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert [path.suffixes for path in paths] == [[".json"], [".cells", ".json"]]
    assert set(json.loads(paths[0].read_text("utf-8"))) == {"space", "choices"}
    for path in paths:
        assert find_cells(str(path), None).cells == find_cells(genotype, None).cells


@pytest.mark.parametrize("name", CELLS)
def test_a_published_cell_goes_to_json_and_comes_back(name: str) -> None:
    assert main(["export", "--cell", name, "--format", "json", "-o", "cell.json"]) == 0
    assert find_cells("cell.json", None).cells == CELLS[name]


def test_the_best_of_a_run_is_exported(toy_run: Callable[..., Any], capsys: pytest.CaptureFixture[str]) -> None:
    run = toy_run("run")
    assert main(["export", str(run.path), "--format", "json,dot"]) == 0
    paths = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert find_cells(str(paths[0]), None).cells == find_cells(str(run.path), None).cells
    assert paths[0].parent == paths[1].parent == Path("export")
    assert paths[1].read_text("utf-8").startswith("digraph")


def test_weights_go_without_the_auxiliary_classifier(weights: Path) -> None:
    plan, tensors = load_network(weights)
    assert any(name.startswith("auxiliary.") for name in tensors)
    assert main(["export", "--weights", "trained.safetensors", "--format", "safetensors", "-o", "out"]) == 0
    again, others = load_network(Path("out/trained.safetensors"))
    assert again == plan
    assert set(others) == {name for name in tensors if not name.startswith("auxiliary.")}
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in others.items())


def test_module_and_torch_are_read_where_evo_nas_is_not(weights: Path) -> None:
    assert main(["export", "--weights", str(weights), "--format", "module,safetensors,torch", "-o", "out"]) == 0
    script = """\
import importlib.abc, json, sys

class NotInstalled(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("evo_nas", "genotypes", "strategies", "analysis"):
            raise ImportError(name)

sys.meta_path.insert(0, NotInstalled())
sys.path.insert(0, "out")
import torch
import trained
from safetensors.torch import save_file

network, about = trained.load("out/trained.safetensors"), {"classes": "", "mean": "", "std": ""}
program = torch.export.load("out/trained.pt2", extra_files=about)
assert tuple(json.loads(about["classes"])) == trained.CLASSES
assert tuple(json.loads(about["mean"])) == trained.MEAN
outputs = {}
for count in (1, 2, 5):
    images = torch.randn(count, 1, 9, 9, generator=torch.Generator().manual_seed(count))
    with torch.no_grad():
        outputs |= {f"module{count}": network(images), f"torch{count}": program.module()(images)}
save_file(outputs, "outputs.safetensors")
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    _, outputs = load_network(Path("outputs.safetensors"))
    for count in (1, 2, 5):
        expected = logits(weights, count)
        torch.testing.assert_close(outputs[f"module{count}"], expected, rtol=1e-6, atol=0)
        torch.testing.assert_close(outputs[f"torch{count}"], expected, rtol=1e-6, atol=1e-6)


def logits(weights: Path, count: int) -> Tensor:
    plan, tensors = load_network(weights)
    assert plan is not None
    network = plan.network()
    network.load_state_dict({name: tensor for name, tensor in tensors.items() if not name.startswith("auxiliary.")})
    images = torch.randn(count, 1, 9, 9, generator=torch.Generator().manual_seed(count))
    with torch.no_grad():
        result: Tensor = network.eval()(images)
    return result


def test_onnxruntime_computes_the_same_with_every_operation_and_combination(weights: Path) -> None:
    onnx = pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    assert main(["export", "--weights", str(weights), "--format", "onnx", "-o", "trained.onnx"]) == 0
    model = onnx.load("trained.onnx")
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", OPSET)]
    assert str(ROOT).encode() not in Path("trained.onnx").read_bytes()
    session = runtime.InferenceSession("trained.onnx", providers=["CPUExecutionProvider"])
    about = session.get_modelmeta().custom_metadata_map
    assert json.loads(about["classes"]) == ["cat", "dog", "eel"]
    assert json.loads(about["mean"]) == [0.4]
    for count in (1, 2, 5):
        images = torch.randn(count, 1, 9, 9, generator=torch.Generator().manual_seed(count))
        (output,) = session.run(["logits"], {"images": images.numpy()})
        torch.testing.assert_close(torch.from_numpy(output), logits(weights, count), rtol=1e-4, atol=1e-4)


def test_a_network_for_large_images_goes_to_torch_and_onnx(capsys: pytest.CaptureFixture[str]) -> None:
    runtime = pytest.importorskip("onnxruntime")
    words = [
        "--cell",
        "pnasnet-5",
        "--macro",
        "imagenet",
        "--cells-per-stack",
        "1",
        "--filters",
        "8",
        "--image-size",
        "34",
    ]
    assert main(["export", *words, "--classes", "7", "--seed", "5", "--format", "safetensors,torch,onnx"]) == 0
    assert "random, of seed 5" in capsys.readouterr().err
    plan, tensors = load_network(Path("export/pnasnet_5.safetensors"))
    assert plan is not None
    network = plan.network()
    network.load_state_dict(tensors)
    images = torch.randn(3, 3, 34, 34, generator=torch.Generator().manual_seed(0))
    # The program may be trained further: it convolves as the network does where gradients are wanted.
    expected = network.eval()(images).detach()
    other = torch.export.load("export/pnasnet_5.pt2").module()(images).detach()
    assert expected.shape == (3, 7)
    torch.testing.assert_close(other, expected, rtol=1e-6, atol=1e-6)
    graph = pytest.importorskip("onnx").load("export/pnasnet_5.onnx").graph
    attributes = [{a.name: list(a.ints) for a in node.attribute} for node in graph.node if node.op_type == "Conv"]
    strided = [a for a in attributes if a.get("kernel_shape") == [1, 1] and a.get("strides") == [2, 2]]
    assert strided, "nobody trains an ONNX file: it keeps its strided convolutions"
    session = runtime.InferenceSession("export/pnasnet_5.onnx", providers=["CPUExecutionProvider"])
    scale = float(expected.abs().max())
    (output,) = session.run(None, {"images": images.numpy()})
    torch.testing.assert_close(torch.from_numpy(output), expected, rtol=1e-4, atol=1e-5 * scale)


def test_random_weights_are_those_of_the_seed() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    for seed, name in ((0, "a"), (0, "b"), (1, "c")):
        words = ["--cell", "nasnet-a", "--cells-per-stack", "1", "--filters", "2", "--seed", str(seed)]
        assert main(["export", *words, "--format", "safetensors", "-o", f"{name}.safetensors"]) == 0
    assert torch.equal(torch.get_rng_state(), before)
    a, b, c = (Path(f"{name}.safetensors").read_bytes() for name in "abc")
    assert a == b != c


def test_nothing_is_overwritten_without_force(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--cell", "nasnet-a", "--format", "json", "-o", "mine.json")
    Path("mine.json").write_text("mine")
    refused(capsys, 2, *words, says="mine.json is there already")
    refused(capsys, 2, "--cell", "nasnet-a", "--format", "dot", "-o", "mine.json", says="-o names one file")
    refused(capsys, 2, "--cell", "nasnet-a", "--format", "json,dot", "-o", "mine.json", says="-o names one file")
    assert Path("mine.json").read_text() == "mine"
    assert main(["export", *words, "--force"]) == 0
    assert find_cells("mine.json", None).cells == NASNET_A
    assert files() == {"mine.json"}


def test_a_failure_leaves_no_file(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--cell", "nasnet-a", "--cells-per-stack", "1", "--filters", "2", "--format", "json,module,onnx")
    found = importlib.util.find_spec
    with monkeypatch.context() as patch:
        patch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "onnx" else found(name, *rest))
        refused(capsys, 2, *words, says="pip install 'evo_nas[onnx]'")
    assert files() == set()

    def full(path: Path, content: bytes) -> int:
        if path.name.startswith("nasnet_a.py"):
            raise OSError(28, "No space left on device", str(path))
        return written(path, content)

    written = Path.write_bytes
    monkeypatch.setattr(Path, "write_bytes", full)
    monkeypatch.setattr(export_file, "write_graph", lambda network, plan, fold: b"")
    refused(capsys, 2, *words, says="No space left on device")
    assert files() == set()


SIZED = ("--cells-per-stack", "1", "--filters", "4")
BAD = [
    (("--cell", "nasnet-a"), "name what to write with --format"),
    (("--cell", "nasnet-a", "--format", "keras"), "there is no format 'keras'"),
    (("--cell", "nasnet-a", "--format", "json,"), "there is no format ''"),
    (("--format", "json"), "name either"),
    (("--cell", "nasnet-a", "--format", "module"), "say how large"),
    (("--cell", "nasnet-a", "--format", "torch", "--size", "6@7"), "does not fit this cell"),
    (
        ("--cell", "nasnet-a", "--format", "module", *SIZED, "--image-size", "7"),
        "image must be a whole number of at least 8",
    ),
    (("--cell", "nasnet-a", "--format", "module", *SIZED, "--macro", "large"), "macro-architecture"),
    (
        ("--cell", "nasnet-a", "--format", "module", "--cells-per-stack", "1", "--filters", "3", "--macro", "imagenet"),
        "at least 4",
    ),
    (("--cell", "nasnet-a", "--format", "json", "-o", "file/folder"), "cannot write"),
    (("--cell", "nasnet-a", "--format", "json", "-o", "file"), "file is a file"),
    (("--cell", "nasnet-a", "--format", "json", "-o", "folder.json/folder"), "folder.json"),
]


@pytest.mark.parametrize(("words", "says"), BAD, ids=[says for _, says in BAD])
def test_bad_input_is_one_line(words: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("file").write_text("mine")
    Path("folder.json").write_text("mine")
    refused(capsys, 2, *words, says=says)
    assert files() == {"file", "folder.json"}
    assert Path("file").read_text() == "mine"


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path("executed").write_text, ("boom",))


def broken_files(weights: Path) -> Iterator[tuple[str, str]]:
    """Write files that are no weights: the name of each, and what must be said of it."""
    plan, tensors = load_network(weights)
    assert plan is not None
    Path("short.safetensors").write_bytes(weights.read_bytes()[:-100])
    yield "short.safetensors", "cut short"
    Path("pickle.safetensors").write_bytes(pickle.dumps(Bomb()))
    yield "pickle.safetensors", "no safetensors file"
    yield "absent.safetensors", "there is no file of weights"
    save_network(Path("wide.safetensors"), replace(plan, filters=6), tensors)
    yield "wide.safetensors", "another network: stem.stages.0.0.weight has the shape (12, 1, 3, 3), not (18, 1, 3, 3)"
    names = {name: tensor for name, tensor in tensors.items() if name != "classifier.bias"}
    save_network(Path("less.safetensors"), plan, names)
    yield "less.safetensors", "another network: it has no classifier.bias"
    save_network(Path("more.safetensors"), plan, {**tensors, "head.weight": torch.zeros(1)})
    yield "more.safetensors", "another network: it has head.weight too"


def test_weights_that_do_not_fit_are_refused(weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, says in broken_files(weights):
        refused(capsys, 4, "--weights", name, "--format", "module,torch", "-o", "out", says=says)
    assert not Path("out").exists()
    assert not Path("executed").exists()


def test_what_is_said_beside_weights_must_agree_with_them(weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--weights", "trained.safetensors", "--format", "module")
    refused(capsys, 2, *words, "--cell", "nasnet-a", says="of other cells than nasnet-a")
    refused(capsys, 2, *words, "--cells-per-stack", "2", says="--cells-per-stack 1, not 2")
    refused(capsys, 2, *words, "--classes", "10", says="--classes 3, not 10")
    refused(capsys, 2, *words, "--size", "1@7", says="does not fit this cell")
    plan, _ = load_network(weights)
    assert plan is not None
    Path("cells.json").write_text(json.dumps(plan.cells.to_json()))
    same = (
        "cells.json",
        "--cells-per-stack",
        "1",
        "--filters",
        "4",
        "--stem",
        "12",
        "--classes",
        "3",
        "--channels",
        "1",
    )
    assert main(["export", *words, *same]) == 0


def test_weights_without_a_blueprint_need_cells_and_a_size(weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from safetensors.torch import save_file

    plan, tensors = load_network(weights)
    assert plan is not None
    Path("cells.json").write_text(json.dumps(plan.cells.to_json()))
    save_file(tensors, "bare.safetensors")
    words = ("--weights", "bare.safetensors", "--format", "safetensors", "-o", "out")
    refused(capsys, 2, *words, says="--weights FILE with a network of evo_nas")
    size = ("--cells-per-stack", "1", "--filters", "4", "--channels", "1")
    refused(capsys, 4, *words, "cells.json", *size, says="classifier.weight has the shape")
    assert main(["export", *words, "cells.json", *size, "--classes", "3"]) == 0
    _, others = load_network(Path("out/cells.safetensors"))
    assert torch.equal(others["classifier.weight"], tensors["classifier.weight"])
