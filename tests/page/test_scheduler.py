"""Whose turn it is: what is cancelled stops or never starts, nobody keeps everybody waiting, and memory is bounded."""

import asyncio
import pickle
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
from gradio.context import LocalContext
from gradio_client import Client, handle_file
from visitor import BATCH, Visitor, number_of

import denoiser
from denoiser import DenoiserError, Photo
from denoiser.page import batch, result_cache, scheduler, uploads
from denoiser.page.result_cache import CachedResult, ResultCache
from denoiser.page.scheduler import MAX_OPEN_PIXELS, NewestRuns, Scheduler, until

pytestmark = pytest.mark.slow

VIEW = "Before / after"
ATTACKER = "203.0.113.7"


@pytest.fixture
def photo(tmp_path, photo_pixels):
    path = tmp_path / "holiday.png"
    denoiser.save_image(Photo(photo_pixels), path)
    return path


# --- turns -------------------------------------------------------------------------------------------------------


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
        with pytest.raises(DenoiserError, match="6 of your photos"):
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
    seen = []

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


# --- on the page -------------------------------------------------------------------------------------------------


class Network:
    """Stands in for the network's work on a photo: endless until it is let go on, and it notes what happens."""

    def __init__(self, monkeypatch):
        self.events, self.go_on = [], threading.Event()
        open_image = denoiser.open_image
        monkeypatch.setattr(denoiser, "open_image", lambda path: self.events.append("opened") or open_image(path))
        monkeypatch.setattr(denoiser.Denoiser, "by_tile", lambda model, photo, level=None: self.by_tile(photo))
        monkeypatch.setattr(scheduler, "SLICE_SECONDS", 0)

    def by_tile(self, photo):
        self.events.append("started")
        try:
            while not self.go_on.is_set():
                time.sleep(0.01)
                yield 1, 100
        except GeneratorExit:
            self.events.append("stopped")
            raise
        self.events.append("done")
        return photo


@pytest.fixture
def network(tiny_page, monkeypatch):
    network = Network(monkeypatch)
    yield network
    network.go_on.set()
    wait_for(lambda: not tiny_page[0].service.network._turns)


def wait_for(condition):
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_what_is_cancelled_stops_and_what_was_waiting_is_never_started(tiny_page, photo, network):
    page, url = tiny_page
    tabs, number = [Visitor(url) for _ in range(4)], number_of(page, "run", "UploadButton", "State")
    visitor = tabs[0]
    upload = visitor.upload(photo)[0]
    events = [visitor.join(number, upload, None, True, 25, 100, VIEW)]
    wait_for(lambda: "started" in network.events)
    events += [tab.join(number, upload, None, True, 25, 100, VIEW) for tab in tabs[1:]]
    wait_for(lambda: len(page.service.network._turns) == len(tabs))
    for tab, event in reversed(list(zip(tabs, events, strict=True))):  # the one that runs is the last
        tab.cancel(number, event)
    wait_for(lambda: len(page.service.network._turns) == 0)
    wait_for(lambda: "stopped" in network.events)
    network.go_on.set()
    assert visitor.ask(number, upload, None, True, 25, 100, VIEW).get("data")
    assert network.events == ["opened", "started", "stopped", "opened", "started", "done"]


def test_a_program_that_cancels_stops_the_endpoint(tiny_page, photo, network, tmp_path):
    client = Client(tiny_page[1], verbose=False, download_files=tmp_path)
    job = client.submit(handle_file(photo), None, api_name="/denoise")
    wait_for(lambda: "started" in network.events)
    job.cancel()
    wait_for(lambda: "stopped" in network.events)
    network.go_on.set()
    result = client.predict(handle_file(photo), None, api_name="/denoise")
    assert np.array_equal(denoiser.open_image(result).pixels, denoiser.open_image(photo).pixels)


def test_who_waits_is_told_so(tiny_page, photo, network):
    page, url = tiny_page
    other, visitor, number = Visitor(url), Visitor(url), number_of(page, "run", "UploadButton", "State")
    upload = visitor.upload(photo)[0]
    events = {other: other.join(number, upload, None, True, 25, 100, VIEW)}
    wait_for(lambda: "started" in network.events)
    events[visitor] = visitor.join(number, upload, None, True, 25, 100, VIEW)
    told = threading.Event()

    def listen():
        with visitor.http.stream("GET", "/queue/data", params={"session_hash": visitor.session}) as lines:
            for line in lines.iter_lines():
                if "Waiting for your turn: 1 other photo comes first." in line:
                    told.set()

    threading.Thread(target=listen, daemon=True).start()
    assert told.wait(20)
    for tab, event in events.items():
        tab.cancel(number, event)
    wait_for(lambda: "stopped" in network.events)


def test_who_leaves_while_waiting_is_not_worked_for(tiny_page, photo, network):
    page, url = tiny_page
    busy, gone = Visitor(url), Visitor(url)
    number = number_of(page, "run", "UploadButton", "State")
    upload = busy.upload(photo)[0]
    event = busy.join(number, upload, None, True, 25, 100, VIEW)
    wait_for(lambda: "started" in network.events)
    gone.join(number, upload, None, True, 25, 100, VIEW)
    with gone.http.stream("GET", "/queue/data", params={"session_hash": gone.session}) as lines:
        next(lines.iter_lines())  # the visitor looks for a moment
    time.sleep(1)
    network.go_on.set()
    assert busy.answer(event).get("data")
    assert busy.call("estimate_noise", upload)  # after it
    assert network.events.count("started") == 1


def test_a_batch_that_nobody_listens_to_keeps_nobody_waiting(tiny_page, photo, network):
    page, url = tiny_page
    attacker, honest = Visitor(url, ATTACKER), Visitor(url)
    upload = attacker.upload(photo)[0]
    attacker.join(number_of(page, "run", "File"), [upload], *BATCH)
    wait_for(lambda: "started" in network.events)
    assert "complete" in honest.call("estimate_noise", upload)
    assert "done" not in network.events


def test_who_takes_many_places_leaves_some_and_quick_things_go_on(tiny_page, photo, network):
    page, url = tiny_page
    attacker, honest = Visitor(url, ATTACKER), Visitor(url)
    number = number_of(page, "run", "UploadButton", "State")
    network.go_on.set()
    upload = honest.upload(photo)[0]
    assert honest.ask(number, upload, None, True, 25, 100, VIEW).get("data")
    network.go_on.clear()
    for attacker.session in map(str, range(60)):
        attacker.join(number, upload, None, True, 25, 100, VIEW)
    assert honest.ask(number_of(page, "show_again"), None, 50, VIEW).get("data")
    assert honest.ask(number_of(page, "make_file"), None, 50, "PNG", 95, False).get("data")
    assert "complete" in honest.call("estimate_noise", upload)


def test_twenty_programs_at_one_address_are_all_served(tiny_page, photo):
    clients = [Visitor(tiny_page[1]) for _ in range(20)]
    upload = clients[0].upload(photo)[0]
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda client: client.call("denoise", upload, None), clients))
    assert all("complete" in answer for answer in answers)


# --- many photos -------------------------------------------------------------------------------------------------


def test_a_photo_that_is_listed_again_and_again_is_denoised_once(tiny_page, photo, network):
    page, url = tiny_page
    network.go_on.set()
    visitor = Visitor(url)
    answer = visitor.ask(number_of(page, "run", "File"), visitor.upload(photo) * 50, *BATCH)
    assert network.events == ["opened", "started", "done"]
    assert len({item["caption"] for item in answer["data"][0]}) == 50
    zipped = visitor.ask(number_of(page, "zip_files"), None)
    with zipfile.ZipFile(zipped["data"][0]["path"]) as archive:
        assert len(set(archive.namelist())) == 50


def test_too_many_pixels_at_once_are_refused(tiny_page, photo, monkeypatch):
    page, url = tiny_page
    visitor, number = Visitor(url), number_of(page, "run", "File")
    monkeypatch.setattr(batch, "MAX_MEGAPIXELS", 0.1)  # the photo has 0.036
    upload = visitor.upload(photo)
    assert visitor.ask(number, upload * 2, *BATCH).get("data")
    assert "megapixels together" in visitor.ask(number, upload * 3, *BATCH)["error"]


def test_members_of_a_zip_have_names_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    names = ["a.png", "a.png", "2-a.png", "A.png", "2-A.PNG", "a.png", "b.png", "3-a.png"]
    done = batch.Batch(uploads.own_folder(), {})
    for number, name in enumerate(names):
        (tmp_path / str(number)).mkdir()
        path = tmp_path / str(number) / name
        path.write_text(str(number))
        done.add(path, ("before.jpg", "after.jpg"), 25, times=1)
    with zipfile.ZipFile(batch.zip_files(done)) as made:
        assert made.namelist()[:3] == ["a.png", "2-a.png", "2-2-a.png"]
        assert len({name.lower() for name in made.namelist()}) == len(names)
        assert [made.read(name).decode() for name in made.namelist()] == list("01234567")


# --- what is held ------------------------------------------------------------------------------------------------


def held(side, value=0, alpha=False):
    pixels = np.full((side, side, 3), value, np.uint8)
    photo = Photo(pixels, pixels[..., 0] if alpha else None)
    return CachedResult(photo, Photo(pixels.copy()), None, None)


def test_over_the_budget_the_oldest_results_go_and_the_newest_stays(monkeypatch):
    kept, size = ResultCache(), held(100).bytes
    assert size == 2 * 100 * 100 * 3
    monkeypatch.setattr(result_cache, "HOLD_BYTES", 2 * size)
    keys = [kept.put(held(100)) for _ in range(2)]
    kept.get(keys[0])  # is used, and so is the newer one now
    keys.append(kept.put(held(100)))
    assert kept.get(keys[0]) and kept.get(keys[2])
    with pytest.raises(DenoiserError, match="has expired.*Press Denoise"):
        kept.get(keys[1])
    assert kept.get(kept.put(held(500)))
    with pytest.raises(DenoiserError):
        kept.get(keys[2])


def test_a_visitor_holds_one_result_and_not_for_ever(monkeypatch):
    kept = ResultCache()
    first = kept.put(held(10))
    second = kept.put(held(10), instead_of=first)
    with pytest.raises(DenoiserError):
        kept.get(first)
    monkeypatch.setattr(result_cache, "HOLD_SECONDS", 0)
    with pytest.raises(DenoiserError):
        kept.get(second)


def test_what_a_lent_gpu_does_comes_back_through_another_process(tiny_config, photo, monkeypatch):
    from toy_training import build

    from denoiser.page import callbacks
    from denoiser.weights import Weights

    def lent(work):  # as Spaces do it: each thing that is yielded is copied, and what is returned is lost
        def run(*arguments, **options):
            for item in work(*pickle.loads(pickle.dumps(arguments)), **options):
                yield pickle.loads(pickle.dumps(item))

        return run

    model, opened = denoiser.Denoiser(Weights(build(tiny_config), "tiny")), denoiser.open_image(photo)
    monkeypatch.setattr(callbacks, "on_gpu", lent)
    *steps, result = callbacks.network_runner(model)(opened, 20)
    assert steps and all(step is None or len(step) == 2 for step in steps)
    assert np.array_equal(result.clean.pixels, model(opened, 20).pixels)
    assert result.level == model.estimate_level(opened.pixels)


def test_the_page_says_that_a_result_is_no_longer_held(tiny_page, photo, monkeypatch):
    page, url = tiny_page
    visitor, other = Visitor(url), Visitor(url)
    number, amount = number_of(page, "run", "UploadButton", "State"), number_of(page, "show_again")
    assert visitor.ask(amount, None, 50, VIEW).get("data")  # there was none yet
    upload = visitor.upload(photo)[0]
    visitor.ask(number, upload, None, True, 25, 100, VIEW)
    monkeypatch.setattr(result_cache, "HOLD_BYTES", 1)
    other.ask(number, upload, None, True, 25, 100, VIEW)
    assert "Press Denoise again" in visitor.ask(amount, None, 50, VIEW)["error"]
    assert "Press Denoise again" in visitor.ask(number_of(page, "make_file"), None, 50, "PNG", 95, False)["error"]
    assert other.ask(amount, None, 50, VIEW).get("data")


def test_amounts_are_whole_and_nothing_is_written_twice(tiny_page, photo):
    page, url = tiny_page
    visitor = Visitor(url)
    show, make = number_of(page, "show_again"), number_of(page, "make_file")
    visitor.ask(number_of(page, "run", "UploadButton", "State"), visitor.upload(photo)[0], None, True, 25, 100, VIEW)
    shown = {visitor.ask(show, None, 50 + n / 1000, VIEW)["data"][0]["value"][1]["path"] for n in range(5)}
    made = {visitor.ask(make, None, 50 + n / 1000, "TIFF", 95, False)["data"][0]["path"] for n in range(5)}
    assert len(shown) == len(made) == 1
