"""A fair scheduler: one worker thread shared by all visitors.

Work on a photo is cut into slices of about a second. The next slice goes to the visitor who has used the least worker
time recently, so a single photo finishes soon even beside a large photo, a long batch or a hundred photos from one
visitor. Each visitor has one photo open at a time, however many are waiting, and all open photos together stay below
MAX_OPEN_PIXELS, which bounds memory. NewestRuns ends a visitor's run when the same page of theirs starts another.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import ipaddress
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from gradio.context import LocalContext

from denoiser import DenoiserError

SLICE_SECONDS = 1.0  # of work on one photo before the next slice; a longer step is not interrupted
RETURN_SECONDS = 0.05  # pause after a slice, so that its photo can rejoin and be compared with those that wait
FADE_SECONDS = 60.0  # half-life of the worker time counted against a visitor
MAX_OPEN_PIXELS = 130_000_000  # the largest photo accepted, plus one of 24 megapixels
END = object()


@dataclass(eq=False)
class Turn:
    """A visitor's photo, waiting or open."""

    visitor: str
    pixels: int
    open: asyncio.Event = field(default_factory=asyncio.Event)


class Scheduler:
    """One worker thread, and up to `places` photos that are waiting for it or open.

    Everything but the work itself runs in a single event loop, so there are no locks.
    """

    def __init__(self, places: int) -> None:
        self.places = places
        self._turns: list[Turn] = []
        self._calls: list[tuple[str, Callable[[], Any], asyncio.Future]] = []  # waiting for the thread, with visitors
        self._working: asyncio.Task | None = None
        self._used: dict[str, float] = {}  # seconds of worker time, by visitor
        self._faded = time.monotonic()
        self._worker = ThreadPoolExecutor(1)

    @contextlib.asynccontextmanager
    async def turn(self, pixels: int = 0, on_wait: Callable[[int], None] | None = None) -> AsyncIterator[None]:
        """Wait until this visitor may open a photo of `pixels` pixels; leaving the context lets the next one in.

        If there is a wait, on_wait is called with the number of other photos. Raises DenoiserError if the visitor
        already occupies three quarters of the places; the rest is reserved for others.
        """
        turn = Turn(visitor(), pixels)
        mine = sum(other.visitor == turn.visitor for other in self._turns)
        if 4 * (mine + 1) > 3 * self.places:
            raise DenoiserError(
                f"{mine} photos from your network are already waiting or being denoised. Try again when some are done."
            )
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
        for turn in sorted(self._turns, key=lambda turn: self._used.get(turn.visitor, 0)):
            others = [other for other in self._turns if other.open.is_set()]
            fits = sum(other.pixels for other in others) + turn.pixels <= MAX_OPEN_PIXELS
            if fits and all(other.visitor != turn.visitor for other in others):
                turn.open.set()

    async def do(self, function: Callable, *arguments: Any) -> Any:
        """Call a function in the worker thread and return its result.

        If the caller is cancelled while waiting for the thread, the function is not called.
        """
        call = functools.partial(contextvars.copy_context().run, function, *arguments)
        started = asyncio.get_running_loop().create_future()
        self._calls.append((visitor(), call, started))
        if self._working is None:
            self._working = asyncio.create_task(self._work())
        return await asyncio.wrap_future(await started)

    async def _work(self) -> None:
        """Run the waiting calls, one at a time."""
        while waiting := [item for item in self._calls if not item[2].done()]:  # done means cancelled
            chosen = min(waiting, key=lambda item: self._used.get(item[0], 0))
            self._calls = [item for item in waiting if item is not chosen]
            whose, call, started = chosen
            begun, result = time.monotonic(), self._worker.submit(call)
            started.set_result(result)
            with contextlib.suppress(Exception, asyncio.CancelledError):  # the caller gets it
                await asyncio.wrap_future(result)
            self._charge(whose, time.monotonic() - begun)
            if self._calls:
                await asyncio.sleep(RETURN_SECONDS)
        self._working = None

    def _charge(self, whose: str, seconds: float) -> None:
        now = time.monotonic()
        fade, self._faded = 0.5 ** ((now - self._faded) / FADE_SECONDS), now
        self._used = {name: used * fade for name, used in self._used.items() if used > 0.01}
        self._used[whose] = self._used.get(whose, 0) + seconds

    async def run(
        self, work: Generator[Any, None, Any], pixels: int, on_wait: Callable[[int], None] | None = None
    ) -> AsyncGenerator[Any, None]:
        """Run a generator on a photo of `pixels` pixels when its turn comes; see turn and steps."""
        async with self.turn(pixels, on_wait), contextlib.aclosing(self.steps(work)) as updates:
            async for update in updates:
                yield update

    async def steps(self, work: Generator[Any, None, Any]) -> AsyncGenerator[Any, None]:
        """Run a generator in slices of about a second: yield None first, then the last item of each slice.

        An item that is not None ends its slice, so that what there is to show is shown at once. At each of these
        yields, Gradio stops a run that was cancelled or whose visitor has left. The first one comes before any work.
        """
        try:
            yield None
            while (update := await self.do(_slice, work)) is not END:
                yield update
        finally:
            self._worker.submit(work.close)  # in the thread, where the generator may still be running


def _slice(work: Generator[Any, None, Any]) -> Any:
    until = time.monotonic() + SLICE_SECONDS
    for update in work:
        if update is not None or time.monotonic() > until:
            return update
    return END


@dataclass(eq=False)
class Run:
    """A run of NewestRuns: whether it has to stop, and whether it has ended."""

    stopped: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class NewestRuns:
    """The newest run of each browser tab. A run starts once the one before it has ended, so results can't overlap."""

    def __init__(self) -> None:
        self._newest: dict[str, Run] = {}

    @contextlib.asynccontextmanager
    async def run(self) -> AsyncIterator[asyncio.Event]:
        """Stop the run of the current request's tab, and start another when it has ended.

        Yields the event that is set when this run has to stop in turn: hand it to `until`.
        """
        tab, mine = browser_tab(), Run()
        before, self._newest[tab] = self._newest.get(tab), mine
        try:
            await self._end(before)
            yield mine.stopped
        finally:
            mine.ended.set()
            if self._newest.get(tab) is mine:
                del self._newest[tab]

    async def stop(self) -> bool:
        """Stop the run of the current request's tab and wait for its end; return whether there was one."""
        return await self._end(self._newest.get(browser_tab()))

    async def _end(self, run: Run | None) -> bool:
        if run is None:
            return False
        run.stopped.set()
        await run.ended.wait()
        return True


async def until(stopped: asyncio.Event, items: AsyncGenerator[Any, None]) -> AsyncGenerator[Any, None]:
    """Yield the items of a generator until the event is set; then cancel what it is waiting for, and close it."""
    stop = item = asyncio.ensure_future(stopped.wait())
    try:
        while not stopped.is_set():
            item = asyncio.ensure_future(anext(items, END))  # type: ignore[arg-type]  # an awaitable
            await asyncio.wait([item, stop], return_when=asyncio.FIRST_COMPLETED)
            if stopped.is_set() or item.result() is END:
                break
            yield item.result()
    finally:
        for task in (item, stop):
            task.cancel()
        await asyncio.gather(item, stop, return_exceptions=True)
        await items.aclose()


def browser_tab() -> str:
    """Return the session of the current request, which is one page in one browser tab."""
    return str(getattr(LocalContext.request.get(None), "session_hash", ""))


def visitor() -> str:
    """Return the address that the current request came from; for IPv6, the /64 network given to one customer."""
    client = getattr(LocalContext.request.get(None), "client", None)
    host = client.host if client else ""
    with contextlib.suppress(ValueError):
        if ipaddress.ip_address(host).version == 6:
            return str(ipaddress.ip_network((host, 64), strict=False))
    return host
