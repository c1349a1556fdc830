"""Entry point of ``python -m evo_nas``."""

import os
import sys
from pathlib import Path

# ``python -m`` puts the working folder first on the path, where a user's own ``analysis.py`` would shadow ours.
# Worker processes read the variable, this process the list.
_HOME = str(Path(__file__).resolve().parent.parent)
sys.path.insert(0, _HOME)
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [_HOME, os.environ.get("PYTHONPATH")]))

if __name__ == "__main__":
    try:
        from evo_nas.cli import main
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(main())
