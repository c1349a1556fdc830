"""The command prune: from weights of any kind to a smaller file that is trained further and exported."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from evo_nas.cli import main
from evo_nas.phenotypes.blueprint import CellBlueprint, WidthsBlueprint, load_whole, save_network
from evo_nas.phenotypes.named import build_by_name
from genotypes.zoo import CELLS

SIZE = {"classes": 4, "channels": 1, "image_size": 32}


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """Change to a new folder with weights of a small network, whose norms differ: ``w.pt``; return them."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    network = build_by_name("resnet:8x4", **SIZE)
    for name, tensor in network.state_dict().items():
        if "bn" in name and name.endswith("weight"):
            tensor.uniform_(0.1, 2)
    torch.save(network.state_dict(), "w.pt")
    return network.state_dict()


def prune(words: str, *more: str) -> int:
    return main(["prune", *words.split(), "--to", "0.5x-mult-adds", "-o", "small.safetensors", *more])


def test_a_state_dict_becomes_a_smaller_file_of_weights(
    state: dict[str, torch.Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    assert prune("resnet:8x4 w.pt") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["before", "after"]
    assert lines[1].startswith("mult-adds")
    assert lines[2].split()[:2] == [
        "parameters",
        f"{sum(p.numel() for k, p in state.items() if 'num' not in k and 'running' not in k):,}",
    ]
    assert lines[3].split()[:2] == ["conv1", "4"]
    assert lines[-1] == "weights: small.safetensors"
    blueprint, tensors = load_whole(Path("small.safetensors"))
    assert isinstance(blueprint, WidthsBlueprint)
    assert (len(blueprint.classes), blueprint.channels, blueprint.image) == (4, 1, 32)
    blueprint.network().load_state_dict(tensors)


@pytest.mark.parametrize("kind", ["state_dict", "model", "module", "double", "safetensors"])
def test_state_dicts_of_every_kind_are_read(kind: str, state: dict[str, torch.Tensor]) -> None:
    assert prune("resnet:8x4 w.pt") == 0
    _, expected = load_whole(Path("small.safetensors"))
    file = "w.pth"
    if kind == "state_dict":
        torch.save({"state_dict": state, "epoch": 3}, file)
    elif kind == "module":
        torch.save({f"module.{name}": tensor for name, tensor in state.items()}, file)
    elif kind == "model":
        torch.save({"model": {f"module._orig_mod.{name}": tensor for name, tensor in state.items()}}, file)
    elif kind == "double":
        torch.save({name: t.double() if t.is_floating_point() else t for name, t in state.items()}, file)
    else:
        from safetensors.torch import save_file

        save_file(state, file := "w.safetensors")
    assert prune(f"resnet:8x4 {file}", "--force") == 0
    _, found = load_whole(Path("small.safetensors"))
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_json_says_what_became_of_it(state: dict[str, torch.Tensor], capsys: pytest.CaptureFixture[str]) -> None:
    assert prune("resnet:8x4 w.pt", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["network"] == "resnet:8x4"
    assert told["mult_adds"]["after"] <= 0.5 * told["mult_adds"]["before"]
    blueprint, _ = load_whole(Path("small.safetensors"))
    assert isinstance(blueprint, WidthsBlueprint)
    assert {name: row["after"] for name, row in told["widths"].items()} == blueprint.widths.widths
    assert told["output"] == "small.safetensors"


@pytest.mark.slow
def test_what_was_pruned_is_trained_further_pruned_again_and_exported(
    state: dict[str, torch.Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    assert prune("- w.pt", "--gates", "lasso") == 2
    assert "w.pt does not say what network it is of" in capsys.readouterr().err
    assert prune("resnet:8x4 w.pt", "--gates", "lasso") == 0
    words = (
        "--from small.safetensors --preset cpu --dataset digits --train-images 100 --validation-images 20 --epochs 1"
    )
    assert main(["train", *words.split(), "--set", "padding=1", "--train-dir", "run"]) == 0
    assert "missing" not in capsys.readouterr().err
    assert main(["prune", "run/last.safetensors", "--to", "0.8x-parameters", "-o", "again.safetensors"]) == 0
    blueprint, _ = load_whole(Path("again.safetensors"))
    assert blueprint is not None
    assert len(blueprint.classes) == 10
    assert main(["export", "--weights", "again.safetensors", "--format", "module,safetensors,torch,json"]) == 0


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"average": "zeros"}])
def test_a_network_of_cells_is_pruned_like_any_other(options: dict[str, Any], tmp_path: Path) -> None:
    plan = CellBlueprint(CELLS["nasnet-a"], 1, 4, classes=("cat", "dog"), image=16, **options)
    tensors = plan.network(auxiliary_image=16).state_dict()
    for name, tensor in tensors.items():
        if tensor.dim() == 1 and name.endswith("weight"):
            tensor.uniform_(0.1, 2)
    save_network(tmp_path / "w.safetensors", plan, tensors)
    small = tmp_path / "small.safetensors"
    assert main(["prune", str(tmp_path / "w.safetensors"), "--to", "0.5x-parameters", "-o", str(small)]) == 0
    blueprint, tensors = load_whole(small)
    assert isinstance(blueprint, WidthsBlueprint)
    assert (blueprint.classes, blueprint.image) == (("cat", "dog"), 16)
    assert blueprint.widths.network.startswith('cell:{"cells"' if options else "cell:nasnet-a@1x4")
    blueprint.network().load_state_dict(tensors)


def write_code(path: str) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return (Path.write_text, (Path("trace"), "executed"))

    torch.save({"a": torch.ones(1), "evil": Evil()}, path)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (
            "resnet:8x5 w.pt",
            4,
            "w.pt holds the weights of another network: conv1.weight has the shape (4, 1, 3, 3), not (5",
        ),
        (
            "resnet:14x4 w.pt",
            4,
            "w.pt holds the weights of another network: it has no blocks.3.conv1.weight",
        ),
        ("cell:nasnet-a w.pt", 4, "w.pt holds the weights of another network: it has no stem"),
        ("resnet:9 w.pt", 2, "resnet:9: a residual network for small images has 6n + 2 layers"),
        ("resnet:8x4 w.pt --classes 7", 4, "classifier.weight has the shape (4, 16), not (7, 16)"),
        ("w.pt", 2, "w.pt does not say what network it is of: name it before the file"),
        ("resnet:8x4 nowhere.pt", 4, "there is no file of weights nowhere.pt"),
        ("resnet:8x4 nowhere.safetensors", 4, "there is no file of weights nowhere.safetensors"),
        ("resnet:8x4 text.pt", 4, "text.pt holds no weights that can be read"),
        ("resnet:8x4 list.pt", 4, "list.pt holds no state dict, which has a tensor for each name"),
        ("resnet:8x4 code.pt", 4, "or holds code, which is not executed"),
        ("resnet:8x4 pickle.pt", 4, "or holds code, which is not executed"),
        ("resnet:8x4 w.pt w.pt", 2, "name one network and one file of weights, not 3 things"),
        ("nothing_of_users:make w.pt", 2, "cannot make the network nothing_of_users:make: ModuleNotFoundError"),
        ("none_of_users:make w.pt", 2, "none_of_users:make returned None, which is no torch module"),
    ],
)
def test_bad_input_is_said_in_one_line_and_nothing_is_written(
    words: str,
    code: int,
    message: str,
    state: dict[str, torch.Tensor],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("text.pt").write_text("no weights")
    torch.save([1, 2], "list.pt")
    write_code("code.pt")
    Path("pickle.pt").write_bytes(pickle.dumps(Path))
    Path("none_of_users.py").write_text("def make():\n    pass\n")
    monkeypatch.syspath_prepend(Path.cwd())
    before = sorted(path.name for path in Path().iterdir())
    assert prune(words) == code
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("evo_nas: ")
    assert error.count("\n") == 1
    assert sorted(path.name for path in Path().iterdir() if path.name != "__pycache__") == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--to 2x-parameters -o new.safetensors", "no more than the budget 2x-parameters: there is nothing to prune"),
        ("--to 3-parameters -o new.safetensors", "the budget 3-parameters is too small"),
        ("--to half -o new.safetensors", "a budget is a share of the seed or a number, as in 0.5x-mult-adds"),
        ("--to 0x-parameters -o new.safetensors", "a budget must be finite and above 0, not 0"),
        ("--to 0.5x-parameters -o there.safetensors", "there.safetensors is there already: overwrite it with --force"),
        ("--to 0.5x-parameters -o new.pt", "-o names a file that ends in .safetensors, not new.pt"),
        ("--to 0.5x-parameters -o no/folder.txt/new", "ends in .safetensors"),
        ("--to 0.5x-parameters -o there.safetensors/x.safetensors", "cannot write"),
    ],
)
def test_budgets_and_outputs_are_looked_at(
    words: str, message: str, state: dict[str, torch.Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("there.safetensors").write_text("kept")
    try:
        code = main(["prune", "resnet:8x4", "w.pt", *words.split()])
    except SystemExit as ended:
        code = ended.code  # type: ignore[assignment]
    assert code == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert Path("there.safetensors").read_text() == "kept"
    assert not Path("new.safetensors").exists()


def test_weights_of_another_network_than_the_one_that_is_named_are_refused(
    state: dict[str, torch.Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    assert prune("resnet:8x4 w.pt") == 0
    words = ["--to", "0.5x-parameters", "-o", "again.safetensors"]
    assert main(["prune", "resnet:20", "small.safetensors", *words]) == 2
    assert "the weights in small.safetensors are of resnet:8x4, not of resnet:20" in capsys.readouterr().err
    assert main(["prune", "small.safetensors", "--channels", "3", *words]) == 2
    assert "are of a network with --channels 1: leave that out" in capsys.readouterr().err


def test_a_users_own_network_is_named_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    Path("prunable_of_users.py").write_text(
        "from torch import nn\ndef make(classes):\n    return nn.Sequential(nn.Conv2d(3, 9, 3), nn.BatchNorm2d(9), "
        "nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(9, classes))\n"
    )
    name = "prunable_of_users:make"
    network = build_by_name(name, classes=6, channels=3, image_size=32)
    network.get_parameter("1.weight").data.uniform_(0.1, 1)
    torch.save(network.state_dict(), "w.pt")
    assert prune(f"{name} w.pt") == 0
    capsys.readouterr()
    words = ["--to", "0.5x-parameters", "-o", "again.safetensors"]
    assert main(["prune", "small.safetensors", *words]) == 2
    assert f"name it too, with --network {name}" in capsys.readouterr().err
    assert main(["prune", name, "small.safetensors", *words]) == 0
    assert main(["export", "--weights", "again.safetensors", "--network", name, "--format", "module"]) == 0
