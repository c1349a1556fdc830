"""Foreign modules that hide packages of ours: a user's own ``analysis`` folder, found before the one of evo_nas.

evo_nas has four packages, and three have names that a user's own files may have too. Python takes whichever it finds
first, and would say only that some name cannot be imported from it.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from evo_nas.errors import UsageError

NAMES: Final = ("analysis", "genotypes", "strategies")
"""The packages that lie beside evo_nas."""


class HiddenPackageError(UsageError, ImportError):
    """A foreign module hides a package of ours; the message says which, and how to go on."""


def refuse_shadows(home: str, names: Iterable[str] = NAMES) -> None:
    """Raise if the packages that Python would import are not those that lie in ``home``; nothing is imported.

    Raises:
        HiddenPackageError: naming what hides which package, and how to mend it.
    """
    for name in names:
        places = _places(name)
        if places and not any(os.path.realpath(place) == os.path.realpath(f"{home}/{name}") for place in places):
            foreign = "".join(letter if letter.isprintable() else "?" for letter in places[0])
            again = ", and start Python anew" if name in sys.modules else ""
            raise HiddenPackageError(
                f"{foreign} hides the package {name} of evo_nas: rename it, "
                f"or take {Path(foreign).parent} off Python's path (sys.path){again}",
                name=name,
                path=places[0],
            )


def _places(name: str) -> list[str]:
    """Return the folders of a package, or the file of a module; nothing if Python would find none."""
    if (module := sys.modules.get(name)) is not None:
        file = getattr(module, "__file__", None)
        return [*getattr(module, "__path__", ())] or [file or "a module without a file"]
    spec = importlib.util.find_spec(name)
    if spec is None:
        return []
    return [*(spec.submodule_search_locations or ())] or [spec.origin or "a module without a file"]
