"""The contract of what is recorded, and of what must hold after a power cut."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path

Mark = Callable[[str], object]


class Subject(ABC):
    """Something that writes, and what it promises."""

    name: str

    def prepare(self, root: Path) -> None:  # noqa: B027  # most have nothing to do
        """Make what lies on the disk before; nothing by default."""

    @abstractmethod
    def act(self, root: Path, mark: Mark) -> None:
        """Do it, and mark what is promised from then on."""

    @abstractmethod
    def problems(self, root: Path, marks: Sequence[str], whole: Path) -> list[str]:
        """List what is wrong after a power cut: open what is there, go on with it, compare it with the whole."""
