"""Entry point of ``python -m evo_nas``, and of the command evo_nas."""

import os
import sys
from pathlib import Path

# ``python -m`` puts the working folder first on the path, where a user's own ``analysis.py`` would shadow ours.
# Worker processes read the variable, this process the list.
_HOME = str(Path(__file__).resolve().parent.parent)
sys.path.insert(0, _HOME)
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [_HOME, os.environ.get("PYTHONPATH")]))

_NEEDED = {
    *("deap", "jinja2", "joblib", "matplotlib", "networkx", "numpy", "pandas", "PIL", "rich", "safetensors"),
    *("scipy", "sklearn", "threadpoolctl", "torch", "torchvision"),
}
"""What is installed with evo_nas, by the names that are imported."""


def main() -> int:
    """Return the exit code of the command that the command line names."""
    try:
        return _run()
    except ModuleNotFoundError as error:
        if error.name not in _NEEDED:
            raise
        mend = "activate its environment (. .venv/bin/activate), or install it: python -m pip install --editable ."
        print(f"evo_nas: {sys.executable} has no {error.name}, which evo_nas needs: {mend}", file=sys.stderr)
        return 2


def _run() -> int:
    from evo_nas.system.shadows import HiddenPackageError, refuse_shadows
    from evo_nas.system.stops import set_watcher

    set_watcher()
    try:
        refuse_shadows(_HOME)
        from evo_nas.cli import main as run_command
    except HiddenPackageError as error:
        print(f"evo_nas: {error}", file=sys.stderr)
        return error.exit_code
    return run_command()


if __name__ == "__main__":
    sys.exit(main())
