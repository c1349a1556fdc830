"""Groundwork: what an evaluator builds once, before the first trial, and keeps in the user's cache for all runs.

A folder ``groundwork/<name>-<digest of the key>`` holds what was built, and ``groundwork.json``: the key, and a
digest of the files. While it is built it is called ``....partial`` and its lock is held, so that runs which need the
same build it once; a build that was killed finds what it had written when it is called again.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from evo_nas.errors import DataError
from evo_nas.system.atomic import write_whole
from evo_nas.system.cache import writable_cache
from evo_nas.system.links import refuse_links
from evo_nas.system.text import read_text
from genotypes.genotype import shorten

Hear = Callable[[str], None]
"""Takes a line that says how far the groundwork is."""

_RECORD: Final = "groundwork.json"


def build_once(name: str, key: Mapping[str, Any], build: Callable[[Path], None], hear: Hear) -> Path:
    """Return the folder of what ``build`` makes, built now unless the cache has it.

    ``key`` is everything that decides what is built, as JSON: the spelling of the space, settings, fingerprint of the
    data, seed, and the version of the format. ``build`` gets a folder, which holds what an earlier call that was killed
    had written there; it writes each file whole, and returns when all are there.

    Raises:
        DataError: if the cache cannot be written, or what lies there is damaged.
    """
    spelled = json.dumps(key, sort_keys=True)
    place = writable_cache() / "groundwork" / f"{name}-{hashlib.sha256(spelled.encode()).hexdigest()[:24]}"
    partial = place.with_name(f"{place.name}.partial")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        refuse_links(place.parent, [place.name, partial.name, f"{place.name}.lock"])
        with _lock(place.with_name(f"{place.name}.lock"), lambda: hear(f"waiting for another run that builds {place}")):
            if not place.exists():
                partial.mkdir(exist_ok=True)
                build(partial)
                for stray in partial.rglob("*.partial"):  # of a file that was being written when a build was killed
                    stray.unlink()
                record = {"key": json.loads(spelled), "digest": _digest(partial)}
                write_whole(partial / _RECORD, json.dumps(record, indent=2) + "\n")
                partial.rename(place)
    except OSError as error:
        raise DataError(f"cannot build the groundwork {place}: {error.strerror}") from error
    if digest_of(place) != _digest(place):
        raise DataError(f"the groundwork {place} is damaged; remove that folder, and it is built again")
    if _read_record(place).get("key") != json.loads(spelled):
        raise DataError(f"the groundwork {place} is of other settings; remove that folder, and it is built again")
    return place


def digest_of(place: Path) -> str:
    """Return the digest of a groundwork, as it was when it was built: for an evaluator's ``fingerprint``.

    Raises:
        DataError: if the folder holds no groundwork.
    """
    return str(_read_record(place)["digest"])


def _read_record(place: Path) -> dict[str, Any]:
    """Read the record of a groundwork, which has a digest.

    Raises:
        DataError: if the folder holds no groundwork.
    """
    try:
        record = json.loads(read_text(place / _RECORD))
        return {**record, "digest": record["digest"]}
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        said = shorten(str(error), 100)
        raise DataError(
            f"the groundwork {place} is damaged: {said}; remove that folder, and it is built again"
        ) from error


def _digest(folder: Path) -> str:
    """Return the SHA-256 over names and contents of all files but the record."""
    whole = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path != folder / _RECORD:
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
            whole.update(f"{path.relative_to(folder).as_posix()}\0{content}\n".encode())
    return whole.hexdigest()


@contextmanager
def _lock(path: Path, wait: Callable[[], None]) -> Iterator[None]:
    """Hold a lock; call ``wait`` before waiting for whoever has it. The death of its holder frees it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise
            wait()
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
