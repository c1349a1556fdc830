import subprocess
import sys
from pathlib import Path

import analysis


def test_every_name_of_the_face_is_there_and_sorted() -> None:
    assert all(hasattr(analysis, name) for name in analysis.__all__)
    assert sorted(analysis.__all__, key=lambda name: (not name.isupper(), name)) == analysis.__all__


def test_numbers_come_without_matplotlib_and_nothing_with_torch() -> None:
    code = (
        "import sys, analysis\nassert not {'matplotlib', 'torch', 'scipy'} & set(sys.modules)\n"
        "import analysis.plots.curves, analysis.cells.drawing\n"
        "assert not {'torch', 'strategies', 'matplotlib.pyplot'} & set(sys.modules)\n"
        "rooms = {name.split('.')[1] for name in sys.modules if name.startswith('evo_nas.')}\n"
        "assert rooms <= {'storage', 'system', 'errors'}, rooms\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=True)
