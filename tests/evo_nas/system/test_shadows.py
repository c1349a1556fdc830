"""A user's own folder or file called like one of our packages is told in one line, or does no harm at all."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from evo_nas.system.shadows import NAMES, HiddenPackageError, refuse_shadows

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
LIGHT = "import sys, evo_nas\nassert not {'torch', 'pandas', 'numpy', 'matplotlib', 'scipy'} & set(sys.modules)\n"


def python(*words: str, cwd: Path, path: str = "") -> subprocess.CompletedProcess[str]:
    """Run Python with evo_nas at the end of its path, where an installation has it."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [path, str(ROOT)]))
    return subprocess.run(
        [sys.executable, *words], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


def as_module(folder: Path, name: str) -> Path:
    (folder / f"{name}.py").write_text("raise SystemExit('the foreign module was imported')\n")
    return folder / f"{name}.py"


def as_package(folder: Path, name: str) -> Path:
    (folder / name).mkdir()
    (folder / name / "__init__.py").write_text("raise SystemExit('the foreign package was imported')\n")
    return folder / name


def refused(done: subprocess.CompletedProcess[str], hidden: Path, name: str) -> None:
    last = done.stderr.splitlines()[-1]
    assert last == (
        f"evo_nas.system.shadows.HiddenPackageError: {hidden} hides the package {name} of evo_nas: "
        f"rename it, or take {hidden.parent} off Python's path (sys.path)"
    )
    assert done.returncode == 1


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("hide", [as_module, as_package])
def test_what_hides_a_package_beside_a_script_is_named(
    name: str, hide: Callable[[Path, str], Path], tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    hidden = hide(tmp_path, name)
    (tmp_path / "script.py").write_text("import evo_nas\n")
    refused(python(str(tmp_path / "script.py"), cwd=tmp_path / "elsewhere"), hidden, name)


def test_so_it_is_in_the_working_folder_and_on_the_path(tmp_path: Path) -> None:
    hidden = as_module(tmp_path, "analysis")
    refused(python("-c", "import evo_nas", cwd=tmp_path), hidden, "analysis")
    (tmp_path / "elsewhere").mkdir()
    refused(python("-c", "import evo_nas", cwd=tmp_path / "elsewhere", path=str(tmp_path)), hidden, "analysis")


def test_so_it_is_in_a_module_that_is_run_by_its_name(tmp_path: Path) -> None:
    hidden = as_module(tmp_path, "analysis")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "__init__.py").write_text("import evo_nas\n")
    (tmp_path / "mine" / "__main__.py").write_text("")
    refused(python("-m", "mine", cwd=tmp_path), hidden, "analysis")


def test_a_script_that_is_called_like_a_package_of_ours_hides_it(tmp_path: Path) -> None:
    (tmp_path / "analysis.py").write_text("import evo_nas\n")
    refused(python("analysis.py", cwd=tmp_path), tmp_path / "analysis.py", "analysis")


def test_what_was_imported_before_hides_it_too_and_python_must_start_anew(tmp_path: Path) -> None:
    (tmp_path / "analysis.py").write_text("")
    code = "import sys, analysis\nsys.path.remove('')\nimport evo_nas"
    done = python("-c", code, cwd=tmp_path)
    assert f"{tmp_path / 'analysis.py'} hides the package analysis of evo_nas: rename it, " in done.stderr
    assert done.stderr.splitlines()[-1].endswith(" off Python's path (sys.path), and start Python anew")


def test_a_folder_without_init_hides_nothing(tmp_path: Path) -> None:
    (tmp_path / "analysis").mkdir()
    (tmp_path / "analysis" / "notes.py").write_text("")
    done = python("-c", "import evo_nas; print(evo_nas.load_history.__module__)", cwd=tmp_path)
    assert done.stdout == "analysis.frames\n", done.stderr


def test_ours_through_a_link_are_ours(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(ROOT)
    done = python("-c", "import evo_nas; print(evo_nas.search.__module__)", cwd=tmp_path, path=str(tmp_path / "link"))
    assert done.stdout == "evo_nas.api.searches\n", done.stderr


def test_a_zip_archive_is_an_installation_too(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "ours.zip", "w") as archive:
        for package in ("evo_nas", *NAMES):
            for file in (ROOT / package).rglob("*.py"):
                archive.write(file, file.relative_to(ROOT))
    code = LIGHT + "print(evo_nas.__file__, evo_nas.load_history.__module__)"
    done = python("-c", code, cwd=tmp_path, path=str(tmp_path / "ours.zip"))
    assert done.stdout == f"{tmp_path / 'ours.zip' / 'evo_nas' / '__init__.py'} analysis.frames\n", done.stderr


@pytest.mark.parametrize("hide", [as_module, as_package])
def test_the_command_puts_its_own_packages_first(hide: Callable[[Path, str], Path], tmp_path: Path) -> None:
    for name in NAMES:
        hide(tmp_path, name)
    words = ("run", "--strategy", "random", "--evaluator", "toy", "--trials", "2", "--workers", "2", "--run-dir", "run")
    for command in (words, ("compare", "run")):
        done = python("-m", "evo_nas", *command, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    script = tmp_path / "bin" / "evo_nas"  # as an installation has it, for [project.scripts]
    script.parent.mkdir()
    script.write_text("import sys\nfrom evo_nas.__main__ import main\nsys.exit(main())\n")
    done = python(str(script), "list", "spaces", cwd=tmp_path, path=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("nasnet ")


def test_a_command_that_cannot_says_so_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "strategies.py").write_text("")
    code = "import sys, strategies\nsys.argv = ['evo_nas', 'list', 'spaces']\nimport evo_nas.__main__ as command\n"
    done = python("-c", code + "sys.exit(command.main())", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith(f"evo_nas: {tmp_path / 'strategies.py'} hides the package strategies of evo_nas: ")
    assert len(done.stderr.splitlines()) == 1


def test_the_message_is_one_line_that_a_terminal_only_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "a\n\x1b[31mfolder"
    folder.mkdir()
    as_module(folder, "evo_nas_shadow_of_a_test")
    monkeypatch.syspath_prepend(str(folder))
    with pytest.raises(HiddenPackageError, match=r"/a\?\?\[31mfolder/evo_nas_shadow_of_a_test\.py hides") as caught:
        refuse_shadows(str(ROOT), ["evo_nas_shadow_of_a_test"])
    assert caught.value.exit_code == 2
    assert isinstance(caught.value, ImportError)


def test_it_costs_the_import_of_nothing_heavy(tmp_path: Path) -> None:
    done = python("-c", LIGHT + "assert not {'analysis', 'genotypes', 'strategies'} & set(sys.modules)", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
