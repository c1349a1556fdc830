"""A build hook: the wheel for Linux on x86-64, which carries the kernels, where EVO_NAS_WHEEL=kernels asks for it.

Any other build, ``pip install .`` among them, makes the wheel for all systems, whose kernels are compiled at first use.
"""

from __future__ import annotations

import os
import platform
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_OLDEST = (2, 17)
"""The glibc of manylinux2014, the oldest that pip and the wheels of torch still know."""


class KernelsHook(BuildHookInterface):
    """Compiles the kernels once for each instruction set and type of numbers, and puts them into the wheel."""

    _folder: TemporaryDirectory[str] | None = None

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the libraries and the tag of the system that they are for.

        Raises:
            RuntimeError: if this is another system.
        """
        if version == "editable" or os.environ.get("EVO_NAS_WHEEL") != "kernels":
            return
        if sys.platform != "linux" or platform.machine() != "x86_64":
            raise RuntimeError("EVO_NAS_WHEEL=kernels makes a wheel for Linux on x86-64 alone: unset it here")
        kernels = Path(self.root, "evo_nas", "phenotypes", "fast", "kernels")
        builds = runpy.run_path(str(kernels / "builds.py"))
        self._folder = TemporaryDirectory()
        glibc = _OLDEST
        for level in builds["LEVELS"]:
            for real in builds["REALS"]:
                name = builds["name_library"](level, real)
                library = Path(self._folder.name, Path(name).name)
                compiler = [*shlex.split(os.environ.get("CC") or "cc"), *builds["FLAGS"], f"-march={level}"]
                subprocess.run(builds["complete_command"](compiler, real, library), check=True)
                found = re.findall(rb"GLIBC_(\d+)\.(\d+)", library.read_bytes())
                glibc = max(glibc, *((int(major), int(minor)) for major, minor in found))
                build_data["force_include"][str(library)] = str(kernels.relative_to(self.root) / name)
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-manylinux_{glibc[0]}_{glibc[1]}_x86_64"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what was compiled."""
        if self._folder is not None:
            self._folder.cleanup()
