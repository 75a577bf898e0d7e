"""Calls made in threads, ahead of when their results are wanted.

Photos decode side by side, since Pillow and libvips let go of Python's lock.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")

THREADS = min(8, os.cpu_count() or 1)  # each may hold a whole decoded photo: 300 MB at worst, twice that of 16 bits


def in_threads(
    calls: Iterable[Callable[[], Result]], ahead: int = 2 * THREADS, threads: int = THREADS
) -> Iterator[Future[Result]]:
    """The calls' futures in the order of the calls, of which there may be no end.

    At most `ahead` calls are made, or wait to be made, before their future is taken, which bounds the memory that
    results take. Those still waiting are dropped with the iterator.
    """
    executor = ThreadPoolExecutor(threads)
    waiting: deque[Future[Result]] = deque()
    try:
        for call in calls:
            waiting.append(executor.submit(call))
            if len(waiting) >= ahead:
                yield waiting.popleft()
        while waiting:
            yield waiting.popleft()
    finally:
        executor.shutdown(cancel_futures=True)  # waits for those under way: nothing goes on behind the caller
