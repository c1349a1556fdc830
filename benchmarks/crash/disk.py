"""A model of a disk after a power cut: what must be there by then, and what may be there or not.

It promises as little as POSIX does. What a file holds is on the disk once the file was synced, and what a folder names
once the folder was synced; nothing else is. Until then each block that was written may be there or not, in any order, a
file may have its new size without its new content, and of the changes of names any may be there without those before
it. A rename is one change: never half of it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Final, TypeVar

import numpy as np

from benchmarks.crash.recording import MARK, Operation

Tree = Mapping[str, bytes | None]
"""Content by path, relative to the root; ``None`` for a folder. A symbolic link holds ``link to`` and its target."""

Thing = TypeVar("Thing")

_LINK: Final = b"link to\0"


@dataclass(eq=False)
class File:
    """A file: what is on the disk, and the writes since; a write without data is a new size."""

    content: bytes = b""
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)


@dataclass(eq=False)
class Folder:
    """A folder: the names on the disk, and the names that programs see."""

    durable: dict[str, File | Folder] = field(default_factory=dict)
    live: dict[str, File | Folder] = field(default_factory=dict)


Change = list[tuple[Folder, str, "File | Folder | None"]]
"""A change of names, whole or not at all: what stands in a folder under a name from now on."""

Choice = Callable[[File], bytes]


class Disk:
    """What lies below a root, as recorded operations change it."""

    def __init__(self, before: Path, root: Path) -> None:
        """Begin with what lies in ``before``, all of it on the disk; operations know it as ``root``."""
        self.root = root
        self.top = self._read(before)
        self.changes: list[Change] = []
        self.touched: File | None = None  # the file that was written last
        self._files: dict[int, File] = {}

    def apply(self, operation: Operation) -> None:
        """Do what was done."""
        kind, path, data = operation.kind, operation.path, operation.data
        if kind == MARK:
            return
        if kind == "S":
            self._sync_names(self.changes)
            for file in self.files(self.top):
                self._sync_file(file)
        elif kind == "s" and isinstance(found := self._find(path), Folder):
            self._sync_names([change for change in self.changes if any(folder is found for folder, _, _ in change)])
        elif kind == "s":
            self._sync_file(self._file(operation))
        elif kind in "wt":
            self.touched = self._file(operation)
            self.touched.pending.append((operation.at, data if kind == "w" else None))
        elif kind == "c":
            self._files[operation.inode] = made = File()
            self._change((path, made))
        elif kind == "m":
            self._change((path, Folder()))
        elif kind == "u":
            self._change((path, None))
        elif kind == "y":
            self._change((path, File(_LINK + data)))
        else:
            other, found = data.decode(), self._find(path)
            self._change(*([(path, None)] if kind == "r" else []), (other, found))

    def tree(self, content: Choice, changes: Sequence[Change] | None = None) -> Tree:
        """Build what lies on the disk with the given content of each file, and with some of the pending changes."""
        names: dict[int, dict[str, File | Folder]] = {}
        for change in self.changes if changes is None else changes:
            for folder, name, node in change:
                _put(names.setdefault(id(folder), dict(folder.durable)), name, node)
        found: dict[str, bytes | None] = {}

        def visit(folder: Folder, prefix: str) -> None:
            for name, node in sorted(names.get(id(folder), folder.durable).items()):
                found[prefix + name] = content(node) if isinstance(node, File) else None
                if isinstance(node, Folder):
                    visit(node, f"{prefix}{name}/")

        visit(self.top, "")
        return found

    def _read(self, path: Path) -> Folder:
        folder = Folder()
        for entry in path.iterdir():
            if entry.is_symlink():
                folder.durable[entry.name] = File(_LINK + os.fsencode(entry.readlink()))
            else:
                folder.durable[entry.name] = self._read(entry) if entry.is_dir() else File(entry.read_bytes())
        folder.live = dict(folder.durable)
        return folder

    def _find(self, path: str) -> File | Folder:
        """Find what programs see under a path."""
        node: File | Folder = self.top
        for name in Path(path).relative_to(self.root).parts:
            assert isinstance(node, Folder)
            node = node.live[name]
        return node

    def _file(self, operation: Operation) -> File:
        """Find a file by its inode, under whatever name it is known; one that was there before, by its path."""
        if operation.inode not in self._files:
            is_gone = operation.path.endswith(" (deleted)")
            found = File() if is_gone else self._find(operation.path)
            assert isinstance(found, File)
            self._files[operation.inode] = found
        return self._files[operation.inode]

    def _change(self, *entries: tuple[str, File | Folder | None]) -> None:
        change: Change = []
        for path, node in entries:
            folder = self._find(str(Path(path).parent))
            assert isinstance(folder, Folder)
            _put(folder.live, Path(path).name, node)
            change.append((folder, Path(path).name, node))
        self.changes.append(change)

    def _sync_names(self, changes: Sequence[Change]) -> None:
        for change in changes:
            for folder, name, node in change:
                _put(folder.durable, name, node)
        done = set(map(id, changes))
        self.changes = [change for change in self.changes if id(change) not in done]

    def _sync_file(self, file: File) -> None:
        file.content, file.pending = written(file), []

    def files(self, folder: Folder) -> Iterator[File]:
        """Yield every file below a folder, as programs see it."""
        for node in folder.live.values():
            if isinstance(node, File):
                yield node
            else:
                yield from self.files(node)


def _put(names: dict[str, File | Folder], name: str, node: File | Folder | None) -> None:
    if node is None:
        names.pop(name, None)
    else:
        names[name] = node


_DRAWS: Final = 3
"""Draws per state that is wanted: many prefixes leave the same."""

_TRIES: Final = 3
"""How often each cut is made after each operation: most of them are random."""


# What becomes of a file ----------------------------------------------------------------------------------------------


def synced(file: File) -> bytes:
    """Return what must be there."""
    return file.content


def written(file: File) -> bytes:
    """Return everything that was written."""
    return _apply(file.content, file.pending)


def sized(file: File) -> bytes:
    """Return the new size with nothing new in it: what was there before, or zeros."""
    size = len(written(file))
    return file.content[:size].ljust(size, b"\0")


def _apply(content: bytes, writes: Sequence[tuple[int, bytes | None]]) -> bytes:
    if not writes:
        return content
    found = bytearray(content)
    for at, data in writes:
        found.extend(bytes(max(0, at - len(found))))
        if data is None:
            del found[at:]
        else:
            found[at : at + len(data)] = data
    return bytes(found)


def _cut(at: int, data: bytes, size: int) -> Iterator[tuple[int, bytes]]:
    """Cut a write at the blocks of the disk."""
    end = at + len(data)
    while at < end:
        stop = min(end, (at // size + 1) * size)
        yield at, data[len(data) - (end - at) : len(data) - (end - stop)]
        at = stop


# What becomes of the disk --------------------------------------------------------------------------------------------

Cut = Callable[[Disk, np.random.Generator], Tree]


def _torn(size: int) -> Cut:
    """Keep everything but the end of the last write."""

    def cut(disk: Disk, rng: np.random.Generator) -> Tree:
        def content(file: File) -> bytes:
            if file is not disk.touched or not file.pending or file.pending[-1][1] is None:
                return written(file)
            *before, (at, data) = file.pending
            pieces = list(_cut(at, data or b"", size))
            return _apply(file.content, [*before, *pieces[: int(rng.integers(len(pieces)))]])

        return disk.tree(content)

    return cut


def _any_blocks(file: File, size: int, rng: np.random.Generator) -> bytes:
    """Draw some of the blocks that were written to a file, which has its new size, or ends with the last of them."""
    pieces: list[tuple[int, bytes | None]] = []
    for at, data in file.pending:
        pieces += [(at, None)] if data is None else _cut(at, data, size)
    found = _apply(file.content, _any(pieces, rng))
    return found.ljust(len(written(file)), b"\0") if rng.random() < 0.5 else found


def _scattered(size: int) -> Cut:
    """Keep of each file nothing, its size, all of it or any of the blocks; and of the names all or any."""

    def cut(disk: Disk, rng: np.random.Generator) -> Tree:
        def content(file: File) -> bytes:
            fates: list[Choice] = [synced, sized, written, *2 * [lambda file: _any_blocks(file, size, rng)]]
            return fates[int(rng.integers(len(fates)))](file)

        return disk.tree(content, _any(disk.changes, rng) if rng.random() < 0.5 else None)

    return cut


def _pierced(disk: Disk, rng: np.random.Generator) -> Tree:
    """Keep everything but some of the blocks of one file."""
    pending = [file for file in disk.files(disk.top) if file.pending]
    torn = pending[int(rng.integers(len(pending)))] if pending else None
    return disk.tree(lambda file: _any_blocks(file, 4096, rng) if file is torn else written(file))


def _nameless(disk: Disk, rng: np.random.Generator) -> Tree:
    """Keep everything but one change of names."""
    lost = int(rng.integers(len(disk.changes))) if disk.changes else 0
    return disk.tree(written, [*disk.changes[:lost], *disk.changes[lost + 1 :]])


def _any(things: Sequence[Thing], rng: np.random.Generator) -> list[Thing]:
    """Draw a subset, in the same order."""
    return [thing for thing in things if rng.random() < 0.5]


CUTS: Final[Mapping[str, Cut]] = {
    "what was synced": lambda disk, rng: disk.tree(synced, []),
    "everything": lambda disk, rng: disk.tree(written),
    "names without content": lambda disk, rng: disk.tree(synced),
    "names and sizes without content": lambda disk, rng: disk.tree(sized),
    "content without names": lambda disk, rng: disk.tree(written, []),
    "everything but some of the blocks of a file": _pierced,
    "everything but a name": _nameless,
    "some of the names": lambda disk, rng: disk.tree(written, _any(disk.changes, rng)),
    "the last name alone": lambda disk, rng: disk.tree(written, disk.changes[-1:]),
    "the last write torn at 512 bytes": _torn(512),
    "the last write torn at 4096 bytes": _torn(4096),
    "some of the blocks of 512 bytes": _scattered(512),
    "some of the blocks of 4096 bytes": _scattered(4096),
}
"""What a power cut may leave, from the least to the oddest."""


@dataclass(frozen=True)
class State:
    """A disk after a power cut: what is on it, what the program had told by then, and what was cut where."""

    tree: Tree
    marks: tuple[str, ...]
    cut: str
    after: int  # so many operations

    def write(self, root: Path, whole: Path) -> None:
        """Write it to a place that is free; files get the times that they have in the whole, by which caches go."""
        root.mkdir()
        for name, content in self.tree.items():
            path = root / name
            if content is None:
                path.mkdir()
            elif content.startswith(_LINK):
                path.symlink_to(os.fsdecode(content.removeprefix(_LINK)))
            else:
                path.write_bytes(content)
                if (whole / name).is_file():
                    times = (whole / name).stat()
                    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


Draw = tuple[int, str, int]
"""After so many operations, a cut, for the so-manieth time."""


def choose_states(
    before: Path, operations: Sequence[Operation], count: int, seed: int, root: Path, after: range | None = None
) -> Iterator[State]:
    """Draw states that differ in what is on the disk or in what was told, from all prefixes of a recording.

    They are those ``after`` so many operations. There may be fewer than ``count``.
    """
    rng = np.random.default_rng(seed)
    every = list(product(after or range(len(operations) + 1), CUTS, range(_TRIES)))
    drawn = {every[i] for i in rng.permutation(len(every))[: _DRAWS * count]}
    draws: dict[int, Draw] = {}
    for draw, state in _build(before, operations, seed, root, drawn):
        told = tuple((name, content and hash(content)) for name, content in state.tree.items())
        draws.setdefault(hash((state.marks, told)), draw)
    chosen = {list(draws.values())[i] for i in rng.permutation(len(draws))[:count]}
    for _, state in _build(before, operations, seed, root, chosen):  # one by one: thousands take much memory
        yield state


def _build(
    before: Path, operations: Sequence[Operation], seed: int, root: Path, draws: Set[Draw]
) -> Iterator[tuple[Draw, State]]:
    disk, marks = Disk(before, root), []
    for number in range(len(operations) + 1):
        if number and operations[number - 1].kind == MARK:
            marks.append(operations[number - 1].data.decode())
        elif number:
            disk.apply(operations[number - 1])
        for cut, i in product(CUTS, range(_TRIES)):
            if (number, cut, i) in draws:
                tree = CUTS[cut](disk, np.random.default_rng([seed, number, i, *cut.encode()]))
                yield (number, cut, i), State(tree, tuple(marks), cut, number)


def replay(before: Path, operations: Sequence[Operation], root: Path) -> Tree:
    """Return what a recording makes of what was there before."""
    disk = Disk(before, root)
    for operation in operations:
        disk.apply(operation)
    return disk.tree(written)


def read_tree(root: Path) -> Tree:
    """Read what lies below a root."""
    return Disk(root, root).tree(written)
