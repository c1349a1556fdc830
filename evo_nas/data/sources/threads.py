"""A few threads that share the decoding of files: Pillow lets go of the interpreter's lock while it decodes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

_BATCH: Final = 256
_T = TypeVar("_T")
_Item = TypeVar("_Item")


def map_in_threads(work: Callable[[Sequence[_Item]], _T], items: Sequence[_Item]) -> Iterator[_T]:
    """Yield the results of the work on batches of items, in order."""
    batches = [items[start : start + _BATCH] for start in range(0, len(items), _BATCH)]
    workers = min(8, os.cpu_count() or 1)
    with ThreadPoolExecutor(workers) as pool:
        # A window at a time: to submit everything would hold a large set in memory when the disk is slower.
        for start in range(0, len(batches), 4 * workers):
            yield from pool.map(work, batches[start : start + 4 * workers])
