"""Run calls in threads, ahead of when their results are needed.

Photos decode in parallel, since Pillow and libvips release the GIL.
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
    """Yield the futures of `calls`, which may be endless, in order.

    At most `ahead` calls are submitted before the first of their futures is taken, which bounds the memory for results.
    Closing the iterator cancels the calls that have not started.
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
        executor.shutdown(cancel_futures=True)  # waits for running calls: nothing continues behind the caller
