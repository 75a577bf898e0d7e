"""Several visitors at once: what is cancelled stops or never starts, and nobody keeps everybody waiting."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from gradio_client import Client, handle_file
from page_process import wait_for
from visitor import BATCH, ONE, RUN, Visitor, number_of

import denoiser

pytestmark = pytest.mark.slow

VIEW = "Before / after"
ATTACKER = "203.0.113.7"


def test_what_is_cancelled_stops_and_what_was_waiting_is_never_started(tiny_page, photo, endless_network):
    page, url = tiny_page
    tabs, number = [Visitor(url) for _ in range(4)], number_of(page, *RUN)
    visitor = tabs[0]
    upload = visitor.upload(photo)[0]
    events = [visitor.join(number, upload, None, *ONE)]
    wait_for(lambda: "started" in endless_network.events)
    events += [tab.join(number, upload, None, *ONE) for tab in tabs[1:]]
    wait_for(lambda: len(page.service.network._turns) == len(tabs))
    for tab, event in reversed(list(zip(tabs, events, strict=True))):  # the one that runs is the last
        tab.cancel(number, event)
    wait_for(lambda: len(page.service.network._turns) == 0)
    wait_for(lambda: "stopped" in endless_network.events)
    endless_network.go_on.set()
    assert visitor.denoise(number, upload).get("data")
    assert endless_network.events == ["opened", "started", "stopped", "opened", "started", "done"]


def test_a_program_that_cancels_stops_the_endpoint(tiny_page, photo, endless_network, tmp_path):
    client = Client(tiny_page[1], verbose=False, download_files=tmp_path)
    job = client.submit(handle_file(photo), None, api_name="/denoise")
    wait_for(lambda: "started" in endless_network.events)
    job.cancel()
    wait_for(lambda: "stopped" in endless_network.events)
    endless_network.go_on.set()
    result = client.predict(handle_file(photo), None, api_name="/denoise")
    assert np.array_equal(denoiser.open_image(result).pixels, denoiser.open_image(photo).pixels)


def test_who_waits_is_told_so(tiny_page, photo, endless_network):
    page, url = tiny_page
    other, visitor, number = Visitor(url), Visitor(url), number_of(page, *RUN)
    upload = visitor.upload(photo)[0]
    events = {other: other.join(number, upload, None, *ONE)}
    wait_for(lambda: "started" in endless_network.events)
    events[visitor] = visitor.join(number, upload, None, *ONE)
    told = threading.Event()

    def listen():
        with visitor.http.stream("GET", "/queue/data", params={"session_hash": visitor.session}) as lines:
            for line in lines.iter_lines():
                if "Waiting for your turn: 1 other photo is waiting or being denoised." in line:
                    told.set()

    threading.Thread(target=listen, daemon=True).start()
    assert told.wait(20)
    for tab, event in events.items():
        tab.cancel(number, event)
    wait_for(lambda: "stopped" in endless_network.events)


def test_who_leaves_while_waiting_is_not_worked_for(tiny_page, photo, endless_network):
    page, url = tiny_page
    busy, gone = Visitor(url), Visitor(url)
    number = number_of(page, *RUN)
    upload = busy.upload(photo)[0]
    event = busy.join(number, upload, None, *ONE)
    wait_for(lambda: "started" in endless_network.events)
    gone.join(number, upload, None, *ONE)
    with gone.http.stream("GET", "/queue/data", params={"session_hash": gone.session}) as lines:
        next(lines.iter_lines())  # the visitor looks for a moment
    time.sleep(1)
    endless_network.go_on.set()
    assert busy.answer(event).get("data")
    assert busy.call("estimate_noise", upload)  # after it
    assert endless_network.events.count("started") == 1


def test_a_batch_that_nobody_listens_to_keeps_nobody_waiting(tiny_page, photo, endless_network):
    page, url = tiny_page
    attacker, honest = Visitor(url, ATTACKER), Visitor(url)
    upload = attacker.upload(photo)[0]
    attacker.join(number_of(page, "run", "File"), [upload], *BATCH)
    wait_for(lambda: "started" in endless_network.events)
    assert "complete" in honest.call("estimate_noise", upload)
    assert "done" not in endless_network.events


def test_who_takes_many_places_leaves_some_and_quick_things_go_on(tiny_page, photo, endless_network):
    page, url = tiny_page
    attacker, honest = Visitor(url, ATTACKER), Visitor(url)
    number = number_of(page, *RUN)
    endless_network.go_on.set()
    upload = honest.upload(photo)[0]
    assert honest.denoise(number, upload).get("data")
    endless_network.go_on.clear()
    for attacker.session in map(str, range(60)):
        attacker.join(number, upload, None, *ONE)
    assert honest.ask(number_of(page, "show_again"), honest.key, 50, VIEW).get("data")
    assert honest.ask(number_of(page, "make_file"), honest.key, 50, "PNG", 95, False).get("data")
    assert "complete" in honest.call("estimate_noise", upload)


def test_twenty_programs_at_one_address_are_all_served(tiny_page, photo):
    clients = [Visitor(tiny_page[1]) for _ in range(20)]
    upload = clients[0].upload(photo)[0]
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda client: client.call("denoise", upload, None), clients))
    assert all("complete" in answer for answer in answers)


def test_a_strength_that_is_set_holds_even_if_it_comes_before_auto_is_unticked(tiny_page, photo):
    page, url = tiny_page
    visitor, settings = Visitor(url), (100, "Before / after")
    upload = visitor.upload(photo)[0]
    key, path, *_ = visitor.denoise(number_of(page, *RUN), upload)["data"]
    shown = visitor.ask(number_of(page, "run", "Textbox", "Textbox"), path, key, True, 77, *settings)["data"]
    assert any("Noise strength: 77 (Auto" in str(item) for item in shown)
