"""Whose turn it is: one thread that works for all visitors, and the order in which it does.

A photo is worked on in slices of about a second, and next comes a slice for the visitor who has had the least of the
thread's time lately: a photo gets done soon after it came, beside a big one, a long batch or a hundred others of one
visitor. A visitor has one photo open at a time, however many are waiting, and all that are open together stay below
MAX_OPEN_PIXELS, which bounds the memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import ipaddress
import time
from collections.abc import AsyncIterator, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from gradio.context import LocalContext

from denoiser import DenoiserError

SLICE_SECONDS = 1.0  # work on one photo before the next slice; a step that takes longer is not interrupted
RETURN_SECONDS = 0.05  # a photo is back for its next slice after that, and is compared with those that wait
FADE_SECONDS = 60.0  # after these, time that a visitor had counts for half
MAX_OPEN_PIXELS = 130_000_000  # beside the biggest photo there is room for one of 24 megapixels
END = object()


@dataclass(eq=False)
class Turn:
    """A visitor's photo, waiting or open."""

    visitor: str
    pixels: int
    open: asyncio.Event = field(default_factory=asyncio.Event)


class Turns:
    """A thread, and the visitors' photos that are waiting for it or open. `places` is how many these can be.

    All of it happens in one event loop, but for the work itself.
    """

    def __init__(self, places: int) -> None:
        self.places = places
        self._turns: list[Turn] = []
        self._calls: list[tuple[str, Callable, asyncio.Future]] = []  # by visitors, that wait for the thread
        self._working: asyncio.Task | None = None
        self._had: dict[str, float] = {}  # seconds of the thread, by visitor
        self._faded = time.monotonic()
        self._worker = ThreadPoolExecutor(1)

    @contextlib.asynccontextmanager
    async def turn(self, pixels: int = 0, on_wait: Callable[[int], None] | None = None) -> AsyncIterator[None]:
        """Wait for this visitor's turn with a photo of so many pixels; left, in whatever way, it is the next one's.

        Where that takes a while, on_wait is told how many others there are. Raises DenoiserError where the visitor has
        three quarters of the places already: the rest is for others.
        """
        turn = Turn(visitor(), pixels)
        mine = sum(other.visitor == turn.visitor for other in self._turns)
        if 4 * (mine + 1) > 3 * self.places:
            raise DenoiserError(f"{mine} of your photos are waiting here already. Try again when they are done.")
        self._turns.append(turn)
        self._open_turns()
        try:
            if on_wait is not None and not turn.open.is_set():
                on_wait(len(self._turns) - 1)
            await turn.open.wait()
            yield
        finally:
            self._turns.remove(turn)
            self._open_turns()

    def _open_turns(self) -> None:
        for turn in sorted(self._turns, key=lambda turn: self._had.get(turn.visitor, 0)):
            others = [other for other in self._turns if other.open.is_set()]
            fits = sum(other.pixels for other in others) + turn.pixels <= MAX_OPEN_PIXELS
            if fits and all(other.visitor != turn.visitor for other in others):
                turn.open.set()

    async def do(self, function: Callable, *arguments: Any) -> Any:
        """Call a function in the thread. If the caller is cancelled while it waits there, it isn't called at all."""
        call = functools.partial(contextvars.copy_context().run, function, *arguments)
        started = asyncio.get_running_loop().create_future()
        self._calls.append((visitor(), call, started))
        if self._working is None:
            self._working = asyncio.create_task(self._work())
        return await asyncio.wrap_future(await started)

    async def _work(self) -> None:
        """Start the calls that wait, one at a time."""
        while waiting := [item for item in self._calls if not item[2].done()]:  # done: cancelled
            next_one = min(waiting, key=lambda item: self._had.get(item[0], 0))
            self._calls = [item for item in waiting if item is not next_one]
            whose, call, started = next_one
            begun, result = time.monotonic(), self._worker.submit(call)
            started.set_result(result)
            with contextlib.suppress(Exception, asyncio.CancelledError):  # it is the caller's
                await asyncio.wrap_future(result)
            self._charge(whose, time.monotonic() - begun)
            if self._calls:
                await asyncio.sleep(RETURN_SECONDS)
        self._working = None

    def _charge(self, whose: str, seconds: float) -> None:
        now = time.monotonic()
        fade, self._faded = 0.5 ** ((now - self._faded) / FADE_SECONDS), now
        self._had = {name: had * fade for name, had in self._had.items() if had > 0.01}
        self._had[whose] = self._had.get(whose, 0) + seconds

    async def steps(self, work: Generator) -> AsyncIterator[Any]:
        """None, and then what the work yields, the last thing of each slice.

        At each Gradio stops a run that was cancelled or whose visitor has left, the first time before any work.
        """
        try:
            yield None
            while (update := await self.do(_slice, work)) is not END:
                yield update
        finally:
            self._worker.submit(work.close)  # there, as it may still be running


def _slice(work: Generator) -> Any:
    update, until = END, time.monotonic() + SLICE_SECONDS
    for newest in work:
        update = newest
        if time.monotonic() > until:
            break
    return update


def visitor() -> str:
    """Whose request this is: the address it came from; of IPv6 the half that a provider gives to one customer."""
    client = getattr(LocalContext.request.get(None), "client", None)
    host = client.host if client else ""
    with contextlib.suppress(ValueError):
        if ipaddress.ip_address(host).version == 6:
            return str(ipaddress.ip_network((host, 64), strict=False))
    return host
