"""Build the source archive and, of that, the wheels; and use one from an environment and a folder of its own.

    python .ci/wheel.py [-o build/dist] [--borrow]

One wheel is for all systems; on Linux and x86-64 another one, which is then used, carries the compiled kernels. What a
newcomer does is done, as on a machine without a compiler: a search with two workers, its page and picture, and the
Python of the README. With ``--borrow`` the new environment sees the libraries of this one, instead of installing its
own: seconds, not minutes.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import subprocess
import sys
import sysconfig
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[1]
SEARCH = (
    *("run", "--strategy", "evolution", "--population", "2", "--sample", "1", "--dataset", "digits"),
    *("--set", "space.blocks=1", "--set", "evaluator.train_images=96", "--set", "evaluator.epochs=1"),
    *("--workers", "2", "--trials", "4", "--run-dir", "run"),
)
COMMANDS = (
    SEARCH,
    ("show", "run"),
    ("report", "run"),
    ("plot", "run"),
    ("export", "run", "--format", "json", "-o", "best.json"),
)
WHERE = "import evo_nas, pathlib; print(pathlib.Path(evo_nas.__file__).parent / 'py.typed')"
KERNELS = "from evo_nas.phenotypes.fast.kernels import library, trust; print(library.library('float'), trust.why_not())"
HAS_KERNELS = sys.platform == "linux" and platform.machine() == "x86_64"
"""Whether a wheel can carry them here."""


def run(*command: str | Path, folder: Path | None = None, **variables: str) -> str:
    """Run a command in a folder, away from the checkout, and return what it prints.

    Raises:
        SystemExit: with its last words, if it fails.
    """
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | variables
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def build(output: Path) -> Path:
    """Build the archives and return the wheel for this system.

    Raises:
        SystemExit: if a file of the project is missing in the source archive.
    """
    for old in output.glob("evo_nas-*"):
        old.unlink()
    run(sys.executable, "-m", "build", "--outdir", output, ROOT)
    (archive,), (wheel,) = output.glob("*.tar.gz"), output.glob("*.whl")
    if HAS_KERNELS:
        run(sys.executable, "-m", "build", "--wheel", "--outdir", output, ROOT, EVO_NAS_WHEEL="kernels")
        (wheel,) = output.glob("*manylinux*.whl")
    with tarfile.open(archive) as packed:
        there = {name.partition("/")[2] for name in packed.getnames()}
    tracked = run("git", "-C", ROOT, "ls-files").splitlines() if (ROOT / ".git").exists() else []
    # Those of the forge are of no use outside of it.
    if missing := [name for name in tracked if name not in there and not name.startswith(".github/")]:
        raise SystemExit(f"{archive.name} lacks {', '.join(missing[:5])}: see tool.hatch.build in pyproject.toml")
    return wheel


def install(wheel: Path, folder: Path, *, borrow: bool) -> Path:
    """Make an environment with the wheel in it, and return its Python."""
    run(sys.executable, "-m", "venv", folder)
    python = folder / "bin" / "python"
    if borrow:
        own = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
        (own / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = (python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    run(*pip, *(("--no-deps", "--ignore-installed") if borrow else ()), wheel)
    return python


def use(python: Path, folder: Path) -> None:
    """Do what a newcomer does who has no compiler.

    Raises:
        SystemExit: at the first command that fails, or if it is not the wheel that is used, or kernels are missing.
    """
    bare = {"CC": "no-compiler", "XDG_CACHE_HOME": str(folder / "cache")}
    marker = Path(run(python, "-c", WHERE, folder=folder).strip())
    if not (marker.is_file() and marker.is_relative_to(python.parents[1])):
        raise SystemExit(f"{marker} is not a file of the environment {python.parents[1]}")
    found = run(python, "-c", KERNELS, folder=folder, **bare)
    if HAS_KERNELS and not (str(python.parents[1]) in found and found.endswith(" None\n")):
        raise SystemExit(f"the kernels of the wheel are not used: {found}")
    for words in COMMANDS:
        print("evo_nas", *words[:2], flush=True)
        run(python.with_name("evo_nas"), *words, folder=folder, **bare)
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), flags=re.DOTALL)
    print(run(python, "-c", code, folder=folder, **bare))


def main() -> None:
    """Read the command line, build, install and use."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", metavar="DIR", type=Path, default=ROOT / "build" / "dist")
    parser.add_argument("--borrow", action="store_true", help="see the libraries of this environment")
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    wheel = build(given.output)
    with TemporaryDirectory() as folder:
        python = install(wheel, Path(folder) / "environment", borrow=given.borrow)
        (work := Path(folder) / "work").mkdir()
        use(python, work)
    print(wheel)


if __name__ == "__main__":
    main()
