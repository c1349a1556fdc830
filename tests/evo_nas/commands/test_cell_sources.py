"""Where cells come from: a run and its trials, a text, a file, the zoo; and one line about anything else."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from evo_nas.commands.cell_sources import best_of_run, find_cells, find_meant_cells, of_run
from evo_nas.commands.train_options import TrainOptions
from evo_nas.commands.training_plan import plan_training
from evo_nas.errors import DataError, RunFolderError, UsageError
from evo_nas.phenotypes.blueprint import load_network
from evo_nas.run.search import Run
from evo_nas.storage.checksums import file_sum, sum_file
from evo_nas.storage.history import History
from genotypes.catalogue import build_space
from genotypes.cell import CellPair
from genotypes.zoo import CELLS, NAS_FPN, PNASNET_5

Start = Callable[..., Run]


def fitnesses(run: Run) -> dict[int, float]:
    """Read which trials succeeded, and how well, by id."""
    with History.read(run.path / "history.db") as history:
        rows = history._rows("SELECT id, fitness FROM trial WHERE outcome = 'ok'")
        return {row["id"]: row["fitness"] for row in rows}


def test_a_published_cell_is_found_by_its_name() -> None:
    for name, pair in CELLS.items():
        source = find_cells(None, name)
        assert (source.cells, source.label, source.genotype, source.fitness) == (pair, name, None, None)


def test_one_word_means_a_published_cell_unless_a_file_or_run_is_called_so(
    toy_run: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_meant_cells("pnasnet-5").cells == PNASNET_5
    run = toy_run("nasnet-a", trials=2)
    monkeypatch.chdir(run.path.parent)
    assert find_meant_cells("nasnet-a").label.startswith("nasnet-a-trial")
    with pytest.raises(UsageError, match="no run or file nasnet-z"):
        find_meant_cells("nasnet-z")


def test_a_genotype_is_read_as_text_and_as_json(tmp_path: Path) -> None:
    for spelling in ("nasnet", "amoebanet(blocks=2)", "pnas", "darts"):
        space = build_space(spelling)
        genotype = space.sample(np.random.default_rng(0))
        path = tmp_path / "genotype.json"
        path.write_bytes(b"\xef\xbb\xbf" + json.dumps(genotype.to_json(), indent=1).replace("\n", "\r\n").encode())
        for text in (str(genotype), str(path)):
            source = find_cells(text, None)
            assert source.cells == space.decode(genotype)
            assert source.genotype == source.label == str(genotype)


def test_a_pair_of_cells_is_read_from_json_with_its_stacking(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(PNASNET_5.to_json()))
    source = find_cells(str(path), None)
    assert source.cells == PNASNET_5
    assert (source.label, source.genotype) == ("mine", None)


def test_of_a_run_the_best_trial_is_meant_or_the_one_that_is_named(toy_run: Start) -> None:
    run = toy_run("run", trials=6, settings=("space.blocks=2",))
    found = fitnesses(run)
    best = max(found, key=lambda id: found[id])
    source = find_cells(str(run.path), None)
    assert source == of_run(run.path) == of_run(run.path, best)
    assert (source.label, source.fitness) == (f"run-trial{best}", found[best])
    assert source.genotype is not None
    assert source.cells == find_cells(source.genotype, None).cells
    other = min(found, key=lambda id: found[id])
    named = find_cells(str(run.path), None, other)
    assert (named.label, named.fitness) == (f"run-trial{other}", found[other])


@pytest.mark.parametrize("space", ["pnas", "darts", "amoebanet"])
def test_cells_of_a_run_keep_the_stacking_of_their_space(toy_run: Start, space: str) -> None:
    run = toy_run("run", trials=2, space=space)
    stacking = {"pnas": "pnasnet"}.get(space, space)
    assert [source.cells.stacking for source in best_of_run(run.path, 2)] == [stacking] * 2


def test_the_best_of_a_run_come_in_order(toy_run: Start) -> None:
    run = toy_run("run", trials=8)
    found = sorted(fitnesses(run).values(), reverse=True)
    sources = best_of_run(run.path, 3)
    assert [source.fitness for source in sources] == found[:3]
    assert len({source.genotype for source in sources}) == 3
    assert all(isinstance(source.cells, CellPair) for source in sources)
    assert len(best_of_run(run.path, 100)) == 8


def test_a_trial_is_found_by_its_id_if_it_has_succeeded(toy_run: Start) -> None:
    run = toy_run("run", trials=3)
    with History.read(run.path / "history.db") as history:
        (best,) = history.top(1)
        assert history.trial(best.id) == best
        assert {history.trial(id).id for id in (1, 2, 3)} == {1, 2, 3}
        for id in (0, 4):
            with pytest.raises(UsageError, match=f"run has no trial {id} that has succeeded"):
                history.trial(id)


def test_a_trial_that_failed_is_not_found(toy_run: Start) -> None:
    run = toy_run("run", trials=3)
    with sqlite3.connect(run.path / "history.db") as connection:
        connection.execute("UPDATE trial SET outcome = 'nan', fitness = NULL WHERE id = 2")
    connection.close()
    sum_file(run.path / "history.db").write_text(file_sum(run.path / "history.db"))
    with pytest.raises(UsageError, match="run has no trial 2 that has succeeded"):
        of_run(run.path, 2)


@pytest.mark.parametrize("given", [(None, None), ("nasnet:0.1", "nasnet-a")])
def test_exactly_one_source_is_named(given: tuple[str | None, str | None]) -> None:
    with pytest.raises(UsageError, match="and one only"):
        find_cells(*given)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nosuch:1.2", "there is no space 'nosuch'"),
        ("nasnet:1.2", "has 50 choices, not 2"),
        ("nasnet:", "choice 0 of .* not a whole number"),
        ("", "is no genotype"),
        ("bits:" + ".".join(["0"] * 100), "the space bits does not describe a pair of cells"),
        ("evil_module:Space:0.1", "there is no space 'evil_module:Space'"),
        ("nowhere.json", "cannot read nowhere.json"),
        ("nowhere", "is no genotype"),
        ("x" * 5000, "is no genotype"),
        ("nul\0byte", "is no genotype"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_text_that_means_no_cells_is_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        find_cells(text, None)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot read"),
        ("{", "cannot read"),
        ("[" * 100_000, "cannot read"),
        ("[]", "a cell pair in JSON is"),
        ('{"space": "nasnet", "choices": [1]}', "has 50 choices, not 1"),
        ('{"space": "nosuch", "choices": []}', "there is no space 'nosuch'"),
        ('{"normal": {}, "reduction": {}}', "normal cell: a cell in JSON is"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_file_that_holds_no_cells_is_named(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "cells.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=message) as caught:
        find_cells(str(path), None)
    assert "cells.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_no_file_of_text_is_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cells.json"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="cannot read"):
        find_cells(str(path), None)


def test_weights_in_the_place_of_cells_are_told_from_both(tmp_path: Path) -> None:
    weights = tmp_path / "best.safetensors"
    weights.write_bytes(b"\0")
    with pytest.raises(UsageError, match=rf"is a file of weights, no cells: .* --weights {weights}"):
        find_cells(str(weights), None)
    with pytest.raises(RunFolderError, match=rf"is the folder of a training, no run: .* --weights {weights}"):
        find_cells(str(tmp_path), None)
    with pytest.raises(DataError, match=f"is the folder of a training: name the weights in it, {weights}"):
        load_network(tmp_path)


def test_a_trial_of_what_is_no_run_is_refused() -> None:
    genotype = str(build_space("nasnet").sample(np.random.default_rng(0)))
    with pytest.raises(UsageError, match=r"--trial names a trial of a run, and nasnet:.* is no run folder"):
        find_cells(genotype, None, 1)
    with pytest.raises(UsageError, match="--trial names a trial of a run, and nasnet-a is a published cell"):
        find_cells(None, "nasnet-a", 1)


def test_a_run_without_cells_or_without_trials_is_refused(toy_run: Start, tmp_path: Path) -> None:
    run = toy_run("bits", trials=2, space="bits")
    with pytest.raises(UsageError, match=r"trial \d of .*bits describes no pair of cells"):
        find_cells(str(run.path), None)
    empty = tmp_path / "empty"
    empty.mkdir()
    History.create(empty / "history.db").close()
    with pytest.raises((UsageError, RunFolderError)) as caught:
        find_cells(str(empty), None)
    assert "\n" not in str(caught.value)


def test_a_damaged_run_is_a_bad_run_folder(toy_run: Start) -> None:
    run = toy_run("run", trials=2)
    (run.path / "history.db").write_bytes(b"SQLite format 3\0" + b"\xff" * 500)
    with pytest.raises(RunFolderError, match="history"):
        find_cells(str(run.path), None)


def test_cells_of_a_run_come_with_its_images(toy_run: Start, tmp_path: Path) -> None:
    run = toy_run("run", trials=3, settings=("space.blocks=1",))
    assert (of_run(run.path).dataset, of_run(run.path).data_dir) == (None, None)
    text = (run.path / "run.toml").read_text()
    text = text.replace("[evaluator]", '[evaluator]\ndataset = "digits"').replace(
        "[hardware]", '[hardware]\ndata_dir = "/x"'
    )
    (run.path / "run.toml").write_text(text)
    assert {(source.dataset, source.data_dir) for source in best_of_run(run.path, 2)} == {("digits", Path("/x"))}
    assert plan_training(of_run(run.path), TrainOptions(preset="cpu")).dataset == "digits"
    assert plan_training(of_run(run.path), TrainOptions(preset="cpu", dataset="cifar100")).dataset == "cifar100"
    (run.path / "run.toml").write_text("not toml")
    assert of_run(run.path).dataset is None


def test_a_feature_pyramid_is_found_by_name_text_and_json_but_has_no_cells(tmp_path: Path) -> None:
    space = build_space("nasfpn")
    genotype = space.encode(NAS_FPN)  # type: ignore[attr-defined]
    path = tmp_path / "pyramid.json"
    path.write_text(json.dumps(NAS_FPN.to_json()))
    for source in (find_cells(None, "nas-fpn"), find_cells(str(genotype), None), find_cells(str(path), None)):
        assert source.design == NAS_FPN
        with pytest.raises(UsageError, match="it is a feature pyramid, the neck of a detector"):
            _ = source.cells
    path.write_text('{"pyramid": [{"level": 9}]}')
    with pytest.raises(UsageError, match=r"pyramid.json: merging cell 0 must be"):
        find_cells(str(path), None)
