"""What is recorded, and what must hold after a power cut: searches, studies, trainings, outputs and caches.

    python -m benchmarks.crash.subjects NAME FOLDER

does what the subject of that name does, below a folder: this is what is recorded.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Final
from unittest.mock import patch

from benchmarks.crash.disk import read_tree
from benchmarks.crash.recording import mark
from benchmarks.crash.searches import Repair, Search, Study
from benchmarks.crash.subject import Mark, Subject
from benchmarks.crash.trainings import Train, TrainTop, Weights

# Outputs -------------------------------------------------------------------------------------------------------------


class Outputs(Subject):
    """Files that are made with ``-o``: new ones in new folders, and one that is there already."""

    name = "output"
    made: Final[Mapping[str, Sequence[str]]] = {
        "old.csv": ["table"],
        "new/table.json": ["table"],
        "new/deep/report.html": ["report"],
        "pictures/curve.svg": ["plot"],
        "exports/cell.dot": ["export", "--format", "dot"],
        "exports/net.safetensors": ["export", "--format", "safetensors", "--cells-per-stack", "1", "--filters", "2"],
        "exports/deep/net.py": ["export", "--format", "module", "--cells-per-stack", "1", "--filters", "2"],
    }

    def prepare(self, root: Path) -> None:
        """Search, and make the older file."""
        Search("run").begin(root / "run", 6, lambda id: None)
        (root / "old.csv").write_text("what was there before\n")

    def act(self, root: Path, mark: Mark) -> None:
        """Make every output, and mark those that are made."""
        from evo_nas.cli import main

        for name, (command, *flags) in self.made.items():
            with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
                if code := main([command, str(root / "run"), *flags, "-o", str(root / name)]):
                    raise RuntimeError(f"{command} ended with {code}")
            mark(name)

    def problems(self, root: Path, marks: Sequence[str], whole: Path) -> list[str]:
        """Check that every file is the old or the new one, and the new one if it was told to be made."""
        found = []
        for name in self.made:
            old = b"what was there before\n" if name == "old.csv" else None
            is_there = (root / name).read_bytes() if (root / name).exists() else None
            if is_there != (whole / name).read_bytes() and (name in marks or is_there != old):
                what = "gone" if is_there is None else "the old one" if is_there == old else "a part"
                found.append(f"{name} is {what}")
        return found


# Data and caches -----------------------------------------------------------------------------------------------------


def _paint(folder: Path) -> None:
    """Make an image folder of two classes."""
    from PIL import Image

    for part in ("train", "test"):
        for number, name in enumerate(("ants", "bees")):
            (folder / part / name).mkdir(parents=True)
            for i in range(3):
                color = (40 * i, 90 * number, 7)
                Image.new("RGB", (40, 40), color).save(folder / part / name / f"{i}.bmp")


class Fetch(Subject):
    """A data set that is fetched from an archive."""

    name = "fetch"

    def prepare(self, root: Path) -> None:
        """Make the archive."""
        _paint(root / "images")
        shutil.make_archive(str(root / "images"), "tar", root / "images")
        shutil.rmtree(root / "images")

    def act(self, root: Path, mark: Mark) -> None:
        """Fetch it, and mark that it is there."""
        from evo_nas.data.sources.fetch import fetch

        fetch("folder", root / "sets" / "data", root / "images.tar")
        mark("fetched")

    def problems(self, root: Path, marks: Sequence[str], whole: Path) -> list[str]:
        """Check that the set is complete, or can be fetched again."""
        if not marks:
            self.act(root, lambda text: None)
        mine, true = ({n: b for n, b in read_tree(at / "sets").items() if "/." not in n} for at in (root, whole))
        return [f"{name} is another" for name in true if mine.get(name, 0) != true[name]]


class Caches(Subject):
    """What is kept for later runs: decoded images, groundwork, a verdict on this machine."""

    name = "caches"

    def prepare(self, root: Path) -> None:
        """Make images."""
        _paint(root / "images")

    def act(self, root: Path, mark: Mark) -> None:
        """Fill the caches.

        Raises:
            RuntimeError: if they hold something else than was put there.
        """
        import numpy as np

        from evo_nas.data.decoded import open_decoded_copy
        from evo_nas.data.sources.locate import locate
        from evo_nas.evaluators.groundwork import build_once
        from evo_nas.phenotypes.self_check import find_fault
        from evo_nas.system.atomic import write_whole

        with patch.dict(os.environ, EVO_NAS_CACHE=str(root / "cache"), XDG_CACHE_HOME=str(root / "xdg")):
            source = locate("folder", root / "images")
            images = open_decoded_copy(source, "train", 32, 3).images
            if not np.array_equal(images, np.concatenate(list(source.batches("train", 32, 3)))):
                raise RuntimeError("other images were decoded")
            place = build_once("table", {"of": 3}, lambda folder: write_whole(folder / "table", "3\n" * 999), print)
            if (place / "table").read_text() != "3\n" * 999:
                raise RuntimeError("the groundwork is another")
            if (fault := find_fault("none", lambda: "it is wrong")) != "it is wrong":
                raise RuntimeError(f"the verdict is another: {fault}")

    def problems(self, root: Path, marks: Sequence[str], whole: Path) -> list[str]:
        """Check that what is there is right, or is made again."""
        with patch("sys.stderr", StringIO()):
            self.act(root, lambda text: None)
        return []


SUBJECTS: Final[Mapping[str, Subject]] = {
    subject.name: subject
    for subject in (
        Caches(),
        Fetch(),
        Outputs(),
        Train(),
        TrainTop(),
        Repair(),
        Search("resume-after-kill", "kill"),
        Search("resume-after-end", "end"),
        Search("run"),
        # Without notes the last commit of a trial is the one by which it ended.
        Search("resume-after-kill-without-locks", "kill", locks=False, strategy="evolution"),
        Search("run-without-locks", locks=False, strategy="evolution"),
        Study(),
        Weights(),
    )
}
"""Those first that have the fewest states."""

if __name__ == "__main__":
    SUBJECTS[sys.argv[1]].act(Path(sys.argv[2]), mark)
