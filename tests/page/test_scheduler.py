"""Whose turn it is: nobody keeps everybody waiting, and the photos that are open fit into memory."""

import asyncio
import time
from types import SimpleNamespace

import pytest
from gradio.context import LocalContext

from denoiser import DenoiserError
from denoiser.page import scheduler
from denoiser.page.scheduler import MAX_OPEN_PIXELS, NewestRuns, Scheduler, until


def run_as(address, coroutine):
    """A task of a visitor's from an address."""

    async def run():
        LocalContext.request.set(SimpleNamespace(client=SimpleNamespace(host=address)))
        return await coroutine

    return asyncio.create_task(run())


async def hold(line, pixels, done, opened, name):
    async with line.turn(pixels):
        opened.append(name)
        await done.wait()


def play(*visits, places=32):
    """The names in the order in which their turns come; all are held until nothing more opens, then given up."""

    async def scene():
        line, opened, rounds = Scheduler(places), [], []
        done = {name: asyncio.Event() for _, _, name in visits}
        tasks = [run_as(address, hold(line, pixels, done[name], opened, name)) for address, pixels, name in visits]
        while sum(map(len, rounds)) < len(visits):
            await asyncio.sleep(0.01)
            rounds.append(opened[sum(map(len, rounds)) :])
            assert rounds[-1]
            for name in rounds[-1]:
                done[name].set()
        await asyncio.gather(*tasks)
        return rounds

    return asyncio.run(scene())


def test_a_visitor_has_one_photo_open_and_others_come_between():
    visits = [("a", 1, "a1"), ("a", 1, "a2"), ("a", 1, "a3"), ("b", 1, "b1"), ("b", 1, "b2")]
    assert play(*visits) == [["a1", "b1"], ["a2", "b2"], ["a3"]]


def test_open_photos_fit_together_and_a_small_one_passes_a_big_one():
    big = MAX_OPEN_PIXELS - 10
    visits = [("a", big, "a1"), ("b", big, "b1"), ("c", 10, "c1"), ("d", 10, "d1")]
    assert play(*visits) == [["a1", "c1"], ["b1", "d1"]]


def test_customers_of_ipv6_have_a_network_each():
    visits = [("2001:db8:1:1::1", 1, "a1"), ("2001:db8:1:1:ffff::2", 1, "a2"), ("2001:db8:1:2::1", 1, "b1")]
    assert play(*visits) == [["a1", "b1"], ["a2"]]


def test_one_visitor_does_not_get_all_the_places():
    async def scene():
        line, done, opened = Scheduler(8), asyncio.Event(), []
        tasks = [run_as("a", hold(line, 1, done, opened, number)) for number in range(6)]
        await asyncio.sleep(0.01)
        with pytest.raises(DenoiserError, match="6 photos from your network"):
            await run_as("a", hold(line, 1, done, opened, "one too many"))
        tasks += [run_as("b", hold(line, 1, done, opened, "b"))]
        await asyncio.sleep(0.01)
        assert opened == [0, "b"]
        done.set()
        await asyncio.gather(*tasks)

    asyncio.run(scene())


def test_a_turn_is_given_up_however_it_ends():
    async def scene():
        line, done, opened = Scheduler(8), asyncio.Event(), []
        first = run_as("a", hold(line, 1, done, opened, "first"))
        waiting = run_as("a", hold(line, 1, done, opened, "waiting"))
        run_as("a", hold(line, 1, done, opened, "last"))
        await asyncio.sleep(0.01)
        waiting.cancel(), first.cancel()
        await asyncio.sleep(0.01)
        assert opened == ["first", "last"]

    asyncio.run(scene())


def test_photos_that_are_open_take_turns_and_each_gets_as_much_as_a_slice(monkeypatch):
    monkeypatch.setattr(scheduler, "SLICE_SECONDS", 0)
    seen = []

    def work(name, shown):
        for number in range(3):
            seen.append(name)
            yield number if shown or number == 2 else None

    async def run(line, name, shown):
        return [update async for update in line.steps(work(name, shown))]

    async def scene(shown=False):
        line = Scheduler(8)
        return await asyncio.gather(run(line, "a", shown), run(line, "b", shown))

    assert asyncio.run(scene()) == [[None, None, None, 2]] * 2 and seen == ["a", "b"] * 3
    monkeypatch.setattr(scheduler, "SLICE_SECONDS", 10)
    assert asyncio.run(scene()) == [[None, 2]] * 2 and seen[6:] == ["a"] * 3 + ["b"] * 3
    assert asyncio.run(scene(shown=True)) == [[None, 0, 1, 2]] * 2  # what there is to show is shown at once


def test_a_run_starts_when_the_one_before_it_in_the_same_tab_has_ended():
    async def scene():
        newest, events = NewestRuns(), []

        async def work(name):
            try:
                for _ in range(1000):
                    yield events.append(name)
                    await asyncio.sleep(0.001)
            finally:
                await asyncio.sleep(0.02)  # it takes its time to end
                events.append(f"{name} ended")

        async def run(name):
            async with newest.run() as stopped:
                async for _ in until(stopped, work(name)):
                    await asyncio.sleep(0)

        tasks = []
        for name in "abc":  # b is stopped while it waits for a
            tasks.append(asyncio.create_task(run(name)))
            await asyncio.sleep(0.01 if name == "a" else 0)
        await asyncio.sleep(0.1)
        assert await newest.stop() and not await newest.stop()
        await asyncio.gather(*tasks)
        names = [event for event, after in zip(events, [*events[1:], ""], strict=True) if event != after]
        assert names == ["a", "a ended", "c", "c ended"]

    asyncio.run(scene())


def test_who_had_less_of_the_time_lately_comes_first(monkeypatch):
    monkeypatch.setattr(scheduler, "SLICE_SECONDS", 0)
    monkeypatch.setattr(scheduler, "RETURN_SECONDS", 0.15)  # enough on a busy machine too
    seen = []
    monkeypatch.setattr(scheduler, "time", SimpleNamespace(monotonic=lambda: float(len(seen))))  # a step is a second

    def work(name, steps):
        for _ in range(steps):
            time.sleep(0.02)
            seen.append(name)
            yield

    async def run(line, name, steps):
        async with line.turn(MAX_OPEN_PIXELS // 2):
            async for _ in line.steps(work(name, steps)):
                pass

    async def scene():
        line = Scheduler(8)
        first = [run_as("a", run(line, name, 10)) for name in ("a1", "a2")]
        while len(seen) < 6:
            await asyncio.sleep(0.001)
        await asyncio.gather(*first, *(run_as(name, run(line, name, 4)) for name in "bc"))

    asyncio.run(scene())
    late = "".join(name[0] for name in seen[7:])
    assert late.startswith("bbbb") and late.index("c") < len(seen) - 7 - 10  # c has room when a1 or b is done
    assert seen.index("a2") > max(place for place, name in enumerate(seen) if name in "bc")


def test_time_that_one_had_fades(monkeypatch):
    line = Scheduler(8)
    line._charge("a", 10)
    now = time.monotonic()
    monkeypatch.setattr(scheduler.time, "monotonic", lambda: now + scheduler.FADE_SECONDS)
    line._charge("b", 6)
    assert line._used["a"] == pytest.approx(5, rel=0.01) and line._used["b"] == pytest.approx(6)
    monkeypatch.setattr(scheduler.time, "monotonic", lambda: now + 100 * scheduler.FADE_SECONDS)
    line._charge("c", 1), line._charge("c", 1)
    assert set(line._used) == {"c"}
