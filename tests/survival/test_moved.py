"""Run folders that are moved, removed or replaced while the search goes on."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from evo_nas.errors import RunFolderMoved
from evo_nas.loop.listener import Listener
from evo_nas.run.parts import build, load_config
from evo_nas.run.search import Run, start
from evo_nas.storage.history import History
from evo_nas.storage.run_folder import RunFolder
from genotypes.individual import Evaluation, Individual
from genotypes.population import Population

MOMENT = 5
FLAGS = {"strategy": "evolution", "evaluator": "toy", "trials": 12, "population": 4, "sample": 2, "seed": 3}


class Mover(Listener):
    """Does something to the folder once a trial was told."""

    def __init__(self, act: Callable[[], object]) -> None:
        self.act = act
        self.told_ids: list[int] = []

    def told(self, individual: Individual, evaluation: Evaluation, population: Population, trained: int) -> None:
        self.told_ids.append(individual.id)
        if trained == MOMENT and self.told_ids.count(individual.id) == 1:
            self.act()


def search(path: Path, act: Callable[[], object]) -> tuple[Run, Mover]:
    mover = Mover(act)
    config = load_config(FLAGS, environ={})
    with RunFolder.create(path) as folder:
        return start(config, folder, build(config), listeners=[mover]), mover


def rows(path: Path) -> list[tuple[object, ...]]:
    with History.read(path / "history.db") as history:
        found = history._rows("SELECT id, parent, genotype, seed, asked, told, fitness FROM trial ORDER BY id")
        return [tuple(row) for row in found]


@pytest.fixture
def undisturbed(tmp_path: Path) -> list[tuple[object, ...]]:
    run, _ = search(tmp_path / "undisturbed", lambda: None)
    return rows(run.path)


@pytest.mark.parametrize("locks", [True, False])
@pytest.mark.parametrize("replaced", [False, True])
def test_a_search_follows_its_folder(
    tmp_path: Path,
    undisturbed: list[tuple[object, ...]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    locks: bool,
    replaced: bool,
) -> None:
    if not locks:

        def refuse(*_: object) -> None:
            raise OSError(errno.ENOLCK, "no locks available")

        monkeypatch.setattr("fcntl.flock", refuse)
    old, new = tmp_path / "old", tmp_path / "new place"

    def move() -> None:
        old.rename(new)
        if replaced:
            old.mkdir()
            for name in ("run.toml", "run.lock", "history.db", "log.jsonl", "crash.txt"):
                (old / name).write_text("another's")

    run, _ = search(old, move)

    assert run.path == new
    assert str(new) in capsys.readouterr().err
    assert rows(new) == undisturbed
    if replaced:
        assert {file.read_text() for file in old.iterdir()} == {"another's"}
        assert len(list(old.iterdir())) == 5
    else:
        assert not old.exists()


@pytest.mark.parametrize("replaced", [False, True])
def test_a_search_whose_folder_is_gone_ends_at_once_and_says_so(tmp_path: Path, replaced: bool) -> None:
    path = tmp_path / "run"

    def remove() -> None:
        shutil.rmtree(path)
        if replaced:
            path.mkdir()

    mover = Mover(remove)
    config = load_config(FLAGS, environ={})
    says = "its files were removed or replaced" if replaced else "it was removed"
    with RunFolder.create(path) as folder, pytest.raises(RunFolderMoved, match=says) as error:
        start(config, folder, build(config), listeners=[mover])

    assert error.value.exit_code == 3
    assert len(mover.told_ids) == MOMENT
    assert not path.exists() or not list(path.iterdir())


def test_a_search_does_not_go_on_in_another_history(tmp_path: Path) -> None:
    path = tmp_path / "run"

    def replace() -> None:
        copy = tmp_path / "copy.db"
        shutil.copyfile(path / "history.db", copy)
        copy.rename(path / "history.db")

    with pytest.raises(RunFolderMoved, match=r"history\.db"):
        search(path, replace)
