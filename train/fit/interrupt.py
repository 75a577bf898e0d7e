"""Ctrl-C, and a scheduler's request to stop, as a question that the training loop answers between two steps."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass
class Interrupt:
    """Whether a stop was asked for."""

    requested: bool = False


@contextmanager
def catch_interrupts() -> Iterator[Interrupt]:
    """Note the first SIGINT or SIGTERM; the second raises KeyboardInterrupt wherever the program is.

    Only the main thread of a program may do that; in another one signals keep their meaning.
    """
    interrupt = Interrupt()

    def note(*_: object) -> None:
        if interrupt.requested:
            raise KeyboardInterrupt
        interrupt.requested = True

    signals = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
    before = {number: signal.signal(number, note) for number in signals}
    try:
        yield interrupt
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
