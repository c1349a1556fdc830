import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from evo_nas.data.sources.catalogue import DATA_SETS, data_root, data_set, find_decoded_root
from evo_nas.errors import UsageError


def test_unknown_data_set_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"no data set 'mnist'; the data sets are: cifar10, cifar100, digits, folder$"):
        data_set("mnist")
    assert all(data_set(name).name == name for name in DATA_SETS)


def test_data_root_is_the_argument_then_the_environment_then_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert data_root() == tmp_path / "xdg" / "evo_nas" / "data"
    monkeypatch.setenv("EVO_NAS_DATA", "/elsewhere")
    assert data_root() == Path("/elsewhere")
    assert data_root(Path("here")) == Path("here")


def test_decoded_root_is_the_environment_then_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_decoded_root() == tmp_path / "cache"
    monkeypatch.delenv("EVO_NAS_CACHE")
    assert find_decoded_root() == tmp_path / "xdg" / "evo_nas" / "decoded"


def test_relative_xdg_cache_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert data_root() == Path.home() / ".cache" / "evo_nas" / "data"


def test_command_can_be_pasted_into_a_shell() -> None:
    words = shlex.split(DATA_SETS["cifar10"].command("fetch", Path("/my data")))
    assert words == ["python", "-m", "evo_nas", "data", "fetch", "--dataset", "cifar10", "--data-dir", "/my data"]


def test_catalogue_imports_nothing_heavy() -> None:
    root = Path(__file__).parents[4]
    script = "import sys, evo_nas.data.sources.catalogue; print(*{'torch', 'PIL', 'sklearn'} & sys.modules.keys())"
    ran = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == ""
